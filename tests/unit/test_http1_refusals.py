"""HTTP/1.1: every request that is refused, with its status and reason, whole and in pieces."""

from __future__ import annotations

import gc

import pytest

from sidegate.config.schema import ConnectionLimits
from sidegate.errors import Refused
from sidegate.wire.events import Event, Rejected, RequestHead
from sidegate.wire.fields import FieldPolicy
from sidegate.wire.http1 import head as http1_head
from sidegate.wire.http1.head import MAX_BLANK_LINES
from sidegate.wire.http1.server import Http1Codec
from sidegate.wire.target import TARGET_BYTES

LIMITS = ConnectionLimits(request_line=100, header_block=400, header_fields=8)
POLICY = FieldPolicy(LIMITS.header_fields, LIMITS.header_block)
HOST = b"Host: a\r\n"
WEBSOCKET = HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def new() -> Http1Codec:
    return Http1Codec(POLICY, LIMITS, 0.0)


def feed(codec: Http1Codec, data: bytes, step: int) -> list[Event]:
    return [event for at in range(0, len(data), step) for event in codec.receive(data[at : at + step], 1.0)]


BARE = "bad_line_end"
REFUSALS: dict[str, tuple[bytes, int, str]] = {
    "bare LF after the request line": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400, BARE),
    "bare LF after a field": (b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400, BARE),
    "bare LF at the end": (b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400, BARE),
    "only bare LF": (b"GET / HTTP/1.1\nHost: a\n\n", 400, BARE),
    "LF first": (b"\n" + GET, 400, BARE),
    "bare CR in a value": (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400, BARE),
    "bare CR in a name": (b"GET / HTTP/1.1\r\nHost: a\r\nX\ra: b\r\n\r\n", 400, BARE),
    "bare CR in the target": (b"GET /\r/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, BARE),
    "CR CR LF": (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", 400, BARE),
    "CR first": (b"\r" + GET, 400, BARE),
    "NUL in a value": (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400, "bad_field_value"),
    "control byte in a value": (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n", 400, "bad_field_value"),
    "DEL in a value": (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n", 400, "bad_field_value"),
    "NUL in the request line": (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request_line"),
    "TLS on a cleartext port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "bad_request_line"),
    "obs-fold": (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400, "bad_field_value"),
    "obs-fold by TAB": (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n\tb: c\r\n\r\n", 400, "bad_field_value"),
    "white space before the first field": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "bad_field_value"),
    "space before colon": (b"GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n", 400, "bad_field_name"),
    "TAB before colon": (b"GET / HTTP/1.1\r\nHost: a\r\nX\t: a\r\n\r\n", 400, "bad_field_name"),
    "no colon": (b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400, "bad_field_name"),
    "empty name": (b"GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", 400, "bad_field_name"),
    "name not a token": (b"GET / HTTP/1.1\r\nHost: a\r\nX(: x\r\n\r\n", 400, "bad_field_name"),
    "name not ASCII": (b"GET / HTTP/1.1\r\nHost: a\r\nX\xe9: x\r\n\r\n", 400, "bad_field_name"),
    "long request line": (b"GET /" + b"a" * 90 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "request_line_too_long"),
    "endless request line": (b"GET /" + b"a" * 100, 414, "request_line_too_long"),
    "large block": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 400 + b"\r\n\r\n", 431, "header_block_too_large"),
    "endless block": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 400, 431, "header_block_too_large"),
    "many fields": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 8 + b"\r\n", 431, "too_many_fields"),
    "fields without end": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 8, 431, "too_many_fields"),
    "cookie crumbs": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"cookie: b\r\n" * 8 + b"\r\n", 431, "too_many_fields"),
    "the first offence counts": (b"GET / HTTP/1.1\r\nX: \0" + b"a" * 400 + b"\r\n\r\n", 400, "bad_field_value"),
    "the first offence counts, other way": (b"GET /" + b"a" * 100 + b"\0\r\n\r\n", 414, "request_line_too_long"),
    "empty lines": (b"\r\n" * (MAX_BLANK_LINES + 1), 400, "bad_request_line"),
    "no version": (b"GET /\r\n" + HOST + b"\r\n", 400, "bad_request_line"),
    "spaces in the request line": (b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request_line"),
    "space behind the version": (b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n", 400, "bad_request_line"),
    "space in the target": (b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request_line"),
    "space before the method": (b" GET / HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request_line"),
    "TAB in the request line": (b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request_line"),
    "version in lower case": (b"GET / http/1.1\r\n" + HOST + b"\r\n", 400, "bad_request_line"),
    "version of two digits": (b"GET / HTTP/1.10\r\n" + HOST + b"\r\n", 400, "bad_request_line"),
    "another protocol": (b"GET / RTSP/1.0\r\n" + HOST + b"\r\n", 400, "bad_request_line"),
    "HTTP/0.9": (b"GET / HTTP/0.9\r\n" + HOST + b"\r\n", 505, "bad_version"),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505, "bad_version"),
    "HTTP/3.1": (b"POST / HTTP/3.1\r\n" + HOST + b"\r\n", 505, "bad_version"),
    "the HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "bad_version"),
    "method not a token": (b"G@T / HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_method"),
    "method empty": (b" / HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_method"),
    "method of other bytes": (b"BR\xc3\xa9W / HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_method"),
    "private method in lower case": (b"Brew / HTTP/1.0\r\n\r\n", 501, "unknown_method"),
    "method of the preface": (b"PRI * HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_target"),
    "method in lower case": (b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 501, "unknown_method"),
    "CONNECT": (b"CONNECT a:443 HTTP/1.1\r\n" + HOST + b"\r\n", 501, "method_not_implemented"),
    "a WebSocket with a length": (
        b"GET / HTTP/1.1\r\n" + WEBSOCKET + b"Content-Length: 1\r\n\r\n",
        400,
        "websocket_body",
    ),
    "a WebSocket with a chunked body": (
        b"GET / HTTP/1.1\r\n" + WEBSOCKET + b"Transfer-Encoding: chunked\r\n\r\n",
        400,
        "websocket_body",
    ),
    "TRACE": (b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n", 501, "method_not_implemented"),
    "target without slash": (b"GET a/b HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_target"),
    "target is an authority": (b"GET a:443 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_target"),
    "target of another scheme": (b"GET ftp://a/ HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_target"),
    "* without OPTIONS": (b"GET * HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_target"),
    "* with query": (b"OPTIONS *?x HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_target"),
    "target not ASCII": (b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_target"),
    "target with fragment": (b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_target"),
    "absolute target without host": (b"GET http://a/ HTTP/1.1\r\n\r\n", 400, "bad_host"),
    "absolute target with empty host": (b"GET http:///x HTTP/1.0\r\n\r\n", 400, "bad_host"),
    "absolute target with user": (b"GET http://u@a/ HTTP/1.0\r\n\r\n", 400, "bad_host"),
    "absolute target with a bad host": (b"GET http://b/ HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "bad_host"),
    "absolute target with two hosts": (b"GET http://a/ HTTP/1.1\r\n" + HOST * 2 + b"\r\n", 400, "bad_host"),
    "no host": (b"GET / HTTP/1.1\r\nX: y\r\n\r\n", 400, "bad_host"),
    "no fields": (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_host"),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400, "bad_host"),
    "empty host": (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "bad_host"),
    "bad host": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "bad_host"),
    "port above 65535": (b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400, "bad_host"),
    "port of six digits": (b"GET / HTTP/1.1\r\nHost: a:000080\r\n\r\n", 400, "bad_host"),
    "absolute target with a port above 65535": (b"GET http://a:99999/ HTTP/1.0\r\n\r\n", 400, "bad_host"),
    "bad host in HTTP/1.0": (b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n", 400, "bad_host"),
    "two lengths": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        400,
        "bad_content_length",
    ),
    "listed length": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400, "bad_content_length"),
    "signed length": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400, "bad_content_length"),
    "negative length": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400, "bad_content_length"),
    "empty length": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400, "bad_content_length"),
    "huge length": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        400,
        "bad_content_length",
    ),
    "length and coding": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
        "length_and_coding",
    ),
    "coding and length": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        400,
        "length_and_coding",
    ),
    "coding in HTTP/1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "coding_in_http_1_0"),
    "no chunked": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400, "bad_coding"),
    "codings in two fields": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: Chunked\r\n\r\n",
        501,
        "unknown_coding",
    ),
    "chunked first, in two fields": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n",
        400,
        "bad_coding",
    ),
    "chunked twice in one field": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        400,
        "bad_coding",
    ),
    "chunked twice around another": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip, chunked\r\n\r\n",
        400,
        "bad_coding",
    ),
    "an empty coding first": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: , chunked\r\n\r\n",
        400,
        "bad_coding",
    ),
    "coding before chunked": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        501,
        "unknown_coding",
    ),
    "coding after chunked": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
        400,
        "bad_coding",
    ),
    "chunked twice": (
        b"POST / HTTP/1.1\r\nHost: a\r\n" + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n",
        400,
        "bad_coding",
    ),
    "chunked with a parameter": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n",
        400,
        "bad_coding",
    ),
    "chunked with other white space": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
        400,
        "bad_field_value",
    ),
    "coding empty": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", 400, "bad_coding"),
    "expectation": (
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\nContent-Length: 1\r\n\r\n",
        417,
        "bad_expectation",
    ),
}


@pytest.mark.parametrize("step", [1, 3, 1 << 20])
@pytest.mark.parametrize(("data", "status", "reason"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_request_is_refused_answered_and_the_connection_closed(
    data: bytes, status: int, reason: str, step: int
) -> None:
    codec = new()
    events = feed(codec, data, step)
    assert [type(event) for event in events] == [Rejected]
    (event,) = events
    assert isinstance(event, Rejected)
    assert (event.stream_id, event.status, event.reason) == (1, status, reason)
    assert event.detail
    assert not codec.closed
    assert codec.receive(GET, 2.0) == []
    codec.send_head(1, status, [], True)
    assert codec.take_output().endswith(b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    assert codec.closed
    assert codec.next_deadline() is None


@pytest.mark.parametrize("step", [1, 1 << 20])
@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"HEAD /x HTTP/1.0\r\nHost: a b\r\n\r\n", ("HEAD", b"/x", "1.0")),
        (b"PUT /x HTTP/1.1\r\nX: \0", ("PUT", b"/x", "1.1")),
        (b"PUT /x HTTP/3.0\r\n\r\n", ("PUT", b"/x", "1.1")),
        (b"HEAD /" + b"a" * 200, ("HEAD", b"", "1.1")),
        (b"HEAD /\0", ("HEAD", b"", "1.1")),
        (b"HEAD  / HTTP/1.1\r\n\r\n", ("HEAD", b"", "1.1")),
        (b"HEAD" + b"a" * 200, ("", b"", "1.1")),
        (b"G@T / HTTP/1.1\r\n\r\n", ("", b"", "1.1")),
        (b"GET /\r\n\r\n", ("GET", b"", "1.1")),
    ],
)
def test_a_refusal_tells_what_is_known_of_the_request_line(
    data: bytes, line: tuple[str, bytes, str], step: int
) -> None:
    (event,) = feed(new(), data, step)
    assert isinstance(event, Rejected)
    assert (event.method, event.target, event.http_version) == line


class DeafParser:
    """An llhttp that does not find the end of any head."""

    def __init__(self, parts: object) -> None:
        """Take what a parser takes."""

    def feed_data(self, data: bytes) -> None:
        """Find nothing."""


def test_what_llhttp_alone_refuses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1_head, "HttpRequestParser", DeafParser)
    (event,) = new().receive(b"POST / HTTP/1.1\r\n" + HOST + b"\r\n", 1.0)
    assert isinstance(event, Rejected)
    assert (event.status, event.reason) == (400, "malformed")


def test_no_other_byte_passes_in_a_target() -> None:
    passed = [
        byte
        for byte in range(256)
        if isinstance(new().receive(b"GET /%c HTTP/1.1\r\n" % byte + HOST + b"\r\n", 1.0)[0], RequestHead)
    ]
    assert bytes(passed) == TARGET_BYTES


def test_limits_are_reached_exactly() -> None:
    line = b"GET /" + b"a" * 86 + b" HTTP/1.1\r\n"
    assert len(line) == LIMITS.request_line + 2
    block = HOST + b"X: " + b"a" * (LIMITS.header_block - len(HOST) - 7) + b"\r\n\r\n"
    assert len(block) == LIMITS.header_block
    many = HOST + b"a: b\r\n" * (LIMITS.header_fields - 1) + b"\r\n"
    for step in (1, 1 << 20):
        (event,) = feed(new(), line + block, step)
        assert isinstance(event, RequestHead)
        (event,) = feed(new(), line + many, step)
        assert isinstance(event, RequestHead)
        assert len(event.headers) == LIMITS.header_fields


def test_a_refusal_comes_as_soon_as_it_shows() -> None:
    codec = new()
    events = codec.receive(b"GET /" + b"a" * (LIMITS.request_line - 5), 1.0)
    assert events == []
    (event,) = codec.receive(b"a", 1.0)
    assert isinstance(event, Rejected)


def test_a_refused_body_leaves_nothing_to_the_collector() -> None:
    codec = new()
    gc.collect()
    gc.disable()
    try:
        before = alive(Refused)
        codec.receive(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", 1.0)
        assert alive(Refused) == before
    finally:
        gc.enable()


def alive(kind: type) -> int:
    return sum(type(one) is kind for one in gc.get_objects())  # isinstance would wake lazy objects of other tests
