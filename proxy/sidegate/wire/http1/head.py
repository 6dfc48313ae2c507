"""The head of an HTTP/1.1 request: from bytes to a checked request line and fields.

``server.py`` calls it, and it calls httptools (llhttp). ``HeadReader`` owns the syntax of the bytes: line ends, limits,
the request line, the order of the checks. ``fields.py`` owns the meaning of fields, and ``options.py`` the meaning of
those that concern the connection. It never reads a body. It raises ``Refused``; after that the connection's framing is
lost and the reader cannot be used any more.

How a head is checked:

1. ``_scan`` checks limits, line ends and control bytes while the head comes in pieces, in a few passes in C over the
   new bytes. It refuses a head that is too large or can no longer become valid as soon as that is visible. A head that
   is complete at once and smaller than every limit does not need this step.
2. ``_REQUEST_LINE`` splits the request line; the expression covers every byte of it.
3. llhttp checks the fields once more and splits them. It always gets exactly one head, so it never sees a body and
   never decides where a message ends: it has no influence on framing. It gets ``_PLAIN_LINE`` instead of the request
   line, because it knows neither every method nor HTTP/1.2. It is strict about line ends and control bytes itself
   (tests/unit/test_http1_refusals.py tests that for every version of it).
4. ``_check`` compares the parts with the rules.

Clients send the same fields with every request of a connection. A *block* is everything between the request line and
the end of the head. ``_remember`` caches a block that has passed 3 and 4, with its result. The result depends only on
the block's bytes and the policy once the request line is plain: GET or HEAD, a target that is a path, HTTP/1.1. Both
the lookup and the store require such a line, step 1 is never skipped, and a block that says anything about framing, the
connection's end or an upgrade is not cached. ``_remember_line`` also caches a plain line by its bytes once its request
has passed; that saves only step 2.

Whichever step finds a fault, ``_reason`` decides which reason is reported: it looks first for the first wrong byte,
then for the broken rule. So what is refused, and why, depends on the bytes and never on how reads split them.
"""

from __future__ import annotations

import re

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from sidegate.asgi import Headers
from sidegate.caches import remember
from sidegate.config.schema import Limits
from sidegate.errors import Refused
from sidegate.wire.events import RequestHead
from sidegate.wire.fields import (
    CONTROL_BYTES,
    HANDSHAKE,
    SCHEME,
    FieldPolicy,
    RequestFields,
    other_scheme,
    request_fields,
)
from sidegate.wire.http1.options import connection_options, is_chunked, is_kept, wanted_protocol
from sidegate.wire.http1.parts import HeadParts
from sidegate.wire.method import METHOD_BYTES, METHODS, check_method, is_token
from sidegate.wire.target import TARGET_BYTES

MAX_BLANK_LINES = 4
"""Empty lines skipped before a request line (RFC 9112 2.2 asks for one: some clients end a body with CRLF)."""

REMEMBERED = 256
REMEMBERED_SIZE = 2048
REMEMBERED_LINES = 1024
REMEMBERED_LINE = 256
"""Bounds of the caches of each policy: at most 256 blocks, of heads of at most 2 KiB, and 1024 lines."""

_PLAIN_METHODS = {b"GET": "GET", b"HEAD": "HEAD"}
_SLASH = ord("/")
_LINE_END, _HEAD_END = b"\r\n", b"\r\n\r\n"
_PLAIN_LINE = b"GET / HTTP/1.1"
# The bytes of METHOD_BYTES, then those of TARGET_BYTES: visible ASCII without `#`.
_REQUEST_LINE = re.compile(rb"""([!#$%&'*+.^_`|~0-9A-Za-z-]++) ([!-"$-~]++) HTTP/([0-9]\.[0-9])""")
_VERSION = re.compile(rb"HTTP/([0-9]\.[0-9])")
_BAD_BYTE = re.compile(rb"\r(?!\n)|(?<!\r)\n|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_FOLD = re.compile(rb"\r\n(?=[ \t])")

_Offence = tuple[int, int, str, str]
"""Position, status, reason, detail. The offence with the lowest position is reported."""


class HeadReader:
    """Reads one head after the other. After each it sets ``chunked``, and ``keep_alive``: what the client asked for.

    ``seen``: the bytes up to the first offence, for ``request_line``. ``scheme``: that of the connection, with which
    the scheme of a target in absolute-form is compared; empty if it is unknown.
    """

    __slots__ = (
        "_blank_lines",
        "_blocks",
        "_line_end",
        "_lines",
        "_max_line",
        "_parser",
        "_parts",
        "_policy",
        "_request_lines",
        "_reusable",
        "_scanned",
        "_small",
        "_upgrade",
        "chunked",
        "keep_alive",
        "scheme",
        "seen",
    )

    def __init__(self, policy: FieldPolicy, limits: Limits) -> None:
        self.chunked = False
        self.keep_alive = True
        self.scheme = self.seen = b""
        self._policy = policy
        self._blocks = policy.blocks
        self._request_lines = policy.request_lines
        self._max_line = limits.request_line
        self._small = min(limits.request_line, policy.max_block) - len(_HEAD_END)
        self._parts = HeadParts()
        self._parser = HttpRequestParser(self._parts)
        self._reusable = True  # the parser is ready for another head
        self._upgrade = False
        self._blank_lines = 0
        self._scanned = 0
        self._lines = 0
        self._line_end = 0

    def read(self, buffer: bytes, stream_id: int) -> tuple[RequestHead | None, bytes]:
        """The request at the start of ``buffer``, None while its head is incomplete, and the bytes to keep.

        ``buffer`` grows from call to call: the bytes kept last time and those that came since. Raises ``Refused``.
        """
        if buffer.startswith(b"\r"):
            buffer = self._skip_blank_lines(buffer)
        head, found, rest = buffer.partition(_HEAD_END)
        if self._scanned or not found or len(head) > self._small:
            end = self._scan(buffer)
            if not end:
                return None, buffer
            head, rest = buffer[: end - len(_HEAD_END)], buffer[end:]
        request = self._parse(head, stream_id)
        self._blank_lines = self._scanned = self._lines = self._line_end = 0
        return request, rest

    def request_line(self) -> tuple[str, bytes, str]:
        """Method, target and version of a refused request, as far as they can be read.

        The method counts once a space follows it: the answer to a HEAD has no body, whatever follows (RFC 9110 9.3.2).
        """
        line, whole, _ = self.seen.partition(b"\r\n")
        parts = line.split(b" ")
        if len(parts) < 2 or parts[0].translate(None, METHOD_BYTES):
            return "", b"", "1.1"
        method = parts[0].decode("ascii")
        if not whole or len(parts) != 3:
            return method, b"", "1.1"
        return method, parts[1], "1.0" if parts[2] == b"HTTP/1.0" else "1.1"

    def _skip_blank_lines(self, buffer: bytes) -> bytes:
        while buffer.startswith(b"\r\n"):
            buffer = buffer[2:]
            self._blank_lines += 1
            if self._blank_lines > MAX_BLANK_LINES:
                self.seen = b""
                raise Refused(400, "bad_request_line", "empty lines instead of a request")
        return buffer

    def _scan(self, buffer: bytes) -> int:
        """The end of the head, 0 while it is incomplete. Scans each byte only once, however slowly they come."""
        start = self._scanned
        terminator = buffer.find(b"\r\n\r\n", max(start - 3, 0))
        complete = terminator >= 0
        # A CR at the end is no offence yet: its LF may follow.
        end = terminator + 4 if complete else len(buffer) - buffer.endswith(b"\r")
        fresh = buffer[start:end]
        lines = fresh.count(b"\r\n")
        if not self._line_end and lines:
            self._line_end = buffer.find(b"\r\n", start, end) + 2
        self._lines += lines
        self._scanned = end
        self.seen = buffer
        if (
            len(fresh.translate(None, CONTROL_BYTES)) != len(fresh) - 2 * lines
            or _FOLD.search(buffer, max(start - 2, 0), end)
            or self._lines - complete > self._policy.max_fields + 1
            or (self._line_end - 2 if self._line_end else end) > self._max_line
            or (self._line_end and end - self._line_end > self._policy.max_block)
        ):
            raise self._first(self._offences(buffer[:end]))
        return end if complete else 0

    def _offences(self, head: bytes) -> list[_Offence]:
        """The faults that ``_scan`` looks for, in a head or its beginning: the first of each kind, and its position."""
        found: list[_Offence] = []
        line, whole, block = head.partition(b"\r\n")
        if len(line) > self._max_line:
            found.append((self._max_line, 414, "request_line_too_long", f"more than {self._max_line} bytes"))
        if bad := _BAD_BYTE.search(head):
            found.append((bad.start(), 400, *_byte_offence(bad.group(), bad.start() < len(line))))
        if fold := _FOLD.search(head):
            found.append((fold.end(), 400, "bad_field_value", "a header field is folded over several lines"))
        max_block, max_fields = self._policy.max_block, self._policy.max_fields
        if len(block) > max_block:
            position = len(line) + len(whole) + max_block
            found.append((position, 431, "header_block_too_large", f"more than {max_block} bytes"))
        lines = head.split(b"\r\n", max_fields + 2)
        if len(lines) > max_fields + 2 and lines[-2]:
            position = len(head) - len(lines[-1]) - 2
            found.append((position, 431, "too_many_fields", f"more than {max_fields} header fields"))
        return found

    def _first(self, found: list[_Offence]) -> Refused:
        position, status, reason, detail = min(found)
        self.seen = self.seen[:position]
        return Refused(status, reason, detail)

    def _parse(self, head: bytes, stream_id: int) -> RequestHead:
        """Parse ``head``, which comes without its terminator."""
        line, _, block = head.partition(_LINE_END)
        known = self._request_lines.get(line)
        if known is not None:
            method, target = known
            version = b"1.1"
        else:
            match = _REQUEST_LINE.fullmatch(line)
            if match is None:
                raise self._reason(head + _HEAD_END, HttpParserError("the request line is not well-formed"))
            method, target, version = match.groups()
            if method not in _PLAIN_METHODS or target[0] != _SLASH or version != b"1.1" or len(head) > REMEMBERED_SIZE:
                return self._parse_anew(head + _HEAD_END, method, target, version, stream_id)
        fields = self._blocks.get(block)
        if fields is None:
            request = self._parse_anew(head + _HEAD_END, method, target, version, stream_id)
            self._remember(block, request)
        else:
            self.keep_alive = True
            self.chunked = False
            request = RequestHead(stream_id, _PLAIN_METHODS[method], target, [*fields], "1.1")
        if known is None:
            self._remember_line(line, method, target)
        return request

    def _remember_line(self, line: bytes, method: bytes, target: bytes) -> None:
        """Cache the plain ``line``, so that the next request with it is not matched again. The head has passed."""
        if len(line) <= REMEMBERED_LINE:
            remember(self._request_lines, line, (method, target), REMEMBERED_LINES)

    def _remember(self, block: bytes, request: RequestHead) -> None:
        """Cache the result of ``block``: of the next request with it only the request line is parsed."""
        plain = request.end_stream and request.content_length is None and self.keep_alive and not self._upgrade
        if plain and len(block) <= REMEMBERED_SIZE:
            # A copy: the code that gets the request may change its list.
            remember(self._blocks, block, tuple(request.headers), REMEMBERED)

    def _parse_anew(self, head: bytes, method: bytes, target: bytes, version: bytes, stream_id: int) -> RequestHead:
        parts = self._parts
        parts.fields = []
        parts.complete = self._upgrade = False
        try:
            try:
                self._parser.feed_data(_PLAIN_LINE + head[head.find(_LINE_END) :])
            except HttpParserUpgrade:
                self._upgrade = True  # llhttp stops at any `Upgrade`; the codec decides which of them have an effect
            if not parts.complete:
                raise HttpParserError("the head is not one whole request head")
            request = self._check(method, target, version.decode(), parts.fields, stream_id)
        except (HttpParserError, Refused) as error:
            raise self._reason(head, error) from None
        if request.content_length or not self._reusable:
            # llhttp now waits for a body, or has left HTTP; a new parser costs a third of a microsecond.
            self._parser = HttpRequestParser(parts)
        return request

    def _reason(self, head: bytes, error: HttpParserError | Refused) -> Refused:
        """Why ``head`` is refused: its first wrong byte, or the rule that it breaks, or else llhttp's own message."""
        self.seen = head
        if found := self._offences(head):
            return self._first(found)
        if isinstance(error, Refused):
            return error
        line, _, block = head[:-4].partition(b"\r\n")
        words = line.split(b" ")
        version = _VERSION.fullmatch(words[-1])
        if len(words) != 3 or version is None:
            return Refused(400, "bad_request_line", "the request line is not `method target version`")
        if not is_token(words[0]):
            return Refused(400, "bad_method", "the method is not a token")
        if not words[1] or words[1].translate(None, TARGET_BYTES):
            return Refused(400, "bad_target", "the request target has bytes outside visible ASCII, or a '#'")
        fields: Headers = []
        for field in block.split(b"\r\n") if block else ():
            name, colon, value = field.partition(b":")
            if not colon:
                return Refused(400, "bad_field_name", "a header line has no colon")
            fields.append((name.lower(), value.strip(b" \t")))
        try:
            self._check(words[0], words[1], version[1].decode("ascii"), fields, 0)
        except Refused as refused:
            return refused
        return Refused(400, "malformed", str(error))

    def _check(self, method: bytes, target: bytes, version: str, raw: Headers, stream_id: int) -> RequestHead:
        if version[0] != "1":
            raise Refused(505, "bad_version", "the version is not HTTP/1.0 or HTTP/1.1")
        if version != "1.0":
            version = "1.1"  # RFC 9110 2.5: a higher minor version is processed as the highest that is implemented
        word = METHODS.get(method) or check_method(method)
        authority: bytes | None = None
        scheme = b""
        if target[0] != _SLASH:
            target, authority, scheme = _split_authority(method, target)
        fields = request_fields(raw, self._policy, authority)
        headers = fields.headers
        if version == "1.0":
            # RFC 9110 10.1.1: a 1.0 client cannot mean it. RFC 9112 3.2: it need not send a host either.
            fields.expect_continue = False
        elif not headers or headers[0][0] != b"host" or (authority is not None and not _has_host(raw)):
            raise Refused(400, "bad_host", "HTTP/1.1 needs a host field")
        head = RequestHead(stream_id, word, target, headers, version)
        self._reusable = not fields.hop
        self.chunked = False
        self.keep_alive = version == "1.1"
        if fields.hop:
            self._check_hop(fields, head)
        length = fields.content_length
        bodiless = not length and not self.chunked
        if head.protocol and not bodiless:
            raise Refused(400, "websocket_body", "a WebSocket's handshake with a body")
        head.announce_body(length, fields.expect_continue and not bodiless, bodiless and not head.protocol)
        if scheme and (other := other_scheme(scheme, self.scheme, self._policy)):
            headers.append((SCHEME, other))
        return head

    def _check_hop(self, fields: RequestFields, head: RequestHead) -> None:
        """Evaluate the fields that end at this hop."""
        self.chunked = is_chunked(fields, head.http_version)
        options = connection_options(fields, self._policy)
        self.keep_alive = is_kept(options, head.http_version)
        for name, _ in fields.hop:
            if name == b"upgrade":
                self._upgrade = True
        if self._upgrade:
            head.protocol = wanted_protocol(fields, options, head)
            if head.protocol:
                head.headers += [pair for pair in fields.hop if pair[0] in HANDSHAKE]


def _byte_offence(byte: bytes, in_request_line: bool) -> tuple[str, str]:
    if byte in b"\r\n":
        return "bad_line_end", "a line ends in a bare CR or LF"
    if in_request_line:
        return "bad_request_line", "the request line contains a control character"
    return "bad_field_value", "a header line contains a control character"


def _has_host(raw: Headers) -> bool:
    return any(name == b"host" for name, _ in raw)


def _split_authority(method: bytes, target: bytes) -> tuple[bytes, bytes | None, bytes]:
    """RFC 9112 3.2: split a target that is no path: path and query, or ``*``; authority and scheme of an absolute-form.

    ``*`` has neither: None and empty.
    """
    if target == b"*" and method == b"OPTIONS":
        return target, None, b""
    scheme, separator, rest = target.partition(b"://")
    scheme = scheme.lower()
    if not separator or scheme not in (b"http", b"https"):
        raise Refused(400, "bad_target", "the request target is neither a path nor an http(s) URI")
    slash = rest.find(b"/")
    authority = rest[: slash if slash >= 0 else len(rest)].partition(b"?")[0]
    path = rest[len(authority) :]
    if not path:
        path = b"*" if method == b"OPTIONS" else b"/"  # RFC 9112 3.2.4
    elif path[:1] == b"?":
        path = b"/" + path
    return path, authority, scheme
