"""The chunked coding: what is read, and every deviation from the grammar that is refused."""

from __future__ import annotations

import pytest

from sidegate.asgi import Headers
from sidegate.errors import Refused
from sidegate.wire.fields import FieldPolicy
from sidegate.wire.http1.chunked import MAX_EXTENSIONS, MAX_SIZE_DIGITS, MAX_SIZE_LINE, ChunkedReader

POLICY = FieldPolicy(max_fields=3, max_block=100)


def read(data: bytes, step: int) -> tuple[bytes, bytes | None, Headers]:
    """Feed ``data`` in reads of ``step`` bytes: (body, bytes behind the message, trailers)."""
    reader = ChunkedReader(POLICY)
    pieces: list[bytes] = []
    rest: bytes | None = None
    for at in range(0, len(data), step):
        if rest is None:
            rest = reader.feed(data[at : at + step], pieces)
        else:
            rest += data[at : at + step]
    return b"".join(pieces), rest, reader.trailers


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("data", "body", "rest", "trailers"),
    [
        (b"0\r\n\r\n", b"", b"", []),
        (b"5\r\nhello\r\n0\r\n\r\nGET", b"hello", b"GET", []),
        (b"5\r\nhello\r\n00A\r\n, world!\r\n\r\n000\r\n\r\n", b"hello, world!\r\n", b"", []),
        (b'1;a=b;c="d"\r\nx\r\n0;z\r\n\r\n', b"x", b"", []),
        (b'1;a=";\\"\\\\,\t \xe9\\\xe9[";b\r\nx\r\n0;a=""\r\n\r\n', b"x", b"", []),
        (b'1 ;a\r\nx\r\n1\t; \ta \t=\t "b" ; c= d\r\ny\r\n0\r\n\r\n', b"xy", b"", []),
        (b"0" * (MAX_SIZE_LINE - 3) + b"1\r\nx\r\n" + b"0" * 100 + b"\r\n\r\n", b"x", b"", []),
        (b"0\r\nA: b \t\r\nX-Sum:1\r\n\r\n", b"", b"", [(b"a", b"b"), (b"x-sum", b"1")]),
        (b"0\r\nHost: evil\r\nContent-Length: 3\r\nsum: 1\r\n\r\n", b"", b"", [(b"sum", b"1")]),
        (b"0\r\na:\r\n\r\n", b"", b"", [(b"a", b"")]),
        (b"5\r\nhel", b"hel", None, []),
        (b"5\r\nhello\r\n0\r\n", b"hello", None, []),
    ],
)
def test_a_body_is_read(step: int, data: bytes, body: bytes, rest: bytes | None, trailers: Headers) -> None:
    assert read(data, step) == (body, rest, trailers)


@pytest.mark.parametrize("step", [1, 2, 1000])
@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"\r\n", 400, "bad_chunk"),
        (b"+5\r\nhello\r\n", 400, "bad_chunk"),
        (b"-5\r\nhello\r\n", 400, "bad_chunk"),
        (b"0x5\r\nhello\r\n", 400, "bad_chunk"),
        (b"1_0\r\nhello\r\n", 400, "bad_chunk"),
        (b" 5\r\nhello\r\n", 400, "bad_chunk"),
        (b"5 \r\nhello\r\n", 400, "bad_chunk"),
        (b"5;\r\nhello\r\n", 400, "bad_chunk"),
        (b"5; \r\nhello\r\n", 400, "bad_chunk"),
        (b"5;a;\r\nhello\r\n", 400, "bad_chunk"),
        (b"5;;a\r\nhello\r\n", 400, "bad_chunk"),
        (b"5;a \r\nhello\r\n", 400, "bad_chunk"),
        (b"5;a b\r\nhello\r\n", 400, "bad_chunk"),
        (b"5;a=\r\nhello\r\n", 400, "bad_chunk"),
        (b"5;=b\r\nhello\r\n", 400, "bad_chunk"),
        (b"5;a==b\r\nhello\r\n", 400, "bad_chunk"),
        (b"5;bad[=x\r\nhello\r\n", 400, "bad_chunk"),
        (b"5;a=x[\r\nhello\r\n", 400, "bad_chunk"),
        (b'5;a="b\r\nhello\r\n', 400, "bad_chunk"),
        (b'5;a="b"c\r\nhello\r\n', 400, "bad_chunk"),
        (b'5;a="b\\"\r\nhello\r\n', 400, "bad_chunk"),
        (b'5;a="\x7f"\r\nhello\r\n', 400, "bad_chunk"),
        (b'5;a="\\\0"\r\nhello\r\n', 400, "bad_chunk"),
        (b'5;"a"\r\nhello\r\n', 400, "bad_chunk"),
        (b"5,a\r\nhello\r\n", 400, "bad_chunk"),
        (b";a\r\nhello\r\n", 400, "bad_chunk"),
        (b"g\r\nhello\r\n", 400, "bad_chunk"),
        (b"\xb2\r\nhello\r\n", 400, "bad_chunk"),
        (b"1" + b"0" * MAX_SIZE_DIGITS + b"\r\nhello\r\n", 400, "bad_chunk"),
        (b"0" + b"1" * (MAX_SIZE_DIGITS + 1) + b";a\r\nhello\r\n", 400, "bad_chunk"),
        (b"0" * MAX_SIZE_LINE + b"1\r\nx\r\n", 400, "bad_chunk"),
        ((b"0" * 200 + b"1\r\nx\r\n") * (MAX_EXTENSIONS // 200 + 1), 400, "bad_chunk"),
        (b"5\nhello\r\n0\r\n\r\n", 400, "bad_chunk"),
        (b"5\rhello\r\n0\r\n\r\n", 400, "bad_chunk"),
        (b"5;a\nb\r\nhello\r\n", 400, "bad_chunk"),
        (b"5;a\rb\r\nhello\r\n", 400, "bad_chunk"),
        (b"5;a\0b\r\nhello\r\n", 400, "bad_chunk"),
        (b"5;" + b"a" * MAX_SIZE_LINE + b"\r\n", 400, "bad_chunk"),
        (b"5" * MAX_SIZE_LINE + b"5", 400, "bad_chunk"),
        ((b"1;" + b"a" * 200 + b"\r\nx\r\n") * (MAX_EXTENSIONS // 200 + 1), 400, "bad_chunk"),
        (b"5\r\nhello0\r\n\r\n", 400, "bad_chunk"),
        (b"5\r\nhello!\r\n0\r\n\r\n", 400, "bad_chunk"),
        (b"5\r\nhello\n0\r\n\r\n", 400, "bad_chunk"),
        (b"5\r\nhello\rx", 400, "bad_chunk"),
        (b"0\r\na: b\n\r\n", 400, "bad_chunk"),
        (b"0\r\n\n", 400, "bad_chunk"),
        (b"0\r\na\r\n\r\n", 400, "bad_field_name"),
        (b"0\r\na : b\r\n\r\n", 400, "bad_field_name"),
        (b"0\r\n: b\r\n\r\n", 400, "bad_field_name"),
        (b"0\r\na: b\r\n c: d\r\n\r\n", 400, "bad_field_name"),
        (b"0\r\na: b\rc\r\n\r\n", 400, "bad_field_value"),
        (b"0\r\na: b\0\r\n\r\n", 400, "bad_field_value"),
        (b"0\r\n" + b"a: b\r\n" * 4 + b"\r\n", 431, "too_many_fields"),
        (b"0\r\na: " + b"b" * 100, 431, "trailers_too_large"),
        (b"0\r\n" + (b"a: " + b"b" * 40 + b"\r\n") * 3, 431, "trailers_too_large"),
    ],
)
def test_a_body_is_refused(step: int, data: bytes, status: int, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        read(data, step)
    assert (caught.value.status, caught.value.reason) == (status, reason)


def test_the_body_before_an_offence_is_kept() -> None:
    pieces: list[bytes] = []
    with pytest.raises(Refused):
        ChunkedReader(POLICY).feed(b"5\r\nhello\r\nx\r\n", pieces)
    assert pieces == [b"hello"]


@pytest.mark.parametrize("beginning", [b"5;", b"0", b"0\r\na: ", b"1\r\nx"])
def test_a_refused_line_is_not_kept(beginning: bytes) -> None:
    reader = ChunkedReader(POLICY)
    with pytest.raises(Refused):
        reader.feed(beginning + b"x" * 100_000, [])
    assert not reader._line
