"""What a codec tells the connection, and the seam that every codec implements.

Where it stands: below the connection, above the engines. A codec is sans-I/O: bytes and times go in,
events and bytes come out; it never calls upward, waits or looks at a clock.

Streams are numbered by the codec. HTTP/1.1 is the codec whose streams come one at a time (1, 2, 3, …);
HTTP/2 streams carry their numbers from the wire. Calling a method for a stream that has ended or was
reset does nothing: that race is part of normal life, because the two sides act independently.
"""

from __future__ import annotations

from dataclasses import dataclass

from sidegate.asgi import Headers


class Values:
    """An event that is compiled: compared and shown by its attributes, as a dataclass is, which cannot be compiled."""

    __slots__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._values() == other._values()

    __hash__ = None  # type: ignore[assignment]  # it can change

    def __repr__(self) -> str:
        values = zip(self.__slots__, self._values(), strict=True)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in values)})"

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)


class RequestHead(Values):
    """A request whose head passed the header policy (``wire/fields.py``).

    ``target`` is the request target as sent (path and query, or ``*``); an absolute-form target arrives here
    as its path and query, its authority as the ``host`` field. ``headers`` starts with ``host`` if there is one.
    ``end_stream`` says that no body follows; then no End event comes.

    ``protocol``: "websocket" where the client asks to go on with that (RFC 6455; RFC 8441: ``method`` is CONNECT then),
    else "". It is answered by ``Codec.accept`` or like any other request. ``end_stream`` is false: once accepted, bytes
    may follow. Whether the handshake's fields (``sec-websocket-*``) are right is judged by whoever accepts.
    """

    __slots__ = (
        "content_length", "end_stream", "expect_continue", "headers", "http_version", "method", "protocol",
        "stream_id", "target",
    )  # fmt: skip

    def __init__(self, stream_id: int, method: str, target: bytes, headers: Headers, http_version: str) -> None:
        """Of a request without a body; ``announce_body`` and ``announce_protocol`` say otherwise."""
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
        """What the head says of the body."""
        self.content_length = content_length
        self.expect_continue = expect_continue
        self.end_stream = end_stream

    def announce_protocol(self, protocol: str) -> None:
        """The client asks to go on with ``protocol``, whose bytes may follow."""
        self.protocol = protocol
        self.end_stream = False


class ResponseHead(Values):
    """A final response head that passed the client codec's rules. ``end_stream``: no body follows, and no ``End``."""

    __slots__ = ("end_stream", "headers", "status", "stream_id")

    def __init__(self, stream_id: int, status: int, headers: Headers, end_stream: bool) -> None:
        self.stream_id = stream_id
        self.status = status
        self.headers = headers
        self.end_stream = end_stream


@dataclass(slots=True)
class Informational:
    """A 1xx response head (never 101, which HTTP/2 has not)."""

    stream_id: int
    status: int
    headers: Headers


class Body(Values):
    """A piece of a message's body; ``len(data)`` counts against flow control until acknowledged."""

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
    """The stream is gone (RST_STREAM, or the connection's end while a request was open)."""

    stream_id: int
    code: int


@dataclass(slots=True)
class Rejected:
    """A request refused by policy or limit: answer ``status`` with an error page, run no application.

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
class Violation:
    """The connection itself cannot go on. A farewell (GOAWAY) is already in the output; ``closed`` is true.

    ``reason`` is one word for the metric (for example ``compression_error`` or ``settings_flood``).
    """

    reason: str
    detail: str


@dataclass(slots=True)
class GoAway:
    """The peer will open no more streams; of ours it takes none beyond ``last_stream_id``."""

    code: int
    last_stream_id: int = 0


@dataclass(slots=True)
class PingAck:
    """The answer to a PING of ours, with its 8 bytes."""

    data: bytes


Event = RequestHead | ResponseHead | Informational | Body | End | Reset | Rejected | Violation | GoAway | PingAck


PIECE = 1 << 16
"""Bytes of output after which a codec may stop, so that no buffer on the way to the socket grows with the body."""


class Codec:
    """Server role of one HTTP version on one connection. The base class of every codec; it only says what there is."""

    __slots__ = ()

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
        """Input is held back, or skipped, which ``receive`` with nothing goes on with once output was taken."""
        raise NotImplementedError

    def read_paused(self) -> bool:
        """The peer has sent as much as may be held; read again when this turns false."""
        raise NotImplementedError

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take bytes read at ``now`` (seconds on a monotonic clock). ``b""`` goes on with bytes held back.

        HTTP/1.1 holds a pipelined request back until the response before it is complete and taken.
        """
        raise NotImplementedError

    def receive_eof(self) -> list[Event]:
        """The peer will send nothing more. Requests without their end are reset."""
        raise NotImplementedError

    def send_head(self, stream_id: int, status: int, headers: Headers, end_stream: bool) -> None:
        """Queue a final response head. ``headers`` are already checked (``fields.response_fields``)."""
        raise NotImplementedError

    def accept(self, stream_id: int, headers: Headers) -> None:
        """Agree to the ``protocol`` that a request asked for; nothing after another answer, or if it asked for none.

        HTTP/1.1: 101 with what RFC 6455 4.2.2 wants; HTTP/2: 200 (RFC 8441 5); ``headers`` behind, checked. From here
        on the stream carries the protocol's bytes. The client's are ``Body``; those that came before this are held and
        told by the next ``receive`` (HTTP/1.1) or were told at once (HTTP/2, within the window). Its end is ``End``.
        ``send_data`` sends ours as they are and ends our side, which on HTTP/1.1 is the end of the connection.
        ``goaway`` lets the stream live on.

        Any other answer is a denial: ``send_head`` and ``send_data`` as ever, but never 2xx, which is HTTP/2's yes.
        """
        raise NotImplementedError

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        """Queue response body after a head, or bytes of the protocol accepted."""
        raise NotImplementedError

    def sendfile(self, stream_id: int, size: int) -> bool:
        """May the connection itself write the next ``size`` bytes of body (sendfile) once the output is taken?

        True counts them as sent. False where every byte must pass the codec (HTTP/2, chunked framing).
        """
        raise NotImplementedError

    def send_trailers(self, stream_id: int, trailers: Headers) -> None:
        """End the response with trailers (dropped where the version or framing has no place for them)."""
        raise NotImplementedError

    def send_informational(self, stream_id: int, status: int, headers: Headers) -> None:
        """Queue a 1xx response (100, 103)."""
        raise NotImplementedError

    def reset(self, stream_id: int, code: int) -> None:
        """Give the stream up: RST_STREAM with ``code``; on HTTP/1.1 the connection closes."""
        raise NotImplementedError

    def release(self, stream_id: int) -> bool:
        """The exchange has ended: drop what it did not read. Only now does its HTTP/2 stream's place become free.

        True if ``receive(b"", now)`` and a flush have something to do.
        """
        raise NotImplementedError

    def acknowledge(self, stream_id: int, size: int) -> None:
        """The application consumed ``size`` bytes of body: give that much flow-control credit back."""
        raise NotImplementedError

    def pending(self, stream_id: int) -> int:
        """Response body bytes queued that have not been handed out yet."""
        raise NotImplementedError

    def take_output(self) -> bytes:
        """Take bytes that may be written now: all of them, or at least ``PIECE`` if there are more."""
        raise NotImplementedError

    def goaway(self, final: bool) -> None:
        """Wind down. First call ``final=False`` (HTTP/2: GOAWAY with 2^31-1), then, a moment later, ``True``.

        HTTP/1.1 answers with ``Connection: close`` from the first call on, and takes a request that was on its way
        until the second. ``closed`` turns true when the last stream has ended; HTTP/1.1's not before the second
        call unless a response announced it.
        """
        raise NotImplementedError

    def next_deadline(self) -> float | None:
        """When ``on_deadline`` must be called unless bytes come before (request head, preface, CONTINUATION)."""
        raise NotImplementedError

    def on_deadline(self, now: float) -> list[Event]:
        """Time is up: the events that follow (a rejection with 408, a violation), or none if it is not yet."""
        raise NotImplementedError
