"""A target that a front has judged means the same to the worker that judges it again."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from sidegate.errors import Refused
from sidegate.wire.target import PathPolicy

PIECES = st.sampled_from(
    [*"/.%?=&a\\~;:", "..", "/../", "/./", "%2e", "%2F", "%25", "%2f..", "%C3%A9", "%ff", "%3F", "%20"]
)


@given(st.lists(PIECES, max_size=12).map("".join))
@example("%2e%2e/%252e")
@example("a/..?")
def test_judged_twice(rest: str) -> None:
    try:
        once = PathPolicy().split(b"/" + rest.encode())
    except Refused:
        return
    sent = once.raw_path + b"?" + once.query if once.query else once.raw_path
    assert PathPolicy().split(sent) == once
