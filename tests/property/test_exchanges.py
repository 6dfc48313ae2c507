"""Exchanges as a state machine: an application that does what it likes, a client that does, and time.

The connection and all behind it are real; there is only no socket (``support/scripted_connection.py``). After every
step, the open records are those of the exchanges in flight. When the application has returned and the client has done
its part, no exchange is left and the codec is idle; when the client has left, no application waits for it any more.
At the end each exchange has closed one record, no task is left, and the client got complete what was sent completely.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import h11
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sidegate.server.connection import Connection
from tests.support import http2 as c
from tests.support.running import CODECS
from tests.support.scripted_connection import Call, PeerTransport, ScriptedService

WHICH = st.integers(0, 11)
"""Which of the things that a rule can use: modulo their number."""

LUCK = st.integers(0, 15)
"""What ends a connection happens seldom, at large numbers."""

KINDS = st.sampled_from(["GET", "GET", "HEAD", "length", "length", "unknown", "expect", "big"])
"""Of requests: ``length`` and ``unknown`` have a body of two pieces, ``big`` one that is larger than allowed."""

BIGGEST = 1000
WINDOW = 3000
"""Bytes of a response that a client of HTTP/2 takes before it opens the window."""

START = "http.response.start"
MESSAGES: list[dict[str, Any]] = [
    {"type": START, "status": 200, "headers": []},
    {"type": START, "status": 200, "headers": [(b"content-length", b"100")]},
    {"type": START, "status": 201, "headers": [(b"connection", b"close")]},
    {"type": START, "status": 204, "headers": []},
    {"type": START, "status": 200, "headers": [(b"trailer", b"sum")], "trailers": True},
    {"type": START, "status": 99, "headers": []},
    {"type": "http.response.body", "body": b"x" * 100, "more_body": True},
    {"type": "http.response.body", "body": b"x" * 100},
    {"type": "http.response.body", "body": b"", "more_body": True},
    {"type": "http.response.body"},
    {"type": "http.response.body", "body": b"y" * 70_000, "more_body": True},
    {"type": "http.response.body", "body": "text"},
    {"type": "http.response.trailers", "headers": [(b"sum", b"1")]},
    {"type": "http.response.early_hint", "links": [b"</a>"]},
    {"type": "websocket.send", "text": "a"},
]


class Http1Peer:
    """A client of HTTP/1.1: messages one after the other, whose answers come in the same order."""

    def __init__(self) -> None:
        self.methods: list[str] = []
        self._pieces: list[bytes] = []

    def opening(self) -> bytes:
        return b""

    def request(self, path: str, kind: str) -> bytes:
        """The head of a request; nothing while one is being sent."""
        if self._pieces:
            return b""
        method = kind if kind in ("GET", "HEAD") else "POST"
        self.methods.append(method)
        head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n"
        if kind == "unknown":
            head += "Transfer-Encoding: chunked\r\n"
            self._pieces = [b"3\r\nabc\r\n", b"3\r\ndef\r\n0\r\n\r\n"]
        elif kind in ("length", "expect"):
            head += "Content-Length: 6\r\n" + ("Expect: 100-continue\r\n" if kind == "expect" else "")
            self._pieces = [b"abc", b"def"]
        elif kind == "big":
            head += "Transfer-Encoding: chunked\r\n"
            self._pieces = [b"400\r\n%b\r\n" % bytes(1024), b"0\r\n\r\n"]
        return head.encode() + b"\r\n"

    def go_on(self, which: int) -> bytes:
        """The next piece of a body that is incomplete."""
        return self._pieces.pop(0) if self._pieces else b""

    def reset(self, which: int) -> bytes:
        """HTTP/1.1 has no way to abort one request."""
        return b""

    def open_windows(self) -> bytes:
        """HTTP/1.1 has no windows."""
        return b""

    def breach(self) -> bytes:
        """Bytes that no rule allows, wherever they come."""
        return b"" if self._pieces else b"\0\r\n\r\n"

    def answers(self, output: bytes) -> Iterator[tuple[int, bytes, bool]]:
        """Status, body and completeness of each response."""
        for method in self.methods:
            client = h11.Connection(h11.CLIENT)
            client.send(h11.Request(method=method, target="/", headers=[("host", "a"), ("content-length", "0")]))
            client.send(h11.EndOfMessage())
            if not output:  # h11 would take it for the end of the connection
                return
            client.receive_data(output)
            status, body = 0, b""
            event = client.next_event()
            while event is not h11.NEED_DATA and not isinstance(event, h11.EndOfMessage):
                if isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    body += event.data
                event = client.next_event()
            if not status:
                return
            yield status, body, isinstance(event, h11.EndOfMessage)
            output = client.trailing_data[0]


class Http2Peer:
    """A client of HTTP/2."""

    def __init__(self) -> None:
        self._speaker = c.Speaker()
        self._streams: list[int] = []
        self._pieces: dict[int, list[bytes]] = {}

    def opening(self) -> bytes:
        return c.PREFACE + c.settings((0x4, WINDOW)) + c.frame(c.SETTINGS, c.ACK, 0)

    def request(self, path: str, kind: str) -> bytes:
        method = kind if kind in ("GET", "HEAD") else "POST"
        stream_id = 1 + 2 * len(self._streams)
        self._streams.append(stream_id)
        fields = [(b":method", method.encode()), *c.GET[1:3], (b":path", path.encode()), (b"te", b"trailers")]
        if kind in ("GET", "HEAD"):
            return self._speaker.headers(stream_id, fields)
        self._pieces[stream_id] = [bytes(1024)] if kind == "big" else [b"abc", b"def"]
        if kind in ("length", "expect"):
            fields.append((b"content-length", b"6"))
        if kind == "expect":
            fields.append((b"expect", b"100-continue"))
        return self._speaker.headers(stream_id, fields, end=False)

    def go_on(self, which: int) -> bytes:
        if not self._pieces:
            return b""
        stream_id = list(self._pieces)[which % len(self._pieces)]
        piece = self._pieces[stream_id].pop(0)
        end = not self._pieces[stream_id]
        if end:
            del self._pieces[stream_id]
        return c.data(stream_id, piece, end)

    def reset(self, which: int) -> bytes:
        if not self._streams:
            return b""
        stream_id = self._streams[which % len(self._streams)]
        self._pieces.pop(stream_id, None)
        return c.rst_stream(stream_id)

    def open_windows(self) -> bytes:
        return c.settings((0x4, 1 << 20)) + c.window_update(0, 1 << 20)

    def breach(self) -> bytes:
        return c.window_update(0, 0)

    def answers(self, output: bytes) -> Iterator[tuple[int, bytes, bool]]:
        heard = c.listen(output)
        for stream_id in self._streams:
            answer = heard.streams.get(stream_id, c.Answer())
            heads = [int(dict(head)[b":status"]) for head in answer.heads if b":status" in dict(head)]
            final = [status for status in heads if status >= 200]
            yield final[0] if final else 0, answer.body, answer.ended and bool(final)


class Exchanges(RuleBasedStateMachine):
    """The machine; ``codec`` is set by its subclasses. A lost connection is replaced by the next."""

    codec = ""

    def __init__(self) -> None:
        super().__init__()
        self.service = ScriptedService(self.codec, limits={"requestBody": BIGGEST})
        self.loop, self.observer = self.service.loop, self.service.observer
        self.connections: list[Connection] = []
        self.transports: list[PeerTransport] = []
        self.requests = 0
        self.sent: dict[str, bytearray] = {}
        """What the application has sent as body, by path."""
        self.connect()

    def connect(self) -> None:
        self.peer: Http1Peer | Http2Peer = Http1Peer() if self.codec == "http1" else Http2Peer()
        self.first = self.requests
        self.connection, self.transport = self.service.connect()
        self.connections.append(self.connection)
        self.transports.append(self.transport)
        self.inbox = b""
        self.broken = self.left = False
        self.deliver(self.peer.opening())

    @property
    def gone(self) -> bool:
        return self.transport.lost or self.transport.is_closing()

    def deliver(self, data: bytes) -> None:
        """Bytes of the client, which wait while reading is paused."""
        self.inbox += data
        self.loop.do(self._read)

    def _read(self) -> None:
        if self.inbox and self.transport.reading and not self.gone:
            data, self.inbox = self.inbox, b""
            self.connection.data_received(data)

    def settle(self) -> None:
        self.loop.do(self._read)

    def free(self) -> list[Call]:
        """The calls that wait for the next order."""
        return [call for call in self.service.calls if not call.busy and not call.ended]

    def order(self, which: int, order: Any) -> None:
        found = self.free()
        if not found:
            return
        call = found[which % len(found)]
        before = len(call.errors)
        call.tell(order)
        self.settle()
        if isinstance(order, dict) and order["type"] == "http.response.body" and len(call.errors) == before:
            self.sent.setdefault(call.scope["path"], bytearray()).extend(order.get("body", b""))

    # The client.

    @rule(kind=KINDS)
    def client_requests(self, kind: str) -> None:
        if self.gone or self.left:
            self.check_answers()
            self.connect()
        if data := self.peer.request(f"/{self.requests}", kind):
            self.requests += 1
            self.deliver(data)

    @rule(which=WHICH)
    def client_goes_on(self, which: int) -> None:
        self.deliver(self.peer.go_on(which))

    @rule(which=WHICH)
    def client_resets(self, which: int) -> None:
        self.deliver(self.peer.reset(which))

    @rule()
    def client_opens_windows(self) -> None:
        if self.codec != "http1":
            self.deliver(c.window_update(0, 5000))

    @rule(luck=LUCK)
    def client_breaks_a_rule(self, luck: int) -> None:
        if luck > 13 and not self.broken:
            self.broken = True
            self.deliver(self.peer.breach())

    @rule(luck=LUCK, in_order=st.booleans())
    def client_leaves(self, luck: int, in_order: bool) -> None:
        if luck > 13 and not self.gone:
            self.loop.do(self.leave, in_order)

    def leave(self, in_order: bool) -> None:
        self.left = True
        if in_order and not self.gone and not self.connection.eof_received():
            self.transport.close()
        elif not in_order:
            self.transport.lose()

    @rule()
    def client_reads_nothing(self) -> None:
        self.transport.stalled = True

    @rule()
    def client_reads_on(self) -> None:
        self.loop.do(self.transport.unstall)

    # The application.

    @rule(which=WHICH)
    def application_receives(self, which: int) -> None:
        self.order(which, "receive")

    @rule(which=WHICH, message=st.sampled_from(MESSAGES))
    def application_sends(self, which: int, message: dict[str, Any]) -> None:
        self.order(which, message)

    @rule(which=WHICH)
    def application_answers(self, which: int) -> None:
        for message in (MESSAGES[0], MESSAGES[7], "return"):
            self.order(which, message)

    @rule(which=WHICH)
    def application_returns(self, which: int) -> None:
        self.order(which, "return")

    @rule(which=WHICH, luck=LUCK)
    def application_raises(self, which: int, luck: int) -> None:
        self.order(which, ValueError("of the application") if luck < 12 else SystemExit(3))

    # The server.

    @rule(seconds=st.sampled_from([0.1, 0.5, 5.0, 20.0, 31.0, 80.0]))
    def time_passes(self, seconds: float) -> None:
        self.service.pass_time(seconds)

    @rule(luck=LUCK)
    def server_winds_down(self, luck: int) -> None:
        if luck > 13 and not self.gone:
            self.loop.do(self.connection.wind_down)

    # What holds.

    @invariant()
    def records_are_those_of_the_exchanges(self) -> None:
        running = [exchange.record for one in self.connections for exchange in one.exchanges.values()]
        assert len(running) == len(set(running)) == self.observer.in_flight
        assert set(running) == self.observer.open

    @invariant()
    def nothing_was_raised_into_the_loop(self) -> None:
        assert self.loop.unhandled == []

    def check_answers(self) -> None:
        """What the client got complete is what the application sent."""
        paths = [f"/{number}" for number in range(self.first, self.requests)]
        methods = self.peer.methods if isinstance(self.peer, Http1Peer) else []
        for number, (status, body, complete) in enumerate(self.peer.answers(bytes(self.transport.written))):
            if complete and status in (200, 201) and (number >= len(methods) or methods[number] != "HEAD") and body:
                assert body == self.sent[paths[number]]

    def teardown(self) -> None:
        try:
            self.end()
        finally:
            left = self.service.close()
        assert left == []
        assert self.loop.unhandled == []

    def end(self) -> None:
        self.loop.do(self.transport.unstall)
        self.deliver(self.peer.open_windows())
        for _ in range(2 * self.requests + 2):
            self.deliver(self.peer.go_on(0))
        for _ in range(self.requests + 1):  # a pipelined request begins when the one before it has ended
            while self.free():
                self.order(0, "return")
        waiting = [call for call in self.service.calls if not call.ended]
        if not waiting and not self.gone:
            self.settle()
            assert not self.connection.exchanges
            assert self.connection.codec.idle or self.connection.codec.closed or self.broken
        self.check_answers()
        for transport in self.transports:  # an earlier one may still have output that its client does not read
            self.loop.do(transport.lose)
        for call in waiting:
            assert not call.busy, "it waits for a client that has left"
        while self.free():
            self.order(0, "return")
        assert all(call.ended for call in self.service.calls)
        assert self.observer.open == set()
        assert len(self.observer.records) >= len(self.service.calls)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Applications fail all the time here, and each failure is logged with its traceback."""
    caplog.set_level(logging.CRITICAL, "sidegate")


def _machine(of: str) -> type[Any]:
    class Machine(Exchanges):
        codec = of

    Machine.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
    return Machine.TestCase


if "http2-nghttp2" not in CODECS or "nghttp2" in c.ENGINES:
    TestExchangesNghttp2 = _machine("http2-nghttp2")
TestExchangesHttp1 = _machine("http1")
TestExchangesH2 = _machine("http2-h2")
