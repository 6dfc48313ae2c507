"""Senders that wait for their stream to drain."""

from __future__ import annotations

import asyncio

from sidegate.aio.waiters import Waiters


def test_waiters_are_freed_by_stream() -> None:
    async def live() -> None:
        loop = asyncio.get_running_loop()
        waiters = Waiters()
        assert not waiters
        one, two, cancelled = (waiters.add(stream, loop) for stream in (1, 3, 3))
        cancelled.cancel()
        waiters.release(5)
        assert not one.done()
        waiters.release(1)
        assert one.done()
        assert not two.done()
        assert waiters
        waiters.wake(lambda stream: stream == 3)
        assert two.done()
        assert not waiters

    asyncio.run(live())
