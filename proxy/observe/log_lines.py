"""The two formats of an access-log line.

Where it stands: called by ``AccessLog`` when it flushes, outside any request. Everything a client sent is
escaped: a line has no control character, no byte outside ASCII and no quote that the client could close.

Queries are left out unless asked for, here and in the referer: they carry reset links, tokens and names, and a
log is read by more people than the application's data. The client's address is always there.

A line has at most ``MAX_LINE`` bytes, line feed included: what a pipe takes in one piece from several processes
(POSIX ``PIPE_BUF`` on Linux). Longer ones have their long values cut, with ``...`` at the cut.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import NamedTuple

from proxy.observe.record import Record, final_status

MAX_LINE = 4096

_ROOMS = (MAX_LINE, 512, 64)
"""Bytes kept of each value from the client, tried in turn. An escape has six characters, so 64 always fits."""

_UNSAFE = re.compile(rb"[^ !#-\[\]-~]")

_to_json = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


class Entry(NamedTuple):
    """One ended exchange. ``duration`` in seconds, ``ended`` in Unix time."""

    record: Record
    duration: float
    ended: float


class LineFormat:
    """Makes lines. ``routes``: the names by index, for ``Record.route``."""

    def __init__(self, name: str, routes: tuple[str, ...], query: bool = False) -> None:
        self._build: Callable[[Entry, int], bytes] = {"combined": self._combined, "json": self._json}[name]
        self._routes = (*routes, "")
        self._query = query
        self._second = -1
        self._time = ""

    def line(self, entry: Entry) -> bytes:
        """One line, line feed included."""
        for room in _ROOMS:
            line = self._build(entry, room)
            if len(line) <= MAX_LINE:
                break
        return line

    def _combined(self, entry: Entry, room: int) -> bytes:
        """The combined log format of Apache and nginx; time in UTC, escapes as nginx writes them."""
        record = entry.record
        fields = dict(record.headers)
        version = "2.0" if record.http_version == "2" else record.http_version
        return b'%b - - [%b] "%b %b HTTP/%b" %d %d "%b" "%b"\n' % (
            _escape(_bytes(record.client), room),
            self._stamp(entry.ended, "%d/%b/%Y:%H:%M:%S +0000").encode(),
            _escape(_bytes(record.method), room),
            _escape(self._without_query(record.target), room),
            _escape(_bytes(version), room),
            final_status(record),
            record.bytes_out,
            _escape(self._without_query(fields.get(b"referer", b"")), room) or b"-",
            _escape(fields.get(b"user-agent", b""), room) or b"-",
        )

    def _json(self, entry: Entry, room: int) -> bytes:
        """One JSON object; members without a value are left out."""
        record = entry.record
        fields = dict(record.headers)
        path, _, query = record.target.partition(b"?")
        stamp = self._stamp(entry.ended, "%Y-%m-%dT%H:%M:%S")
        members: dict[str, str | int | float | None] = {
            "time": f"{stamp}.{int(entry.ended * 1000) % 1000:03d}Z",
            "requestId": record.request_id,
            "client": _text(_bytes(record.client), room),
            "method": _text(_bytes(record.method), room),
            "host": _text(fields.get(b"host", b""), room),
            "path": _text(path, room),
            "query": _text(query, room) if self._query else None,
            "protocol": record.http_version,
            "status": final_status(record),
            "route": self._routes[record.route],
            "backend": record.backend,
            "durationMs": round(entry.duration * 1000, 3),
            "bytesIn": record.bytes_in,
            "bytesOut": record.bytes_out,
            "userAgent": _text(fields.get(b"user-agent", b""), room),
            "referer": _text(self._without_query(fields.get(b"referer", b"")), room),
            "fault": record.fault,
            "reason": record.reason,
            "tls": record.tls,
        }
        kept = {name: value for name, value in members.items() if value != "" and value is not None}
        return f"{_to_json(kept)}\n".encode("ascii")

    def _without_query(self, target: bytes) -> bytes:
        return target if self._query else target.partition(b"?")[0]

    def _stamp(self, ended: float, pattern: str) -> str:
        second = int(ended)
        if second != self._second:
            self._second = second
            self._time = time.strftime(pattern, time.gmtime(second))
        return self._time


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _cut(value: bytes, room: int) -> bytes:
    return value if len(value) <= room else value[:room] + b"..."


def _escape(value: bytes, room: int) -> bytes:
    return _UNSAFE.sub(_hex, _cut(value, room))


def _hex(match: re.Match[bytes]) -> bytes:
    return b"\\x%02X" % match[0][0]


def _text(value: bytes, room: int) -> str:
    return _cut(value, room).decode("utf-8", "backslashreplace")
