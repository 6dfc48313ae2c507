"""The two formats of an access-log line.

``AccessLog`` uses it, outside any request. Every value from a client is escaped: a line contains no control character
and no byte outside ASCII, and a value cannot end the quotes around it.

Queries are logged, in the target and in the referer, as nginx does; ``accessLogQuery: false`` leaves both out, because
they may contain reset links, tokens and names. The client's address is always logged.

A line has at most ``MAX_LINE`` bytes, line feed included: a pipe takes that many bytes as one piece when several
processes write to it (POSIX ``PIPE_BUF`` on Linux). In longer lines, long values are truncated and end with ``...``.

Clients send the same values in many requests, and escaping them is most of the work for a line. So each field of a line
has a ``Memory``, which caches the texts of recent values.
"""

from __future__ import annotations

import json.encoder
import re
import time
from collections.abc import Callable
from functools import partial

from sidegate.asgi import Headers
from sidegate.caches import remember
from sidegate.observe.record import Record, final_status

MAX_LINE = 4096

MAX_ID = 64
"""Characters of a request id that are logged at most: ours have half of that, but another front may have made it."""

REMEMBERED = 256
REMEMBERED_SIZE = 256
"""Bounds of a ``Memory``: at most 256 values of at most 256 bytes; a text is at most six times as long as its value."""

_ROOM, _LAST_ROOM = 512, 64
"""Bytes kept of each value from the client if a line is longer than ``MAX_LINE``: first ``_ROOM``, then ``_LAST_ROOM``.

A line with the second always fits: a byte becomes six characters at most, and there are seven values and the id.
"""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""Used instead of ``strftime``'s names, because an application may have set the process's locale."""

_UNSAFE = re.compile(rb"[^ !#-\[\]-~]")

_quote = json.encoder.encode_basestring_ascii
"""Makes a JSON string in ASCII, quotes included."""

_Make = Callable[[bytes, int], str]
"""Makes the text of a value; the second argument is the room: how many bytes of the value are kept."""


class Memory:
    """A cache of the texts of one field of a line. A value is bytes from a client, or our own text."""

    __slots__ = ("_make", "_texts")

    def __init__(self, make: _Make) -> None:
        self._make = make
        self._texts: dict[bytes | str, str] = {}

    def text(self, value: bytes | str, room: int) -> str:
        """The text of the value. ``room``: how many bytes of it are kept; 0: ``MAX_LINE`` bytes, from the cache."""
        if not room:
            known = self._texts.get(value)
            if known is not None:
                return known
        return self._add(value, room)

    def _add(self, value: bytes | str, room: int) -> str:
        raw = value if isinstance(value, bytes) else value.encode("utf-8", "backslashreplace")
        text = self._make(raw, room or MAX_LINE)
        if not room and len(raw) <= REMEMBERED_SIZE:
            remember(self._texts, value, text, REMEMBERED)
        return text


class LineFormat:
    """Makes lines; the base class of both formats."""

    __slots__ = ("_pattern", "_second", "_time")

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._second = -1
        self._time = ""

    def line(self, record: Record, duration: float, ended: float) -> str:
        """One line in ASCII, line feed included. ``duration`` in seconds, ``ended`` in Unix seconds."""
        line = self._build(record, duration, ended, 0)
        if len(line) > MAX_LINE:
            return self._shortened(record, duration, ended)
        return line

    def _shortened(self, record: Record, duration: float, ended: float) -> str:
        line = self._build(record, duration, ended, _ROOM)
        return line if len(line) <= MAX_LINE else self._build(record, duration, ended, _LAST_ROOM)

    def _build(self, record: Record, duration: float, ended: float, room: int) -> str:
        raise NotImplementedError

    def _stamp(self, second: int) -> str:
        if second != self._second:
            self._second = second
            moment = time.gmtime(second)
            self._time = time.strftime(self._pattern.replace("%b", _MONTHS[moment.tm_mon - 1]), moment)
        return self._time


class CombinedLines(LineFormat):
    """The combined log format of Apache and nginx; time in UTC, escapes as nginx writes them."""

    __slots__ = ("_agents", "_clients", "_methods", "_referers", "_targets")

    def __init__(self, query: bool) -> None:
        super().__init__("%d/%b/%Y:%H:%M:%S +0000")
        without_query = _escape if query else partial(_without_query, _escape)
        self._clients = Memory(_escape)
        self._methods = Memory(_escape)
        self._targets = Memory(without_query)
        self._referers = Memory(without_query)
        self._agents = Memory(_escape)

    def _build(self, record: Record, duration: float, ended: float, room: int) -> str:
        _, agent, referer = _described(record.headers)
        version = "2.0" if record.http_version == "2" else record.http_version
        status = record.status
        if not 100 <= status <= 599:
            status = final_status(record)
        return (
            f"{self._clients.text(record.client, room)} - - [{self._stamp(int(ended))}] "
            f'"{self._methods.text(record.method, room)} {self._targets.text(record.target, room)} HTTP/{version}" '
            f'{status} {record.bytes_out} "{self._referers.text(referer, room) or "-"}" '
            f'"{self._agents.text(agent, room) or "-"}"\n'
        )


class JsonLines(LineFormat):
    """One JSON object; members without a value are left out. It does not use json.dumps, which takes far longer.

    ``routes``: the routes' names, by the index of ``Record.route``.
    """

    __slots__ = ("_agents", "_backends", "_clients", "_hosts", "_methods", "_referers", "_routes", "_targets", "_tls")

    def __init__(self, routes: tuple[str, ...], query: bool) -> None:
        super().__init__("%Y-%m-%dT%H:%M:%S")
        referer = partial(_member, "referer")
        self._clients = Memory(partial(_member, "client"))
        self._methods = Memory(partial(_member, "method"))
        self._hosts = Memory(partial(_member, "host"))
        self._targets = Memory(_path_and_query if query else partial(_without_query, partial(_member, "path")))
        self._agents = Memory(partial(_member, "userAgent"))
        self._referers = Memory(referer if query else partial(_without_query, referer))
        self._routes = [*(_constant("route", name) for name in routes), ""]
        self._backends = Memory(partial(_word, "backend"))
        self._tls = Memory(partial(_word, "tls"))

    def _build(self, record: Record, duration: float, ended: float, room: int) -> str:
        host, agent, referer = _described(record.headers)
        milliseconds = int(ended * 1000)
        microseconds = int(duration * 1_000_000 + 0.5)
        status = record.status
        if not 100 <= status <= 599:
            status = final_status(record)
        return (
            f'{{"time":"{self._stamp(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"'
            f',"requestId":{_quote(record.request_id[:MAX_ID])}'
            f"{self._clients.text(record.client, room)}{self._methods.text(record.method, room)}"
            f"{self._hosts.text(host, room)}{self._targets.text(record.target, room)}"
            f',"protocol":"{record.http_version}","status":{status}{self._routes[record.route.index]}'
            f"{self._backends.text(record.backend, room)}"
            f',"durationMs":{microseconds // 1000}.{microseconds % 1000:03d}'
            f',"bytesIn":{record.bytes_in},"bytesOut":{record.bytes_out}'
            f"{self._agents.text(agent, room)}{self._referers.text(referer, room)}"
            f"{_failure(record) if record.fault is not None or record.reason else ''}"
            f"{self._tls.text(record.tls, room)}}}\n"
        )


def make_format(name: str, routes: tuple[str, ...], query: bool) -> LineFormat:
    """The format with the config's name ``combined`` or ``json``. ``query``: log queries in target and referer."""
    return CombinedLines(query) if name == "combined" else JsonLines(routes, query)


def _described(headers: Headers) -> tuple[bytes, bytes, bytes]:
    """Host, user agent and referer: the value of the last field with the name, or empty."""
    host = agent = referer = b""
    for field in headers:
        name = field[0]
        if name == b"user-agent":
            agent = field[1]
        elif name == b"host":
            host = field[1]
        elif name == b"referer":
            referer = field[1]
    return host, agent, referer


def _truncated(value: bytes, room: int) -> bytes:
    return value if len(value) <= room else value[:room] + b"..."


def _escape(value: bytes, room: int) -> str:
    return _UNSAFE.sub(_hex, _truncated(value, room)).decode("ascii")


def _hex(match: re.Match[bytes]) -> bytes:
    return b"\\x%02X" % match[0][0]


def _member(name: str, value: bytes, room: int) -> str:
    """A JSON member with a value from the client; bytes that are not UTF-8 are shown in hexadecimal."""
    return f',"{name}":{_quote(_truncated(value, room).decode("utf-8", "backslashreplace"))}' if value else ""


def _without_query(make: _Make, target: bytes, room: int) -> str:
    return make(target.partition(b"?")[0], room)


def _path_and_query(target: bytes, room: int) -> str:
    path, _, query = target.partition(b"?")
    return _member("path", path, room) + _member("query", query, room)


def _constant(name: str, value: str | None) -> str:
    """A JSON member with a value of Sidegate's own or of the config."""
    return f',"{name}":{_quote(value)}' if value else ""


def _word(name: str, value: bytes, _room: int) -> str:
    return _constant(name, value.decode())


def _failure(record: Record) -> str:
    return _constant("fault", record.fault) + _constant("reason", record.reason)
