"""Writing a file to a socket beside its transport."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from sidegate.errors import ExchangeError
from sidegate.server.files import OpenFile
from sidegate.server.sendfile import SendfileWriter


def test_two_files_at_once_are_an_error_of_the_application() -> None:
    """Both would wait for the transport, which tells one of them: the other would wait for ever."""
    results = asyncio.run(write_two())
    assert [type(result) for result in results] == [ConnectionAbortedError, ExchangeError]


async def write_two() -> list[Any]:
    transport = cast(asyncio.Transport, SimpleNamespace(get_write_buffer_size=lambda: 1))
    writer = SendfileWriter()
    tasks = [asyncio.create_task(writer.write(transport, OpenFile(), 60.0)) for _ in range(2)]
    await asyncio.sleep(0)
    writer.tell(lost=True)
    for _ in range(5):
        await asyncio.sleep(0)
    results: list[Any] = [task.exception() if task.done() else "it waits" for task in tasks]
    for task in tasks:
        task.cancel()
    return results


def test_a_file_after_another_one_is_none() -> None:
    asyncio.run(write_one_after_the_other())


async def write_one_after_the_other() -> None:
    transport = cast(asyncio.Transport, SimpleNamespace(get_write_buffer_size=lambda: 1))
    writer = SendfileWriter()
    for _ in range(2):
        task = asyncio.create_task(writer.write(transport, OpenFile(), 60.0))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
