"""The backlog of slow clients: when it is large, when its client is slow, and what happens after it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from sidegate.server.backlog import ALLOWANCE, LARGE, LEAST_PART, LEAST_RATE, Backlog, ConnectionBacklog


def made(*waiting: int) -> tuple[Backlog, list[ConnectionBacklog]]:
    """A process with a connection for each number, with so many bytes that wait since 100.0 s."""
    process = Backlog()
    connections = []
    for size in waiting:
        connection = ConnectionBacklog(process)
        connection.set_client("192.0.2.1", False)
        if size:
            connection.add(size, 5000, 100.0)
        connections.append(connection)
    return process, connections


async def small_is_never_large() -> None:
    _, (connection, other) = made(LARGE - ALLOWANCE, ALLOWANCE)
    assert not connection.is_large()
    connection.add(1, 0, 0.0)
    assert connection.is_large()
    assert not other.is_large()
    assert not other.is_large(stream=ALLOWANCE)
    assert other.is_large(stream=ALLOWANCE + 1)
    connection.remove(1)
    assert not connection.is_large()
    assert not other.is_large(stream=ALLOWANCE + 1)


async def shared_connections_are_never_large() -> None:
    process, (connection,) = made(2 * LARGE)
    connection.set_client("192.0.2.1", True)
    assert not connection.is_large()
    assert not connection.is_slow(5000, 1000.0)
    assert connection.is_large(stream=ALLOWANCE + 1)
    connection.remove(2 * LARGE)
    assert process.waiting == 0


async def a_client_is_slow_until_it_reads() -> None:
    part = 2 * LARGE // LEAST_PART
    _, (connection, other) = made(2 * LARGE, 0)
    assert connection.is_slow(5000, 100.0)
    assert connection.is_slow(5000 + part - 1, 100.0)
    assert not connection.is_slow(5000 + part, 100.0)
    late = 100.0 + part / LEAST_RATE
    assert not connection.is_slow(5000 + part, late)
    assert connection.is_slow(5000 + part, late + 1.0)
    assert not other.is_slow(0, 100.0)


@pytest.mark.parametrize(
    "check", [small_is_never_large, shared_connections_are_never_large, a_client_is_slow_until_it_reads]
)
def test_backlog(check: Any) -> None:
    asyncio.run(check())


def test_one_line_in_a_period(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        _, (connection,) = made(LARGE + 1)
        for now in (100.0, 109.0, 110.0, 119.0):
            connection.report(now)

    with caplog.at_level(logging.WARNING, "sidegate.limits"):
        asyncio.run(main())
    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith(f"client 192.0.2.1 reads too slowly: {LARGE + 1} of {LARGE + 1} bytes")
