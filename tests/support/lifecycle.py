"""Servers of the application ``tests/system/apps/lifecycle.py``, whose life tests direct by files."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar

from tests.support.server import Sidegate, http_get

PATIENCE = 60.0

T = TypeVar("T")

Start = Callable[..., Sidegate]


def wait_until(condition: Callable[[], T | Literal[False] | None], what: str) -> T:
    """The first true value of ``condition``."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {PATIENCE:.0f} s: {what}"
        time.sleep(0.02)
    return value


def status(server: Sidegate) -> Any:
    return json.loads(server.admin("/status")[1])


def serving(server: Sidegate) -> list[int]:
    """The pids of the fronts that serve."""
    return [process["pid"] for process in status(server)["processes"] if process["state"] == "serving"]


def get_in_background(url: str) -> tuple[threading.Thread, list[tuple[int, str]]]:
    """A GET on a thread of its own, and the list that its answer will be in."""
    answers: list[tuple[int, str]] = []
    thread = threading.Thread(target=lambda: answers.append(http_get(url, patience=PATIENCE)))
    thread.start()
    return thread, answers


@contextlib.contextmanager
def held_open(server: Sidegate, path: str) -> Iterator[socket.socket]:
    """A connection whose request was begun and is not answered to its end."""
    with socket.create_connection(("127.0.0.1", server.port())) as client:
        client.settimeout(PATIENCE)
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        yield client
