"""The base class of every kind of backend: an App with a name, and what the runtime calls of it.

Step 7 of the request line. The runtime calls these methods on all backends alike, and a kind overrides the ones that it
needs. ``config/backends.py`` has what other processes must know of a kind.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Any

from sidegate.asgi import Receive, Scope, Send


class Backend:
    """An App. ``name``: that of the configuration. ``interface``: a description of its application, or empty."""

    def __init__(self, name: str, interface: str = "") -> None:
        self.name = name
        self.interface = interface

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request. It first stores the backend's name in the record."""
        raise NotImplementedError

    async def start(self) -> None:
        """Prepare it for requests.

        :raises StartError: it does not start.
        """

    async def stop(self) -> None:
        """Release what ``start`` and the requests have acquired; no request is in flight any more."""

    def statistics(self) -> dict[str, Any]:
        """Its connections or threads, for ``/status``; empty if it has none."""
        return {}

    def set_workers(self, workers: Iterable[tuple[int, str]]) -> None:
        """Set the workers that may get requests, if it is a pool: (serial, socket path) of each."""

    def put_behind_front(self) -> int | None:
        """Note that its requests come from fronts. Return how many it takes at once; None: it has no such limit."""
        return None
