"""The TLS transport between a loop's transport and a connection that the test plays."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sidegate.server.tls.engine import CLOSED, ENDED, HANDSHAKE, OPEN, Failure
from sidegate.server.tls.handshakes import Handshakes
from sidegate.server.tls.transport import LINGER, TlsTransport


class Calls:
    """Notes the methods that are called. ``answers``: what some of them return or raise."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.made: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def called(*_: Any) -> Any:
            self.made.append(name)
            answer = self.answers.get(name)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return called

    def taken(self) -> list[str]:
        """The calls since the last time."""
        made, self.made = self.made, []
        return made


class Session:
    """A session whose next state, plaintext and output the test sets."""

    def __init__(self) -> None:
        self.state = HANDSHAKE
        self.failure: Failure | None = None
        self.plain = b""
        self.output = b""

    def receive(self, data: bytes) -> bytes:
        return self.plain

    def encrypt(self, data: bytes) -> bytes:
        return b"encrypted " + data

    def close(self) -> None:
        self.state = CLOSED

    def take_output(self) -> bytes:
        output, self.output = self.output, b""
        return output


class Stage:
    """A transport in the middle; ``timers``: functions by their time."""

    def __init__(self, **below: Any) -> None:
        self.session = Session()
        self.below = Calls(**{"is_closing": False, "get_write_buffer_size": 0, **below})
        self.connection = Calls()
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self._soon: list[Callable[[], None]] = []
        handshakes = SimpleNamespace(
            loop=SimpleNamespace(call_later=self._call_later, call_soon=self._soon.append),
            session=lambda: self.session,
            patience=7.0,
            begun=lambda _: None,
            done=lambda *_: self.connection,
            failed=lambda *_: None,
            ended=lambda _: None,
        )
        self.tls = TlsTransport(cast(Handshakes, handshakes), None)
        self.tls.connection_made(cast(Any, self.below))

    def _call_later(self, seconds: float, function: Callable[[], None]) -> Calls:
        self.timers.append((seconds, function))
        return Calls()

    def next_turn(self) -> None:
        """The next turn of the loop."""
        soon, self._soon[:] = list(self._soon), []
        for function in soon:
            function()

    def open(self) -> None:
        self.session.state = OPEN
        self.tls.data_received(b"\x16 the end of the handshake")
        assert self.connection.taken() == ["connection_made"]
        self.below.taken()


def test_a_peer_that_makes_us_write_and_reads_nothing_is_not_read() -> None:
    """A client may ask for new keys for ever; each time the session answers (RFC 8446 4.6.3)."""
    stage = Stage()
    stage.open()
    stage.tls.pause_writing()
    stage.session.output = b"an update of keys"
    stage.tls.data_received(b"\x17")
    assert stage.below.taken() == ["write", "is_closing", "pause_reading"]
    stage.tls.resume_writing()
    assert stage.below.taken() == ["is_closing", "resume_reading"]
    assert stage.connection.taken() == ["pause_writing", "resume_writing"]


def test_reading_that_the_connection_has_paused_stays_paused() -> None:
    stage = Stage()
    stage.open()
    stage.tls.pause_writing()
    stage.session.output = b"an update of keys"
    stage.tls.data_received(b"\x17")
    stage.tls.pause_reading()
    stage.below.taken()
    stage.tls.resume_writing()
    assert stage.below.taken() == ["is_closing", "pause_reading"]
    stage.tls.resume_reading()
    assert stage.below.taken() == ["is_closing", "resume_reading"]


def test_a_connection_that_begins_with_a_full_buffer_is_told() -> None:
    stage = Stage()
    stage.tls.pause_writing()
    stage.session.state = OPEN
    stage.tls.data_received(b"\x16")
    assert stage.connection.taken() == ["connection_made", "pause_writing"]


def test_closing_waits_for_what_is_written_then_for_the_peer() -> None:
    stage = Stage(get_write_buffer_size=100)
    stage.open()
    stage.tls.pause_reading()
    stage.below.taken()
    stage.session.output = b"close_notify"
    stage.tls.close()
    assert stage.below.taken() == ["is_closing", "write", "is_closing", "resume_reading", "write_eof"]
    seconds, lingered = stage.timers.pop()
    assert seconds == LINGER
    lingered()
    seconds, lingered = stage.timers.pop()
    assert stage.below.taken() == ["get_write_buffer_size"]
    stage.below.answers["get_write_buffer_size"] = 0
    lingered()
    assert stage.below.taken() == ["get_write_buffer_size", "close"]
    stage.tls.write(b"late")
    stage.tls.data_received(b"late")
    stage.tls.close()
    assert stage.below.taken() == []


def test_an_end_of_input_waits_for_a_connection_that_does_not_read() -> None:
    """As with the loop's transports; but not what is no TLS, behind which nothing can be sent."""
    stage = Stage()
    stage.open()
    stage.tls.pause_reading()
    stage.session.state = ENDED
    stage.tls.data_received(b"\x15")
    assert stage.connection.taken() == []
    stage.tls.resume_reading()
    assert stage.connection.taken() == []  # the connection is in the middle of its work
    stage.tls.pause_reading()
    stage.next_turn()
    assert stage.connection.taken() == []
    stage.tls.resume_reading()
    stage.next_turn()
    assert stage.connection.taken() == ["eof_received"]
    assert stage.below.taken()[-1] == "close"
    stage.tls.resume_reading()
    stage.next_turn()
    assert stage.connection.taken() == []


def test_what_is_no_tls_ends_a_connection_that_does_not_read() -> None:
    stage = Stage()
    stage.open()
    stage.tls.pause_reading()
    stage.session.state = CLOSED
    stage.tls.data_received(b"\x15")
    assert stage.connection.taken() == ["eof_received"]


def test_a_peer_that_has_closed_is_not_waited_for() -> None:
    stage = Stage()
    stage.open()
    stage.session.state = ENDED
    stage.tls.data_received(b"\x15")
    assert stage.connection.taken() == ["eof_received"]
    assert stage.below.taken() == ["is_closing", "close"]


@pytest.mark.parametrize("state", [OPEN, CLOSED])
def test_a_socket_that_is_reset_while_it_closes(state: int) -> None:
    """asyncio's own transport raises it: shutdown of a socket that is not connected any more."""
    stage = Stage(write_eof=OSError("not connected"))
    stage.session.state = state
    stage.session.failure = Failure("other", "x") if state == CLOSED else None
    stage.tls.data_received(b"\x16")
    stage.tls.close()
    assert stage.below.taken()[-2:] == ["write_eof", "abort"]
