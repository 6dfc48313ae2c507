"""Connections that do nothing, too many of them, or none for longer than a moment."""

from __future__ import annotations

from tests.attacks import h2
from tests.attacks.attack import Attack
from tests.attacks.h1 import END, head
from tests.attacks.script import ANSWER, READY, REOPEN, Script
from tests.attacks.slow import UPLOAD

IDLE, CONNECTING = 2000, 8
FILES, MORE_THAN_FILES = 256, 1000


def idle(_secure: bool) -> Script:
    """One answered request, so that the server has all that a connection needs, and then nothing."""
    yield head() + END
    yield ANSWER
    yield READY


def silent(_secure: bool) -> Script:
    """Not even one."""
    yield READY


def idle_h2(secure: bool) -> Script:
    """One answered request."""
    yield from h2.opening()
    yield h2.request(1, h2.fields(secure))


def again(_secure: bool) -> Script:
    """Connected, and gone."""
    yield READY
    yield REOPEN


def waiting(_secure: bool) -> Script:
    """An upload whose body does not come: no connection is idle."""
    yield READY
    yield UPLOAD


ATTACKS = (
    Attack("idle-h1", f"{IDLE} idle connections", "h1", IDLE, idle),
    Attack("idle-h2", f"{IDLE} idle connections", "h2", IDLE, idle_h2),
    Attack("silent", f"{IDLE} connections without a byte", "h1", IDLE, silent),
    Attack("descriptors", f"{MORE_THAN_FILES} idle connections where the server may have {FILES} files", "h1",
           MORE_THAN_FILES, silent, files=FILES),
    Attack("descriptors-busy", f"{MORE_THAN_FILES} uploads that do not come where the server may have {FILES} files",
           "h1", MORE_THAN_FILES, waiting, files=FILES),
    Attack("connects", "connections that are closed at once", "h1", CONNECTING, again),
)  # fmt: skip
