"""Conversations with the HTTP/1.1 codec in the server's role, whose application answers everything at once."""

from __future__ import annotations

from sidegate.config.schema import ConnectionLimits
from sidegate.wire.events import Body, End, Event, Rejected, RequestHead
from sidegate.wire.fields import FieldPolicy
from sidegate.wire.http1.server import Http1Codec

LIMITS = ConnectionLimits(request_line=64, header_block=256, header_fields=6)
POLICY = FieldPolicy(LIMITS.header_fields, LIMITS.header_block)

Outcome = tuple[list[Event], bytes, bool]
"""Events with body pieces joined, output, closed."""


def converse(reads: list[bytes], answer_at: type[RequestHead] | type[End], policy: FieldPolicy = POLICY) -> Outcome:
    """Feed ``reads`` and answer every request at its head or its end. WebSockets on ``/yes`` are accepted and echo."""
    codec = Http1Codec(policy, LIMITS, 0.0)
    events: list[Event] = []
    output: list[bytes] = []
    accepted = 0
    for data in reads:
        todo = codec.receive(data, 1.0)
        while todo or codec.more:
            for event in todo:
                last = events[-1] if events else None
                if isinstance(event, Body) and isinstance(last, Body):
                    events[-1] = Body(event.stream_id, last.data + event.data)
                else:
                    events.append(event)
                if isinstance(event, Body) and event.stream_id == accepted:
                    codec.send_data(accepted, event.data, False)
                if isinstance(event, RequestHead) and event.protocol and event.target == b"/yes":
                    accepted = event.stream_id
                    codec.accept(accepted, [])
                    continue
                whole = isinstance(event, RequestHead) and (event.end_stream or bool(event.protocol))
                if isinstance(event, (RequestHead, End, Rejected)) and (
                    whole or isinstance(event, (answer_at, Rejected))
                ):
                    codec.send_head(event.stream_id, 200, [(b"content-length", b"2")], False)
                    codec.send_data(event.stream_id, b"ok", True)
            output.append(codec.take_output())
            todo = codec.receive(b"", 1.0)
    return events, b"".join(output), codec.closed
