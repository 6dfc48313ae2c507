"""The two formats of an access-log line.

Where it stands: called by ``AccessLog`` when it flushes, outside any request. Everything a client sent is
escaped: a line has no control character, no byte outside ASCII and no quote that the client could close.

Queries are logged, as nginx does, here and in the referer; ``accessLogQuery: false`` leaves both out, for they may
carry reset links, tokens and names. The client's address is always there.

A line has at most ``MAX_LINE`` bytes, line feed included: what a pipe takes in one piece from several processes
(POSIX ``PIPE_BUF`` on Linux). Longer ones have their long values cut, with ``...`` at the cut.
"""

from __future__ import annotations

import json.encoder
import re
import time
from collections.abc import Callable
from typing import NamedTuple

from proxy.observe.record import Record, final_status

MAX_LINE = 4096

_ROOMS = (MAX_LINE, 512)
"""Bytes kept of each value from the client, tried in turn."""

_LAST_ROOM = 64
"""This always fits: a byte becomes six characters at most, and there are seven values."""

_UNSAFE = re.compile(rb"[^ !#-\[\]-~]")

_quote = json.encoder.encode_basestring_ascii
"""A JSON string in ASCII, quotes included."""


class Entry(NamedTuple):
    """One ended exchange. ``duration`` in seconds, ``ended`` in Unix time."""

    record: Record
    duration: float
    ended: float


class LineFormat:
    """Makes lines. ``routes``: the names by index, for ``Record.route``. ``query``: log it with the target."""

    def __init__(self, name: str, routes: tuple[str, ...], query: bool) -> None:
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
                return line
        return self._build(entry, _LAST_ROOM)

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
        """One JSON object; members without a value are left out. Put together by hand: half the time of json.dumps."""
        record = entry.record
        fields = dict(record.headers)
        path, _, query = record.target.partition(b"?")
        stamp = self._stamp(entry.ended, "%Y-%m-%dT%H:%M:%S")
        line = (
            f'{{"time":"{stamp}.{int(entry.ended * 1000) % 1000:03d}Z","requestId":"{record.request_id}"'
            f"{_member('client', _bytes(record.client), room)}{_member('method', _bytes(record.method), room)}"
            f"{_member('host', fields.get(b'host', b''), room)}{_member('path', path, room)}"
            f"{_member('query', query, room) if self._query else ''}"
            f',"protocol":"{record.http_version}","status":{final_status(record)}'
            f"{_constant('route', self._routes[record.route])}{_constant('backend', record.backend)}"
            f',"durationMs":{entry.duration * 1000:.3f},"bytesIn":{record.bytes_in},"bytesOut":{record.bytes_out}'
            f"{_member('userAgent', fields.get(b'user-agent', b''), room)}"
            f"{_member('referer', self._without_query(fields.get(b'referer', b'')), room)}"
            f"{_constant('fault', record.fault)}{_constant('reason', record.reason)}{_constant('tls', record.tls)}}}\n"
        )
        return line.encode("ascii")

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


def _member(name: str, value: bytes, room: int) -> str:
    """A JSON member with a value from the client: bytes that are no UTF-8 are shown in hexadecimal."""
    return f',"{name}":{_quote(_cut(value, room).decode("utf-8", "backslashreplace"))}' if value else ""


def _constant(name: str, value: str | None) -> str:
    """A JSON member with a word of ours or of the config."""
    return f',"{name}":{_quote(value)}' if value else ""
