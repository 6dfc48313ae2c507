"""What the module of a kind gets to build one backend: the configuration and what the process offers to backends.

``kinds.py`` makes one context for each backend. Building raises no error: what prevents it is added to the problems of
the configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from sidegate.backends.app.loading import LoadedApp
from sidegate.config.schema import BackendConfig, Config
from sidegate.errors import Problems
from sidegate.observe.observer import Observer


class Report(Protocol):
    """Sends the supervisor a message about a backend."""

    def __call__(self, kind: str, **fields: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class BuildContext:
    """One for each backend; ``name``: the backend's. ``application``: what was imported for it, if it has one."""

    config: Config
    name: str
    observer: Observer
    report: Report
    problems: Problems
    application: LoadedApp | None = None

    @property
    def backend(self) -> BackendConfig:
        """The backend's configuration."""
        return self.config.backends[self.name]

    def add_problem(self, key: str, message: str) -> None:
        """Report that the backend cannot be built because of its ``key``."""
        self.problems.append((("backends", self.name, key), message))
