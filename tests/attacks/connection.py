"""One connection of the attacker: a socket, and the script that it follows."""

from __future__ import annotations

import contextlib
import enum
import selectors
import socket
import ssl
import subprocess
from collections import Counter

from tests.attacks.answers import answers_to
from tests.attacks.attack import Attack
from tests.attacks.script import ANSWER, READY, REOPEN, Credit, Pause, Read
from tests.bench.servers.kind import HOST
from tests.bench.tls import client_context

ADDRESS = "127.0.0.2"
"""Of the attacker; the honest client has another."""

BIND_ADDRESS_NO_PORT = 24
"""IP_BIND_ADDRESS_NO_PORT of Linux: the port is chosen with ``connect``, where many more are free."""

SMALL_BUFFER = 4096
PIECE = 65536
LONGEST_DRAIN = 64
PROGRAM_PATIENCE = 5.0


class State(enum.Enum):
    """What a connection waits for."""

    CONNECTING = enum.auto()
    HANDSHAKE = enum.auto()
    ACTING = enum.auto()
    ANSWER = enum.auto()
    PAUSE = enum.auto()
    READY = enum.auto()
    DONE = enum.auto()


class Ended(Exception):  # the message says how
    """The connection is no more."""


class Connection:
    """``counts`` collect the answers. Every method may raise ``Ended``; the caller then closes it."""

    def __init__(self, attack: Attack, port: int, secure: bool, counts: Counter[str]) -> None:
        self.attack = attack
        self.state = State.CONNECTING
        self.sent = 0
        self.pause = 0.0
        self._answers = answers_to(attack, counts)
        self._script = attack.script(secure)
        self._rest = memoryview(b"")
        self._wanted: Credit | None = None
        self._answered = False  # since the last bytes of the script
        self._tls_wants = 0
        self._program: subprocess.Popen[bytes] | None = None
        self.sock = self._start_program(port) if attack.program else self._connect(port)
        if secure and attack.handshake and not attack.program:
            self.sock = _context(attack.protocol).wrap_socket(
                self.sock, server_hostname="localhost", do_handshake_on_connect=False
            )

    def _connect(self, port: int) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)
        if not self.attack.reads:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        sock.bind((ADDRESS, 0))
        sock.connect_ex((HOST, port))
        return sock

    def _start_program(self, port: int) -> socket.socket:
        ours, theirs = socket.socketpair()
        command = [*self.attack.program, "-connect", f"{HOST}:{port}", "-bind", f"{ADDRESS}:0"]
        with theirs:
            end = theirs.fileno()
            self._program = subprocess.Popen(command, stdin=end, stdout=end, stderr=end)
        ours.setblocking(False)
        return ours

    @property
    def interest(self) -> int:
        """Of the selector."""
        if self.state is State.HANDSHAKE:
            return self._tls_wants or selectors.EVENT_WRITE
        if self.state is State.CONNECTING or (self.state is State.ACTING and self._wanted is None):
            return self._reading | selectors.EVENT_WRITE
        return self._reading

    @property
    def _reading(self) -> int:
        """A connection that reads nothing must not be told again and again that it could."""
        return selectors.EVENT_READ if self.attack.reads or self.state is State.ANSWER else 0

    def act(self, *, attacking: bool) -> None:
        """Go on: the socket takes bytes, a pause is over, or the attack has begun."""
        try:
            if self.state in (State.CONNECTING, State.HANDSHAKE):
                self._open()
            elif self._rest:
                self._send()
            else:
                self._next(attacking)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            return
        except OSError as error:
            self.drain()  # it may have said why
            raise Ended(self._end(error)) from error

    def _open(self) -> None:
        if self.state is State.CONNECTING:
            if error := self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(error, "connect")
            self.state = State.HANDSHAKE
        if isinstance(self.sock, ssl.SSLSocket):
            try:
                self.sock.do_handshake()
            except ssl.SSLWantReadError:
                self._tls_wants = selectors.EVENT_READ
                return
            except ssl.SSLWantWriteError:
                self._tls_wants = selectors.EVENT_WRITE
                return
        self.state = State.ACTING

    def _send(self) -> None:
        count = self.sock.send(self._rest)
        self.sent += count
        self._rest = self._rest[count:]

    def _next(self, attacking: bool) -> None:
        """Begin the next action, or the one that waited for credit."""
        action = self._wanted or next(self._script, None)
        self._wanted, self.state = None, State.ACTING
        if isinstance(action, bytes):
            self._rest, self._answered = memoryview(action), False
            if action:
                self._send()
        elif isinstance(action, Pause):
            self.state, self.pause = State.PAUSE, action.seconds
        elif isinstance(action, Read):
            self.sock.recv(action.count)
        elif isinstance(action, Credit):
            if not self._answers.take(action.stream, action.count):
                self._wanted = action
        elif action is ANSWER:
            self.state = State.ACTING if self._answered else State.ANSWER
        elif action is READY and not attacking:
            self.state = State.READY
        elif action is REOPEN:
            raise Ended("left")
        elif action is None:
            self.state = State.DONE

    def read(self, *, attacking: bool) -> None:
        """Something has arrived, or the end."""
        if self.state in (State.CONNECTING, State.HANDSHAKE):
            self.act(attacking=attacking)
            return
        try:
            data = self.sock.recv(PIECE)
            while isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():  # no selector would tell of it
                data += self.sock.recv(PIECE)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            return
        except OSError as error:
            raise Ended(self._end(error)) from error
        if not data:
            raise Ended(self._end(None))
        self._answers.feed(data)
        self._answered = True
        if self.state is State.ANSWER or self._wanted is not None:
            self.state = State.ACTING
            self.act(attacking=attacking)

    def drain(self) -> None:
        """Read what is there, at the end of an attack that read nothing. Raises ``Ended`` at the connection's end."""
        if self.state in (State.CONNECTING, State.HANDSHAKE):
            return
        for _ in range(LONGEST_DRAIN):
            try:
                data = self.sock.recv(PIECE)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                return
            except OSError as error:
                raise Ended(self._end(error)) from error
            if not data:
                raise Ended(self._end(None))
            self._answers.feed(data)

    def _end(self, error: OSError | None) -> str:
        """In words: what the server said, else what its kernel did."""
        if isinstance(error, ssl.SSLError) and error.reason:
            return f"TLS {error.reason.lower()}"
        how = "FIN" if error is None else "RST"
        return self._answers.farewell or how

    def close(self) -> None:
        self.sock.close()
        if self._program is not None:
            self._program.kill()
            self._program.wait(PROGRAM_PATIENCE)


def _context(protocol: str) -> ssl.SSLContext:
    if protocol not in _contexts:
        _contexts[protocol] = client_context("h2" if protocol == "h2" else "http/1.1")
    return _contexts[protocol]


_contexts: dict[str, ssl.SSLContext] = {}
