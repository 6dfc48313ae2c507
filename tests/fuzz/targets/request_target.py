"""The path policy: ``path`` and ``raw_path`` name one resource, and no reading of it has a dot segment."""

from __future__ import annotations

from typing import Literal
from urllib.parse import unquote_to_bytes

from sidegate.errors import Refused
from sidegate.wire.target import PathPolicy, RequestTarget, merge_slashes
from tests.fuzz.inputs import Choices

SLASHES: tuple[Literal["keep", "merge", "refuse"], ...] = ("keep", "merge", "refuse")
ENCODED: tuple[Literal["decode", "refuse"], ...] = ("decode", "refuse")


def split(policy: PathPolicy, raw: bytes) -> RequestTarget | str:
    try:
        return policy.split(raw)
    except Refused as refused:
        return refused.reason


def check(data: bytes) -> None:
    """The first byte is the policy."""
    choices = Choices(data)
    which = choices.number()
    slashes, encoded = SLASHES[which % 3], ENCODED[which // 3 % 2]
    raw = data[1:]
    target = split(PathPolicy(slashes, encoded), raw)
    policy = PathPolicy(slashes, encoded)
    assert split(policy, raw) == split(policy, raw) == target
    if isinstance(target, str):
        return
    path, raw_path, query, matched = target
    assert raw_path[:1] == b"/" or raw == b"*"
    assert raw_path.isascii()
    assert raw.partition(b"?")[2] == query
    decoded = unquote_to_bytes(raw_path)
    assert decoded.decode("utf-8", "replace") == path
    assert not any(byte < 0x20 or byte == 0x7F for byte in decoded)
    assert {".", ".."}.isdisjoint(path.split("/"))
    assert {".", ".."}.isdisjoint(matched.split("/"))
    assert "//" not in matched
    assert not (slashes != "keep" and "//" in path)
    assert not (encoded == "refuse" and b"%2f" in raw.partition(b"?")[0].lower())
    again = split(policy, raw_path)
    assert isinstance(again, RequestTarget)
    assert (again.path, again.matched) == (path, matched)
    merged = merge_slashes(path, raw_path)
    assert "//" not in merged[0]
    assert unquote_to_bytes(merged[1]).decode("utf-8", "replace") == merged[0]
