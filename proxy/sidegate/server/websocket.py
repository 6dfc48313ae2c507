"""One WebSocket, from its handshake to its end: an exchange whose body is messages in both directions.

Step 4 of the request line for requests that ask for a WebSocket. The codec carries the bytes, in either version of
HTTP, and ``wire/websocket/frames.py`` parses and writes the frames. This module connects them with the application: the
closing handshake, the messages that wait to be received, the pings. Before a WebSocket is accepted, its request is
answered as any other, with an error page or the application's own response.

Backpressure: few messages are decoded ahead of the application (``websocket_inbox.py``). The rest of the input waits as
it came, at most a window: while anything waits, the stream's flow-control credit does not go back. A ``receive`` that
waits always gets the next message. ``send`` waits while the client takes no bytes.

Errors: ``send`` raises ``ClientDisconnected`` once the WebSocket is closed and ``ExchangeError`` for messages that the
ASGI specification forbids. Both raise ``RuntimeError`` in another thread than the event loop's. ``run`` raises none.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable
from typing import Any

from sidegate.aio.done import DONE, failed
from sidegate.asgi import TUNNEL_KEY, WEBSOCKET_KEY, Message
from sidegate.errors import ClientDisconnected, ExchangeError, Fault
from sidegate.observe.record import Record
from sidegate.server.backlog import STALLS
from sidegate.server.connection_base import ConnectionBase
from sidegate.server.messages import as_bytes, bad_message, check_fields
from sidegate.server.service import HIGH_WATER, MANY_PIECES
from sidegate.server.states import COMPLETE, ENDED, GONE, OPEN, WAITING
from sidegate.server.upgrade import DENIAL, Upgrade
from sidegate.server.websocket_inbox import Inbox
from sidegate.server.websocket_ping import WebSocketPing
from sidegate.wire.events import RequestHead
from sidegate.wire.http2.floods import Bucket
from sidegate.wire.websocket.events import Closed, Pong
from sidegate.wire.websocket.events import Message as Received
from sidegate.wire.websocket.frames import WebSocketFrames
from sidegate.wire.websocket.handshake import accept_headers, negotiate

CLOSE_TIMEOUT = 10.0
"""Seconds from our close frame to the peer's (RFC 6455 7.1.1 leaves the time to the server)."""

CONTROL_FRAMES = 100
CONTROL_RATE = 10.0
"""Number of pings and pongs that a peer may send at once, and afterwards in each second."""

NORMAL = 1000
GOING_AWAY = 1001
NO_CLOSE_FRAME = 1006
INTERNAL_ERROR = 1011
VIOLATIONS = (1002, 1007, 1008, 1009)
"""Close codes (RFC 6455 7.4.1). ``VIOLATIONS``: codes that ``WebSocketFrames`` closes with."""


class WebSocket(Upgrade):
    """Made by a connection for one request that asks for a WebSocket; ``run`` is its life."""

    __slots__ = (
        "_closing_since",
        "_code",
        "_connect_delivered",
        "_end",
        "_frames",
        "_inbox",
        "_ping",
        "_settings",
    )  # fmt: skip

    def __init__(self, connection: ConnectionBase, head: RequestHead, record: Record) -> None:
        super().__init__(connection, head, record)
        self._connect_delivered = False
        self._frames: WebSocketFrames | None = None  # once an application has accepted
        self._inbox: Inbox | None = None  # from then on, too
        self._end: Closed | None = None
        self._closing_since: float | None = None
        self._code = 0  # of our close frame

    # From the client.

    async def receive(self) -> Message:
        """ASGI ``receive``: ``websocket.connect``, then each message, then ``websocket.disconnect``."""
        self._connection.check_thread("receive")
        if not self._connect_delivered:
            self._connect_delivered = True
            return {"type": "websocket.connect"}
        while self._inbox is None or not self._inbox.messages:
            undecoded = self._inbox is not None and self._inbox.has_undecoded()
            if undecoded:
                _unpack_next_turn(self)
            elif self._is_over():
                end = self._end or Closed(NO_CLOSE_FRAME, "")
                return {"type": "websocket.disconnect", "code": end.code, "reason": end.reason}
            await self._wait_for_input()
        inbox = self._inbox
        data = inbox.take().data
        if not inbox.messages:
            if not inbox.has_undecoded():
                self._unpack()  # it gives credit back
            elif inbox.has_room():
                _unpack_next_turn(self)
        return {"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data}

    def feed(self, data: bytes) -> None:
        """Take bytes from the connection."""
        self._received += len(data)
        self.record.bytes_in = self._received
        if self._meter is not None:
            self._meter.received(0, len(data))
        if self.receiving is not OPEN or self.sending is COMPLETE:
            self._codec.acknowledge(self.stream_id, len(data))
            return
        self._held += len(data)
        if self._inbox is None:
            self._chunks.append(data)
            if len(self._chunks) > MANY_PIECES:
                self._chunks = [b"".join(self._chunks)]
            self._wake()
            return
        self._inbox.add(data)
        if self._readers or self._inbox.has_room():
            self._unpack()

    def end(self) -> None:
        """Called when the client has ended its side of the stream."""
        if self.receiving is OPEN:
            self.receiving = ENDED
            self._end_input()
            self._wake()

    def _end_input(self) -> None:
        if self._frames is not None and WEBSOCKET_KEY in self._scope:
            self._lose(GOING_AWAY, "")  # a front reports a lost client by a reset, so here the front itself is stopping
        elif self._inbox is not None:
            self._handle(self._inbox.end(self._connection.service.loop.time()))

    def disconnect(self, reason: str = "client_disconnected") -> None:
        """Called when the connection is lost or the stream was reset."""
        told = self._frames is not None or (self.sending is COMPLETE and not self._codec.pending(self.stream_id))
        if (not told or reason != "client_disconnected") and self.record.fault is None:
            self.record.fault, self.record.reason = Fault.CLIENT, reason
        if self._frames is not None and self._inbox is not None and self._end is None:
            closed: list[Any] = self._inbox.disconnect(self._held, self._connection.service.loop.time())
            if closed:
                self._on_end(closed[0], self._code)
                self._frames.release()
        if self._frames is None or self.sending is not COMPLETE:  # otherwise the queued output is still sent
            self._leave()
        self.cancel_runner()

    @property
    def waits_for_body(self) -> bool:
        """False: a WebSocket has no time limit between messages. Pings find out whether the peer is alive."""
        return False

    def _is_closed(self) -> bool:
        """Whether one side has closed."""
        return self._frames is not None and (self._frames.closing or self._is_over())

    def _is_over(self) -> bool:
        return self._end is not None or self.receiving is GONE or self.sending is COMPLETE

    def _unpack(self) -> None:
        """Decode messages, at least one, from the bytes so far; give credit back if all of them were taken."""
        inbox: Any = self._inbox
        loop = self._connection.service.loop
        if inbox.continuing:
            return
        now = loop.time()
        while inbox.has_undecoded() and not inbox.is_ahead():
            self._handle(inbox.decode(now))
            if inbox.is_long():
                inbox.continuing = True
                loop.call_soon(_continue, self)
                break
        if not inbox.messages and not inbox.has_undecoded():
            self._acknowledge_held()
        self._wake()

    def _handle(self, events: list[Any]) -> None:
        inbox: Any = self._inbox
        count = 0
        for event in events:
            kind = type(event)
            if kind is Received:
                count += 1
                inbox.put(event)
            elif kind is Pong:
                took = self._ping.answered(event.payload, self._connection.service.loop.time())
                if took is not None and self._meter is not None:
                    self._meter.ponged(took)
            else:
                self._on_end(event, self._code or (event.code if event.code in VIOLATIONS else 0))
        if count and self._meter is not None:
            self._meter.received(count, 0)
        self._write(0)

    def _on_end(self, closed: Closed, ours: int) -> None:
        """Count the end, once. ``ours``: the code of our close frame if this side closed first."""
        if self._end is not None:
            return
        self._end = closed
        if self._meter is not None:
            self._meter.closed(ours or closed.code, not ours)

    # From the application.

    def send(self, message: Message) -> Awaitable[None]:
        """ASGI ``send``: done once the message is queued and the queue is below its high-water mark."""
        if threading.get_ident() != self._connection.thread:
            return self.send_where_awaited(message)
        try:
            kind = message["type"]
            if kind == "websocket.send":
                _write_message(self._open_frames(kind), message)
                self._write(1)
            elif kind == "websocket.accept":
                self._accept(message)
            elif kind == "websocket.close":
                self._close(message)
            elif kind.startswith(DENIAL):
                return self._deny(kind, message)
            else:
                raise bad_message(f"{kind!r} is not a message of a WebSocket")
            if self._codec.pending(self.stream_id) > HIGH_WATER:
                return self._drain()
        except Exception as error:  # noqa: BLE001 - raised where the result is awaited
            return failed(error)
        return DONE

    def _accept(self, message: Message) -> None:
        self.check_present()
        if self.sending is not WAITING:
            raise bad_message("websocket.accept after the handshake was answered")
        headers, _, dated, _, _ = check_fields(message.get("headers", ()), "headers of websocket.accept")
        if TUNNEL_KEY in message:
            self._hand_over(message[TUNNEL_KEY], headers, dated)
            return
        if any(name.startswith(b"sec-websocket-") for name, _ in headers):
            raise bad_message("websocket.accept: sec-websocket-* fields are the server's")
        self._settings = settings = self._connection.service.websocket_settings(self.record, self._scope)
        deflate = negotiate(self._handshake.offers, settings.compression)
        try:
            headers += accept_headers(message.get("subprotocol"), deflate)
        except ValueError as error:
            raise bad_message(f"websocket.accept: {error}") from error
        now = self._connection.service.loop.time()
        self._ping = WebSocketPing(settings.ping_interval, settings.ping_timeout, now)
        self._frames = WebSocketFrames(settings.max_message, deflate, Bucket(CONTROL_FRAMES, CONTROL_RATE, now))
        self._inbox = Inbox(self._frames, settings.max_queue, self._connection.service.bounds.waiting_messages)
        self._answer(headers, dated)
        for data in self._chunks:  # which arrived before the handshake was accepted
            self._inbox.add(data)
        self._chunks.clear()
        if self._inbox.has_room():
            self._unpack()
        if self.receiving is ENDED:
            self._end_input()

    def _close(self, message: Message) -> None:
        if self.sending is WAITING:
            self.check_present()
            self._answer_with_page(403, "", [])
            self._complete()
            return
        self._open_frames("websocket.close")
        try:
            self._begin_close(message.get("code", NORMAL) or NORMAL, message.get("reason") or "")
        except (AttributeError, TypeError, ValueError) as error:
            raise bad_message(f"websocket.close: {error}") from error

    def _open_frames(self, kind: str) -> WebSocketFrames:
        if self._is_over() or (self._frames is not None and self._frames.closing):
            raise ClientDisconnected(self.record, "the WebSocket is closed")
        if self._frames is None:
            raise bad_message(f"{kind} before websocket.accept")
        return self._frames

    def _begin_close(self, code: int, reason: str) -> None:
        frames: Any = self._frames
        frames.close(code, reason)
        self._code = code
        self._closing_since = self._connection.service.loop.time()
        self._write(0)

    def _write(self, messages: int) -> None:
        """Pass the written frames to the codec, and end our side after the close frame."""
        frames: Any = self._frames
        output = frames.take_output()
        if frames.closed:
            frames.release()
        if self.receiving is GONE or (not output and not frames.closed):
            return
        if self.sending is not COMPLETE:
            self._codec.send_data(self.stream_id, output, frames.closed)
            self.record.bytes_out += len(output)
            if self._meter is not None:
                self._meter.sent(messages, len(output))
            self._connection.schedule_flush()
            if frames.closed:
                self._complete()

    # The end.

    def _finish(self) -> None:
        """Called when the application has returned: close a WebSocket that is still open."""
        if self._frames is None:
            super()._finish()
        elif not self._is_closed():
            self._begin_close(NORMAL, "")

    async def _until_closed(self) -> None:
        """Wait for the peer's close frame; ``on_tick`` enforces ``CLOSE_TIMEOUT``. Further messages are dropped."""
        while self._inbox is not None and not self._is_over():
            self._inbox.clear()
            self._unpack()
            if not self._is_over():
                await self._wait_for_input()

    def _release(self) -> None:
        """Called when the exchange has ended: free what nobody can receive any more."""
        if self._inbox is not None:
            self._inbox.release()
            self._on_end(Closed(NO_CLOSE_FRAME, ""), self._code)

    def on_tick(self, now: float) -> None:
        """Send a ping when one is due, and enforce ping and close timeouts. The clock calls it twice a second."""
        frames, inbox = self._frames, self._inbox
        if frames is None or inbox is None:
            return
        if inbox.has_undecoded() and inbox.has_room():
            self._unpack()
        if self._is_over():
            return
        if inbox.messages or inbox.has_undecoded() or self._codec.pending(self.stream_id):
            self._ping.restart_timeout(now)  # the ping or the pong may be queued behind them
        if self._closing_since is not None:
            if now - self._closing_since > CLOSE_TIMEOUT:
                self._lose(NORMAL, "")
        elif self._ping.is_late(now):
            self._lose(INTERNAL_ERROR, "ping timeout")
        elif (ping := self._ping.due(now)) is not None:
            frames.ping(ping)
            self._write(0)

    def go_away(self) -> None:
        """Called when the process stops: close with 1001, after the messages that the application has sent."""
        super().go_away()
        if self._frames is not None and not self._is_closed():
            self._begin_close(GOING_AWAY, "")

    def give_up(self, failure: ExchangeError) -> None:
        """End with a failure: an error page before the WebSocket was accepted, a close frame afterwards."""
        if self._frames is None:
            Upgrade.give_up(self, failure)  # in a compiled method `super()` finds no class
            return
        if failure.reason in STALLS:  # the client would not take a close frame either
            self._on_end(Closed(NO_CLOSE_FRAME, ""), self._code or INTERNAL_ERROR)
            Upgrade.give_up(self, failure)
            return
        if self.record.fault is None:
            self.record.fault, self.record.reason = failure.fault, failure.reason
        self._lose(GOING_AWAY if failure.reason == "shutdown" else INTERNAL_ERROR, "")

    def _lose(self, code: int, reason: str) -> None:
        """Close without waiting for the peer."""
        if self._is_over():
            return
        frames: Any = self._frames
        frames.fail(code, reason)
        self._on_end(Closed(NO_CLOSE_FRAME, reason), self._code or code)
        self._write(0)
        self._connection.release_writers(self.stream_id)
        self._wake()


def _unpack_next_turn(websocket: WebSocket) -> None:
    """Decode on in the next turn of the loop: an application that always receives must not keep the others out."""
    inbox: Any = websocket._inbox
    if not inbox.continuing:
        inbox.continuing = True
        websocket._connection.service.loop.call_soon(_continue, websocket)


def _continue(websocket: WebSocket) -> None:
    """Decode on: the input holds more frames than one turn of the loop may handle."""
    inbox: Any = websocket._inbox
    inbox.continuing = False
    websocket._unpack()


def _write_message(frames: WebSocketFrames, message: Message) -> None:
    text: Any = message.get("text")
    data: Any = message.get("bytes")
    if (text is None) == (data is None):
        raise bad_message("websocket.send needs exactly one of text and bytes")
    try:
        if text is not None:
            frames.send_text(text)
        else:
            frames.send_binary(as_bytes(data))
    except (AttributeError, TypeError, ValueError) as error:
        raise bad_message(f"websocket.send: {error}") from error
