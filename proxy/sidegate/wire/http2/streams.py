"""The streams of one HTTP/2 connection: which are open, which have a running exchange, which body bytes are unread.

``server.py`` decides and this module calls the engine accordingly. It raises nothing.

A stream has two halves, which are tracked separately. *Receiving*: a ``RequestStream`` exists from a head without
END_STREAM until the body was received and read. *Sending*: the engine has a queue. ``open`` holds streams until both
halves have ended on the wire, ``running`` those whose exchange was not released. A stream counts against the limit
while it is in either set, so a client that resets streams fast cannot start more applications than one that waits
(CVE-2023-44487).
"""

from __future__ import annotations

from sidegate.wire.codes import NO_ERROR
from sidegate.wire.http2.engine import Engine


class RequestStream:
    """The receiving half of a stream."""

    __slots__ = ("discard", "ended", "missing", "tunnel", "unread")

    def __init__(self, length: int | None, tunnel: bool = False, discard: bool = False) -> None:
        self.missing = length  # bytes of content-length that have not arrived
        self.unread = 0  # bytes reported and not acknowledged
        self.ended = False
        self.discard = discard  # the rest will not be read
        self.tunnel = tunnel  # carries another protocol's bytes, or will if it is accepted


class Streams:
    """State of the streams, and the calls to the engine that follow from it."""

    __slots__ = ("_engine", "_limit", "bodiless", "finishing", "open", "running", "uploads")

    def __init__(self, engine: Engine, limit: int) -> None:
        self._engine = engine
        self._limit = limit
        self.open: set[int] = set()
        self.running: set[int] = set()
        self.uploads: dict[int, RequestStream] = {}
        self.bodiless: set[int] = set()  # HEAD: the response has no body
        self.finishing: set[int] = set()  # to be reset as soon as the response is sent

    def full(self) -> bool:
        """Whether the limit of streams is reached."""
        opened, running, limit = len(self.open), len(self.running), self._limit
        if opened + running < limit:
            return False
        # The union is exact, but a flood of refused streams would make one for each of them.
        return opened >= limit or running >= limit or len(self.open | self.running) >= limit

    def refuse_rest(self, stream_id: int) -> None:
        """The request is answered without reading its body: drop the rest of it, reset the stream after the answer."""
        self.uploads[stream_id] = RequestStream(None, discard=True)
        self.finishing.add(stream_id)

    def release(self, stream_id: int) -> bool:
        """End the exchange: drop the unread rest of its request.

        Returns true if that leaves something to send: credit for the unread bytes, or a reset that follows.
        """
        self.running.discard(stream_id)
        upload = self.uploads.get(stream_id)
        if upload is None:
            return False
        upload.discard = True
        self._credit(upload)
        if upload.ended:
            del self.uploads[stream_id]
        else:
            self.finishing.add(stream_id)
        return True

    def end_upload(self, stream_id: int, upload: RequestStream) -> None:
        """Note that the request is complete."""
        upload.ended = True
        self.finishing.discard(stream_id)
        self._drop_read(stream_id, upload)

    def acknowledge(self, stream_id: int, size: int) -> None:
        """Give credit back for bytes that were read; a stream whose request is complete needs no credit for itself."""
        upload = self.uploads.get(stream_id)
        if upload is None:
            return
        size = min(size, upload.unread)
        upload.unread -= size
        if not upload.ended:
            self._engine.consume(stream_id, size)
            return
        self._engine.consume_connection(size)
        self._drop_read(stream_id, upload)

    def _drop_read(self, stream_id: int, upload: RequestStream) -> None:
        """Forget the state of a request that is complete and read, unless it may still be accepted."""
        if not upload.unread and not upload.tunnel:
            del self.uploads[stream_id]

    def reset(self, stream_id: int, code: int) -> None:
        """Send RST_STREAM and end the stream."""
        self._engine.reset(stream_id, code)
        self.forget(stream_id)

    def forget(self, stream_id: int) -> None:
        """Forget a stream that is closed on the wire. The connection gets credit for the bytes that were not read."""
        self.open.discard(stream_id)
        self.bodiless.discard(stream_id)
        self.finishing.discard(stream_id)
        upload = self.uploads.pop(stream_id, None)
        if upload is not None:
            self._credit(upload)

    def take_output(self) -> bytes:
        """Take the engine's output; then reset the streams that are answered although their request is incomplete."""
        engine = self._engine
        output = engine.take_output()
        if self.finishing:
            for stream_id in [stream_id for stream_id in self.finishing if engine.local_ended(stream_id)]:
                self.reset(stream_id, NO_ERROR)
            output += engine.take_output()
        closed = engine.take_closed()
        if closed:
            self.open.difference_update(closed)
            if self.bodiless or self.uploads:
                for stream_id in closed:
                    self.forget(stream_id)
        return output

    def _credit(self, upload: RequestStream) -> None:
        if upload.unread:
            self._engine.consume_connection(upload.unread)
            upload.unread = 0
