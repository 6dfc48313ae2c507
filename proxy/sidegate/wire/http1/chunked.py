"""The chunked transfer coding of HTTP/1.1 (RFC 9112 7.1), read strictly.

``server.py`` and ``client.py`` feed it the bytes after a head with ``transfer-encoding: chunked``. It owns the framing
of the body and the trailers; it knows no events, connection or flow control. It raises ``Refused``; after that the
reader cannot be used any more and the connection's framing is lost.

The HTTP parser does not do this because request smuggling depends on where a message ends. So one reader alone decides
that, and it accepts nothing that is not in the grammar: no sign, prefix, underscore or white space in a size; exactly
CRLF; extensions as RFC 9112 7.1.1 writes them (a bare LF in one split messages in several servers of 2025).

What is refused depends on the bytes only, never on how reads split them: every fault is found either in a whole line or
by the length of an incomplete one, and a line ends at its first LF.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sidegate.asgi import Headers
from sidegate.errors import Refused
from sidegate.wire.events import FRAMES_A_TURN
from sidegate.wire.fields import FieldPolicy, trailer_fields

MAX_SIZE_DIGITS = 15
"""60 bits: more than any body, and too little to overflow an integer later. Zeros before them do not count."""

MAX_SIZE_LINE = 256
"""Bytes of one chunk-size line with its extension. No client in use sends extensions; hyper and Go bound them too."""

MAX_EXTENSIONS = 16 * 1024
"""Bytes of extensions, and of zeros before sizes, in one body. Without it each one-byte chunk could carry 250
useless bytes (CVE-2023-39326)."""

_HEX = b"0123456789abcdefABCDEF"
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_QUOTED = rb'''"(?:[\t !#-[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+"'''  # RFC 9110 5.6.4
_SIZE_LINE = re.compile(
    rb"([0-9A-Fa-f]++)(?:[ \t]*+;[ \t]*+%b(?:[ \t]*+=[ \t]*+(?:%b|%b))?+)*+" % (_TOKEN, _TOKEN, _QUOTED)
)
"""Chunk size and extensions, with the white space that RFC 9112 7.1.1 calls bad but lets pass."""

_SIZE, _DATA, _DATA_END, _TRAILERS = range(4)


class ChunkedReader:
    """Reads one chunked body. Call ``feed`` until it returns the bytes after the message; then ``trailers`` is set.

    ``kept``: bytes that the last call of ``feed`` has not read, because they hold more chunks than one call may read.
    ``check``: checks the trailers and returns those that are kept; it raises ``Refused``.
    """

    __slots__ = (
        "_block", "_block_size", "_check", "_extensions", "_left", "_line", "_policy", "_state", "kept", "trailers",
    )  # fmt: skip

    def __init__(self, policy: FieldPolicy, check: Callable[[Headers, FieldPolicy], Headers] = trailer_fields) -> None:
        self.trailers: Headers = []
        self.kept = b""
        self._policy = policy
        self._check = check
        self._state = _SIZE
        self._line = b""
        self._left = 0
        self._extensions = 0
        self._block: Headers = []
        self._block_size = 0

    def feed(self, data: bytes, into: list[bytes]) -> bytes | None:
        """Append the body bytes in ``data`` to ``into``; return the bytes after the last CRLF, None if it is missing.

        It reads up to ``FRAMES_A_TURN`` chunks. Raises ``Refused``; ``into`` then has the body bytes before the fault.
        """
        at = 0
        most = len(into) + FRAMES_A_TURN
        self.kept = b""
        while at < len(data):
            if self._state == _DATA:
                if len(into) == most:
                    self.kept = data[at:]
                    return None
                piece = data[at : at + self._left]
                into.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = _DATA_END
                continue
            newline = data.find(b"\n", at) + 1
            self._line += data[at : newline or len(data)]
            at = newline or len(data)
            if self._take_line(newline > 0):
                return data[at:]
        return None

    def _take_line(self, whole: bool) -> bool:
        """Check the line read so far and process it once it is complete; true if it ended the message."""
        line, self._line = self._line, b""  # a refused one, which may be long, is not kept
        state = self._state
        if state == _DATA_END:
            if not b"\r\n".startswith(line):
                raise Refused(400, "bad_chunk", "the data of a chunk is not followed by CRLF")
        elif state == _SIZE:
            if len(line) > MAX_SIZE_LINE:
                raise Refused(400, "bad_chunk", f"a chunk-size line is longer than {MAX_SIZE_LINE} bytes")
        elif self._block_size + len(line) > self._policy.max_block:
            raise Refused(431, "trailers_too_large", f"more than {self._policy.max_block} bytes of trailers")
        if not whole:
            self._line = line
            return False
        if not line.endswith(b"\r\n"):
            raise Refused(400, "bad_chunk", "a line of the chunked framing ends in a bare LF")
        if state == _DATA_END:
            self._state = _SIZE
        elif state == _SIZE:
            self._take_size(line)
        else:
            return self._take_trailer(line)
        return False

    def _take_size(self, line: bytes) -> None:
        size = line[:-2]
        if len(size) > MAX_SIZE_DIGITS or size.translate(None, _HEX):
            size = self._digits(size)
        if not 0 < len(size) <= MAX_SIZE_DIGITS:
            raise Refused(400, "bad_chunk", f"a chunk size has no digits, or more than {MAX_SIZE_DIGITS}")
        self._left = int(size, 16)
        self._state = _DATA if self._left else _TRAILERS

    def _digits(self, line: bytes) -> bytes:
        """The size in a line with more than that: zeros before it, and extensions, which are checked and ignored."""
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise Refused(400, "bad_chunk", "a chunk size is no hexadecimal number, or its extensions are malformed")
        digits: bytes = match[1].lstrip(b"0") or b"0"
        self._extensions += len(line) - len(digits)
        if self._extensions > MAX_EXTENSIONS:
            raise Refused(400, "bad_chunk", f"more than {MAX_EXTENSIONS} bytes of chunk extensions")
        return digits

    def _take_trailer(self, line: bytes) -> bool:
        if line == b"\r\n":
            self.trailers = self._check(self._block, self._policy)
            return True
        self._block_size += len(line)
        name, colon, value = line[:-2].partition(b":")
        if not colon:
            raise Refused(400, "bad_field_name", "a trailer line has no colon")
        # A folded line, and white space before the colon, make a name that is no token: refused with the block.
        self._block.append((name.lower(), value.strip(b" \t")))
        if len(self._block) > self._policy.max_fields:
            raise Refused(431, "too_many_fields", f"more than {self._policy.max_fields} trailer fields")
        return False
