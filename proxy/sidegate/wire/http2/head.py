"""The check of a request's header list by RFC 9113 section 8 and the header policy.

``server.py`` calls it with what an engine decoded. It owns the rules for pseudo-header fields and a small cache of
lists that passed: a client sends the same fields with every request of a connection. It raises ``Malformed`` (RFC 9113
8.1.1: the codec resets the stream) and ``Refused`` (the client gets an error page).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sidegate.asgi import Headers
from sidegate.caches import remember
from sidegate.errors import Refused
from sidegate.wire.fields import (
    OWN_PREFIX,
    SCHEME,
    FieldPolicy,
    RequestFields,
    is_same_authority,
    other_scheme,
    request_fields,
    trailer_fields,
    values_clean,
)
from sidegate.wire.http2.engine import CRUMB_OVERHEAD, Fields
from sidegate.wire.method import METHODS, check_method, is_token
from sidegate.wire.target import TARGET_BYTES

if TYPE_CHECKING:
    from sidegate.config.schema import Limits

MALFORMED_REASONS = frozenset(("bad_field_name", "bad_field_value", "bad_content_length"))
"""Reasons of the shared policy that RFC 9113 8.1.1 and 8.2.1 call malformed."""

REMEMBERED = 16
REMEMBERED_SIZE = 2048
"""Bounds of the cache: at most 16 lists of at most 2 KiB a connection."""

FIELD_OVERHEAD = 32
"""Bytes that a field counts in addition to its name and value (RFC 9113 6.5.2)."""

_NONE: Fields = ((b"", b""),)  # not (): that would be identical to a client's empty list
_SCHEMES = (b"https", b"http")
_OUTSIDE_TO_NUL = bytes(byte if byte in TARGET_BYTES else 0 for byte in range(256))


class Malformed(Refused):
    """RFC 9113 8.1.1: the stream must end with PROTOCOL_ERROR."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(400, reason, detail)


Request = tuple[str, bytes, Headers, int | None, bool]
"""Method, target, fields (shared with later requests: give copies away), content-length, waits for a 100.

The method is ``CONNECT`` for a WebSocket (RFC 8441) and for nothing else.
"""

CONNECT: Final = "CONNECT"
"""Compared by identity, because a comparison of strings would cost every request 100 instructions."""


class HeadValidator:
    """Checks the header lists of one connection.

    ``scheme``: that of the connection, with which ``:scheme`` is compared; empty if it is unknown.
    """

    __slots__ = (
        "_answer", "_authority", "_fields", "_largest_block", "_longest_line", "_memory", "_of_front", "_other_scheme",
        "_policy", "_pseudo", "scheme",
    )  # fmt: skip

    def __init__(self, policy: FieldPolicy, limits: Limits) -> None:
        self.scheme = b""
        self._policy = policy
        self._of_front = policy.keep_own
        self._longest_line = limits.request_line
        self._largest_block = limits.header_block
        self._memory: dict[Fields, RequestFields] = {}  # checked with the last request's authority
        # The last request's, compared by identity: engines return the same tuple for the same list.
        self._authority: bytes | None = None
        self._other_scheme = b""
        self._pseudo = _NONE
        self._fields = _NONE
        self._answer: Request = ("", b"", [], None, False)

    def request(self, pseudo: Fields, fields: Fields, size: int) -> Request:
        """Check a request.

        ``size`` counts 32 bytes for each field (RFC 9113 6.5.2). Raises ``Malformed`` and ``Refused``.
        """
        # First: fields far beyond the limit were not kept and not compared.
        if size > self._largest_block and size - _overhead(fields) > self._largest_block:
            detail = f"more than {self._largest_block} bytes of header fields"
            raise Refused(431, "header_block_too_large", detail)
        return self._request_of_front(pseudo, fields, size) if self._of_front else self._request(pseudo, fields, size)

    def _request_of_front(self, pseudo: Fields, fields: Fields, size: int) -> Request:
        """Check a request of a front. Its facts come last and differ with each request, so they are not cached."""
        count = len(fields)
        while count > 0 and fields[count - 1][0].startswith(OWN_PREFIX):
            size -= len(fields[count - 1][0]) + len(fields[count - 1][1]) + FIELD_OVERHEAD
            count -= 1
        facts = list(fields[count:])
        if not values_clean(facts):
            raise Malformed("bad_field_value", "a front's fact contains a control character")
        fields = fields[:count]
        answer = self._request(pseudo, self._fields if fields == self._fields else fields, size)
        return answer[0], answer[1], answer[2] + facts, answer[3], answer[4]

    def _request(self, pseudo: Fields, fields: Fields, size: int) -> Request:
        answer = self._answer
        if pseudo is self._pseudo and fields is self._fields:
            return answer
        method, authority, scheme = answer[0], self._authority, self._other_scheme
        target = self._moved(pseudo)
        if target is None:
            method, target, authority, scheme = _control(pseudo, self._longest_line)
            scheme = other_scheme(scheme, self.scheme, self._policy)
        else:
            _check_target(target, method, self._longest_line)
        if fields is self._fields and authority == self._authority and scheme == self._other_scheme:
            answer = (method, target, answer[2], answer[3], answer[4])
        else:
            judged = self._check_fields(fields, size, authority)
            headers = [*judged.headers, (SCHEME, scheme)] if scheme else judged.headers
            answer = (method, target, headers, judged.content_length, judged.expect_continue)
        if size <= REMEMBERED_SIZE:
            self._authority = authority
            self._other_scheme = scheme
            self._pseudo = pseudo
            self._fields = fields
            self._answer = answer
        return answer

    def _moved(self, pseudo: Fields) -> bytes | None:
        """The target, if only that differs from the last request's pseudo-header fields."""
        known = self._pseudo
        if len(pseudo) != len(known):
            return None
        target = self._answer[1]
        for i in range(len(pseudo)):
            pair, seen = pseudo[i], known[i]
            if pair is not seen and pair != seen:
                if pair[0] != b":path" or seen[0] != b":path":
                    return None
                target = pair[1]
        return target

    def _check_fields(self, fields: Fields, size: int, authority: bytes | None) -> RequestFields:
        if size > REMEMBERED_SIZE:
            return self._check(fields, authority)
        if authority != self._authority:
            self._memory.clear()
        judged = self._memory.get(fields)
        if judged is None:
            judged = self._check(fields, authority)
            remember(self._memory, fields, judged, REMEMBERED)
        return judged

    def _check(self, fields: Fields, authority: bytes | None) -> RequestFields:
        try:
            judged = request_fields(list(fields), self._policy, authority)
        except Refused as refused:
            if refused.reason in MALFORMED_REASONS:
                raise Malformed(refused.reason, refused.detail) from None
            raise
        if judged.hop:
            raise Malformed("connection_field", "HTTP/2 has no connection-specific fields (RFC 9113 8.2.2)")
        for name, value in fields:
            if value[:1] in (b" ", b"\t") or value[-1:] in (b" ", b"\t"):
                raise Malformed("bad_field_value", "a field value starts or ends with white space (RFC 9113 8.2.1)")
            if name == b"host" and authority is not None and not is_same_authority(value, authority):
                raise Refused(400, "bad_host", "the host field and :authority differ (RFC 9113 8.3.1)")
            if name == b"te" and value.lower() != b"trailers":
                raise Malformed("connection_field", "te may only say trailers (RFC 9113 8.2.2)")
        hosted = judged.headers and judged.headers[0][0] == b"host" and judged.headers[0][1]
        if not hosted and not self._policy.keep_own:  # a front's client may use HTTP/1.0, which needs no host
            raise Refused(400, "bad_host", "neither :authority nor host names a host")
        return judged

    def trailers(self, pseudo: Fields, fields: Fields, size: int) -> Headers:
        """Check request trailers. Raises ``Malformed`` and ``Refused``."""
        if size > self._largest_block:
            detail = f"more than {self._largest_block} bytes of trailer fields"
            raise Refused(431, "trailers_too_large", detail)
        if pseudo:
            raise Malformed("bad_pseudo_header", "trailers have no pseudo-header fields (RFC 9113 8.1)")
        return trailer_fields(list(fields), self._policy)


def _overhead(fields: Fields) -> int:
    """By how much the crumbs count for more than the one ``cookie`` field that becomes of them."""
    return CRUMB_OVERHEAD * max(sum(name == b"cookie" for name, _ in fields) - 1, 0)


def _control(pseudo: Fields, longest: int) -> tuple[str, bytes, bytes | None, bytes]:
    """Method, target, authority and scheme by RFC 9113 8.3.1."""
    named = dict(pseudo)
    repeated = len(named) != len(pseudo)
    method = named.pop(b":method", b"")
    scheme = named.pop(b":scheme", b"").lower()
    target = named.pop(b":path", b"")
    authority = named.pop(b":authority", None)
    protocol = named.pop(b":protocol", None) if method == b"CONNECT" else None
    if named or repeated:
        raise Malformed("bad_pseudo_header", "a pseudo-header field is unknown, misplaced or repeated")
    word = METHODS.get(method) or (_method(method) if protocol is None else _connect(protocol))
    if scheme not in _SCHEMES:
        raise Malformed("bad_scheme", "no :scheme, or neither http nor https")
    _check_target(target, word, longest)
    return word, target, authority, scheme


def _check_target(target: bytes, method: str, longest: int) -> None:
    """Check the form that every request target must have (RFC 9112 3.2)."""
    if not target.startswith(b"/") and not (target == b"*" and method == "OPTIONS"):
        raise Malformed("bad_target", "no :path, or it does not start with '/'")
    if 0 in target.translate(_OUTSIDE_TO_NUL):
        raise Refused(400, "bad_target", "the request target has bytes outside visible ASCII, or a '#'")
    if len(target) > longest:
        raise Refused(414, "request_line_too_long", f":path is longer than {longest} bytes")


def _method(method: bytes) -> str:
    if not is_token(method):
        raise Malformed("bad_method", "no :method, or not a token")
    return check_method(method)


def _connect(protocol: bytes) -> str:
    if protocol.lower() != b"websocket":
        raise Refused(501, "unknown_protocol", "the only supported :protocol is websocket")  # as RFC 9220 3 requires
    return CONNECT


def said(pseudo: Fields) -> tuple[str, bytes]:
    """Method and target of a refused request for the record, as far as they can be read."""
    named = dict(pseudo)
    return named.get(b":method", b"").decode("latin-1"), named.get(b":path", b"")
