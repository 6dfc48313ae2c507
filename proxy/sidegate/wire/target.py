"""The request target: decoded, normalised and checked once, for the route map and for the application.

A ``PathPolicy`` splits the target of every request, for both HTTP versions, before the ``scope`` is built. The HTTP/1.1
head uses ``TARGET_BYTES``. It raises ``Refused`` (400).

``path`` and ``raw_path`` always name the same resource: ``path`` is ``raw_path`` percent-decoded. Dot segments are
removed *after* decoding, so ``/a/%2e%2e%2fadmin`` is ``/admin`` in both. Kept on purpose are a backslash (no separator
in a URI) and ``;`` (no Python framework gives it a meaning in a path), and by default ``//`` (an empty segment is a
segment, RFC 3986 3.3; ``/fetch/http://host/`` needs it). The query is not changed: applications decode it.

The route map compares ``matched``, which frameworks cannot shorten any further. Werkzeug, Bottle, Falcon and Litestar
read ``//admin`` as ``/admin``, so repeated slashes are merged. Bottle leaves out bytes that are not UTF-8, so they are
left out. A path of two meanings gets the route that the shorter one has, and no other reading leads around that route.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from sidegate.caches import remember
from sidegate.errors import Refused
from sidegate.wire.fields import CONTROL_BYTES

TARGET_BYTES = bytes(byte for byte in range(0x21, 0x7F) if byte != ord("#"))
"""Visible ASCII without ``#``: a fragment is never sent (RFC 9112 3.2), and parsers differ in how they remove one."""

_HASH, _PERCENT = b"#%"  # ints: `37 in x` costs an eighth of `b"%" in x`
_OTHER_TO_HASH = bytes(byte if byte in TARGET_BYTES else _HASH for byte in range(256))
"""A table for ``bytes.translate``: every byte that a target may not contain becomes ``#``."""

_SLASHES, _TEXT_SLASHES = re.compile(rb"//+"), re.compile("//+")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")

_PATH_SAFE = "/:@!$&'()*+,;=~"
"""RFC 3986 3.3 ``pchar`` and the separator: the bytes that need no escape when a path is encoded again."""

REMEMBERED = 1024
REMEMBERED_SIZE = 256
"""Bounds of a policy's cache: at most 1024 targets of at most 256 bytes. A cached target costs a tenth of 1 µs."""


class RequestTarget(NamedTuple):
    """A checked target. ``path``: decoded text; ``raw_path``: the same, encoded; ``query``: after ``?``, undecoded.

    ``matched``: ``path`` as the route map compares it.
    """

    path: str
    raw_path: bytes
    query: bytes
    matched: str


class PathPolicy:
    """What the clients of a process may send as a path, and what the application gets (the key ``path`` of a file).

    ``slashes``: what happens to repeated slashes. ``encoded_slash``: what happens to ``%2F``.
    """

    __slots__ = ("_merge", "_refuse_encoded", "_refuse_repeated", "_seen")

    def __init__(
        self,
        slashes: Literal["keep", "merge", "refuse"] = "keep",
        encoded_slash: Literal["decode", "refuse"] = "decode",
    ) -> None:
        self._merge = slashes == "merge"
        self._refuse_repeated = slashes == "refuse"
        self._refuse_encoded = encoded_slash == "refuse"
        self._seen: dict[bytes, RequestTarget] = {}

    def split(self, raw: bytes) -> RequestTarget:
        """Split ``raw`` (origin-form, or ``*``) into what the ``scope`` needs. Raises ``Refused`` (400).

        A path that is not valid UTF-8 is decoded with U+FFFD, as uvicorn and hypercorn do: links in old encodings still
        exist. ``raw_path`` keeps their bytes.
        """
        known = self._seen.get(raw)
        if known is not None:
            return known
        target = self._split(raw)
        if len(raw) <= REMEMBERED_SIZE:
            remember(self._seen, raw, target, REMEMBERED)
        return target

    def _split(self, raw: bytes) -> RequestTarget:
        if _HASH in raw.translate(_OTHER_TO_HASH):
            raise Refused(400, "bad_target", "the request target has bytes outside visible ASCII, or a '#'")
        raw_path, _, query = raw.partition(b"?")
        if raw_path[:1] != b"/" and raw != b"*":
            raise Refused(400, "bad_target", "the request target does not start with '/'")
        if _PERCENT not in raw_path and raw_path.find(b"/.") < 0 and raw_path.find(b"//") < 0:
            path = raw_path.decode("ascii")
            return RequestTarget(path, raw_path, query, path)
        if _BAD_ESCAPE.search(raw_path):
            raise Refused(400, "bad_target", "a '%' in the path is not followed by two hexadecimal digits")
        decoded = unquote_to_bytes(raw_path)
        if len(decoded.translate(None, CONTROL_BYTES + b"\t")) != len(decoded):
            raise Refused(400, "bad_target", "the path contains an encoded control character")
        self._check_slashes(raw_path, decoded)
        normal = _without_dot_segments(decoded) if b"/." in decoded else decoded
        if self._merge:
            normal = _SLASHES.sub(b"/", normal)
        if normal != decoded:
            raw_path = quote_from_bytes(normal, _PATH_SAFE).encode("ascii")
        return RequestTarget(normal.decode("utf-8", "replace"), raw_path, query, _matched(normal))

    def _check_slashes(self, raw_path: bytes, decoded: bytes) -> None:
        if self._refuse_encoded and b"%2f" in raw_path.lower():
            raise Refused(400, "encoded_slash", "the path contains an encoded slash")
        if self._refuse_repeated and b"//" in decoded:
            raise Refused(400, "repeated_slash", "the path contains repeated slashes")


def merge_slashes(path: str, raw_path: bytes) -> tuple[str, bytes]:
    """Both spellings of a path of a ``RequestTarget``, with repeated slashes merged."""
    if "//" not in path:
        return path, raw_path
    merged = _SLASHES.sub(b"/", unquote_to_bytes(raw_path))
    return merged.decode("utf-8", "replace"), quote_from_bytes(merged, _PATH_SAFE).encode("ascii")


def _matched(path: bytes) -> str:
    """The path that routes are compared with."""
    text = path.decode("utf-8", "ignore")
    if "/." in text and not {".", ".."}.isdisjoint(text.split("/")):
        # Dot segments were removed before. Resolving these would be another reading than that of who keeps them.
        raise Refused(400, "bad_target", "bytes that are not UTF-8 hide a '.' or '..' element of the path")
    return _TEXT_SLASHES.sub("/", text) if "//" in text else text


def _without_dot_segments(path: bytes) -> bytes:
    """RFC 3986 5.2.4, but a path that climbs above the root is refused: no correct client sends one."""
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            if not kept:
                raise Refused(400, "path_above_root", "the path climbs above the root")
            kept.pop()
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")  # "/a/b/.." names the folder "/a/"
    return b"/" + b"/".join(kept)
