"""HTTP/1.1 in the server's role: cuts and caches change nothing, limits hold, h11 reads requests and answers alike."""

from __future__ import annotations

from collections.abc import Sequence

import h11

from sidegate.wire.events import Body, BodyRefused, End, Event, Rejected, RequestHead, Reset, Violation
from sidegate.wire.fields import FieldPolicy
from tests.fuzz.inputs import cuttings
from tests.support.http1_server import LIMITS, converse

ENDS = (End, Reset, BodyRefused)


def check_order(events: Sequence[Event]) -> None:
    """Streams come one at a time: a head, the body, at most one end; nothing after a violation."""
    stream, open_, asked, length = 0, False, False, -1
    for number, event in enumerate(events):
        if isinstance(event, Violation):
            assert number == len(events) - 1
            return
        if isinstance(event, RequestHead | Rejected):
            assert not open_ or asked  # a handshake that is denied has no end
            assert event.stream_id == stream + 1
            stream = event.stream_id
            assert len(event.target) <= LIMITS.request_line
        if isinstance(event, RequestHead):
            open_ = not event.end_stream
            asked = bool(event.protocol)
            length = -1 if event.content_length is None else event.content_length
            check_head(event)
        elif isinstance(event, Body):
            assert open_
            assert event.stream_id == stream
            assert event.data
            length -= len(event.data) if length > 0 else 0
        elif isinstance(event, ENDS):
            assert open_
            assert event.stream_id == stream
            assert length <= 0 or not isinstance(event, End), "an end before the last byte of content-length"
            open_ = False


def check_head(head: RequestHead) -> None:
    assert len(head.headers) <= LIMITS.header_fields + 1  # the authority of an absolute target may add a host
    assert sum(len(name) + len(value) for name, value in head.headers) <= LIMITS.header_block + LIMITS.request_line
    for name, value in head.headers:
        assert name == name.lower()
        assert not set(value) & set(b"\r\n\0")
        assert b"_" not in name


def bodies(events: Sequence[Event]) -> list[tuple[str, bytes | None]]:
    """Method and body of the requests; None if it is incomplete."""
    found: list[tuple[str, bytes | None]] = []
    body = b""
    for event in events:
        if isinstance(event, RequestHead):
            body = b""
            found.append((event.method, b"" if event.end_stream else None))
        elif isinstance(event, Body):
            body += event.data
        elif isinstance(event, End):
            found[-1] = found[-1][0], body
    return found


def first_by_h11(data: bytes) -> tuple[str, bytes] | None:
    """Method and body of the first request; None if h11 refuses it or waits for more."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(data)
    body, method = b"", ""
    try:
        while not isinstance(event := server.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Request):
                method = event.method.decode()
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                return None
    except h11.RemoteProtocolError:
        return None
    return method, body


def check_answers(methods: Sequence[str], output: bytes) -> None:
    """H11 finds one response for each request in the output."""
    for method in methods:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method="HEAD" if method == "HEAD" else "GET", target="/", headers=[("host", "h")]))
        client.send(h11.EndOfMessage())
        client.receive_data(output)
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            assert isinstance(event, h11.InformationalResponse | h11.Response | h11.Data)
        output = client.trailing_data[0]
    assert output == b""


def check(data: bytes) -> None:
    policy = FieldPolicy(LIMITS.header_fields, LIMITS.header_block)
    outcome = events, output, closed = converse([data], End, policy)
    assert converse([data], End, policy) == outcome
    for pieces in cuttings(data):
        assert converse(pieces, End, policy) == outcome
    check_order(events)
    if any(isinstance(event, Violation) for event in events):
        assert closed
    requests = bodies(events)
    first = first_by_h11(data)
    if first is not None and requests and requests[0][1] is not None:
        assert requests[0] == first
    heads = [event for event in events if isinstance(event, RequestHead | Rejected)]
    if not any(isinstance(event, RequestHead) and event.protocol for event in events):
        answered = [head.method for head in heads]
        complete = not requests or requests[-1][1] is not None or isinstance(heads[-1], Rejected)
        check_answers(answered if complete else answered[:-1], output)
    early = converse([data], RequestHead, policy)[0]
    assert [event for event in early if isinstance(event, RequestHead)] == [
        event for event in events if isinstance(event, RequestHead)
    ][: len(early)]
