"""HTTP/1.1 in the client's role: cuts change nothing, events come in order, limits hold, h11 reads the same."""

from __future__ import annotations

import h11

from sidegate.wire import events as e
from tests.fuzz.inputs import cuttings
from tests.support import http2 as c
from tests.support.http1_client import POLICY, check_order, read

METHODS = (b"GET", b"HEAD", b"POST")


def read_by_h11(data: bytes, method: bytes) -> tuple[int, bytes] | None:
    """Status and body of the response; None if h11 refuses it or it is incomplete."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("host", "h"), ("content-length", "0")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    client.receive_data(b"")
    status, body = 0, b""
    try:
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except h11.RemoteProtocolError:
        return None
    return status, body


def check(data: bytes) -> None:
    """The first byte of ``data`` is the request: its method, and whether it has been sent whole."""
    method, whole = METHODS[data[0] % 3 if data else 0], bool(data and data[0] & 64)
    data = data[1:]
    outcome = found, _, _ = read([data], method, whole)
    for pieces in cuttings(data):
        assert read(pieces, method, whole) == outcome
    check_order(found)
    for event in found:
        if isinstance(event, e.ResponseHead | e.Informational):
            assert len(event.headers) <= POLICY.max_fields
            assert sum(len(name) + len(value) for name, value in event.headers) <= POLICY.max_block
    head = next((event for event in found if isinstance(event, e.ResponseHead)), None)
    if head is not None and (head.end_stream or any(isinstance(event, e.End) for event in found)):
        body = b"".join(event.data for event in c.merged(found) if isinstance(event, e.Body))
        other = read_by_h11(data, method)
        assert other is None or other == (head.status, body)
