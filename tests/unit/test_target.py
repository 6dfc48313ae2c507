"""The request target: decoded and normalised once; what is refused; which protocol a connection speaks."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidegate.errors import Refused
from sidegate.wire import target
from sidegate.wire.sniff import PREFACE, sniff
from sidegate.wire.target import REMEMBERED, REMEMBERED_SIZE, TARGET_BYTES, RequestTarget, split_target


@pytest.mark.parametrize(
    ("raw", "path", "raw_path", "query"),
    [
        (b"/", "/", b"/", b""),
        (b"*", "*", b"*", b""),
        (b"/a/b?x=1&y=%20", "/a/b", b"/a/b", b"x=1&y=%20"),
        (b"/a?b?c", "/a", b"/a", b"b?c"),
        (b"/?../..", "/", b"/", b"../.."),
        (b"/a%20b", "/a b", b"/a%20b", b""),
        (b"/%C3%A9", "/é", b"/%C3%A9", b""),
        (b"/a%2Fb", "/a/b", b"/a%2Fb", b""),
        (b"//a//b", "//a//b", b"//a//b", b""),
        (b"/a\\..\\b", "/a\\..\\b", b"/a\\..\\b", b""),
        (b"/.well-known/x", "/.well-known/x", b"/.well-known/x", b""),
        (b"/a/...", "/a/...", b"/a/...", b""),
        (b"/..;/a", "/..;/a", b"/..;/a", b""),
        (b"/%252e%252e/a", "/%2e%2e/a", b"/%252e%252e/a", b""),
        # normalised, in both spellings
        (b"/a/./b/../c", "/a/c", b"/a/c", b""),
        (b"/a/b/..", "/a/", b"/a/", b""),
        (b"/a/.", "/a/", b"/a/", b""),
        (b"/.", "/", b"/", b""),
        (b"/a/..", "/", b"/", b""),
        (b"/a//../b", "/a/b", b"/a/b", b""),
        (b"/a/%2e%2e/admin?q", "/admin", b"/admin", b"q"),
        (b"/a/%2e%2e%2fadmin", "/admin", b"/admin", b""),
        (b"/a/.%2E/%C3%A9%20%25", "/é %", b"/%C3%A9%20%25", b""),
        # not UTF-8: text for routing, bytes kept
        (b"/%E9", "/\ufffd", b"/%E9", b""),
        (b"/a/%c0%ae%c0%ae/b", "/a/\ufffd\ufffd\ufffd\ufffd/b", b"/a/%c0%ae%c0%ae/b", b""),
    ],
)
def test_a_target_is_decoded_and_normalised(raw: bytes, path: str, raw_path: bytes, query: bytes) -> None:
    assert split_target(raw) == RequestTarget(path, raw_path, query)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "bad_target"),
        (b"a/b", "bad_target"),
        (b"*?x", "bad_target"),
        (b"**", "bad_target"),
        (b"http://a/", "bad_target"),
        (b"/a b", "bad_target"),
        (b"/a#b", "bad_target"),
        (b"/?a#b", "bad_target"),
        (b"/\xc3\xa9", "bad_target"),
        (b"/a\x7f", "bad_target"),
        (b"/%", "bad_target"),
        (b"/%4", "bad_target"),
        (b"/%zz", "bad_target"),
        (b"/a%00b", "bad_target"),
        (b"/a%0d%0ab", "bad_target"),
        (b"/a%09", "bad_target"),
        (b"/a%7F", "bad_target"),
        (b"/..", "path_above_root"),
        (b"/a/../../etc/passwd", "path_above_root"),
        (b"/%2e%2e/a", "path_above_root"),
        (b"/a/..%2f..%2f", "path_above_root"),
    ],
)
def test_a_target_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        split_target(raw)
    assert (caught.value.status, caught.value.reason) == (400, reason)


_PIECES = st.sampled_from([b"/", b".", b"..", b"%2e", b"%2F", b"a", b"%41", b"%C3", b"%25", b"2e", b";", b"\\", b"~"])


@given(st.lists(_PIECES, max_size=12).map(lambda pieces: b"/" + b"".join(pieces)))
def test_both_spellings_name_one_path_and_normalising_is_final(raw: bytes) -> None:
    try:
        target = split_target(raw)
    except Refused:
        return
    assert unquote_to_bytes(target.raw_path).decode("utf-8", "replace") == target.path
    assert not {".", ".."} & set(target.path.split("/"))
    assert not target.raw_path.translate(None, TARGET_BYTES)
    assert split_target(target.raw_path) == target


def test_targets_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    remembered: dict[bytes, RequestTarget] = {}
    monkeypatch.setattr(target, "_seen", remembered)
    for number in [*range(REMEMBERED), 0]:
        assert split_target(b"/%d?q" % number) == RequestTarget(f"/{number}", b"/%d" % number, b"q")
    assert len(remembered) == REMEMBERED
    for raw in (b"/" + b"a" * REMEMBERED_SIZE, b"/%", b"/a#"):
        with suppress(Refused):
            split_target(raw)
    assert len(remembered) == REMEMBERED
    split_target(b"/" + b"a" * (REMEMBERED_SIZE - 1))
    assert len(remembered) == 1


@pytest.mark.parametrize(
    ("data", "version"),
    [
        (b"", None),
        (b"P", None),
        (b"PRI * HTTP/2.0\r\n\r\n", None),
        (PREFACE[:-1], None),
        (PREFACE, "2"),
        (PREFACE + b"\0\0\0\4\0\0\0\0\0", "2"),
        (b"PO", "1.1"),
        (b"PRI * HTTP/2.0\r\n\r\nSX", "1.1"),
        (b"GET / HTTP/1.1\r\n", "1.1"),
        (b"\r\n", "1.1"),
        (b"\x16\x03\x01", "1.1"),
    ],
)
def test_the_first_bytes_tell_the_version(data: bytes, version: str | None) -> None:
    assert sniff(data) == version
