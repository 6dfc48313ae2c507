"""The backends of one route: the App that selects one of them for each request, at random by weight.

Between steps 5 and 7 of the request line, for routes with several backends; a route with one calls it directly. It
raises no error.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Awaitable, Mapping, Sequence
from itertools import accumulate

from sidegate.asgi import App, Receive, Scope, Send
from sidegate.config.schema import BackendRef


class WeightedChoice:
    """An App that hands each request to one of ``apps``, in proportion to ``weights``."""

    def __init__(self, apps: Sequence[App], weights: Sequence[int]) -> None:
        self._apps = apps
        self._bounds = list(accumulate(weights))

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self.pick()(scope, receive, send)

    def pick(self) -> App:
        """Select one at random."""
        return self._apps[bisect_right(self._bounds, random.random() * self._bounds[-1])]  # noqa: S311 - no secret


def by_weight(references: Sequence[BackendRef], backends: Mapping[str, App]) -> App:
    """The App for ``references``; one with the weight 0 gets no request."""
    used = [reference for reference in references if reference.weight]
    apps = [backends[reference.name] for reference in used]
    return apps[0] if len(apps) == 1 else WeightedChoice(apps, [reference.weight for reference in used])
