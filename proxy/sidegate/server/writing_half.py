"""The writing half of a connection: it passes the codec's output to the transport and finishes exchanges.

The base class of ``Connection``, which does the reading. It owns the order of writing, the senders that wait for room,
and the exchanges that have ended but whose output is not written yet.

Theory of operation. A flush takes the codec's output, wakes the senders whose queue has drained, and closes the records
of exchanges that have ended. An exchange is finished when its last byte has left the codec, not when its application
returned. While the transport's buffer is full, the codec keeps its output, so ``send`` waits.
"""

from __future__ import annotations

import asyncio
import threading

from sidegate.asgi import App
from sidegate.observe.record import Record
from sidegate.server.backlog import ConnectionBacklog, Gate
from sidegate.server.connection_base import ConnectionBase
from sidegate.server.error_page import error_page
from sidegate.server.exchange import Exchange
from sidegate.server.sendfile import SendfileWriter
from sidegate.server.service import LOW_WATER, ListenerService
from sidegate.server.stall import StallDetector
from sidegate.server.states import GONE
from sidegate.wire.events import PIECE


class WritingHalf(ConnectionBase):
    """Output of one connection. ``Connection`` sets ``transport`` and ``_lost``."""

    transport: asyncio.Transport

    def __init__(self, service: ListenerService) -> None:
        self.service, self.clock, self._loop = service, service.clock, service.loop
        self.observer, self.admission = service.observer, service.bounds.admission
        self.thread = threading.get_ident()
        self.exchanges: dict[int, Exchange] = {}
        self.ended: list[Exchange] = []
        self.backlog = ConnectionBacklog(service.bounds.backlog)
        self.last_active = self._loop.time()
        self.written = 0  # bytes, to the transport
        self.write_paused = False
        self.stall = StallDetector()
        self.stalled: dict[int, StallDetector] = {}  # by stream: its peer has to open a window
        self._flush_scheduled = self._lost = False
        self._handling = False  # events are being handled; a flush follows
        self._wrote = False  # since requests held back were last looked for
        self._sendfile = SendfileWriter()

    def pause_writing(self) -> None:
        """Called when the transport's buffer is full: keep the output in the codec."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """Called when the transport's buffer has room again."""
        self.write_paused = False
        self._sendfile.tell(lost=False)
        self.flush()

    def schedule_flush(self) -> None:
        """Write the codec's output at the end of this iteration of the loop."""
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write the codec's output, wake senders that may go on, and finish exchanges that have ended."""
        self._flush_scheduled = False
        if self.write_paused or self._lost:
            return
        while output := self.codec.take_output():
            self.written += len(output)
            self._wrote = True
            self.transport.write(output)
            if self.write_paused:
                return  # resume_writing continues
            if len(output) < PIECE:
                break
        if self.backlog.waiting:
            self.backlog.senders.wake(self._is_drained)
        if self._handling:
            return  # an application sent much in its first step; data_received flushes when all events are handled
        if self._wrote:
            self._wrote = False
            if self.codec.held:
                self._go_on()  # a pipelined request may begin, even if the application before it is not done
        if self.ended:
            self._finish_exchanges()
        if (
            self.codec.closed and not self._flush_scheduled
        ):  # finishing exchanges may have queued output, which is written first
            self._close()

    async def drained(self, stream_id: int) -> None:
        """Wait until the stream's queue is below the low-water mark, or the stream is given up."""
        size = self.codec.pending(stream_id)
        self.flush()
        if not self._is_drained(stream_id) and not self._lost:
            self.backlog.add(size, self.written, self._loop.time())
            try:
                await self.backlog.senders.add(stream_id, self._loop)
            finally:
                self.backlog.remove(size)
        elif self.transport.is_closing():
            # The transport drops what is written, so nothing would ever wait: let the loop tell that it is lost.
            await asyncio.sleep(0)

    def is_slow(self) -> bool:
        """Whether the client has read too little of the responses that wait for it (``backlog.py``)."""
        return self.backlog.is_slow(self.written, self._loop.time())

    def _is_drained(self, stream_id: int) -> bool:
        return self.codec.pending(stream_id) <= LOW_WATER

    def gated(self, app: App) -> App:
        """``app``, or for a slow client the ``Gate`` before it."""
        return Gate(app, self.backlog, self.is_slow) if self.is_slow() else app

    def release_writers(self, stream_id: int) -> None:
        """Wake the senders that wait for this stream: it is given up."""
        self.backlog.senders.release(stream_id)

    def exchange_ended(self, stream_id: int) -> None:
        """Called when the application is done; the record closes when the last byte is written."""
        self.ended.append(self.exchanges[stream_id])
        if self._lost:
            self._finish_exchanges()
        else:
            self.schedule_flush()

    def send_error(self, record: Record, stream_id: int, status: int, detail: str, accept: bytes) -> None:
        """Answer with the error page."""
        headers, body = error_page(status, record.request_id, detail, accept)
        record.status = status
        record.bytes_out += len(body)
        self.codec.send_head(stream_id, status, [*headers, self.clock.date_field], False)
        self.codec.send_data(stream_id, body, True)

    def _finish_exchanges(self) -> None:
        """Close the records of exchanges whose last byte has left the codec."""
        still: list[Exchange] = []
        again = False
        codec = self.codec
        for exchange in self.ended:
            if not self._lost and exchange.receiving is not GONE and codec.pending(exchange.stream_id):
                still.append(exchange)
                continue
            del self.exchanges[exchange.stream_id]
            self.observer.finished(exchange.record)
            if self.admission.counting:
                self.admission.released(exchange.record)
            again |= codec.release(exchange.stream_id)
        self.ended = still
        self.last_active = self._loop.time()
        if self._lost:
            if not self.exchanges:
                self.service.connections.discard(self)
        elif again:
            # HTTP/1.1 kept a pipelined request back until now; an HTTP/2 reset of an unread body leaves now.
            self._go_on()

    def _go_on(self) -> None:
        """Handle input that the codec has held back."""
        raise NotImplementedError

    def _close(self) -> None:
        """The codec is done and all is written: close."""
        raise NotImplementedError

    def cut(self) -> None:
        """Close without a farewell, unless the socket is gone."""
        if not self._lost:
            self.transport.abort()
