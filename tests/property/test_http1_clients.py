"""HTTP/1.1 in the client's role: any bytes of a server, cut anywhere, give the same events, in an order that holds.

The bodies of valid responses are compared with those that the standard library's ``http.client`` reads.
"""

from __future__ import annotations

import http.client
import io
import itertools

from hypothesis import assume, given
from hypothesis import strategies as st

from sidegate.wire import events as e
from tests.support.http1_client import check_order, read

METHODS = st.sampled_from([b"GET", b"HEAD", b"POST"])
NAMES = st.sampled_from([b"a", b"x-b", b"Set-Cookie", b"X_Y", b"Keep-Alive", b"Connection", b"Vary"])
VALUES = st.sampled_from([b"", b"1", b"keep-alive", b"close", b"a, x-b", b"\xe9 \t,", b"v" * 60])
FIELDS = st.lists(st.builds(b"%b: %b\r\n".__mod__, st.tuples(NAMES, VALUES)), max_size=3).map(b"".join)


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """One valid response, with informational ones before it."""
    hints = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * draw(st.integers(0, 2))
    status = draw(st.sampled_from([200, 204, 304, 404, 500]))
    head = hints + b"HTTP/1.%d %d X\r\n" % (draw(st.sampled_from([1, 1, 0])), status) + draw(FIELDS)
    framing = draw(st.sampled_from(["close", "length", "chunked"]))
    if framing == "chunked":
        head = head.replace(b"HTTP/1.0", b"HTTP/1.1") + b"Transfer-Encoding: chunked\r\n\r\n"
        chunks = b"".join(b"%x;e\r\n%b\r\n" % (n, b"c" * n) for n in draw(st.lists(st.integers(1, 20), max_size=3)))
        trailers = draw(st.sampled_from([b"", b"Sum: 1\r\n", b"Content-Length: 9\r\n"]))
        return head + (b"" if status in (204, 304) else chunks + b"0\r\n" + trailers + b"\r\n")
    size = draw(st.integers(0, 40))
    body = b"" if status in (204, 304) else b"b" * size
    return head + (b"Content-Length: %d\r\n\r\n" % size if framing == "length" else b"\r\n") + body


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A response with a few bytes put in, overwritten or taken out: mostly invalid, near to valid."""
    data = draw(responses())
    pieces = [b"\r", b"\n", b"\r\n", b" ", b"\t", b"\0", b":", b"\x7f", b"0", b"z" * 70, b"z" * 400, b""]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.sampled_from(pieces)) + data[at + draw(st.integers(0, 2)) :]
    return data


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data)}.union(place % (len(data) + 1) for place in places))
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(st.one_of(responses(), damaged(), st.binary(max_size=60)), st.lists(st.integers(0)), METHODS, st.booleans())
def test_what_is_read_does_not_depend_on_how_it_is_cut(
    data: bytes, places: list[int], method: bytes, whole: bool
) -> None:
    at_once = read([data], method, whole)
    assert read(cut(data, places), method, whole) == at_once
    check_order(at_once[0])


@given(responses(), METHODS)
def test_valid_responses_are_read_as_by_the_standard_library(data: bytes, method: bytes) -> None:
    found, _, _ = read([data], method, True)
    while data.startswith(b"HTTP/1.1 103"):  # `http.client` skips 100 only
        data = data.partition(b"\r\n\r\n")[2]
    head = next(event for event in found if isinstance(event, e.ResponseHead))
    assume(b"Transfer-Encoding" not in data or head.status not in (204, 304))  # it would read a body
    body = b"".join(event.data for event in found if isinstance(event, e.Body))
    answer = http.client.HTTPResponse(Stub(data), method=method.decode())  # type: ignore[arg-type]
    answer.begin()
    assert (answer.status, answer.read()) == (head.status, body if method != b"HEAD" else b"")
    complete = head.end_stream or any(isinstance(event, e.End) for event in found)
    assert complete


class Stub:
    """A socket that has the bytes of one response."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)
