"""Which event loop a process runs on."""

from __future__ import annotations

import asyncio
import sys

import pytest
import uvloop

from sidegate.aio.event_loops import loop_factory
from sidegate.errors import StartError


def test_the_loops_by_name() -> None:
    assert loop_factory("asyncio") is asyncio.new_event_loop
    assert loop_factory("uvloop") is loop_factory("auto") is uvloop.new_event_loop


def test_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_factory("auto") is loop_factory("asyncio") is asyncio.new_event_loop
    with pytest.raises(StartError, match="install it, or set eventLoop: auto"):
        loop_factory("uvloop")
