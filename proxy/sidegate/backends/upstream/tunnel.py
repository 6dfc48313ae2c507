"""Passes a WebSocket to another process: its frames pass in both directions unparsed.

Step 7 of the request line, instead of ``relay.py``. From the relay it inherits how a connection is selected and when a
handshake may be sent again. It accepts through ``send``, so filters see the answer; the bytes then pass by the stream
that the exchange hands over (``asgi.Handover``). The peer gets an extended CONNECT (RFC 8441), whichever version of
HTTP the client uses. It owns the task that passes on the client's bytes. Flow-control credit goes back when the other
side has taken a piece, so neither side can make the front hold more than a window. Its errors are those of a relay.
"""

from __future__ import annotations

from typing import Any

from sidegate.aio.tasks import internal_task
from sidegate.asgi import TUNNEL_KEY, Handover, Receive, Scope, Send
from sidegate.backends.buffering import Buffering
from sidegate.backends.upstream import retry
from sidegate.backends.upstream.balancer import Balancer
from sidegate.backends.upstream.client_stream import Abandoned, ClientStream
from sidegate.backends.upstream.connection import UpstreamConnection
from sidegate.backends.upstream.relay import Relay
from sidegate.backends.upstream.request_fields import HopFields
from sidegate.backends.upstream.upload import Upload
from sidegate.errors import ClientDisconnected, ExchangeError, Fault, raise_kept
from sidegate.wire.events import Body, End, Informational, Reset, ResponseHead


class Tunnel(Relay):
    """One for each WebSocket; ``run`` is called once."""

    __slots__ = ("_accept", "_bytes")

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
        super().__init__(balancer, fields, scope, receive, denial(send), buffering=buffering)
        self._accept = send
        self._bytes: Any = None  # the exchange's `ByteStream`, once it has accepted

    async def _prepare_upload(self) -> None:
        """Do nothing: the client's bytes belong to the WebSocket and are sent after the handshake."""

    def _is_whole(self, upload: Upload | None) -> bool:
        """Return False: the stream stays open."""
        return False

    def _open(self, connection: UpstreamConnection, whole: bool) -> ClientStream | None:
        if not connection.codec.connect_protocol:
            raise ExchangeError(Fault.UPSTREAM, 502, "upstream_no_websocket")
        return Relay._open(self, connection, whole)  # `super()` does not work in a compiled method

    async def _pass_response(self, stream: ClientStream) -> Reset | None:
        """Pass bytes both ways until both sides have ended, or pass a denial on.

        Return the reset if the stream is reset before the tunnel is open or any of a denial was passed on.
        """
        events = stream.events
        while True:
            if not events:
                await stream.wakeup()
                continue
            event = events[0]
            if isinstance(event, Reset):
                return event
            if isinstance(event, Informational):
                events.popleft()
                continue
            if isinstance(event, ResponseHead) and 200 <= event.status < 300:
                events.popleft()
                handover = Handover()
                await self._accept({"type": "websocket.accept", "headers": event.headers, TUNNEL_KEY: handover})
                self._bytes = handover.stream
                if self._bytes is None:  # a filter has denied it
                    return None
                if event.end_stream:
                    await self._bytes.send_bytes(b"", True)
                else:
                    await self._pass_both_ways(stream)
                return None
            return await super()._pass_response(stream)

    async def _pass_both_ways(self, stream: ClientStream) -> None:
        upload = internal_task(self._pass_up(stream))
        try:
            await self._pass_down(stream)
        finally:
            upload.cancel()

    async def _pass_down(self, stream: ClientStream) -> None:
        events = stream.events
        while True:
            if not events:
                await stream.wakeup()
                continue
            event = events.popleft()
            if isinstance(event, Body):
                await self._bytes.send_bytes(event.data, False)
                stream.acknowledge(len(event.data), False)
            elif isinstance(event, End):
                await self._bytes.send_bytes(b"", True)
                return
            elif isinstance(event, Reset):
                raise retry.broken_off(event.code)
            elif isinstance(event, Abandoned):
                raise_kept(event)

    async def _pass_up(self, stream: ClientStream) -> None:
        """Pass the client's bytes to the peer. At their end, or when this process drains, end this side of the stream.

        A client that disconnects has the stream reset: `run` is cancelled.
        """
        try:
            while data := await self._bytes.receive_bytes():
                stream.send_data(data, False)
                await stream.drained()
            stream.send_data(b"", True)
        except ClientDisconnected:  # `run` is cancelled
            return
        except Exception as error:  # noqa: BLE001 - raised by `run`, which passes bytes down
            stream.put(Abandoned(error))


def denial(send: Send) -> Send:
    """``send`` for an ordinary response instead of a WebSocket (ASGI, WebSocket Denial Response)."""
    return lambda message: send({**message, "type": f"websocket.{message['type']}"})
