"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sidegate.supervisor.sockets import ServiceSockets
from sidegate.supervisor.systemd import PassedSockets
from tests.support.binding import Bind, a_config, locate


@pytest.fixture
def bind() -> Iterator[Bind]:
    """``bind(*addresses, **listener)`` gives ``ServiceSockets`` that are closed in the end."""
    opened: list[ServiceSockets] = []

    def start(*addresses: str, passed: PassedSockets | None = None, **more: Any) -> ServiceSockets:
        opened.append(ServiceSockets(a_config(*addresses, **more), passed or PassedSockets([]), locate))
        return opened[-1]

    yield start
    for sockets in opened:
        sockets.close()
