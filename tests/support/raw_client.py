"""HTTP/1.1 in raw bytes, for requests that no library would send, and what the answers to them must have."""

from __future__ import annotations

import contextlib

from tests.support.running import RunningServer

POST = b"POST / HTTP/1.1\r\nhost: a\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


def exchange(server: RunningServer, data: bytes) -> bytes:
    """Send ``data`` on a new connection; everything until the connection's end."""
    sock = server.connect()
    received = b""
    with contextlib.suppress(ConnectionError):
        sock.sendall(data)
        while piece := sock.recv(65536):
            received += piece
    sock.close()
    return received


def fields_of(response: bytes) -> dict[bytes, bytes]:
    """The fields of a raw response by their names; fails for a field that stands twice."""
    pairs = [line.split(b": ", 1) for line in response.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]]
    found: dict[bytes, bytes] = dict(pairs)
    assert len(found) == len(pairs), pairs
    return found


def check_refusal(response: bytes, status: int) -> None:
    """It is an error page that looks like every other, and the connection ends with it."""
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == b"%d" % status, response
    found = fields_of(response)
    assert found.keys() == {
        *(b"content-type", b"content-length", b"cache-control", b"x-request-id", b"date", b"connection")
    }
    assert found[b"connection"] == b"close"
    assert body.startswith(b"%d " % status)
    assert found[b"x-request-id"] in body
    assert found[b"content-length"] == b"%d" % len(body)
