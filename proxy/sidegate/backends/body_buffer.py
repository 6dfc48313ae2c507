"""Reads a request's body to its end before the request takes a thread or a worker.

WSGI backends, relays and ASGI backends make one for a request whose body is buffered. It owns the body: in memory up to
``KEPT`` bytes, then in a temporary file. If no file can be written, it stops reading, and the application gets what
was read and then the rest as it arrives. ``fill`` raises ``ClientDisconnected``, ``receive`` ``ExchangeError`` (500).
"""

from __future__ import annotations

from sidegate.aio.temporary_files import TemporaryFile, TemporaryFiles
from sidegate.asgi import Headers, Message, Receive
from sidegate.errors import ClientDisconnected
from sidegate.observe.record import Record

KEPT = 64 * 1024
"""Largest number of bytes of one body that are kept in memory."""

MANY_PIECES = 64
"""Number of pieces that are kept as separate objects; more are joined, because each object costs memory."""

PIECE = 256 * 1024
"""Bytes of one read of the file: so many that the switch to another thread does not matter."""


class BodyBuffer:
    """One request's body.

    ``ended``: the client has sent all of it. ``complete``: and all of it is kept, so that it can be read again.
    """

    __slots__ = (
        "_file", "_files", "_pieces", "_position", "_receive", "_record", "_replayed", "_waiting",
        "_written", "ended",
    )  # fmt: skip

    def __init__(self, receive: Receive, record: Record, files: TemporaryFiles) -> None:
        self._receive = receive
        self._record = record
        self._files = files
        self._file: TemporaryFile | None = None
        self._written = 0  # bytes in the file
        self._pieces: list[bytes] = []  # the bytes after them
        self._waiting = 0  # number of these
        self._position = 0  # of `receive`
        self._replayed = False  # `receive` has returned all of them
        self.ended = False

    @property
    def size(self) -> int:
        """Bytes read so far."""
        return self._written + self._waiting

    @property
    def complete(self) -> bool:
        return self.ended and (self._file is None or not self._waiting)

    async def fill(self) -> None:
        """Read the whole body, or as much of it as can be kept.

        :raises ClientDisconnected: the client disconnected before the end.
        """
        while not self.ended:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientDisconnected(self._record)
            self._pieces.append(message["body"])
            if len(self._pieces) > MANY_PIECES:
                self._pieces = [b"".join(self._pieces)]
            self._waiting += len(message["body"])
            self.ended = not message["more_body"]
            if (self._waiting > KEPT or (self.ended and self._written)) and not await self._write():
                return

    async def _write(self) -> bool:
        if self._file is None:
            self._file = self._files.new()
        data = b"".join(self._pieces)
        if not await self._file.write(data, self._written):
            return False
        self._written += self._waiting
        self._waiting = 0
        self._pieces.clear()
        return True

    def headers(self, headers: Headers) -> Headers:
        """The request's fields for the application: without ``expect``, and with the length of the body."""
        kept = [pair for pair in headers if pair[0] != b"expect"]
        if self.ended and not any(name == b"content-length" for name, _ in kept):
            kept.append((b"content-length", b"%d" % self.size))
        return kept

    @property
    def content(self) -> bytes | TemporaryFile | None:
        """The whole body; None if it is not complete."""
        if not self.complete:
            return None
        return b"".join(self._pieces) if self._file is None else self._file

    async def receive(self) -> Message:
        """ASGI ``receive``: first the body as far as it was read, then whatever follows.

        :raises ExchangeError: 500; the file cannot be read.
        """
        if self._replayed:
            return await self._receive()
        if self._position < self._written and self._file is not None:
            data = await self._file.read(min(PIECE, self._written - self._position), self._position)
        else:
            data = b"".join(self._pieces)
        self._position += len(data)
        self._replayed = self._position >= self.size
        if self._replayed and not self.complete:
            self._pieces.clear()
        return {"type": "http.request", "body": data, "more_body": not (self.ended and self._replayed)}

    def rewind(self) -> None:
        """Let ``receive`` begin again; the body is complete."""
        self._position = 0
        self._replayed = False

    def close(self) -> None:
        """Remove the file. A thread that has opened it may read on."""
        if self._file is not None:
            self._file.close()


def announced_length(headers: Headers) -> int | None:
    """The value of ``content-length`` in checked fields; None if there is no such field."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return None


def is_small(headers: Headers) -> bool:
    """Whether the body was announced with at most ``KEPT`` bytes. Such a body is always read to its end first."""
    length = announced_length(headers)
    return length is not None and length <= KEPT
