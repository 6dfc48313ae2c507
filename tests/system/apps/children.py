"""An application that makes processes, as ASGI (``app``) and as WSGI (``wsgi``); each path answers with JSON.

==================  ==================================================================
GET /pid            the process that answers
GET /map            what two forked processes of ``multiprocessing`` computed
GET /terminated     the signals that ended 50 forked processes, each sent SIGTERM at once
GET /handlers       what a forked process has of the parent's: handlers, wake-up
                    descriptor, blocked signals, listening sockets
GET /interrupted    the signals that ended ``sleep``, each sent one of ``SIGNALS``
GET /ignored        the signals that ``cat`` ignores
GET /stays          the pid of a forked process that ends with SIGTERM only
==================  ==================================================================
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterable
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sidegate.asgi import Receive, Scope, Send

SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

AT_IMPORT = os.fork() if "CHILDREN_AT_IMPORT" in os.environ else 0
if "CHILDREN_AT_IMPORT" in os.environ and AT_IMPORT == 0:
    signal.pause()

own_signals: list[int] = []
signal.signal(signal.SIGWINCH, lambda number, _: own_signals.append(number))


def answer(path: str) -> Any:
    return PATHS[path.removeprefix("/")]()


def mapped() -> list[int]:
    with get_context("fork").Pool(2) as pool:
        return pool.map(abs, [-1, 2])


def terminated() -> list[int]:
    return [ended_by(forked(signal.pause), signal.SIGTERM) for _ in range(50)]


def forked(run: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            run()
        finally:
            os._exit(1)
    return pid


def ended_by(pid: int, number: int) -> int:
    """Send the signal; the one that ended the process."""
    os.kill(pid, number)
    return -os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def handlers() -> dict[str, Any]:
    read, write = os.pipe()
    pid = forked(lambda: os.write(write, json.dumps(inherited()).encode()))
    os.close(write)
    os.waitpid(pid, 0)
    with os.fdopen(read, "rb") as pipe:
        return dict(json.loads(pipe.read()))


def inherited() -> dict[str, Any]:
    plain = {signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler}
    changed = [number for number in range(1, 32) if signal.getsignal(number) not in plain]
    return {
        "handlers": [signal.Signals(number).name for number in changed],
        "wakeup": signal.set_wakeup_fd(-1),
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "listening": [fd for fd in map(int, os.listdir("/proc/self/fd")) if listens(fd)],
    }


def listens(fd: int) -> bool:
    try:
        sock = socket.socket(fileno=os.dup(fd))
    except OSError:
        return False
    with sock:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def interrupted() -> list[int]:
    """``exec`` has happened when ``sh`` has written."""
    found = []
    for number in SIGNALS:
        command = ["/bin/sh", "-c", "echo; exec sleep 600"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(number)
            try:
                found.append(-process.wait(10))
            except subprocess.TimeoutExpired:
                found.append(0)
                process.kill()
    return found


def ignored() -> list[int]:
    status = subprocess.check_output(["cat", "/proc/self/status"], text=True)
    mask = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn"))
    return [number for number in SIGNALS if mask >> (number - 1) & 1]


PATHS: dict[str, Callable[[], Any]] = {
    "pid": os.getpid,
    "map": mapped,
    "terminated": terminated,
    "handlers": handlers,
    "interrupted": interrupted,
    "ignored": ignored,
    "stays": lambda: forked(signal.pause),
    "at-import": lambda: AT_IMPORT,
}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    body = json.dumps(answer(scope["path"])).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    body = json.dumps(answer(environ["PATH_INFO"])).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
