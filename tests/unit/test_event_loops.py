"""Which event loop a process runs on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

import pytest
import uvloop

from sidegate.aio.event_loops import loop_factory, new_runner
from sidegate.errors import StartError


def test_the_loops_by_name() -> None:
    assert loop_factory("asyncio") is asyncio.new_event_loop
    assert loop_factory("uvloop") is loop_factory("auto") is uvloop.new_event_loop


def test_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_factory("auto") is loop_factory("asyncio") is asyncio.new_event_loop
    with pytest.raises(StartError, match="install it, or set eventLoop: auto"):
        loop_factory("uvloop")


def test_a_loop_ends_whose_task_factory_cannot_make_our_tasks() -> None:
    def without_context(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.Task(coroutine, loop=loop)

    async def main() -> Any:
        loop: Any = asyncio.get_running_loop()
        loop.set_task_factory(without_context)
        return loop

    with new_runner("uvloop") as runner:
        loop = runner.run(main())
    assert loop.is_closed()
