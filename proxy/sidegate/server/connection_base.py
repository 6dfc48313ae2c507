"""The interface of a connection that its exchanges use.

Connection and exchange both import this module, so that neither imports the other's. Except for the check of the
thread it only declares; the implementation is in ``connection.py``.
"""

from __future__ import annotations

import threading
from typing import Any

from sidegate.aio.clock import Clock
from sidegate.asgi import App
from sidegate.observe.observer import Observer
from sidegate.observe.record import Record
from sidegate.server.admission import Admission
from sidegate.server.backlog import ConnectionBacklog
from sidegate.server.files import OpenFile
from sidegate.server.peer import Peer
from sidegate.server.service import ListenerService
from sidegate.wire.events import Codec


class ConnectionBase:
    """A connection, as its exchanges see it. ``thread``: the ident of the thread that runs its event loop."""

    __slots__ = ("admission", "backlog", "clock", "codec", "observer", "peer", "service", "thread")

    service: ListenerService
    clock: Clock[Any]
    peer: Peer
    codec: Codec
    observer: Observer
    admission: Admission
    backlog: ConnectionBacklog
    thread: int

    def check_thread(self, what: str) -> None:
        """Raise ``RuntimeError`` unless this is the event loop's thread. ``what``: what an application awaits."""
        if threading.get_ident() != self.thread:
            raise RuntimeError(
                f"{what}() was awaited in the thread {threading.current_thread().name!r}, which does not run the event "
                f"loop of this application. Use asyncio.run_coroutine_threadsafe({what}(…), loop), or "
                "loop.call_soon_threadsafe for a callback."
            )

    def schedule_flush(self) -> None:
        """Write the codec's output at the end of this iteration of the loop."""
        raise NotImplementedError

    def flush(self) -> None:
        """Write the codec's output now."""
        raise NotImplementedError

    async def drained(self, stream_id: int) -> None:
        """Wait until the stream's queue is below the low-water mark, or the stream is aborted."""
        raise NotImplementedError

    def gated(self, app: App) -> App:
        """The App to call for a request while a backlog waits: ``app``, or a ``Gate`` before it."""
        raise NotImplementedError

    def release_writers(self, stream_id: int) -> None:
        """Wake the coroutines that wait for this stream to drain."""
        raise NotImplementedError

    def credit_given(self) -> None:
        """Note that an application took body: the peer may send more."""
        raise NotImplementedError

    def upgraded(self) -> None:
        """Note that the client was told that the connection, if it is HTTP/1.1, changes to another protocol."""
        raise NotImplementedError

    def exchange_ended(self, stream_id: int) -> None:
        """Note that the application has finished; the record closes when the last byte is written."""
        raise NotImplementedError

    def send_error(self, record: Record, stream_id: int, status: int, detail: str, accept: bytes) -> None:
        """Answer with the error page."""
        raise NotImplementedError

    async def sendfile(self, file: OpenFile, record: Record) -> None:
        """Write a file's range to the socket with the system call sendfile; the codec has already counted it."""
        raise NotImplementedError
