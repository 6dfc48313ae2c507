"""Answers to plain HTTP on the port of a TLS listener."""

from __future__ import annotations

import pytest

from sidegate.server.tls.cleartext import LONGEST_HEAD, answer, is_cleartext

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"


def fields(response: bytes | None) -> tuple[bytes, dict[bytes, bytes], bytes]:
    assert response is not None
    head, _, body = response.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    return status, dict(line.split(b": ", 1) for line in lines), body


@pytest.mark.parametrize(
    ("first", "found"),
    [
        (b"GET / HTTP/1.1", True),
        (b"PRI * HTTP/2.0", True),
        (b"p", True),
        (b"\x16\x03\x01", False),
        (b"\x80\x2e", False),
    ],
)
def test_what_begins_a_request(first: bytes, found: bool) -> None:
    assert is_cleartext(first) == found


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_400_needs_no_whole_head(method: bytes) -> None:
    status, found, body = fields(answer(method + b" / HT", False, DATE))
    assert status == b"HTTP/1.1 400 Bad Request"
    assert (found[b"date"], found[b"connection"]) == (DATE, b"close")
    assert b"HTTPS" in body or method == b"HEAD"
    assert method == b"HEAD" or int(found[b"content-length"]) == len(body)


@pytest.mark.parametrize(
    ("line", "host", "location"),
    [
        (b"GET /a/b?c=d HTTP/1.1", b"a.test:8443", b"https://a.test:8443/a/b?c=d"),
        (b"POST / HTTP/1.0", b"a.test", b"https://a.test/"),
        (b"GET http://other.test/x HTTP/1.1", b"a.test", b"https://other.test/x"),
        (b"GET http://other.test:8443 HTTP/1.1", b"a.test", b"https://other.test:8443/"),
        (b"GET http://other.test?x HTTP/1.1", b"a.test", b"https://other.test/?x"),
        (b"GET / HTTP/1.1", b"[::1]:8443", b"https://[::1]:8443/"),
    ],
)
def test_a_redirect(line: bytes, host: bytes, location: bytes) -> None:
    head = line + b"\r\naccept: */*\r\nHost:  " + host + b" \r\n\r\n"
    assert answer(head[:-1], True, DATE) is None
    status, found, body = fields(answer(head + b"body", True, DATE))
    assert status == b"HTTP/1.1 308 Permanent Redirect"
    assert (found[b"location"], found[b"content-length"], body) == (location, b"0", b"")


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n", b"\r\n\n", b"\n\r\n"])
def test_the_first_empty_line_ends_the_head(end: bytes) -> None:
    head = b"GET / HTTP/1.1\r\nhost: a.test" + end
    for more in (b"", b"\n\n\r\n\r\n", b"host: b.test\r\n\r\n"):
        assert fields(answer(head + more, True, DATE))[1][b"location"] == b"https://a.test/"
    assert answer(head[:-1], True, DATE) is None


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a/b\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /x#y HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET ?x HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET  HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET http://user@other.test/ HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET / HTTP/1.1 x\r\nhost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /" + b"x" * LONGEST_HEAD,
    ],
)
def test_what_cannot_be_redirected_is_a_400(head: bytes) -> None:
    assert fields(answer(head, True, DATE))[0] == b"HTTP/1.1 400 Bad Request"
