"""The streams of one HTTP/2 connection: which are open, which still run an exchange, what of their bodies is unread.

Where it stands: between ``server.py``, which decides, and an engine, which carries out. Nothing leaves it.

A stream has two halves, kept apart. *Receiving*: a ``RequestStream`` from a head without END_STREAM until the body has
been received and read. *Sending*: the engine's queue. ``open`` holds streams until both halves have ended on the wire,
``running`` those whose exchange has not been released. A stream takes one of the places while it is in either, so a
client that resets streams fast cannot start more applications than one that waits (CVE-2023-44487).
"""

from __future__ import annotations

from sidegate.wire.http2.engine import NO_ERROR, Engine


class RequestStream:
    """The receiving half of a stream."""

    __slots__ = ("discard", "ended", "missing", "tunnel", "unread")

    def __init__(self, length: int | None, tunnel: bool = False, discard: bool = False) -> None:
        self.missing = length  # bytes that content-length still promises
        self.unread = 0  # bytes handed out and not acknowledged
        self.ended = False
        self.discard = discard  # nobody will read the rest
        self.tunnel = tunnel  # another protocol's bytes, or to be if it is accepted


class Streams:
    """Books about streams, and the calls to the engine that follow from them."""

    __slots__ = ("_engine", "_limit", "bodiless", "finishing", "open", "running", "uploads")

    def __init__(self, engine: Engine, limit: int) -> None:
        self._engine = engine
        self._limit = limit
        self.open: set[int] = set()
        self.running: set[int] = set()
        self.uploads: dict[int, RequestStream] = {}
        self.bodiless: set[int] = set()  # HEAD: the response has no body
        self.finishing: set[int] = set()  # to be reset as soon as the response is out

    def full(self) -> bool:
        """Whether every place is taken."""
        # The sum is cheap and never too small; the union is exact.
        return len(self.open) + len(self.running) >= self._limit and len(self.open | self.running) >= self._limit

    def refuse_rest(self, stream_id: int) -> None:
        """The request is answered without reading its body: drop what comes, reset the stream after the answer."""
        self.uploads[stream_id] = RequestStream(None, discard=True)
        self.finishing.add(stream_id)

    def release(self, stream_id: int) -> bool:
        """The exchange has ended. The rest of a request that nobody will read is dropped.

        True if that leaves something to send: credit for what was unread, or a reset to come.
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
        """The request is complete."""
        upload.ended = True
        self.finishing.discard(stream_id)
        self._drop_read(stream_id, upload)

    def acknowledge(self, stream_id: int, size: int) -> None:
        """Give credit back for what was read; a stream that expects nothing more needs none for itself."""
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
        """Of a request that is complete and read nothing is left to know, unless it may still be accepted."""
        if not upload.unread and not upload.tunnel:
            del self.uploads[stream_id]

    def reset(self, stream_id: int, code: int) -> None:
        """Send RST_STREAM; the stream is over."""
        self._engine.reset(stream_id, code)
        self.forget(stream_id)

    def forget(self, stream_id: int) -> None:
        """The stream is over on the wire. What was not read will not be: the connection gets its credit back."""
        self.open.discard(stream_id)
        self.bodiless.discard(stream_id)
        self.finishing.discard(stream_id)
        upload = self.uploads.pop(stream_id, None)
        if upload is not None:
            self._credit(upload)

    def take_output(self) -> bytes:
        """The engine's output; streams that are answered, but whose request has no end, are reset behind it."""
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
