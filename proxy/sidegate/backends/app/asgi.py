"""An ASGI application in the front's own process.

Where it stands: step 7 of the request line. It gives the scope what only the backend knows (``state`` of the
lifespan, ``root_path``) and steps aside: ``receive`` and ``send`` go to the application as they are.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Literal

from sidegate.asgi import App, Receive, Scope, Send
from sidegate.backends.app.lifespan import Lifespan
from sidegate.backends.app.loading import LoadedApp


class AsgiBackend:
    """An App around an application, with its lifespan."""

    def __init__(self, name: str, loaded: LoadedApp, root_path: str, lifespan: Literal["auto", "on", "off"]) -> None:
        self.name = name
        self.interface = loaded.kind
        self._app: App = loaded.app
        self._root_path = root_path
        self._lifespan = Lifespan(name, loaded.app, lifespan)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if self._root_path:  # else that of the front's backend counts, where this is a worker
            scope["root_path"] = self._root_path
        scope["state"] = self._lifespan.state.copy()
        return self._app(scope, receive, send)

    async def start(self) -> None:
        """Lifespan startup. Raises ``StartError``."""
        await self._lifespan.startup()

    async def stop(self) -> None:
        """Lifespan shutdown."""
        await self._lifespan.shutdown()
