"""Binding addresses in tests."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from sidegate.config.schema import Config
from sidegate.config.validation import validate
from sidegate.supervisor.sockets import ServiceSockets

Bind = Callable[..., ServiceSockets]


def a_config(*addresses: str, **more: Any) -> Config:
    """A configuration with one listener; ``admin`` goes to the top, the rest into the listener."""
    admin = more.pop("admin", None)
    return validate(
        Config,
        {
            "listeners": [{"name": "http", "addresses": list(addresses), **more}],
            "backends": {"b": {"respond": {}}},
            "routes": [{"backend": "b"}],
            **({"admin": {"address": admin}} if admin else {}),
        },
    )


def locate(path: tuple[str | int, ...], message: str) -> str:
    return f"{'.'.join(map(str, path))}: {message}"


def the_sockets(sockets: ServiceSockets) -> list[socket.socket]:
    return sockets.by_listener()["http"]


def connect(sock: socket.socket) -> None:
    """Connect to the address of ``sock``; raises ConnectionRefusedError if it does not listen."""
    with socket.socket(sock.family) as client:
        client.connect(sock.getsockname())
