"""The interface that every client codec implements: requests out, responses in.

The client's counterpart of ``events.Codec``, sans-I/O like it: bytes in, events and bytes out. An upstream connection
calls it. HTTP/1.1 is the client codec whose streams come one at a time. A method that is called for a stream which has
ended does nothing.

A response arrives as ``Informational`` events, a ``ResponseHead``, ``Body`` events and ``End``, or it ends in a
``Reset`` with the peer's code or ours. In every version the codes are those of HTTP/2 (``codes.py``). Four
kinds of ``Reset`` have a special meaning:

* ``REFUSED_STREAM``: the server has not processed the request, so it may be sent elsewhere (RFC 9113 8.7).
* ``CONNECTION_LOST``, no code of the protocol: the connection has ended, and it is unknown how far the request was
  processed.
* ``RESPONSE_TOO_LARGE``, no code of the protocol either: the response's head or trailers exceed the bounds of
  ``fields.py``; the peer was sent another code.
* after ``End``: the response is complete, the server does not want the rest of the request (RFC 9113 8.1).

A request with ``:protocol`` (RFC 8441) opens a tunnel if the answer is 2xx: another protocol's bytes follow, both ways.
Any other answer is an ordinary response.
"""

from __future__ import annotations

from typing import Final

from sidegate.asgi import Headers
from sidegate.wire.events import Event

CONNECTION_LOST: Final = -1
RESPONSE_TOO_LARGE: Final = -2

MOST_INFORMATIONAL: Final = 32
"""1xx responses to one request; Go's client takes 5."""


class ClientCodec:
    """Client role of one HTTP version on one connection: the base class, without an implementation.

    ``ready``: the server has said what it accepts, so requests may be sent. ``draining``: no further request may be
    sent; those in flight go on. ``max_streams``: number of streams that may be open at once. ``hop``: the server is a
    worker that accepts the facts of a client (``wire/hop.py``); ``threads``: it runs its application on threads.
    ``connect_protocol``: the server accepts a request with ``:protocol``. ``answered``: it has begun a response.
    ``more``: the input that was read holds more than one turn of the event loop may handle; ``receive(b"")`` continues
    in the next turn. Reading is paused until then.
    """

    __slots__ = ("answered", "connect_protocol", "draining", "hop", "max_streams", "more", "ready", "threads")

    ready: bool
    draining: bool
    hop: bool
    threads: bool
    connect_protocol: bool
    answered: bool
    more: bool
    max_streams: int

    def __init__(self) -> None:
        self.draining = self.hop = self.threads = self.connect_protocol = self.answered = self.more = False

    @property
    def version(self) -> str:
        """For messages: "HTTP/1.1" or "HTTP/2"."""
        raise NotImplementedError

    @property
    def closed(self) -> bool:
        """Nothing more can be sent or will arrive; close the connection once the output is flushed."""
        raise NotImplementedError

    @property
    def capacity(self) -> int:
        """How many streams can be opened now; 0 for good once the codec is ``draining``."""
        raise NotImplementedError

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the server. Nothing is read once ``closed``.

        A ``GoAway`` among the events: the connection takes no more requests; those in flight go on.
        """
        raise NotImplementedError

    def receive_eof(self) -> list[Event]:
        """The server has ended the connection in order. On HTTP/1.1 this may be the end of a response's body.

        Then as ``connection_lost``.
        """
        raise NotImplementedError

    def connection_lost(self) -> list[Event]:
        """The connection has ended, on either side; also after a ``Violation``, so that no request waits.

        A ``GoAway`` with NO_ERROR comes first if that is no failure of the server. Every open stream is lost, and if
        there is ``more``, it is dropped.
        """
        raise NotImplementedError

    def request(self, headers: Headers, end_stream: bool) -> int:
        """Open a stream with a request head: ``:method``, the other pseudo-header fields (RFC 9113 8.3.1), the rest.

        Returns the stream's number; 0 if there is no ``capacity``: then nothing was sent.
        """
        raise NotImplementedError

    def send_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        """Queue body after a request's head, or bytes of an open tunnel; ``pending`` counts what is not taken yet."""
        raise NotImplementedError

    def send_trailers(self, stream_id: int, trailers: Headers) -> None:
        """End a request with trailers, which are dropped if the framing cannot carry them."""
        raise NotImplementedError

    def reset(self, stream_id: int, code: int) -> bool:
        """Abort a stream; no event follows. Credit for unread bytes goes back. HTTP/1.1 ends the connection.

        False if both sides of the stream have ended: nothing is sent then.
        """
        raise NotImplementedError

    def acknowledge(self, stream_id: int, size: int) -> None:
        """Give credit back for ``size`` bytes of body that were read."""
        raise NotImplementedError

    def read_paused(self) -> bool:
        """As many bytes are unread as the codec may hold; read again when this turns false. HTTP/2 uses its windows."""
        raise NotImplementedError

    def pending(self, stream_id: int) -> int:
        """Bytes of request body that are queued and not yet taken."""
        raise NotImplementedError

    def take_output(self) -> bytes:
        """Take bytes that may be written now: all of them, or at least ``events.PIECE`` if there are more."""
        raise NotImplementedError

    def ping(self, data: bytes) -> bool:
        """Ask for a sign of life (8 bytes); any input is one. False if the version has no such question."""
        raise NotImplementedError

    def goaway(self) -> None:
        """Send no more requests. ``closed`` turns true once the last stream has ended."""
        raise NotImplementedError
