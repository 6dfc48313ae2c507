"""What an exchange asks of the connection that carries it.

Where it stands: between the two, so that neither file imports the other's insides; it only says what there is, and
``connection.py`` has the rest.
"""

from __future__ import annotations

from typing import Any

from sidegate.aio.clock import Clock
from sidegate.observe.observer import Observer
from sidegate.observe.record import Record
from sidegate.server.admission import Admission
from sidegate.server.files import OpenFile
from sidegate.server.peer import Peer
from sidegate.server.service import Service
from sidegate.wire.events import Codec


class ConnectionBase:
    """A connection, seen from one of its exchanges."""

    __slots__ = ("admission", "clock", "codec", "observer", "peer", "service")

    service: Service
    clock: Clock[Any]
    peer: Peer
    codec: Codec
    observer: Observer
    admission: Admission

    def schedule_flush(self) -> None:
        """Write what the codec has at the end of this iteration of the loop."""
        raise NotImplementedError

    def flush(self) -> None:
        """Write what the codec has now."""
        raise NotImplementedError

    async def drained(self, stream_id: int) -> None:
        """Wait until the stream's queue is below the low-water mark, or the stream is given up."""
        raise NotImplementedError

    def release_writers(self, stream_id: int) -> None:
        """Whoever waits for this stream to drain need not any more."""
        raise NotImplementedError

    def credit_given(self) -> None:
        """An application took body: the peer may send more."""
        raise NotImplementedError

    def upgraded(self) -> None:
        """The client was told that the connection, if it is HTTP/1.1's, speaks another protocol from now on."""
        raise NotImplementedError

    def exchange_ended(self, stream_id: int) -> None:
        """The application is done; the record closes when the last byte is out."""
        raise NotImplementedError

    def send_error(self, record: Record, stream_id: int, status: int, detail: str, accept: bytes) -> None:
        """Answer with the error page."""
        raise NotImplementedError

    async def sendfile(self, file: OpenFile) -> None:
        """Write a file's range to the socket by the system call of the same name; the codec has counted it already."""
        raise NotImplementedError
