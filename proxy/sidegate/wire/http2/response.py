"""The check of a server's response by RFC 9113 section 8.

``client.py`` calls it with what an engine decoded. It owns the rules for the header lists of responses and a cache of
one list, because a server sends nearly the same fields with every response. It raises ``MalformedResponse``; the codec
then resets the stream.
"""

from __future__ import annotations

from sidegate.wire.client_codec import RESPONSE_TOO_LARGE
from sidegate.wire.codes import PROTOCOL_ERROR
from sidegate.wire.fields import CLOSE, OFFER, ResponseTooLarge, response_fields
from sidegate.wire.http2.engine import EngineSettings, Fields

_STATUSES = {b"%d" % status: status for status in range(100, 1000)}
_SPECIAL = (CLOSE, OFFER, b"trailer")
"""Fields that a server may send although ``response_fields`` does not keep them."""
_NONE: Fields = ((b"", b""),)  # not (): that would be identical to a server's empty list


class MalformedResponse(Exception):
    """The response is malformed; ``code`` is the code to reset its stream with."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class ResponseValidator:
    """Checks the header lists of one connection."""

    __slots__ = ("_fields", "_largest_block", "_length", "_most_fields")

    def __init__(self, settings: EngineSettings) -> None:
        self._largest_block = settings.header_block
        self._most_fields = settings.header_fields
        # The last list that passed, compared by identity: nghttp2's engine returns the same tuple for the same list.
        self._fields = _NONE
        self._length: int | None = None

    def status(self, pseudo: Fields) -> int:
        """The status code (RFC 9113 8.3.2). Raises ``MalformedResponse``."""
        if len(pseudo) == 1:
            name, value = pseudo[0]
            status = _STATUSES.get(value)
            if name == b":status" and status is not None:
                return status
        raise MalformedResponse(PROTOCOL_ERROR)

    def content_length(self, fields: Fields, size: int) -> int | None:
        """Check header or trailer fields and return their content-length. Raises ``MalformedResponse``.

        ``size`` counts 32 bytes for each field (RFC 9113 6.5.2).
        """
        # First: fields beyond the limit were not kept.
        if size > self._largest_block or len(fields) > self._most_fields:
            raise MalformedResponse(RESPONSE_TOO_LARGE)
        if fields is not self._fields:
            self._length = _check(fields)
            self._fields = fields
        return self._length


def _check(fields: Fields) -> int | None:
    try:
        kept, length, _, _, _ = response_fields(fields)
    except ResponseTooLarge:
        raise MalformedResponse(RESPONSE_TOO_LARGE) from None
    except ValueError:
        raise MalformedResponse(PROTOCOL_ERROR) from None
    # What an application may write but a server may not send: upper case and spaces around a value (RFC 9113 8.2.1),
    # connection-specific fields (8.2.2).
    if kept != list(fields) and kept != [pair for pair in fields if pair[0] not in _SPECIAL]:
        raise MalformedResponse(PROTOCOL_ERROR)
    return length
