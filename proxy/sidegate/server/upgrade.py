"""A request that asks for a WebSocket, until frames are parsed.

It is step 4 of the request line. It is an exchange (``exchange.py``) until it is accepted; ``websocket.py`` adds the
frames. It owns the handshake, the scope, and the raw bytes: a backend that only relays gets them unchanged
(``asgi.Handover``), so that frames pass through unparsed.

It raises ``ClientDisconnected`` in ``receive_bytes`` and ``send_bytes``. ``run`` handles ``Refused``
(400, 426) and raises nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from sidegate.aio.done import DONE, failed
from sidegate.asgi import WEBSOCKET_SETTINGS_KEY, App, Handover, Headers, Message, Scope
from sidegate.errors import ClientDisconnected, ExchangeError, Refused, stems_from_disconnect
from sidegate.observe.record import OPEN_ENDED, Record
from sidegate.observe.websocket_meter import WebSocketMeter
from sidegate.server.admission import refused
from sidegate.server.connection_base import ConnectionBase
from sidegate.server.error_page import error_page
from sidegate.server.exchange import Exchange
from sidegate.server.messages import bad_message
from sidegate.server.scope import request_scope
from sidegate.server.service import HIGH_WATER, ListenerService
from sidegate.server.states import COMPLETE, GONE, OPEN, STREAMING
from sidegate.wire.events import RequestHead
from sidegate.wire.fields import HANDSHAKE
from sidegate.wire.websocket.handshake import check_handshake, refusal_headers

DENIAL = "websocket.http.response."
"""Prefix of the types of messages that answer with an ordinary response (ASGI, WebSocket Denial Response)."""

_HANDSHAKE_FIELDS: Headers = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
"""What HTTP/2 cannot carry, so that what an application checks does not depend on the client's version of HTTP."""


class Upgrade(Exchange):
    """The exchange of one such request. The connection creates it and calls ``run``."""

    __slots__ = ("_handshake", "_leaving", "_meter", "_raw", "_scope")

    def __init__(self, connection: ConnectionBase, head: RequestHead, record: Record) -> None:
        super().__init__(connection, head, record)
        self._leaving = False
        self._meter: WebSocketMeter | None = None  # set when it is accepted
        self._raw = False  # true when a relay has accepted
        if not self._refusal:
            self._refusal = self._connection.admission.websocket_refusal(self.record, self._connection.peer)

    async def run(self, app: App) -> None:
        """Run handshake, application and end. Every way out ends here, and nothing is raised."""
        try:
            if self._refusal:
                raise refused(self._refusal)
            if self.receiving is GONE or self.sending is COMPLETE:  # before the first step of a task
                raise ClientDisconnected(self.record)
            await self._serve(app)
            await self._until_closed()
        except BaseException as error:  # noqa: BLE001 - an application's SystemExit must not end the process
            self._fail(error)
        if self.accepted:
            self._connection.observer.in_flight += 1
        self._connection.admission.websocket_ended(self.record)
        if self._raw and self._meter is not None:
            self._meter.ended()
        self._release()
        self._connection.exchange_ended(self.stream_id)

    async def _serve(self, app: App) -> None:
        try:
            if self._connection.backlog.waiting:
                app = self._connection.gated(app)
            await app(self._open_scope(), self.receive, self.send)
        except BaseException as error:
            if not (self._is_closed() and stems_from_disconnect(error, self.record)):
                raise  # else the application only learned from `send` what `receive` would have told it
        self._finish()

    def _open_scope(self) -> Scope:
        """The ASGI WebSocket connection scope (spec version 2.5)."""
        scope = request_scope(self._connection.peer, self._head, self.record)
        self._handshake = check_handshake(scope["headers"], self._head.http_version)
        extensions: dict[str, Any] = {"websocket.http.response": {}}
        if "tls" in scope["extensions"]:
            extensions["tls"] = scope["extensions"]["tls"]
        scope["type"] = "websocket"
        if not any(name in HANDSHAKE for name, _ in scope["headers"]):
            scope["headers"] += _HANDSHAKE_FIELDS
        scope["scheme"] = "wss" if scope["scheme"] == "https" else "ws"
        scope["subprotocols"] = self._handshake.subprotocols
        scope["extensions"] = extensions
        scope[WEBSOCKET_SETTINGS_KEY] = self._connection.service.websocket
        del scope["method"]
        self._scope = scope
        return scope

    @property
    def accepted(self) -> bool:
        """Whether the handshake was accepted."""
        return self._meter is not None

    def _deny(self, kind: str, message: Message) -> Awaitable[None]:
        """Send an ordinary response instead; never a status with which HTTP/2 accepts (RFC 8441 5)."""
        status = message.get("status")
        if kind == f"{DENIAL}start" and isinstance(status, int) and status < 300:
            raise bad_message("a WebSocket is denied with a status from 300 to 599")
        if self.accepted:
            raise bad_message(f"{kind} after websocket.accept")
        return super().send({**message, "type": kind.removeprefix("websocket.")})

    def _answer(self, headers: Headers, dated: bool) -> None:
        """Accept. ``headers``: checked; ``dated``: ``date`` is one of them."""
        self.sending = STREAMING
        self.record.status = 101 if self._head.http_version == "1.1" else 200
        self.record.counting = OPEN_ENDED
        self._meter = self._connection.service.websocket_meter(self.record, self._scope)
        self._meter.opened()
        self._connection.observer.in_flight -= 1  # it may be open for days: it does not count for `concurrentRequests`
        self._connection.admission.released(self.record)
        if not dated:
            headers.append(self._connection.clock.date_field)
        self._codec.accept(self.stream_id, headers)
        self._connection.upgraded()
        self._connection.schedule_flush()
        if self._connection.service.draining:
            self._connection.service.loop.call_soon(self.go_away)

    # Methods for a backend that only relays.

    def _hand_over(self, handover: object, headers: Headers, dated: bool) -> None:
        """Accept with the answer of another server; from here on bytes pass unchanged."""
        if not isinstance(handover, Handover):
            raise bad_message("websocket.accept: the bytes of a WebSocket are not for applications")
        self._raw = True
        self._answer(headers, dated)
        handover.stream = self

    async def receive_bytes(self) -> bytes:
        """The bytes that the client has sent; empty once its side has ended, or the front drains.

        Raises ``ClientDisconnected``.
        """
        while not self._chunks and self.receiving is OPEN and self.sending is not COMPLETE and not self._leaving:
            await self._wait_for_input()
        self.check_present()
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._acknowledge_held()
        return data

    def send_bytes(self, data: bytes, last: bool) -> Awaitable[None]:
        """Forward what the server sent; ``last``: nothing follows. The awaitable is done as that of ``send``."""
        try:
            self.check_present()
            self._codec.send_data(self.stream_id, data, last)
        except ClientDisconnected as error:
            return failed(error)
        self.record.bytes_out += len(data)
        if self._meter is not None:
            self._meter.sent(0, len(data))
        if last:
            self._complete()
        self._connection.schedule_flush()
        return self._drain() if self._codec.pending(self.stream_id) > HIGH_WATER else DONE

    def go_away(self) -> None:
        """The process stops: the backend that relays gets the end of the client's bytes."""
        self._leaving = True
        self._wake()

    # The end of the exchange.

    def _is_closed(self) -> bool:
        """Whether one side has closed the WebSocket."""
        return False

    def _finish(self) -> None:
        """Handle an application that has returned without accepting."""
        if not self._raw and self.sending is not COMPLETE and self.receiving is not GONE:
            self._complete_or_fail()

    async def _until_closed(self) -> None:
        """Wait for what remains to be done when the application has returned."""

    def _release(self) -> None:
        """Free what an exchange that has ended does not need."""

    def _send_error_page(self, failure: ExchangeError) -> None:
        """Answer as any request; a handshake of another version gets the supported one (RFC 6455 4.4)."""
        more: Headers = []
        if isinstance(failure, Refused):
            more = refusal_headers(failure.status, self._head.http_version)
        self._answer_with_page(failure.status, failure.hint, more)

    def _answer_with_page(self, status: int, detail: str, more: Headers) -> None:
        headers, body = error_page(status, self.record.request_id, detail, b"")
        self.record.status = status
        self.record.bytes_out += len(body)
        fields = [*headers, *more, self._connection.clock.date_field]
        self._codec.send_head(self.stream_id, status, fields, False)
        self._codec.send_data(self.stream_id, body, True)
        self._connection.schedule_flush()


def close_gradually(service: ListenerService, seconds: float) -> None:
    """Close the WebSockets of a listener evenly spread over ``seconds``, so that not all clients reconnect at once."""
    open_now = [
        exchange
        for connection in service.connections
        for exchange in connection.exchanges.values()
        if isinstance(exchange, Upgrade)
    ]
    for number, exchange in enumerate(open_now):
        service.loop.call_later(seconds * number / len(open_now), exchange.go_away)
