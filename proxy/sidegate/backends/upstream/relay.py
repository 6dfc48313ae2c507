"""Sends one request to another process, and passes the response back.

Step 7 of the request line, for upstream backends. It asks the balancer for a connection, sends the request on it,
passes the response to the exchange, and sends the request again where ``retry.py`` allows it. It owns the client
stream, the upload and the buffers of both bodies. It parses nothing: credit for a piece goes back to the peer when
``send`` has accepted the piece.

Theory of operation. The relay holds the response's head back until the stream's next event, so that a request whose
worker exits in between can still be sent again. If there is no next event, it sends the head after ``HOLD``. A small
response that arrives as a whole costs one wake-up. When the client disconnects, the exchange cancels the relay
(``Record.runner``), and ``ClientStream.close`` resets the stream.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable
from typing import cast

from sidegate.aio.done import DONE
from sidegate.asgi import RECORD_KEY, Message, Receive, Scope, Send
from sidegate.backends.body_buffer import BodyBuffer, announced_length, is_small
from sidegate.backends.buffering import Buffering
from sidegate.backends.response_buffer import ResponseBuffer, may_be_buffered
from sidegate.backends.upstream import retry
from sidegate.backends.upstream.balancer import Balancer
from sidegate.backends.upstream.client_stream import Abandoned, ClientStream
from sidegate.backends.upstream.connection import UpstreamConnection
from sidegate.backends.upstream.request_fields import HopFields
from sidegate.backends.upstream.upload import Upload
from sidegate.errors import ExchangeError, Fault, raise_kept
from sidegate.observe.record import PROCESS, Record
from sidegate.wire.codes import REFUSED_STREAM
from sidegate.wire.events import Body, End, Informational, Reset, ResponseHead

HOLD = 0.05
"""Seconds that a response's head waits for the next event; an event stream may send nothing for a long time."""


class Relay:
    """One for each request; ``run`` is called once."""

    __slots__ = (
        "_balancer", "_body", "_buffer", "_buffering", "_expects", "_fields", "_head", "_receive", "_record", "_scope",
        "_send", "_started", "_trailers", "_upload",
    )  # fmt: skip

    def __init__(
        self,
        balancer: Balancer,
        fields: HopFields,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        buffering: Buffering,
    ) -> None:
        self._balancer = balancer
        self._fields = fields
        self._buffering = buffering
        self._scope = scope
        self._receive = receive
        self._send = send
        self._record: Record = scope[RECORD_KEY]
        self._record.runner = PROCESS
        self._body: BodyBuffer | None = None
        self._buffer: ResponseBuffer | None = None
        self._upload: Upload | None = None
        self._expects = False
        self._head: ResponseHead | None = None
        self._started = False
        self._trailers = False

    def run(self) -> Awaitable[None]:
        """Send the request and pass the response on, until its end.

        :raises ExchangeError: 502, the upstream failed or does not support the request; 503, see ``WaitQueue.wait``.
        :raises ClientDisconnected: the client disconnected.
        """
        return self._relay_with_body() if self._record.has_body else self._relay()

    async def _relay_with_body(self) -> None:
        try:
            await self._prepare_upload()
            await self._relay()
        finally:
            if self._body is not None:
                self._body.close()

    async def _relay(self) -> None:
        balancer = self._balancer
        self._balancer.meter.begun()  # by attributes, which have C types when compiled
        since = 0.0
        lost = again = False
        try:
            try:
                while True:
                    connection = None if again else self._balancer.take()
                    if connection is not None:
                        self._balancer.meter.placed_at_once()
                    else:
                        since = since or balancer.loop.time()
                        connection = await balancer.wait(since, again)
                    reset, sent = await self._attempt(connection)
                    if reset is None:
                        break
                    reason = retry.reason_to_retry(reset.code, self._record.method, sent, lost)
                    await self._prepare_retry(reason)
                    again = True
                    lost = lost or reason is retry.LOST
            finally:
                self._balancer.meter.ended()
            if self._buffer is not None:
                await self._buffer.finish()  # the worker is free
        except BaseException as error:
            if self._buffer is not None:
                await self._give_up_buffer(self._buffer, error)
            raise

    async def _give_up_buffer(self, buffer: ResponseBuffer, error: BaseException) -> None:
        """The response is incomplete: if that is the worker's fault, the client gets what there is of it."""
        if isinstance(error, ExchangeError):
            with contextlib.suppress(Exception):
                await buffer.finish()
        buffer.close()

    # The request.

    async def _prepare_upload(self) -> None:
        """Make the upload. Read the whole body first if it is buffered, or its content-length is small."""
        headers = self._scope["headers"]
        self._expects = any(name == b"expect" for name, _ in headers)
        if self._buffering.of_body(self._balancer.on_threads) or (not self._expects and is_small(headers)):
            self._body = body = BodyBuffer(self._receive, self._record, self._buffering.files)
            await body.fill()
            self._scope["headers"] = body.headers(headers)
            self._expects = False
        self._upload = Upload(self._receive, self._record, self._body)

    async def _attempt(self, connection: UpstreamConnection) -> tuple[Reset | None, bool]:
        """Send the request on ``connection``, pass the response on, and give the connection back.

        The first value is None if the response was passed on, or the reset if none of it was. The second value is
        whether any byte of the request may have been sent.
        """
        upload = self._upload
        if upload is not None and upload.empty:
            upload = None
        stream: ClientStream | None = None
        try:
            stream = self._open(connection, self._is_whole(upload))
            if stream is None:  # the connection has ended since it was selected
                self._balancer.cool_down(connection)
                return Reset(0, REFUSED_STREAM), False
            if upload is not None and not (self._expects and connection.codec.hop):
                upload.start(stream)
            reset = await self._pass_response(stream)
            if reset is not None and reset.code == REFUSED_STREAM:
                self._balancer.cool_down(connection)
            return reset, stream.sent
        finally:
            if upload is not None:
                upload.stop()
            self._give_back(connection, stream)

    def _is_whole(self, upload: Upload | None) -> bool:
        """Whether the request has no body."""
        return upload is None

    def _open(self, connection: UpstreamConnection, whole: bool) -> ClientStream | None:
        return connection.open(self._fields.build(self._scope, self._record, connection.codec.hop), whole)

    def _give_back(self, connection: UpstreamConnection, stream: ClientStream | None) -> None:
        if stream is not None:
            stream.close()
        self._balancer.give_back(connection)

    async def _prepare_retry(self, reason: str) -> None:
        upload = self._upload
        if upload is not None:
            if upload.consumed and reason is retry.LOST:
                raise ExchangeError(Fault.UPSTREAM, 502, "upstream_lost")
            if not upload.replayable:
                raise ExchangeError(Fault.UPSTREAM, 502, "upstream_refused")
            await upload.stopped()
        self._head = None
        self._balancer.meter.retried(reason)

    # The response.

    async def _pass_response(self, stream: ClientStream) -> Reset | None:
        """Pass the response on as it arrives. Return the reset if none of the response was passed on before it."""
        events = stream.events
        while True:
            if not events:
                if self._head is None or self._started:
                    await stream.wakeup()
                else:
                    await self._hold(stream)
                continue
            event = events.popleft()
            kind = type(event)
            if kind is ResponseHead:
                self._head = event
                if event.end_stream:
                    await self._finish(b"", [], stream)
                    return None
            elif kind is Body:
                last = bool(events) and type(events[0]) is End
                if last:
                    await self._finish(event.data, events.popleft().trailers, stream)
                else:
                    await self._pass_piece(event.data, stream)
                stream.acknowledge(len(event.data), last)
                if last:
                    return None
            elif kind is End:
                await self._finish(b"", event.trailers, stream)
                return None
            elif kind is Reset:
                if self._started:
                    raise retry.broken_off(event.code, begun=True)
                return cast(Reset, event)
            elif kind is Informational:
                await self._pass_informational(stream, event)
            else:
                raise_kept(cast(Abandoned, event))

    async def _hold(self, stream: ClientStream) -> None:
        """Wait for the event after the head, at most ``HOLD``; then send the head."""
        timer = self._balancer.loop.call_later(HOLD, stream.wake)
        try:
            await stream.wakeup()
        finally:
            timer.cancel()
        if not stream.events:
            await self._pass_piece(b"", stream)

    def _pass(self, message: Message, stream: ClientStream) -> Awaitable[None]:
        """Send a message. From the moment when there is something to wait for, the response is buffered."""
        sent = self._send(message)
        if sent is DONE or self._buffer is not None or not self._may_buffer():
            return sent
        self._buffer = buffer = ResponseBuffer(
            self._send, sent, self._buffering.files, len(message.get("body", b"")), stream.abandon
        )
        self._send = buffer.send
        return DONE

    def _may_buffer(self) -> bool:
        head = self._head
        return (
            head is not None
            and self._buffering.of_response(self._balancer.on_threads)
            and may_be_buffered(head.headers)
        )

    async def _pass_piece(self, data: bytes, stream: ClientStream) -> None:
        """Send a piece of the body that is not the last one."""
        if not self._started:
            await self._pass(self._start(True), stream)
        await self._pass({"type": "http.response.body", "body": data, "more_body": True}, stream)

    async def _finish(self, data: bytes, trailers: list[tuple[bytes, bytes]], stream: ClientStream) -> None:
        """Send the last piece of the body, and the trailers if the response's start announced them."""
        if not self._started:
            await self._pass(self._start(bool(trailers)), stream)
        await self._pass({"type": "http.response.body", "body": data}, stream)
        if self._trailers:
            await self._send({"type": "http.response.trailers", "headers": trailers})

    def _start(self, trailers: bool) -> Message:
        """Make the message that begins the response. ``trailers``: whether trailers may follow."""
        head = self._head
        if head is None:  # it cannot happen: the codec returns no body before a head
            raise ExchangeError(Fault.PROXY, 502, "upstream_reset")
        self._started = True
        self._trailers = trailers and announced_length(head.headers) is None
        return {
            "type": "http.response.start",
            "status": head.status,
            "headers": head.headers,
            "trailers": self._trailers,
        }

    async def _pass_informational(self, stream: ClientStream, event: Informational) -> None:
        if event.status == 100 and self._expects and self._upload is not None:
            self._expects = False
            self._upload.start(stream)
        elif event.status == 103:
            links = [value for name, value in event.headers if name == b"link"]
            await self._send({"type": "http.response.early_hint", "links": links})
