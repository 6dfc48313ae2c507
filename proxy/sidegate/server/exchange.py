"""One request with its response; step 4 of the request line.

The connection makes an exchange from a request head and feeds it. The exchange makes the ASGI scope, offers ``receive``
and ``send``, and runs the root App. No other code starts, ends or logs an exchange.

It has two halves with a state each: receiving (the request body) and sending (the response). It never touches the
socket and never blocks the connection: it buffers body bytes, and their flow-control credit goes back only when the
application takes them.

Errors: ``send`` raises ``ClientDisconnected`` once the client has disconnected, and ``ExchangeError`` for messages that
the ASGI specification forbids. ``send`` and ``receive`` raise ``RuntimeError`` in another thread than the event loop's,
because neither exchange nor codec has a lock. ``run`` raises none.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable
from typing import Any

from sidegate.aio.done import DONE, failed
from sidegate.aio.eager import EagerCoroutine
from sidegate.asgi import App, Headers, Message
from sidegate.errors import ClientDisconnected, ExchangeError, Fault, Refused, Unprocessed, stems_from_disconnect
from sidegate.observe.record import OPEN_ENDED, TASK, Record
from sidegate.server.admission import refused
from sidegate.server.connection_base import ConnectionBase
from sidegate.server.files import OpenFile
from sidegate.server.messages import (
    as_bytes,
    bad_message,
    check_early_hint,
    check_start,
    check_trailers,
    is_event_stream,
    kept_hop_fields,
)
from sidegate.server.scope import request_scope
from sidegate.server.service import HIGH_WATER, MANY_PIECES
from sidegate.server.states import (
    COMPLETE,
    ENDED,
    GONE,
    OPEN,
    STARTED,
    STREAMING,
    TAKEN,
    TRAILERS,
    WAITING,
    Receiving,
    Sending,
)
from sidegate.wire.codes import REFUSED_STREAM
from sidegate.wire.events import Codec, RequestHead

logger = logging.getLogger("sidegate.exchange")


class ResponseHalf:
    """The response of an exchange: ``send`` and what it needs.

    ``Exchange`` sets every attribute, because a second ``__init__`` would cost each request; and it is in this module,
    because Cython makes objects of a class whose base is in another module more slowly.
    """

    __slots__ = (
        "_codec", "_connection", "_head", "_headers", "_remaining", "_status", "_trailers", "receiving", "record",
        "sending", "stream_id",
    )  # fmt: skip

    _connection: ConnectionBase
    _codec: Codec
    _head: RequestHead
    stream_id: int
    record: Record
    receiving: Receiving
    sending: Sending
    _status: int
    _headers: Headers
    _remaining: int | None
    _trailers: Headers | None

    def send(self, message: Message) -> Awaitable[None]:
        """ASGI ``send``: done once the message is queued and the queue is below its high-water mark.

        Most messages are queued at once; then there is nothing to await, and no coroutine is made for it.
        """
        if threading.get_ident() != self._connection.thread:
            return self.send_where_awaited(message)
        try:
            if self.receiving is GONE:
                raise ClientDisconnected(self.record)
            kind = message["type"]
            if kind == "http.response.body":
                self._body(message.get("body", b""), message.get("more_body", False))
                if self._codec.pending(self.stream_id) > HIGH_WATER:
                    return self._drain()
            elif kind == "http.response.start":
                self._start(message)  # nothing is queued yet
            else:
                return self._send_extension(kind, message)
        except Exception as error:  # noqa: BLE001 - raised where the result is awaited
            return failed(error)
        return DONE

    async def send_where_awaited(self, message: Message) -> None:
        """``send``, called in another thread: acts where it is awaited (``asyncio.run_coroutine_threadsafe``)."""
        self._connection.check_thread("send")
        await self.send(message)

    async def _drain(self) -> None:
        await self._connection.drained(self.stream_id)
        self.check_present()

    def check_present(self) -> None:
        """Raise ``ClientDisconnected`` if nothing that is sent can reach the client any more."""
        if self.receiving is GONE:
            raise ClientDisconnected(self.record)

    async def _send_extension(self, kind: str, message: Message) -> None:
        if kind == "http.response.trailers":
            self._send_trailers(message)
        elif kind == "http.response.early_hint":
            self._send_early_hint(message)
        elif kind == "http.response.pathsend":
            with OpenFile() as file:
                await file.open_path(message["path"])
                await self._send_file(file, more=False)
        elif kind == "http.response.zerocopysend":
            with OpenFile() as file:
                file.open_range(message)
                await self._send_file(file, message.get("more_body", False))
        else:
            raise bad_message(f"{kind!r} is not a message of an HTTP response")
        if self._codec.pending(self.stream_id) > HIGH_WATER:
            await self._drain()

    def _start(self, message: Message) -> None:
        if self.sending is not WAITING:
            raise bad_message("http.response.start was sent twice")
        self._status, headers, length, dated, close, hop = check_start(message)
        if not dated:
            headers.append(self._connection.clock.date_field)
        if close:
            self._codec.close_after(self.stream_id, headers)
        self._headers = headers
        self._trailers = [] if message.get("trailers", False) else None
        if hop is not None:
            kept = kept_hop_fields(hop, self._status, self._trailers is not None and not self._is_bodiless())
            self._codec.add_hop_fields(self.stream_id, kept, headers)
        # RFC 9110 8.6: here content-length describes a body that is not sent.
        self._remaining = None if self._is_bodiless() else length
        self.sending = STARTED

    def _is_bodiless(self) -> bool:
        return self._head.method == "HEAD" or self._status in (204, 205, 304)

    def _check_body(self, what: str) -> None:
        if self.sending is not STARTED and self.sending is not STREAMING:
            raise bad_message(f"{what} in state {self.sending.name}")

    def _body(self, data: Any, more: bool) -> None:
        if self.sending is not STARTED and self.sending is not STREAMING:
            raise bad_message(f"http.response.body in state {self.sending.name}")
        if type(data) is not bytes:
            data = as_bytes(data)
        size = len(data)
        if self._remaining is not None:
            self._count_down(size, more)
        end = not more and self._trailers is None
        if self.sending is STARTED:
            self._send_head(size if end else None, end_stream=end and not size)
        if size or end:
            self._codec.send_data(self.stream_id, data, end)
        self.record.bytes_out += size
        self._advance(end, more)

    async def _send_file(self, file: OpenFile, more: bool) -> None:
        """Send a file's bytes as body. The head waits for the first of them: an error until then gives a 500."""
        if self._is_bodiless():
            self._body(b"", more)
            return
        self._check_body("a file")
        size = file.count
        data = await file.first()
        self.check_present()
        self._check_body("a file")  # again: the application may have sent something else meanwhile
        if self._remaining is not None:
            self._count_down(size, more)
        end = not more and self._trailers is None
        if self.sending is STARTED:
            self._send_head(size if end else None)
        self.sending = STREAMING
        self._codec.send_data(self.stream_id, data, end and not file.count)
        self.record.bytes_out += len(data)
        if file.count:
            await self._send_rest(file, end)
        self._advance(end, more)

    async def _send_rest(self, file: OpenFile, end: bool) -> None:
        """Send the file by sendfile(2) on cleartext HTTP/1.1 of known length, else read it piece by piece."""
        connection, size = self._connection, file.sendable
        if size and not connection.peer.encrypted and self._codec.sendfile(self.stream_id, size):
            await connection.sendfile(file, self.record)
            self.record.bytes_out += size
        while file.count:
            data = await file.read()
            self.check_present()
            self._codec.send_data(self.stream_id, data, end and not file.count)
            self.record.bytes_out += len(data)
            if file.count:
                await connection.drained(self.stream_id)
                self.check_present()

    def _count_down(self, size: int, more: bool) -> None:
        remaining = (self._remaining or 0) - size
        if remaining < 0 or (remaining > 0 and not more):
            raise ExchangeError(
                Fault.APPLICATION, 500, "content_length_mismatch", "the body is not as long as content-length says"
            )
        self._remaining = remaining

    def _send_head(self, whole: int | None, end_stream: bool = False) -> None:
        """Send the head. ``whole``: the body's length if it is known, which avoids chunked framing."""
        headers = self._headers
        if whole is not None and self._remaining is None and not self._is_bodiless():
            headers.append((b"content-length", b"%d" % whole))
        if whole is None and self._remaining is None and is_event_stream(headers):
            self.record.counting = OPEN_ENDED
        self.record.status = self._status
        self._codec.send_head(self.stream_id, self._status, headers, end_stream)

    def _advance(self, end: bool, more: bool) -> None:
        if end:
            self._complete()
        else:
            self.sending = STREAMING if more else TRAILERS
        self._connection.schedule_flush()

    def _send_trailers(self, message: Message) -> None:
        if self.sending is not TRAILERS or self._trailers is None:
            raise bad_message(f"http.response.trailers in state {self.sending.name}")
        self._trailers += check_trailers(message)
        if not message.get("more_trailers", False):
            self._codec.send_trailers(self.stream_id, self._trailers)
            self._advance(end=True, more=False)

    def _send_early_hint(self, message: Message) -> None:
        if self.sending is not WAITING:
            raise bad_message("http.response.early_hint after http.response.start")
        self._codec.send_informational(self.stream_id, 103, check_early_hint(message))
        self._connection.schedule_flush()

    def _complete(self) -> None:
        """The response is complete: the exchange drops what was not read of the request."""
        raise NotImplementedError


class Exchange(ResponseHalf):
    """Made by a connection for one request head; ``run`` is its life."""

    __slots__ = (
        "_cancelled", "_chunks", "_continue", "_held", "_readers", "_received", "_refusal", "task", "waiting_since",
    )  # fmt: skip

    def __init__(self, connection: ConnectionBase, head: RequestHead, record: Record) -> None:
        self._connection, self._head, self.record = connection, head, record
        self._codec = self._connection.codec  # read from the attribute, which has a C type when compiled
        # Decided now: when a task runs, a whole burst may have been counted, and all of it would be refused.
        self._refusal = self._connection.admission.refusal(
            self.record, self._connection.peer, self._connection.observer.in_flight
        )
        self.stream_id = self._head.stream_id
        self.task: asyncio.Task[None] | EagerCoroutine | None = None
        self.receiving = ENDED if self._head.end_stream else OPEN
        self._continue = self._head.expect_continue
        self._cancelled = False  # by this process; an application may also cancel what it awaits itself
        self._chunks: list[bytes] = []
        self._held = self._received = self._status = 0
        self._readers: list[asyncio.Future[None]] = []
        self.waiting_since = 0.0
        self.sending = WAITING
        self._headers: Headers = []
        self._remaining: int | None = None
        self._trailers: Headers | None = None

    async def run(self, app: App) -> None:
        """Make the scope, run the application, end the exchange. Every way out passes here, and nothing is raised."""
        try:
            if self._refusal:
                raise refused(self._refusal)
            if self.receiving is GONE or self.sending is COMPLETE:  # before the first step of a task
                raise ClientDisconnected(self.record)
            scope = request_scope(self._connection.peer, self._head, self.record)
            if self._head.content_length is not None:
                self._check_declared_length(self._head.content_length)
            if self._connection.backlog.waiting:
                app = self._connection.gated(app)
            await app(scope, self.receive, self.send)
            if self.sending is not COMPLETE and self.receiving is not GONE:
                self._complete_or_fail()
        except BaseException as error:  # noqa: BLE001 - an application's SystemExit must not end the process
            self._fail(error)
        self._connection.exchange_ended(self.stream_id)

    # The request half.

    async def receive(self) -> Message:
        """ASGI ``receive``: the next piece of body, or ``http.disconnect``."""
        self._connection.check_thread("receive")
        while True:
            if self.receiving is GONE or self.sending is COMPLETE:
                return {"type": "http.disconnect"}
            if self._chunks or self.receiving is ENDED:
                return self._take()
            if self._continue and self.receiving is OPEN:
                self._send_continue()
            await self._wait_for_input()

    async def _wait_for_input(self) -> None:
        """Wait until body bytes, the end of the body or a disconnect arrive."""
        loop = self._connection.service.loop
        reader = loop.create_future()
        self._readers.append(reader)
        self.waiting_since = loop.time()
        try:
            await reader
        except asyncio.CancelledError:
            if reader in self._readers:  # a `receive` that was cancelled by a timeout leaves nothing behind
                self._readers.remove(reader)
            raise

    def feed(self, data: bytes) -> None:
        """Take a piece of body from the connection."""
        if self.receiving is not OPEN or self.sending is COMPLETE:
            self._codec.acknowledge(self.stream_id, len(data))
            return
        self._continue = False  # RFC 9110 10.1.1: a client that did not wait needs no 100
        self._received += len(data)
        self.record.bytes_in = self._received
        if 0 < self._connection.service.limits.request_body < self._received:
            self._codec.acknowledge(self.stream_id, len(data))
            self.end_with(_too_large(self._connection.service.limits.request_body))
            return
        self._chunks.append(data)
        if len(self._chunks) > MANY_PIECES:
            self._chunks = [b"".join(self._chunks)]
        self._held += len(data)
        self._wake()

    def end(self) -> None:
        """Called when the request is complete."""
        if self.receiving is OPEN:
            self.receiving = ENDED
            self._wake()

    def disconnect(self, reason: str = "client_disconnected") -> None:
        """Called when the client has disconnected.

        An application in this process gets ``http.disconnect`` and is not cancelled. A task that only waits for a
        thread or another process is cancelled.
        """
        delivered = self.sending is COMPLETE and not self._codec.pending(self.stream_id)
        if not delivered and self.record.fault is None:
            self.record.fault, self.record.reason = Fault.CLIENT, reason
        self._leave()
        self.cancel_runner()

    def end_with(self, failure: ExchangeError) -> None:
        """Give up while the application runs: the client's side or a timeout has ended the exchange.

        The application is treated as when the client disconnects; a relay ends its side of the other process at once.
        """
        self.give_up(failure)
        self.cancel_runner()

    def cancel_runner(self) -> None:
        """Cancel a task that only waits for a thread or another process."""
        if self.record.runner != TASK and self.task is not None:
            self.task.cancel()

    def cancel(self) -> None:
        """Cancel the application: this process stops."""
        if self.task is not None:
            self._cancelled = True
            self.task.cancel()

    @property
    def waits_for_body(self) -> bool:
        """Whether the application waits for body bytes that the client has not sent."""
        return bool(self._readers) and self.receiving is OPEN

    def _take(self) -> Message:
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        more = self.receiving is OPEN
        if not more:
            self.receiving = TAKEN
        self._acknowledge_held()
        return {"type": "http.request", "body": body, "more_body": more}

    def _acknowledge_held(self) -> None:
        if self._held:
            self._codec.acknowledge(self.stream_id, self._held)
            self._held = 0
            self._connection.credit_given()

    def _send_continue(self) -> None:
        self._continue = False
        if self.sending < STREAMING:
            self._codec.send_informational(self.stream_id, 100, [])
            self._connection.schedule_flush()

    def _wake(self) -> None:
        for reader in self._readers:
            if not reader.done():
                reader.set_result(None)
        self._readers.clear()

    def _leave(self) -> None:
        """Stop: from now on nothing that the application sends reaches the client."""
        self.receiving = GONE
        self._chunks.clear()
        self._acknowledge_held()
        self._wake()
        self._connection.release_writers(self.stream_id)

    def _check_declared_length(self, length: int) -> None:
        limit = self._connection.service.limits.request_body
        if 0 < limit < length:
            raise _too_large(limit)

    # The end.

    def _complete(self) -> None:
        self.sending = COMPLETE
        if self._held:
            self._chunks.clear()
            self._acknowledge_held()
        if self._readers:
            self._wake()

    def _complete_or_fail(self) -> None:
        if self.sending is STARTED and self._is_bodiless():
            self._trailers = None
            self._body(b"", more=False)  # a HEAD, 204, 205 or 304 has neither body nor trailers to wait for
            return
        raise ExchangeError(
            Fault.APPLICATION, 500, "no_response", "the application returned without completing its response"
        )

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, ExchangeError):
            failure = error
        elif isinstance(error, asyncio.CancelledError) and (self._cancelled or self.receiving is GONE):
            failure = ExchangeError(Fault.PROXY, 503, "shutdown")
        elif stems_from_disconnect(error, self.record):
            self.disconnect()
            return
        else:
            failure = ExchangeError(Fault.APPLICATION, 500, "exception")
        if failure.fault is Fault.APPLICATION:
            record, target = self.record, ascii(self.record.target.decode("latin-1"))[1:-1]
            logger.error(
                "application failed: %s %s (request id %s)", record.method, target, record.request_id, exc_info=error
            )
        if self.sending is not COMPLETE:
            self.give_up(failure)

    def give_up(self, failure: ExchangeError) -> None:
        """End the exchange with a failure: an error page if no head was sent, else a reset."""
        record = self.record
        if record.fault is None:
            record.fault, record.reason = failure.fault, failure.reason
        if self.receiving is not GONE:
            if self.sending < STREAMING and isinstance(failure, Unprocessed) and self._head.http_version == "2":
                self._codec.reset(self.stream_id, REFUSED_STREAM)
            elif self.sending < STREAMING:
                self._send_error_page(failure)
            elif self.sending is not COMPLETE or self._codec.pending(self.stream_id):
                self._connection.flush()  # the output before the failure precedes the reset
                self._codec.reset(self.stream_id, failure.reset_code)
        self.sending = COMPLETE
        self._leave()
        self._connection.schedule_flush()

    def _send_error_page(self, failure: ExchangeError) -> None:
        if failure.status == 408 or (failure.status == 413 and self._head.content_length is None):
            # RFC 9110 15.5.9, RFC 9112 9.6: the client may stop in the middle of its body, or go on with it for long.
            self._codec.close_after(self.stream_id, [])
        accept = next((value for name, value in self._head.headers if name == b"accept"), b"")
        self._connection.send_error(self.record, self.stream_id, failure.status, failure.hint, accept)


def _too_large(limit: int) -> Refused:
    return Refused(413, "body_too_large", f"The request body is larger than {limit} bytes.")
