"""HTTP/1.1: what a request may look like, how a response is framed, and the life of a connection."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidegate.asgi import Headers
from sidegate.config.schema import ConnectionLimits
from sidegate.wire.codes import CANCEL, PROTOCOL_ERROR
from sidegate.wire.events import PIECE, Body, BodyRefused, End, Event, Rejected, RequestHead, Reset, Violation
from sidegate.wire.fields import SCHEME, FieldPolicy
from sidegate.wire.http1 import response as http1_response
from sidegate.wire.http1.head import MAX_BLANK_LINES
from sidegate.wire.http1.server import DRAIN, HELD_INPUT, Http1Codec

LIMITS = ConnectionLimits(
    request_line=100, header_block=400, header_fields=8, stream_window=65536, request_head=30, body_idle=20
)
POLICY = FieldPolicy(LIMITS.header_fields, LIMITS.header_block)
HOST = b"Host: a\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSE = b"connection: close\r\n"


def new(now: float = 0.0) -> Http1Codec:
    return Http1Codec(POLICY, LIMITS, now)


def feed(codec: Http1Codec, data: bytes, step: int = 1 << 20, now: float = 1.0) -> list[Event]:
    return [event for at in range(0, len(data), step) for event in codec.receive(data[at : at + step], now)]


def head_of(data: bytes, step: int = 1 << 20) -> RequestHead:
    event, *_ = feed(new(), data, step)
    assert isinstance(event, RequestHead)
    return event


def with_body(head: RequestHead, length: int | None) -> RequestHead:
    head.content_length = length
    head.end_stream = False
    return head


def begun(data: bytes = GET) -> Http1Codec:
    """A codec whose stream 1 waits for its response."""
    codec = new()
    assert isinstance(codec.receive(data, 1.0)[0], RequestHead)
    return codec


def respond(codec: Http1Codec, stream: int, body: bytes = b"") -> bytes:
    codec.send_head(stream, 200, [(b"content-length", b"%d" % len(body))], not body)
    codec.send_data(stream, body, True)
    return codec.take_output()


# Requests that pass


def test_a_request_without_body() -> None:
    codec = new()
    data = b"GET /a?b HTTP/1.1\r\nAccept:\t */* \t\r\nHOST: a.example:1\r\nX-Empty:\r\n\r\n"
    headers = [(b"host", b"a.example:1"), (b"accept", b"*/*"), (b"x-empty", b"")]
    assert codec.receive(data, 1.0) == [RequestHead(1, "GET", b"/a?b", headers, "1.1")]
    assert not codec.idle
    assert not codec.closed


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_body_by_content_length(step: int) -> None:
    data = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    first, *bodies, last = feed(new(), data, step)
    headers = [(b"host", b"a"), (b"content-length", b"5")]
    assert first == with_body(RequestHead(1, "POST", b"/", headers, "1.1"), 5)
    assert b"".join(event.data for event in bodies if isinstance(event, Body)) == b"hello"
    assert last == End(1, [])


@pytest.mark.parametrize("step", [1, 5, 1000])
def test_a_chunked_body_with_trailers(step: int) -> None:
    data = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nSum: 1\r\n\r\n"
    first, *bodies, last = feed(new(), data, step)
    assert first == with_body(RequestHead(1, "POST", b"/", [(b"host", b"a")], "1.1"), None)
    assert b"".join(event.data for event in bodies if isinstance(event, Body)) == b"abcde"
    assert last == End(1, [(b"sum", b"1")])


@pytest.mark.parametrize(
    ("line", "extra", "target", "host"),
    [
        (b"GET http://a/x?y HTTP/1.1", HOST, b"/x?y", b"a"),
        (b"GET HTTPS://A HTTP/1.1", HOST, b"/", b"A"),
        (b"GET http://a?q=/ HTTP/1.1", HOST, b"/?q=/", b"a"),
        (b"GET http://a:1//x HTTP/1.0", b"", b"//x", b"a:1"),
        (b"GET http://a:80/x HTTP/1.1", HOST, b"/x", b"a:80"),
        (b"GET http://other/x HTTP/1.1", HOST, b"/x", b"other"),
        (b"GET http://other/x HTTP/1.1", b"Host:\r\n", b"/x", b"other"),
        (b"OPTIONS http://a HTTP/1.1", HOST, b"*", b"a"),
        (b"OPTIONS * HTTP/1.1", HOST, b"*", b"a"),
        (b"GET //evil/x HTTP/1.1", HOST, b"//evil/x", b"a"),
    ],
)
def test_forms_of_the_target(line: bytes, extra: bytes, target: bytes, host: bytes) -> None:
    event = head_of(line + b"\r\n" + extra + b"\r\n")
    assert (event.target, event.headers) == (target, [(b"host", host)])


@pytest.mark.parametrize("trusted", [False, True])
def test_the_scheme_of_a_target_is_compared_with_the_connections(trusted: bool) -> None:
    """RFC 9110 7.4."""
    policy = FieldPolicy(LIMITS.header_fields, LIMITS.header_block, keep_forwarding=trusted)
    codec = Http1Codec(policy, LIMITS, 0.0)
    codec.expect_scheme(b"https")
    for target in (b"/", b"https://a/", b"HTTPS://a"):
        (event,) = codec.receive(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target, 1.0)
        assert isinstance(event, RequestHead)
        assert event.headers == [(b"host", b"a")]
        respond(codec, event.stream_id)
    (event,) = codec.receive(b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX: y\r\nx-sidegate-scheme: https\r\n\r\n", 1.0)
    if trusted:
        assert isinstance(event, RequestHead)
        assert event.headers == [(b"host", b"a"), (b"x", b"y"), (SCHEME, b"http")]
        assert respond(codec, event.stream_id)
        fields = b"Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        (event,) = codec.receive(b"GET http://a/ HTTP/1.1\r\n" + fields + b"\r\n", 1.0)
        assert isinstance(event, RequestHead)
        assert event.headers[-1] == (SCHEME, b"http")
        assert event.headers[-2][0] == b"upgrade"
    else:
        assert isinstance(event, Rejected)
        assert (event.status, event.reason) == (421, "bad_scheme")


def test_http_1_0_needs_no_host_and_cannot_expect() -> None:
    event = head_of(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    assert (event.http_version, event.expect_continue, event.headers[0][0]) == ("1.0", False, b"expect")


@pytest.mark.parametrize("minor", range(2, 10))
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_higher_minor_version_is_read_as_http_1_1(method: str, minor: int) -> None:
    """RFC 9110 2.5."""
    codec = new()
    line = f"{method} / HTTP/1.{minor}\r\n".encode()
    (event,) = codec.receive(line + b"Host: a\r\nExpect: 100-continue\r\nX: y\r\n\r\n", 1.0)
    assert event == RequestHead(1, method, b"/", [(b"host", b"a"), (b"expect", b"100-continue"), (b"x", b"y")], "1.1")
    assert respond(codec, 1) == b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    data = line + b"Host: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    head, body, end = codec.receive(data, 1.0)
    assert head == with_body(RequestHead(2, method, b"/", [(b"host", b"a")], "1.1"), None)
    assert (body, end) == (Body(2, b"x"), End(2, []))
    (event,) = new().receive(line + b"X: y\r\n\r\n", 1.0)
    assert isinstance(event, Rejected)
    assert (event.reason, event.http_version) == ("bad_host", "1.1")


def test_a_method_without_fields_in_http_1_0() -> None:
    assert head_of(b"BREW / HTTP/1.0\r\n\r\n") == RequestHead(1, "BREW", b"/", [], "1.0")


@pytest.mark.parametrize("step", [1, 1000])
def test_empty_lines_before_a_request_are_skipped(step: int) -> None:
    codec = new()
    for stream in (1, 2):
        (event,) = feed(codec, b"\r\n" * MAX_BLANK_LINES + GET, step)
        assert event == RequestHead(stream, "GET", b"/", [(b"host", b"a")], "1.1")
        respond(codec, stream)


def test_an_upgrade_is_ignored_and_what_connection_names_ends_here() -> None:
    codec = new()
    fields = b"Connection: Upgrade, HTTP2-Settings, X-Hop, Host,\r\nUpgrade: h2c\r\n"
    fields += b"HTTP2-Settings: AAM\r\nX-Hop: 1\r\nx: 2\r\n"
    (event,) = codec.receive(b"GET / HTTP/1.1\r\n" + HOST + fields + b"\r\n", 1.0)
    assert event == RequestHead(1, "GET", b"/", [(b"host", b"a"), (b"x", b"2")], "1.1")
    assert respond(codec, 1) == b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    (event,) = codec.receive(GET, 1.0)
    assert isinstance(event, RequestHead)


def test_a_client_cannot_remove_what_a_trusted_proxy_says_of_it() -> None:
    policy = FieldPolicy(9, 400, keep_forwarding=True, proxy_fields=(b"x-ssl-*", b"remote-user"))
    codec = Http1Codec(policy, LIMITS, 0.0)
    said = [(b"x-forwarded-for", b"1"), (b"x-forwarded-user", b"2"), (b"x-ssl-cert", b"3"), (b"remote-user", b"4")]
    named = b"Connection: x-mine, " + b", ".join(name for name, _ in said) + b"\r\nx-mine: 5\r\n"
    fields = named + b"".join(b"%b: %b\r\n" % pair for pair in said)
    (event,) = codec.receive(b"GET / HTTP/1.1\r\n" + HOST + fields + b"\r\n", 1.0)
    assert event == RequestHead(1, "GET", b"/", [(b"host", b"a"), *said], "1.1")


# Broken bodies


@pytest.mark.parametrize("started", [False, True])
def test_broken_framing_resets_the_request_and_ends_the_connection(started: bool) -> None:
    codec = begun(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    if started:
        codec.send_head(1, 200, [], False)
        codec.send_data(1, b"x", False)
    detail = "a chunk size is no hexadecimal number, or its extensions are malformed"
    broken = [Reset(1, PROTOCOL_ERROR), Violation("bad_chunk", detail)]
    refused = [BodyRefused(1, 400, "bad_chunk", detail)]
    assert codec.receive(b"2\r\nab\r\nzz\r\n", 1.0) == [Body(1, b"ab"), *(broken if started else refused)]
    assert codec.closed == started
    assert codec.receive(b"0\r\n\r\n" + GET, 1.0) == []
    codec.send_head(1, 400, [], True)
    codec.send_data(1, b"y", True)
    assert codec.closed
    assert codec.take_output() == (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n"
        if started
        else b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n" + CLOSE + b"\r\n"
    )


# Responses


@pytest.mark.parametrize(
    ("request_", "status", "headers", "pieces", "output"),
    [
        (
            GET,
            200,
            [(b"a", b"b")],
            [b"hello", b"", b"!"],
            b"200 OK\r\na: b\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
        ),
        (GET, 200, [(b"content-length", b"2")], [b"o", b"k"], b"200 OK\r\ncontent-length: 2\r\n\r\nok"),
        (GET, 200, [], [], b"200 OK\r\ncontent-length: 0\r\n\r\n"),
        (GET, 299, [], [], b"299 \r\ncontent-length: 0\r\n\r\n"),
        (GET, 204, [(b"content-length", b"0"), (b"a", b"b")], [b"x"], b"204 No Content\r\na: b\r\n\r\n"),
        (GET, 205, [(b"content-length", b"9")], [b"x"], b"205 Reset Content\r\ncontent-length: 0\r\n\r\n"),
        (GET, 304, [(b"content-length", b"9")], [b"x"], b"304 Not Modified\r\ncontent-length: 9\r\n\r\n"),
        (GET.replace(b"GET", b"HEAD"), 200, [], [b"x"], b"200 OK\r\n\r\n"),
        (GET.replace(b"GET", b"HEAD"), 200, [(b"content-length", b"9")], [], b"200 OK\r\ncontent-length: 9\r\n\r\n"),
    ],
)
def test_a_response_is_framed_and_the_connection_kept(
    request_: bytes, status: int, headers: Headers, pieces: list[bytes], output: bytes
) -> None:
    codec = begun(request_)
    codec.send_head(1, status, headers, not pieces)
    for piece in pieces:
        codec.send_data(1, piece, False)
    codec.send_data(1, b"", True)
    assert codec.take_output() == b"HTTP/1.1 " + output
    assert codec.idle
    assert not codec.closed


@pytest.mark.parametrize(
    ("version", "connection", "headers", "fields", "closed"),
    [
        (b"1.0", b"", [], CLOSE, True),
        (b"1.0", b"keep-alive", [], CLOSE, True),
        (
            b"1.0",
            b"Keep-Alive",
            [(b"content-length", b"2")],
            b"content-length: 2\r\nconnection: keep-alive\r\n",
            False,
        ),
        (b"1.0", b"close, keep-alive", [(b"content-length", b"2")], b"content-length: 2\r\n" + CLOSE, True),
        (b"1.1", b"keep-alive", [(b"content-length", b"2")], b"content-length: 2\r\n", False),
        (b"1.1", b"x, CLOSE", [(b"content-length", b"2")], b"content-length: 2\r\n" + CLOSE, True),
    ],
)
def test_keep_alive(version: bytes, connection: bytes, headers: Headers, fields: bytes, closed: bool) -> None:
    codec = begun(b"GET / HTTP/" + version + b"\r\nHost: a\r\nConnection: " + connection + b"\r\n\r\n")
    codec.send_head(1, 200, headers, False)
    codec.send_data(1, b"hi", True)
    assert codec.take_output() == b"HTTP/1.1 200 OK\r\n" + fields + b"\r\nhi"
    assert codec.closed is closed


@pytest.mark.parametrize(("data", "kept"), [(b"abc", b"abc"), (b"abcdef", b"abcde")])
def test_a_body_that_misses_its_length_ends_the_connection_and_never_spills(data: bytes, kept: bytes) -> None:
    codec = begun()
    codec.send_head(1, 200, [(b"content-length", b"5")], False)
    codec.send_data(1, data, False)
    codec.send_data(1, b"", True)
    assert codec.take_output().endswith(b"\r\n\r\n" + kept)
    assert codec.closed


@pytest.mark.parametrize(
    ("te", "headers", "tail"),
    [
        (b"TE: trailers\r\n", [], b"1\r\nx\r\n0\r\nsum: 1\r\n\r\n"),
        (b"", [], b"1\r\nx\r\n0\r\n\r\n"),
        (b"TE: trailers\r\n", [(b"content-length", b"1")], b"\r\n\r\nx"),
    ],
)
def test_trailers_are_sent_where_they_are_wanted_and_have_a_place(te: bytes, headers: Headers, tail: bytes) -> None:
    codec = begun(b"GET / HTTP/1.1\r\nHost: a\r\n" + te + b"\r\n")
    codec.send_head(1, 200, headers, False)
    codec.send_data(1, b"x", False)
    codec.send_trailers(1, [(b"sum", b"1")])
    codec.send_trailers(1, [(b"sum", b"2")])
    assert codec.take_output().endswith(tail)
    assert codec.idle


def test_body_written_past_the_codec_counts_against_its_length() -> None:
    codec = begun(GET + GET)
    assert not codec.sendfile(1, 1)
    codec.send_head(1, 200, [(b"content-length", b"5")], False)
    codec.send_data(1, b"ab", False)
    assert not codec.sendfile(1, 4)
    assert not codec.sendfile(2, 3)
    assert codec.sendfile(1, 3)
    codec.send_data(1, b"", True)
    assert codec.take_output().endswith(b"\r\n\r\nab")
    assert codec.release(1)  # there is another request to read
    assert not codec.closed
    assert len(codec.receive(b"", 1.0)) == 1
    codec.send_head(2, 200, [], False)
    assert not codec.sendfile(2, 1)


EXPECTING = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"


def test_continue_is_sent_once_and_only_to_who_waits_for_it() -> None:
    codec = begun(EXPECTING)
    for _ in range(2):
        codec.send_informational(1, 100, [])
    assert codec.take_output() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert codec.receive(b"hi", 1.0) == [Body(1, b"hi"), End(1, [])]
    assert respond(codec, 1) == b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    codec = begun(EXPECTING + b"h")
    codec.send_informational(1, 100, [])
    assert codec.take_output() == b""
    codec = begun()
    codec.send_informational(1, 100, [])
    assert codec.take_output() == b""


def test_a_final_status_instead_of_continue_ends_the_connection() -> None:
    codec = begun(EXPECTING)
    codec.send_head(1, 413, [], True)
    assert CLOSE in codec.take_output()
    assert codec.closed
    assert codec.receive(b"hi", 1.0) == []


def test_early_hints_reach_http_1_1_clients_before_the_head_only() -> None:
    codec = begun()
    codec.send_informational(1, 103, [(b"link", b"</a>")])
    codec.send_informational(1, 199, [])
    assert codec.take_output() == b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 199 \r\n\r\n"
    codec.send_head(1, 200, [], False)
    codec.take_output()
    codec.send_informational(1, 103, [])
    assert codec.take_output() == b""
    codec = begun(b"GET / HTTP/1.0\r\n\r\n")
    codec.send_informational(1, 103, [])
    assert codec.take_output() == b""


def test_pending_counts_body_bytes_until_they_are_taken() -> None:
    codec = begun()
    codec.send_head(1, 200, [], False)
    assert codec.pending(1) == 0
    codec.send_data(1, b"x" * 1000, False)
    codec.send_data(1, b"x" * 10, False)
    assert (codec.pending(1), codec.pending(2)) == (1010, 0)
    codec.take_output()
    assert codec.pending(1) == 0


def test_calls_that_do_not_fit_do_nothing() -> None:
    codec = begun()
    codec.send_data(1, b"early", False)
    codec.send_trailers(1, [])
    for stream in (0, 2):
        codec.send_informational(stream, 103, [])
        codec.send_head(stream, 200, [], True)
        codec.send_data(stream, b"x", True)
        codec.send_trailers(stream, [])
        codec.acknowledge(stream, 1)
        codec.reset(stream, CANCEL)
    assert codec.take_output() == b""
    output = respond(codec, 1)
    codec.send_head(1, 200, [], True)
    codec.send_data(1, b"x", True)
    codec.reset(1, CANCEL)
    assert output.count(b"HTTP/1.1") == 1
    assert codec.take_output() == b""
    assert codec.idle


# One request after the other


def test_pipelined_requests_wait_for_the_response_before_them_to_be_taken() -> None:
    codec = new()
    events = codec.receive(GET * 3, 1.0)
    for stream in (1, 2, 3):
        (event,) = events
        assert isinstance(event, RequestHead)
        assert event.stream_id == stream
        codec.send_head(stream, 200, [], True)
        assert codec.receive(b"", 1.0) == []
        codec.take_output()
        events = codec.receive(b"", 1.0)
    assert events == []
    assert codec.idle


def test_a_response_may_be_taken_before_its_end_is_known() -> None:
    codec = begun(GET + GET)
    codec.send_head(1, 200, [(b"content-length", b"2")], False)
    codec.send_data(1, b"ok", False)
    assert codec.take_output().endswith(b"ok")
    assert codec.receive(b"", 1.0) == []
    codec.send_data(1, b"", True)
    assert codec.take_output() == b""
    assert len(codec.receive(b"", 1.0)) == 1


def test_reading_pauses_at_the_bounds_and_goes_on() -> None:
    codec = begun()
    codec.receive(b"x" * HELD_INPUT, 1.0)
    assert not codec.read_paused()
    codec.receive(b"x", 1.0)
    assert codec.read_paused()
    respond(codec, 1)
    assert not codec.read_paused()
    codec = begun(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
    codec.receive(b"x" * LIMITS.stream_window, 1.0)
    assert not codec.read_paused()
    codec.receive(b"x", 1.0)
    assert codec.read_paused()
    codec.acknowledge(1, 1)
    assert not codec.read_paused()
    codec.acknowledge(1, 1 << 40)
    codec.receive(b"x" * LIMITS.stream_window, 1.0)
    assert not codec.read_paused()


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 60000", b"x" * 60000),
        (b"Transfer-Encoding: chunked", b"EA60\r\n" + b"x" * 60000 + b"\r\n0\r\n\r\n"),
    ],
)
def test_a_small_unread_body_is_skipped_and_the_next_request_read(framing: bytes, body: bytes) -> None:
    codec = begun(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n")
    respond(codec, 1)
    assert not codec.idle
    assert codec.receive(body[:50000], 5.0) == []
    assert codec.next_deadline() == 5.0 + LIMITS.body_idle
    (event,) = codec.receive(body[50000:] + GET, 6.0)
    assert isinstance(event, RequestHead)
    assert event.stream_id == 2
    assert codec.next_deadline() is None


def test_an_unread_body_is_skipped_before_the_output_is_taken() -> None:
    codec = begun(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
    codec.send_head(1, 200, [], True)
    assert codec.receive(b"hi" + GET, 1.0) == []
    codec.take_output()
    assert len(codec.receive(b"", 1.0)) == 1


def test_a_large_unread_body_ends_the_connection() -> None:
    for missing, announced in ((DRAIN + 1, True), (DRAIN, False)):
        codec = begun(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\nabc" % (missing + 3))
        assert respond(codec, 1) == b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n" + CLOSE * announced + b"\r\n"
        assert codec.closed == announced
    codec = begun(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % DRAIN)
    respond(codec, 1)
    assert codec.receive(b"x" * DRAIN, 1.0) == []
    assert codec.idle


@pytest.mark.parametrize("limit", [0, 3 * DRAIN])
def test_a_chunked_body_that_nobody_reads_is_skipped_as_far_as_its_limit_allows(limit: int) -> None:
    """Its size is not known when the response begins, so the response cannot announce the end of the connection."""
    size = limit or 40 * DRAIN
    codec = Http1Codec(POLICY, replace(LIMITS, request_body=limit), 0.0)
    codec.receive(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 1.0)
    assert respond(codec, 1) == b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    assert codec.receive(b"%x\r\n" % size + bytes(size), 1.0) == []
    assert not codec.closed
    (event,) = codec.receive(b"\r\n0\r\n\r\n" + GET, 1.0)
    assert isinstance(event, RequestHead)


def test_a_chunked_body_beyond_its_limit_is_not_skipped() -> None:
    codec = Http1Codec(POLICY, replace(LIMITS, request_body=DRAIN), 0.0)
    codec.receive(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 1.0)
    respond(codec, 1)
    assert codec.receive(b"FFFFFF\r\n" + b"x" * (DRAIN + 1), 1.0) == []
    assert codec.closed


def test_broken_framing_in_a_skipped_body_is_counted() -> None:
    codec = begun(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    respond(codec, 1)
    (event,) = codec.receive(b"zz\r\n", 1.0)
    assert isinstance(event, Violation)
    assert (codec.closed, codec.take_output()) == (True, b"")


# The end of a connection


def test_reset_keeps_what_is_queued_and_completes_nothing() -> None:
    codec = begun(GET + GET)
    codec.send_head(1, 200, [], False)
    codec.send_data(1, b"x", False)
    codec.reset(1, CANCEL)
    assert codec.closed
    codec.send_data(1, b"y", True)
    assert codec.take_output() == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n"
    assert codec.receive(GET, 1.0) == []
    codec = begun()
    codec.reset(1, CANCEL)
    assert (codec.closed, codec.take_output()) == (True, b"")


def test_the_second_goaway_closes_an_idle_connection() -> None:
    codec = new()
    codec.goaway(False)
    assert not codec.closed
    codec.goaway(True)
    assert codec.closed
    codec = begun()
    codec.send_head(1, 200, [], True)
    codec.goaway(True)
    assert codec.closed
    assert codec.take_output().startswith(b"HTTP/1.1 200")


def test_between_the_goaways_a_request_on_its_way_is_answered() -> None:
    codec = begun()
    codec.send_head(1, 200, [], False)
    codec.goaway(False)
    codec.send_data(1, b"", True)
    assert CLOSE not in codec.take_output()
    assert not codec.closed
    assert len(codec.receive(GET, 1.0)) == 1
    assert CLOSE in respond(codec, 2)
    assert codec.closed


def test_goaway_lets_a_request_finish() -> None:
    codec = begun()
    codec.goaway(False)
    codec.goaway(True)
    assert not codec.closed
    assert CLOSE in respond(codec, 1)
    assert codec.closed
    codec = new()
    codec.receive(GET[:9], 1.0)
    codec.goaway(True)
    assert not codec.closed
    assert len(codec.receive(GET[9:], 1.0)) == 1
    assert CLOSE in respond(codec, 1)
    assert codec.closed


def test_goaway_after_the_head_answers_one_more_request_if_it_is_there() -> None:
    codec = begun(GET + GET + GET)
    codec.send_head(1, 200, [], False)
    codec.goaway(True)
    codec.send_data(1, b"", True)
    assert CLOSE not in codec.take_output()
    assert len(codec.receive(b"", 1.0)) == 1
    assert CLOSE in respond(codec, 2)
    assert codec.closed
    codec = begun()
    codec.send_head(1, 200, [], False)
    codec.goaway(True)
    codec.send_data(1, b"", True)
    assert codec.closed


def test_end_of_input_while_idle_or_in_a_head() -> None:
    for data in (b"", b"GET / HT"):
        codec = new()
        codec.receive(data, 1.0)
        assert codec.receive_eof() == []
        assert codec.closed
        assert codec.receive_eof() == []


def test_end_of_input_in_a_body_resets_the_request() -> None:
    codec = begun(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
    assert codec.receive_eof() == [Reset(1, CANCEL)]
    assert codec.closed
    codec = begun(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
    respond(codec, 1)
    assert codec.receive_eof() == []
    assert codec.closed


def test_after_a_half_close_whole_requests_are_answered() -> None:
    codec = begun(GET + GET + GET[:5])
    assert codec.receive_eof() == []
    assert CLOSE not in respond(codec, 1)
    assert len(codec.receive(b"", 1.0)) == 1
    respond(codec, 2)
    assert not codec.closed
    assert codec.receive(b"", 1.0) == []
    assert codec.closed
    codec = begun()
    assert codec.receive_eof() == []
    assert not codec.closed
    assert CLOSE in respond(codec, 1)
    assert codec.closed


def test_a_held_request_is_read_at_the_end_of_input() -> None:
    codec = begun(GET + GET)
    respond(codec, 1)
    assert len(codec.receive_eof()) == 1
    assert CLOSE in respond(codec, 2)


# Deadlines


def test_the_first_head_has_its_time_from_the_connections_start() -> None:
    codec = new(now=100.0)
    assert codec.next_deadline() == 130.0
    codec.receive(b"GET", 110.0)
    assert codec.next_deadline() == 130.0
    assert codec.on_deadline(129.9) == []
    (event,) = codec.on_deadline(130.0)
    assert isinstance(event, Rejected)
    assert (event.status, event.reason) == (408, "head_timeout")
    assert codec.next_deadline() is None
    assert CLOSE in respond(codec, 1)
    assert codec.closed


def test_a_client_that_never_sent_a_byte_is_not_answered() -> None:
    codec = new(now=100.0)
    (event,) = codec.on_deadline(130.0)
    assert isinstance(event, Violation)
    assert event.reason == "head_timeout"
    assert (codec.closed, codec.take_output(), codec.on_deadline(131.0)) == (True, b"", [])


def test_later_heads_have_their_time_from_their_first_byte() -> None:
    codec = begun()
    assert codec.next_deadline() is None
    codec.receive(GET[:4], 5.0)
    assert codec.next_deadline() is None
    respond(codec, 1)
    codec.receive(b"", 50.0)
    assert codec.next_deadline() == 80.0
    codec.receive(GET[4:6], 60.0)
    assert codec.next_deadline() == 80.0
    assert len(codec.receive(GET[6:], 79.0)) == 1
    assert codec.next_deadline() is None
    respond(codec, 2)
    codec.receive(b"\r\n", 90.0)
    assert codec.next_deadline() is None
    assert codec.on_deadline(1e9) == []


def test_the_rest_of_an_unread_body_has_its_time() -> None:
    codec = begun(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
    respond(codec, 1)
    codec.receive(b"", 10.0)
    (event,) = codec.on_deadline(10.0 + LIMITS.body_idle)
    assert isinstance(event, Violation)
    assert event.reason == "body_timeout"
    assert codec.closed


def test_field_lines_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: dict[tuple[bytes, bytes], bytes] = {}
    monkeypatch.setattr(http1_response, "_lines", lines)
    monkeypatch.setattr(http1_response, "MAX_LINES", 3)
    sizes = []
    for value in [b"1", b"2", b"3", b"3", b"x" * http1_response.MAX_LINE, b"4"]:
        codec = begun()
        codec.send_head(1, 200, [(b"a", value)], True)
        assert b"\r\na: " + value + b"\r\n" in codec.take_output()
        sizes.append(len(lines))
    assert sizes == [1, 2, 3, 3, 3, 1]


def test_a_request_head_shows_itself() -> None:
    head = head_of(GET)
    assert repr(head) == (
        "RequestHead(content_length=None, end_stream=True, expect_continue=False, headers=[(b'host', b'a')],"
        " http_version='1.1', method='GET', protocol='', stream_id=1, target=b'/')"
    )
    assert head != "GET"


# Large bodies leave in pieces.


@pytest.mark.parametrize("size", [PIECE, PIECE + 1, 2 * PIECE - 1, 2 * PIECE, 2 * PIECE + 1, 5 * PIECE + 7])
@pytest.mark.parametrize("declared", [True, False])
def test_every_piece_of_a_large_body_is_bytes(size: int, declared: bool) -> None:
    """Transports and TLS engines take bytes, not the views of them that wait here."""
    codec = begun()
    codec.send_head(1, 200, [(b"content-length", b"%d" % size)] if declared else [], False)
    codec.send_data(1, b"x" * size, True)
    pieces: list[bytes] = []
    while piece := codec.take_output():
        assert type(piece) is bytes
        assert len(piece) <= PIECE + 1024
        pieces.append(piece)
    assert b"".join(pieces).count(b"x") == size
