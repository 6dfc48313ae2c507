"""A preloader when the system refuses to fork."""

from __future__ import annotations

import array
import errno
import os
import socket

import pytest

from sidegate.ipc import signals
from sidegate.ipc.control import Decoder, encode
from sidegate.process.preload import Preloader


def test_a_fork_that_fails_ends_only_that_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pids = [5_000_000]

    def fork() -> int:
        if pids:
            return pids.pop()
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(signals, "fork", fork)
    supervisor, control = socket.socketpair()
    with supervisor, control:
        preloader = Preloader(control, "ASGI 3 application")
        for number in (1, 2):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                descriptors = array.array("i", [theirs.fileno()])
                socket.send_fds(supervisor, [encode("fork", number=number)], descriptors)
                theirs.close()
                assert preloader._receive() == (None, False)
                assert ours.recv(1) == b""  # the supervisor learns by it that the worker does not run
        assert Decoder().feed(supervisor.recv(65536)) == [{"type": "forked", "number": 1, "pid": 5_000_000}]
        preloader._forget()
    assert "cannot fork a worker: Resource temporarily unavailable" in caplog.text
