"""Fronts whose event loop an application blocks: who is replaced, when, and what clients see of it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.lifecycle import PATIENCE, Start, get_in_background, held_open, serving, status, wait_until
from tests.support.server import Sidegate, http_get

LIMIT = 2.0


def watched(**more: Any) -> dict[str, Any]:
    """The configuration, with time enough for every drain."""
    return {"livenessTimeout": f"{LIMIT:g}s", "gracePeriod": "60s", **more}


def lost(server: Sidegate) -> float:
    counts = re.findall(r'exchange_errors_total\{.*reason="front_lost".*\} (\S+)', server.admin("/metrics")[1])
    return sum(map(float, counts))


def blocked_seconds(server: Sidegate) -> float:
    return max(float(process["blockedSeconds"]) for process in status(server)["processes"])


def drained_bytes(client: Any) -> bytes:
    """Everything that the server still sends, until the connection ends."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(4096):
            received += data
    return received


def test_the_only_front_is_replaced_and_new_clients_are_answered(start: Start, switches: Path) -> None:
    server = start(config=watched())
    (old,) = serving(server)
    with held_open(server, "/block") as blocked:
        wait_until((switches / "blocking").exists, "a blocked event loop")
        thread, answers = get_in_background(server.url("/pid"))  # waits in the listening socket
        readiness = wait_until(lambda: (got := server.admin("/readyz"))[0] == 503 and got, "not ready")
        assert readiness == (503, "the event loops of all front processes are blocked\n")
        assert server.admin("/livez") == (200, "ok\n")
        wait_until(lambda: serving(server) not in ([], [old]), "a successor")
        thread.join(PATIENCE)
        received = drained_bytes(blocked)
    assert not received.endswith(b"0\r\n\r\n"), "the response is not complete"
    ((code, new),) = answers
    assert (code, serving(server)) == (200, [int(new)])
    wait_until(lambda: status(server)["restarts"] == {"stuck": 1}, "the cause")
    wait_until(lambda: lost(server) == 1, "the request is counted")
    assert server.admin("/readyz")[0] == 200
    assert 'sidegate_process_restarts_total{cause="stuck",kind="front"} 1.0' in server.admin("/metrics")[1]
    log = server.log()
    warning = re.search(rf"warning .*front {old}: its event loop has been blocked for .*\n((?:  .*\n)+)", log)
    assert warning
    assert re.search(r'lifecycle.py", line \d+ in app', warning[1])
    order = [f"front {old} is stuck", f"front {old} is still stuck, and its successor serves", "Fatal Python error"]
    assert [log.index(text) for text in order] == sorted(log.index(text) for text in order)


def test_the_other_front_goes_on(start: Start, switches: Path) -> None:
    server = start(config=watched(processes=2))
    fronts = set(wait_until(lambda: len(serving(server)) == 2 and serving(server), "two fronts"))
    with held_open(server, "/block"):
        wait_until((switches / "blocking").exists, "a blocked event loop")
        text = "1 of 2 front processes are serving, 1 blocked\n"
        wait_until(lambda: server.admin("/readyz") == (503, text), "not ready")
        seen = set()
        while status(server)["restarts"] != {"stuck": 1}:
            code, pid = http_get(server.url("/pid"), patience=PATIENCE)
            assert code == 200
            seen.add(int(pid))
    wait_until(lambda: len(serving(server)) == 2, "two fronts again")
    (other,) = fronts & set(serving(server))
    assert fronts & seen == {other}
    assert server.admin("/readyz")[0] == 200


def test_a_front_that_runs_again_before_its_successor_serves_loses_nothing(start: Start, switches: Path) -> None:
    server = start(config=watched())
    (old,) = serving(server)
    (switches / "wait").touch()  # the successor's startup
    thread, answers = get_in_background(server.url("/pause"))
    server.wait_log(f"front {old} is stuck", PATIENCE)
    wait_until((switches / "waiting").exists, "a successor that starts")
    (switches / "release").touch()
    thread.join(PATIENCE)
    assert answers == [(200, str(old))]
    server.wait_log(f"front {old}: its event loop runs again", PATIENCE)
    assert http_get(server.url("/pid")) == (200, str(old))
    (switches / "wait").unlink()
    wait_until(lambda: status(server)["restarts"] == {"stuck": 1}, "it was drained")
    assert lost(server) == 0
    assert "Fatal Python error" not in server.log()
    assert (switches / f"shutdown-{old}").exists()


def test_a_supervisor_that_was_stopped_replaces_nobody(start: Start) -> None:
    server = start(config=watched(processes=2))
    fronts = wait_until(lambda: len(serving(server)) == 2 and serving(server), "two fronts")
    for pid in (server.pid, *fronts):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(2 * LIMIT)
    os.kill(server.pid, signal.SIGCONT)
    status(server)  # the supervisor runs, and the fronts do not yet
    for pid in fronts:
        os.kill(pid, signal.SIGCONT)
    assert http_get(server.url("/pid"), patience=PATIENCE)[0] == 200
    wait_until(lambda: server.admin("/readyz")[0] == 200, "it is ready")
    assert sorted(serving(server)) == sorted(fronts)
    assert status(server)["restarts"] == {}
    assert "is stuck" not in server.log()


def test_a_traced_front_is_not_replaced(start: Start, switches: Path) -> None:
    server = start(config=watched())
    (front,) = serving(server)
    with traced(front):
        thread, answers = get_in_background(server.url("/pause"))
        wait_until(lambda: blocked_seconds(server) > 2 * LIMIT, "a long block")
        assert serving(server) == [front]
        assert "a debugger holds it, so it is not replaced" in server.log()
    (switches / "release").touch()
    thread.join(PATIENCE)
    assert answers == [(200, str(front))]
    assert status(server)["restarts"] == {}


PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WALL = 0x40000000


@contextlib.contextmanager
def traced(pid: int) -> Iterator[None]:
    """Trace a process without stopping it, as strace does. It must get no signal meanwhile."""
    libc = ctypes.CDLL(None, use_errno=True)

    def ptrace(request: int) -> None:
        if libc.ptrace(ctypes.c_long(request), ctypes.c_long(pid), None, None):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    try:
        ptrace(PTRACE_SEIZE)
    except OSError as error:
        pytest.skip(f"ptrace: {error}")
    try:
        yield
    finally:
        ptrace(PTRACE_INTERRUPT)
        os.waitpid(pid, WALL)  # until it has stopped, without which there is no detaching
        ptrace(PTRACE_DETACH)


def test_a_stop_while_a_successor_starts(start: Start, switches: Path) -> None:
    server = start(config=watched(gracePeriod="3s"))
    (old,) = serving(server)
    (switches / "wait").touch()
    with held_open(server, "/block"):
        server.wait_log(f"front {old} is stuck", PATIENCE)
        wait_until((switches / "waiting").exists, "a successor that starts")
        assert server.stop() == 0
    assert server.log().endswith(" s: 1 request was aborted\n")


def test_a_front_that_is_blocked_while_the_service_stops_has_the_grace_period(start: Start, switches: Path) -> None:
    server = start(config=watched(livenessTimeout="5s", gracePeriod="6s"))
    with held_open(server, "/block"):
        wait_until((switches / "blocking").exists, "a blocked event loop")
        assert server.stop() == 0
    assert "is killed: it did not exit after it had drained" in server.log()
    assert "is stuck" not in server.log()


def test_without_a_limit_nothing_is_replaced(start: Start, switches: Path) -> None:
    server = start(config=watched(livenessTimeout="0s"))
    (front,) = serving(server)
    thread, answers = get_in_background(server.url("/pause"))
    wait_until((switches / "blocking").exists, "a blocked event loop")
    time.sleep(LIMIT)
    assert server.admin("/readyz")[0] == 200
    (switches / "release").touch()
    thread.join(PATIENCE)
    assert answers == [(200, str(front))]
    assert "blocked" not in server.log()
