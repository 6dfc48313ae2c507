"""The HTTP/1.1 codec in the client's role reads one response."""

from __future__ import annotations

from sidegate.wire import events as e
from sidegate.wire.fields import FieldPolicy
from sidegate.wire.http1.client import Http1ClientCodec
from tests.support import http2 as c

POLICY = FieldPolicy(6, 400)


def read(reads: list[bytes], method: bytes, whole: bool) -> tuple[list[e.Event], bool, int]:
    """Events, whether the connection is closed before its end, and how many streams could be opened then."""
    codec = Http1ClientCodec(POLICY, 1 << 20)
    assert codec.request([(b":method", method), *c.GET[1:]], whole) == 1
    codec.take_output()
    found: list[e.Event] = []
    for data in reads:
        found += codec.receive(data)
        while codec.more:
            found += codec.receive(b"")
    closed, capacity = codec.closed, codec.capacity
    found += codec.receive_eof()
    assert codec.closed
    assert codec.connection_lost() == []
    return c.merged(found), closed, capacity


def check_order(found: list[e.Event]) -> None:
    """Informational responses, a head, the body, one end. After it only what concerns the connection."""
    kinds = [type(event) for event in found if not isinstance(event, e.GoAway | e.Violation)]
    while kinds and kinds[0] is e.Informational:
        kinds.pop(0)
    reset = kinds[-1:] == [e.Reset]
    if reset:
        kinds.pop()
    if any(isinstance(event, e.ResponseHead) and event.end_stream for event in found):
        assert kinds == [e.ResponseHead]
    elif e.End in kinds:
        assert kinds in ([e.ResponseHead, e.End], [e.ResponseHead, e.Body, e.End])
    else:
        assert reset
        assert kinds in ([], [e.ResponseHead], [e.ResponseHead, e.Body])
