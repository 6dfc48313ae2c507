"""The events that a codec reports to the connection, and the interface that every codec implements.

A codec is sans-I/O: it takes bytes and times and returns events and bytes. It never calls the connection, never waits
and never reads a clock.

The codec numbers the streams. On HTTP/1.1 they come one at a time (1, 2, 3, …); on HTTP/2 they have the numbers of the
protocol. A method that is called for a stream which has ended or was reset does nothing: this race is normal, because
the two sides act independently.
"""

from __future__ import annotations

from dataclasses import dataclass

from sidegate.asgi import Headers


class Values:
    """Base of compiled events: compares and prints attributes as a dataclass does. A dataclass cannot be compiled."""

    __slots__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._values() == other._values()

    __hash__ = None  # type: ignore[assignment]  # events are mutable

    def __repr__(self) -> str:
        values = zip(self.__slots__, self._values(), strict=True)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in values)})"

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)


class RequestHead(Values):
    """A request whose head passed the header policy (``wire/fields.py``).

    ``target`` is the request target as sent (path and query, or ``*``). Of a target in absolute-form it is the path and
    query; the authority is in the ``host`` field. ``headers`` starts with ``host`` if there is one. ``end_stream`` says
    that no body follows; then no ``End`` event comes.

    ``protocol`` is "websocket" if the client asks to change to it (RFC 6455; in RFC 8441 ``method`` is CONNECT then),
    else "". The server answers with ``Codec.accept`` or with any response. ``end_stream`` is false then, because bytes
    may follow once it is accepted. On HTTP/1.1 the fields ``connection`` and ``upgrade`` are the last of ``headers``
    then. The code that accepts checks the fields of the handshake (``sec-websocket-*``).
    """

    __slots__ = (
        "content_length", "end_stream", "expect_continue", "headers", "http_version", "method", "protocol",
        "stream_id", "target",
    )  # fmt: skip

    def __init__(self, stream_id: int, method: str, target: bytes, headers: Headers, http_version: str) -> None:
        """Create the head of a request without a body; ``announce_body`` and ``announce_protocol`` change that."""
        self.stream_id = stream_id
        self.method = method
        self.target = target
        self.headers = headers
        self.http_version = http_version
        self.content_length: int | None = None
        self.expect_continue = False
        self.end_stream = True
        self.protocol = ""

    def announce_body(self, content_length: int | None, expect_continue: bool, end_stream: bool) -> None:
        """Store what the head says about the body."""
        self.content_length = content_length
        self.expect_continue = expect_continue
        self.end_stream = end_stream

    def announce_protocol(self, protocol: str) -> None:
        """Store that the client asks to change to ``protocol``, whose bytes may follow."""
        self.protocol = protocol
        self.end_stream = False


class ResponseHead(Values):
    """A final response head that passed the client codec's rules. ``end_stream``: neither body nor ``End`` follows."""

    __slots__ = ("end_stream", "headers", "status", "stream_id")

    def __init__(self, stream_id: int, status: int, headers: Headers, end_stream: bool) -> None:
        self.stream_id = stream_id
        self.status = status
        self.headers = headers
        self.end_stream = end_stream


@dataclass(slots=True)
class Informational:
    """A 1xx response head (never 101, which HTTP/2 does not have)."""

    stream_id: int
    status: int
    headers: Headers


class Body(Values):
    """A piece of a message's body; ``len(data)`` counts against flow control until it is acknowledged."""

    __slots__ = ("data", "stream_id")

    def __init__(self, stream_id: int, data: bytes) -> None:
        self.stream_id = stream_id
        self.data = data


class End(Values):
    """The message is complete; ``trailers`` passed the header policy."""

    __slots__ = ("stream_id", "trailers")

    def __init__(self, stream_id: int, trailers: Headers) -> None:
        self.stream_id = stream_id
        self.trailers = trailers


@dataclass(slots=True)
class Reset:
    """The stream was aborted (RST_STREAM, or the connection ended while a request was open)."""

    stream_id: int
    code: int


@dataclass(slots=True)
class Rejected:
    """A request that a policy or a limit refused: answer ``status`` with an error page, run no application.

    The codec ends the stream (HTTP/2) or the connection (HTTP/1.1: ``closed``) after that answer.
    """

    stream_id: int
    method: str
    target: bytes
    http_version: str
    status: int
    reason: str
    detail: str


@dataclass(slots=True)
class BodyRefused:
    """A request whose head was reported breaks a rule or a limit in its body or trailers; no more of it is read.

    Answer ``status`` with an error page, or reset the stream if a response has begun. After the answer HTTP/1.1 ends
    the connection.
    """

    stream_id: int
    status: int
    reason: str
    detail: str


@dataclass(slots=True)
class Violation:
    """The connection cannot go on. GOAWAY or the last response is already in the output; ``closed`` is true.

    ``reason`` is one word for the metric (for example ``compression_error`` or ``settings_flood``).
    """

    reason: str
    detail: str


@dataclass(slots=True)
class GoAway:
    """The peer will open no more streams, and it processes none of our streams above ``last_stream_id``."""

    code: int
    last_stream_id: int = 0


@dataclass(slots=True)
class PingAck:
    """The answer to a PING that we sent, with its 8 bytes."""

    data: bytes


Event = (
    RequestHead
    | ResponseHead
    | Informational
    | Body
    | End
    | Reset
    | Rejected
    | BodyRefused
    | Violation
    | GoAway
    | PingAck
)


PIECE = 1 << 16
"""Bytes of output after which a codec may stop, so that no buffer before the socket grows with the body."""


FRAMES_A_TURN = 128
"""Frames, or chunks, of one connection that are handled in one turn of the event loop; then others have their turn.

It is more than most reads hold, and as many requests as a browser may have open at once. On Python's engine it is a
turn of some milliseconds. nginx closes a connection that opens twice its maximum of streams in one turn; Envoy may
bound the requests of a connection in a turn (``http.max_requests_per_io_cycle``); Go gives each connection a thread.
"""


class Codec:
    """Server role of one HTTP version on one connection: the base class of every codec, without an implementation.

    ``more``: the input that was read holds more than one turn of the event loop may handle; ``receive(b"", now)``
    continues in the next turn. Reading is paused until then.
    """

    __slots__ = ("more",)

    more: bool

    def expect_scheme(self, scheme: bytes) -> None:
        """Compare the schemes that requests name with the connection's, ``http`` or ``https`` (RFC 9110 7.4).

        Another one is refused with 421; of a trusted proxy it is reported (``fields.SCHEME``). Without this call no
        scheme is compared.
        """
        raise NotImplementedError

    @property
    def closed(self) -> bool:
        """No more requests will be read; close the connection once the output is flushed."""
        raise NotImplementedError

    @property
    def idle(self) -> bool:
        """No stream is open and no part of a request has been read (keep-alive idle)."""
        raise NotImplementedError

    @property
    def held(self) -> bool:
        """Input is held back or skipped; ``receive(b"", now)`` continues with it once the output was taken."""
        raise NotImplementedError

    def read_paused(self) -> bool:
        """The peer has sent as much as the codec may hold; read again when this turns false."""
        raise NotImplementedError

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take bytes read at ``now`` (seconds on a monotonic clock). ``b""`` continues with the bytes held back.

        HTTP/1.1 holds back a pipelined request until the response before it is complete and taken.
        """
        raise NotImplementedError

    def receive_eof(self) -> list[Event]:
        """The peer will send nothing more. Requests that are incomplete are reset; if there is ``more``, it is dropped.

        A transport whose reading is paused reports no end of input, so that is the end of a broken connection.
        """
        raise NotImplementedError

    def send_head(self, stream_id: int, status: int, headers: Headers, end_stream: bool) -> None:
        """Queue a final response head. ``headers`` are already checked (``fields.response_fields``)."""
        raise NotImplementedError

    def close_after(self, stream_id: int, headers: Headers) -> None:
        """The application ends the connection with this response, whose head, with ``headers``, has not been sent yet.

        HTTP/1.1 announces it and closes; HTTP/2 tells a front by a field that it adds to ``headers``, and else does
        nothing, because the other streams of the connection go on.
        """
        raise NotImplementedError

    def add_hop_fields(self, stream_id: int, fields: Headers, headers: Headers) -> None:
        """Add to ``headers``, of a head that has not been sent yet, those of ``fields`` that can be sent.

        ``fields``: ``upgrade`` of a 426 (RFC 9110 15.5.22), which HTTP/2 can only tell a front; ``trailer``, if
        ``send_trailers`` may follow: it is left out where the trailers would be dropped.
        """
        raise NotImplementedError

    def accept(self, stream_id: int, headers: Headers) -> None:
        """Accept the ``protocol`` that a request asked for. Does nothing after another answer, or if it asked for none.

        HTTP/1.1 answers 101 with the fields that RFC 6455 4.2.2 requires, HTTP/2 answers 200 (RFC 8441 5). ``headers``,
        which are already checked, follow. From here on the stream carries the protocol's bytes. The client's bytes come
        as ``Body``. HTTP/1.1 holds the bytes that came before this call and reports them in the next ``receive``;
        HTTP/2 has reported them already, within the window. ``End`` reports the end of the client's side. ``send_data``
        sends our bytes unchanged and ends our side, which on HTTP/1.1 ends the connection. The stream continues after
        ``goaway``.

        Any other answer denies the protocol: use ``send_head`` and ``send_data`` as for any response, but never a
        status 2xx, with which HTTP/2 accepts.
        """
        raise NotImplementedError

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        """Queue response body after a head, or bytes of the accepted protocol."""
        raise NotImplementedError

    def sendfile(self, stream_id: int, size: int) -> bool:
        """Whether the connection may write the next ``size`` bytes of body itself (sendfile) once the output is taken.

        True counts them as sent. False if every byte must pass the codec (HTTP/2, chunked framing).
        """
        raise NotImplementedError

    def send_trailers(self, stream_id: int, trailers: Headers) -> None:
        """End the response with trailers, which are dropped if the version or the framing cannot carry them."""
        raise NotImplementedError

    def send_informational(self, stream_id: int, status: int, headers: Headers) -> None:
        """Queue a 1xx response (100, 103)."""
        raise NotImplementedError

    def reset(self, stream_id: int, code: int) -> None:
        """Abort the stream: RST_STREAM with ``code``; on HTTP/1.1 the connection closes."""
        raise NotImplementedError

    def release(self, stream_id: int) -> bool:
        """The exchange has ended: drop the input that it did not read. Only now another HTTP/2 stream may replace it.

        True if ``receive(b"", now)`` and a flush have something to do.
        """
        raise NotImplementedError

    def acknowledge(self, stream_id: int, size: int) -> None:
        """The application consumed ``size`` bytes of body: give that much flow-control credit back."""
        raise NotImplementedError

    def pending(self, stream_id: int) -> int:
        """Bytes of response body that are queued and not yet taken."""
        raise NotImplementedError

    def take_output(self) -> bytes:
        """Take bytes that may be written now: all of them, or at least ``PIECE`` if there are more."""
        raise NotImplementedError

    def goaway(self, final: bool) -> None:
        """Drain. Call it first with ``final=False`` (HTTP/2: GOAWAY with 2^31-1), then, a moment later, with ``True``.

        The moment has passed when ``goaway_noticed``, or when the peer takes too long to notice it.
        HTTP/1.1 answers with ``Connection: close`` from the first call on, and takes a request that is already on its
        way until the second call. ``closed`` turns true when the last stream has ended, on HTTP/1.1 not before the
        second call unless a response announced the close.
        """
        raise NotImplementedError

    def goaway_noticed(self) -> bool:
        """Whether all requests that the peer sent before it knew of ``goaway(False)`` have arrived.

        HTTP/2 finds it out by a PING (RFC 9113 6.8: at least one round trip); HTTP/1.1 has no such frame: always true.
        """
        raise NotImplementedError

    def next_deadline(self) -> float | None:
        """The time at which ``on_deadline`` must be called unless bytes come before (head, preface, CONTINUATION)."""
        raise NotImplementedError

    def on_deadline(self, now: float) -> list[Event]:
        """Handle the deadline if it has passed; returns a ``Rejected`` with 408, a ``Violation``, or nothing."""
        raise NotImplementedError
