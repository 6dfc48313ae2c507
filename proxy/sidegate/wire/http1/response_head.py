"""The head of a response of an HTTP/1.1 server: from bytes to a status, checked fields and the framing of the body.

``client.py`` calls it, and it calls httptools (llhttp), which always gets exactly one head: it sees no body and never
decides where a message ends. ``fields.py`` owns the meaning of fields, ``options.py`` that of those which concern the
connection. It raises ``Refused``; after that the connection's framing is lost.

The server is trusted, but a response whose end two parsers could see at different places is refused: a bare LF at the
end of a line, ``content-length`` beside ``transfer-encoding``, another coding than ``chunked`` (RFC 9112 6.3). The size
of a head is bounded.
"""

from __future__ import annotations

import re

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from sidegate.asgi import Headers
from sidegate.errors import Refused
from sidegate.wire.fields import FieldPolicy, ResponseTooLarge, allowed_trailers, members, response_fields
from sidegate.wire.http1.options import drop_nominated, is_kept
from sidegate.wire.http1.parts import HeadParts

BAD_GATEWAY = 502
"""The status of every ``Refused`` that a response causes (RFC 9110 15.6.3)."""

_VERSION = b"HTTP/1."
_LATER_VERSION = re.compile(rb"HTTP/1\.[2-9](?= )")
_HEAD_END = b"\r\n\r\n"
_BARE_LF = re.compile(rb"(?<!\r)\n")


class ResponseHeadReader:
    """Reads one head after the other.

    After each it sets what the head says about its body (``chunked``, ``content_length``, None if there is none) and
    about the connection (``keep_alive``).
    """

    __slots__ = ("_policy", "_scanned", "chunked", "content_length", "keep_alive")

    def __init__(self, policy: FieldPolicy) -> None:
        self.chunked = False
        self.content_length: int | None = None
        self.keep_alive = True
        self._policy = policy
        self._scanned = 0

    def read(self, buffer: bytes) -> tuple[int, Headers, bytes] | None:
        """Status, fields and the bytes after the head at the start of ``buffer``; None while the head is incomplete.

        ``buffer`` grows from call to call. Raises ``Refused``.
        """
        most = self._policy.max_block
        found = buffer.find(_HEAD_END, max(self._scanned - 3, 0))
        end = found + len(_HEAD_END) if found >= 0 else len(buffer)
        # What is refused, and why, depends on the bytes and not on how reads split them.
        if buffer[: len(_VERSION)] != _VERSION[:end]:
            raise Refused(BAD_GATEWAY, "malformed", "the server does not answer in HTTP/1.0 or HTTP/1.1")
        if _BARE_LF.search(buffer, max(self._scanned - 1, 0), min(end, most)):
            raise Refused(BAD_GATEWAY, "bad_line_end", "a line of the response's head ends in a bare LF")
        if end > most:
            raise Refused(BAD_GATEWAY, "header_block_too_large", f"more than {most} bytes")
        self._scanned = 0 if found >= 0 else end
        if found < 0:
            return None
        status, fields = self._parse(buffer[:end])
        return status, fields, buffer[end:]

    def _parse(self, head: bytes) -> tuple[int, Headers]:
        parts = HeadParts()
        parser = HttpResponseParser(parts)
        try:
            # RFC 9110 2.5: a higher minor version is processed as the highest that is implemented.
            parser.feed_data(b"HTTP/1.1" + head[8:] if _LATER_VERSION.match(head) else head)
        except HttpParserUpgrade:
            pass  # llhttp stops at any `Upgrade`; the codec decides which of them has an effect
        except HttpParserError as error:
            raise Refused(BAD_GATEWAY, "malformed", str(error)) from None
        version, status = parser.get_http_version(), parser.get_status_code()
        if not parts.complete or version not in ("1.1", "1.0") or status < 100:
            raise Refused(BAD_GATEWAY, "malformed", "the head is no response of HTTP/1.0 or HTTP/1.1")
        if len(parts.fields) > self._policy.max_fields:
            raise Refused(BAD_GATEWAY, "too_many_fields", f"more than {self._policy.max_fields} header fields")
        return status, self._check(parts.fields, version)

    def _check(self, raw: Headers, version: str) -> Headers:
        try:
            fields, self.content_length, _, _, hop = response_fields(raw)
        except ResponseTooLarge as error:
            raise Refused(BAD_GATEWAY, "header_block_too_large", str(error)) from None
        except ValueError as error:
            raise Refused(BAD_GATEWAY, "malformed", str(error)) from None
        options = members(raw, b"connection")
        fields += [pair for pair in hop or () if pair[0] == b"trailer"]  # an upgrade is offered to this side alone
        drop_nominated(fields, options, self._policy)
        self.keep_alive = is_kept(options, version)
        codings = [value.lower() for name, value in raw if name == b"transfer-encoding"]
        self.chunked = bool(codings)
        if codings and (codings != [b"chunked"] or self.content_length is not None or version == "1.0"):
            detail = "the transfer-encoding is not `chunked`, once, of HTTP/1.1 and without content-length"
            raise Refused(BAD_GATEWAY, "unknown_coding", detail)
        return fields


def checked_trailers(raw: Headers, policy: FieldPolicy) -> Headers:
    """Check a response's trailers. Raises ``Refused``."""
    try:
        return allowed_trailers(response_fields(raw)[0])
    except ResponseTooLarge as error:
        raise Refused(BAD_GATEWAY, "trailers_too_large", str(error)) from None
    except ValueError as error:
        raise Refused(BAD_GATEWAY, "malformed", str(error)) from None
