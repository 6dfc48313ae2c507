"""Temporary files beside the event loop: what a full disk, a cancellation and a late call do to them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from sidegate.aio import temporary_files
from sidegate.aio.temporary_files import TemporaryFiles
from sidegate.errors import ExchangeError, Fault


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(coroutine)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    async def live() -> None:
        files = TemporaryFiles(str(tmp_path))
        file = files.new()
        assert await file.write(b"one", 0)
        assert await file.write(b"two", 3)
        assert await file.read(4, 1) == b"netw"
        assert not list(tmp_path.iterdir())
        with file.open() as reader:
            file.close()
            files.stop()
            assert reader.read() == b"onetwo"

    run(live())


def test_a_file_that_was_never_written_needs_no_thread(tmp_path: Path) -> None:
    async def live() -> None:
        files = TemporaryFiles(str(tmp_path))
        before = threading.active_count()
        files.new().close()
        files.stop()
        assert threading.active_count() == before

    run(live())


def test_short_writes_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up takes a part first."""
    write = os.pwrite
    monkeypatch.setattr(
        "sidegate.aio.temporary_files.os.pwrite", lambda number, data, offset: write(number, data[:2], offset)
    )

    async def live() -> None:
        files = TemporaryFiles(None)
        file = files.new()
        assert await file.write(b"seven b", 0)
        assert await file.read(7, 0) == b"seven b"
        with pytest.raises(ExchangeError, match="buffer_lost"):
            await file.read(8, 0)
        file.close()
        files.stop()

    run(live())


def test_failures_give_one_line_in_a_period(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def live() -> None:
        files = TemporaryFiles(str(tmp_path / "missing"))
        for _ in range(2):
            file = files.new()
            assert not await file.write(b"x", 0)
            file.close()
        assert caplog.text.count("missing") == 2  # the folder, and the file in it
        for _ in range(2):
            assert files.lost(OSError("not readable")).fault is Fault.PROXY
        monkeypatch.setattr(temporary_files, "LOG_PERIOD", 0.0)
        files.report(OSError("not again"))
        assert "not again" not in caplog.text
        files._next_lines.clear()
        files.report(OSError("a minute later"))
        assert "a minute later" in caplog.text
        assert caplog.text.count("not readable") == 1
        files.stop()

    run(live())


def test_a_cancelled_write_ends_before_its_file_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its bytes could go into a file that got the same descriptor."""
    begun, go = threading.Event(), threading.Event()
    write = os.pwrite
    order: list[str] = []

    def slow(descriptor: int, data: Any, offset: int) -> int:
        begun.set()
        assert go.wait(30)
        order.append("written")
        return write(descriptor, data, offset)

    monkeypatch.setattr("sidegate.aio.temporary_files.os.pwrite", slow)

    async def live() -> None:
        files = TemporaryFiles(None)
        file = files.new()
        writing = asyncio.create_task(file.write(b"x", 0))
        await asyncio.to_thread(begun.wait, 30)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        file.close()
        later = asyncio.create_task(file.write(b"y", 1))
        go.set()
        assert not await later
        order.append("refused")
        with pytest.raises(ExchangeError, match="buffer_lost"):
            await file.read(1, 0)
        with pytest.raises(OSError, match="closed"):
            file.open()
        file.close()  # twice does no harm
        files.stop()

    run(live())
    assert order == ["written", "refused"]
