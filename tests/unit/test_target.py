"""The request target: decoded and normalised once; what is refused; which protocol a connection speaks."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidegate.errors import Refused
from sidegate.wire.sniff import PREFACE, sniff
from sidegate.wire.target import REMEMBERED, REMEMBERED_SIZE, TARGET_BYTES, PathPolicy, RequestTarget, merge_slashes


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
    found = PathPolicy().split(raw)
    assert (found.path, found.raw_path, found.query) == (path, raw_path, query)


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
        PathPolicy().split(raw)
    assert (caught.value.status, caught.value.reason) == (400, reason)


_PIECES = st.sampled_from([b"/", b".", b"..", b"%2e", b"%2F", b"a", b"%41", b"%C3", b"%25", b"2e", b";", b"\\", b"~"])


@given(st.lists(_PIECES, max_size=12).map(lambda pieces: b"/" + b"".join(pieces)))
def test_both_spellings_name_one_path_and_normalising_is_final(raw: bytes) -> None:
    try:
        target = PathPolicy().split(raw)
    except Refused:
        return
    assert unquote_to_bytes(target.raw_path).decode("utf-8", "replace") == target.path
    assert not {".", ".."} & set(target.path.split("/"))
    assert not target.raw_path.translate(None, TARGET_BYTES)
    assert PathPolicy().split(target.raw_path) == target
    assert "//" not in target.matched
    assert not {".", ".."} & set(target.matched.split("/"))


def test_targets_are_remembered_within_bounds() -> None:
    policy = PathPolicy()
    if not hasattr(policy, "_seen"):
        pytest.skip("compiled, it does not show its memory")
    for number in [*range(REMEMBERED), 0]:
        assert policy.split(b"/%d?q" % number) == RequestTarget(f"/{number}", b"/%d" % number, b"q", f"/{number}")
    assert len(policy._seen) == REMEMBERED
    for raw in (b"/" + b"a" * REMEMBERED_SIZE, b"/%", b"/a#"):
        with suppress(Refused):
            policy.split(raw)
    assert len(policy._seen) == REMEMBERED
    policy.split(b"/" + b"a" * (REMEMBERED_SIZE - 1))
    assert len(policy._seen) == 1


@pytest.mark.parametrize(
    ("raw", "matched"),
    [
        (b"/", "/"),
        (b"*", "*"),
        (b"/a%20b/%C3%A9", "/a b/é"),
        (b"//admin//x//", "/admin/x/"),
        (b"/%2fadmin%2f%2F/", "/admin/"),
        (b"/fetch/http://host/", "/fetch/http:/host/"),
        (b"/a//../admin", "/a/admin"),
        (b"//../admin", "/admin"),
        (b"/?a//b", "/"),
        # not UTF-8: an application may leave these bytes out
        (b"/ad%ffmin", "/admin"),
        (b"/%ff/%fe/admin", "/admin"),
        (b"/%E3/admin", "/admin"),
        (b"/caf%E9", "/caf"),
    ],
)
def test_routes_are_compared_with_what_no_application_shortens(raw: bytes, matched: str) -> None:
    assert PathPolicy().split(raw).matched == matched


@pytest.mark.parametrize("raw", [b"/a/%ff../admin", b"/%ff.%fe./admin", b"/a/.%ff", b"/a/.%E3/b"])
def test_bytes_that_hide_a_dot_segment_are_refused(raw: bytes) -> None:
    with pytest.raises(Refused) as caught:
        PathPolicy().split(raw)
    assert (caught.value.status, caught.value.reason) == (400, "bad_target")


@pytest.mark.parametrize(
    ("raw", "path", "raw_path"),
    [
        (b"/a/b", "/a/b", b"/a/b"),
        (b"//a//b", "/a/b", b"/a/b"),
        (b"/%2fa%2F%2fb%20?//", "/a/b ", b"/a/b%20"),
        (b"/a//../b", "/a/b", b"/a/b"),
        (b"/a///../b", "/a/b", b"/a/b"),
        (b"/a%2Fb", "/a/b", b"/a%2Fb"),
        (b"//%E9", "/\ufffd", b"/%E9"),
    ],
)
def test_slashes_are_merged_if_it_is_asked_for(raw: bytes, path: str, raw_path: bytes) -> None:
    found = PathPolicy("merge").split(raw)
    assert (found.path, found.raw_path) == (path, raw_path)
    assert PathPolicy("merge").split(raw_path) == found._replace(query=b"")


@pytest.mark.parametrize(
    ("policy", "raw", "reason"),
    [
        (PathPolicy("refuse"), b"//a", "repeated_slash"),
        (PathPolicy("refuse"), b"/a/%2fb", "repeated_slash"),
        (PathPolicy("refuse"), b"/a//../b", "repeated_slash"),
        (PathPolicy("refuse"), b"/a%2Fb?//", ""),
        (PathPolicy("keep", "refuse"), b"/a%2Fb", "encoded_slash"),
        (PathPolicy("keep", "refuse"), b"/a%2fb", "encoded_slash"),
        (PathPolicy("keep", "refuse"), b"/a/..%2fb", "encoded_slash"),
        (PathPolicy("keep", "refuse"), b"//a%252f?%2f", ""),
        (PathPolicy("merge", "refuse"), b"//a/b", ""),
    ],
)
def test_slashes_are_refused_if_it_is_asked_for(policy: PathPolicy, raw: bytes, reason: str) -> None:
    if not reason:
        policy.split(raw)
        return
    with pytest.raises(Refused) as caught:
        policy.split(raw)
    assert (caught.value.status, caught.value.reason) == (400, reason)


@pytest.mark.parametrize(
    ("raw", "path", "raw_path"),
    [
        (b"/a%2Fb", "/a/b", b"/a%2Fb"),
        (b"//a/%2fb", "/a/b", b"/a/b"),
        (b"/a//%E9%20", "/a/\ufffd ", b"/a/%E9%20"),
    ],
)
def test_both_spellings_of_a_path_are_merged(raw: bytes, path: str, raw_path: bytes) -> None:
    found = PathPolicy().split(raw)
    assert merge_slashes(found.path, found.raw_path) == (path, raw_path)


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
