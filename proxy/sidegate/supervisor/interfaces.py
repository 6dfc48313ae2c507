"""The kinds of the applications, ASGI or WSGI, as reported by the children that have imported them.

Fronts and the workers of pools report them; this module stores and logs them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from sidegate.config.schema import BackendConfig

logger = logging.getLogger("sidegate.supervisor")


class Interfaces:
    """``found``: descriptions of the applications by backend, such as ``WSGI application, 4 threads``."""

    def __init__(self, backends: Mapping[str, BackendConfig]) -> None:
        self.found: dict[str, str] = {}
        self._backends = backends

    def learn(self, found: Mapping[str, str]) -> None:
        """Take one child's descriptions. All children report the same one; it is logged once and when it changes."""
        for name, description in found.items():
            if self.found.get(name) != description:
                self.found[name] = description
                article = "an" if description.startswith("A") else "a"
                logger.info("backend %s: %s is %s %s", name, self._backends[name].app, article, description)
