"""What the applications turned out to be: ASGI or WSGI ones, by the words of the children that have imported them.

Where it stands: beside the supervisor's loop, told by fronts and by the workers of pools. It remembers and logs; it
judges nothing. No error leaves it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from sidegate.config.schema import BackendConfig

logger = logging.getLogger("sidegate.supervisor")


class Interfaces:
    """``found`` is what is known, by backend, such as ``WSGI application, 4 threads``."""

    def __init__(self, backends: Mapping[str, BackendConfig]) -> None:
        self.found: dict[str, str] = {}
        self._backends = backends

    def learn(self, found: Mapping[str, str]) -> None:
        """A child says what it has imported. What every child says is logged once, and again when it changes."""
        for name, words in found.items():
            if self.found.get(name) != words:
                self.found[name] = words
                article = "an" if words.startswith("A") else "a"
                logger.info("backend %s: %s is %s %s", name, self._backends[name].app, article, words)
