"""The error page: what it shows, to whom, and what it never shows."""

from __future__ import annotations

import pytest

from sidegate.server.error_page import error_page, phrase
from sidegate.wire.http1.response import ResponseWriter


def test_text_for_programs() -> None:
    headers, body = error_page(404, "abc", "", b"*/*")
    assert body == b"404 Not Found: No route matches this address. (request id abc)\n"
    assert dict(headers) == {
        b"content-type": b"text/plain; charset=utf-8",
        b"content-length": b"%d" % len(body),
        b"cache-control": b"no-store",
        b"x-request-id": b"abc",
    }


def test_html_for_browsers_with_the_detail_escaped() -> None:
    headers, body = error_page(400, "abc", "bad <target>", b"text/html,*/*;q=0.8")
    assert (b"content-type", b"text/html; charset=utf-8") in headers
    assert b"<h1>400 Bad Request</h1><p>bad &lt;target&gt;</p>" in body
    assert b"request id abc" in body


def test_a_503_says_when_to_come_back() -> None:
    headers, body = error_page(503, "abc", "", b"")
    assert (b"retry-after", b"1") in headers
    assert body.startswith(b"503 Service Unavailable: The server has no capacity left")
    assert all(name != b"retry-after" for name, _ in error_page(500, "abc", "", b"")[0])


def test_a_status_that_has_no_phrase() -> None:
    assert phrase(599) == "Error"
    assert b"The request could not be answered." in error_page(599, "abc", "", b"")[1]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, "Not Found"),
        (413, "Content Too Large"),
        (414, "URI Too Long"),
        (416, "Range Not Satisfiable"),
        (421, "Misdirected Request"),
        (422, "Unprocessable Content"),
    ],
)
def test_phrases_are_those_of_rfc_9110(status: int, words: str) -> None:
    assert phrase(status) == words
    writer = ResponseWriter()
    writer.begin("GET", "1.1")
    writer.head(status, [], True, False)
    assert writer.take().startswith(f"HTTP/1.1 {status} {words}\r\n".encode())
