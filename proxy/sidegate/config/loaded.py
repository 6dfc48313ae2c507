"""The content of a configuration file, with the positions of everything in it.

``load.py`` returns it. It is a module of its own because the service keeps the object for its whole run, but not the
libraries that validate. It raises nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from sidegate.config.backends import BackendConfig
from sidegate.config.checks import Path, path_text
from sidegate.config.listeners import ListenerConfig
from sidegate.config.schema import Config
from sidegate.config.structure import short_forms_at

Position = tuple[int, int]
"""Line and column, both counted from 1."""

Expiry: TypeAlias = Mapping[tuple[str, str], float]
"""Unix times at which certificates expire, by the listener's name and the file."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. ``line`` and ``column`` count from 1; line 0 means the file as a whole."""

    file: str
    line: int
    column: int
    path: str
    message: str
    is_warning: bool = False

    def __str__(self) -> str:
        """``file:line:column: path: message``, without the parts that do not apply."""
        position = f":{self.line}:{self.column}" if self.line else ""
        path = f"{self.path}: " if self.path else ""
        return f"{self.file}{position}: {'warning: ' if self.is_warning else ''}{path}{self.message}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The content of a file. ``config`` is None if there is any problem; ``warnings`` do not prevent a start.

    ``listeners`` and ``backends`` are the entries that are valid by themselves, so that a caller can still check
    certificates and applications and report everything at once. ``positions`` are those of values, by path.
    """

    file: str
    config: Config | None = None
    problems: tuple[Problem, ...] = ()
    positions: Mapping[Path, Position] = field(default_factory=dict)
    listeners: dict[int, ListenerConfig] = field(default_factory=dict)
    backends: dict[str, BackendConfig] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()

    def problem(self, path: Path, message: str) -> Problem:
        """Create a problem at ``path`` (as in the models: long forms, camelCase), or at its nearest known parent."""
        written = as_written(path, self.positions)
        line, column = nearest(written, self.positions)
        return Problem(self.file, line, column, path_text(written), message)


def as_written(path: Path, positions: Mapping[Path, Position]) -> Path:
    """``path`` in the short forms that the file uses."""
    if path[-2:] == ("path", "value") and path not in positions:
        path = path[:-1]
    if path[-1:] == (0,) and path not in positions and path[:-1] in positions:
        path = path[:-1]  # one entry, written without a list
    for depth in range(len(path)):
        parent, rest = path[:depth], path[depth:]
        for short, long in short_forms_at(parent).items():
            if rest[: len(long)] == long and (*parent, rest[0]) not in positions and (*parent, short) in positions:
                return (*parent, short, *rest[len(long) :])
    return path


def nearest(path: Path, positions: Mapping[Path, Position]) -> Position:
    """The position of ``path``, or of its nearest parent that has a position."""
    while path and path not in positions:
        path = path[:-1]
    return positions.get(path, (1, 1))
