"""What an HTTP/1.1 message says about its connection: framing, persistence, upgrade.

``head.py`` calls it only for requests with such fields, ``response_head.py`` for every response. It owns the meaning of
the fields that end at this hop; the codecs act on them. It raises ``Refused``.
"""

from __future__ import annotations

from sidegate.asgi import Headers
from sidegate.errors import Refused
from sidegate.wire.events import RequestHead
from sidegate.wire.fields import FieldPolicy, RequestFields, members

_NOT_NOMINATED = frozenset(
    [b"close", b"keep-alive", b"upgrade", b"host", b"content-length", b"cookie", b"expect", b"te", b"authorization"]
)
"""Members of ``Connection`` that remove no field: its own options, and end-to-end fields (RFC 9110 7.6.1)."""


def is_chunked(fields: RequestFields, version: str) -> bool:
    """RFC 9112 6.1 and 6.3, without the parts that are only useful for request smuggling. Raises ``Refused``.

    Without ``chunked`` as the last coding nobody knows where the body ends (400); before it no coding is supported
    (501). Neither an empty member nor a parameter of ``chunked`` is accepted, although RFC 9110 5.6.1 lets us ignore
    the first.
    """
    values = [value for name, value in fields.hop if name == b"transfer-encoding"]
    if not values:
        return False
    if fields.content_length is not None:
        raise Refused(400, "length_and_coding", "content-length together with transfer-encoding")
    if version == "1.0":
        raise Refused(400, "coding_in_http_1_0", "transfer-encoding in HTTP/1.0")
    *others, last = [coding.strip(b" \t").lower() for coding in b",".join(values).split(b",")]
    if last != b"chunked" or b"chunked" in others or not all(others):
        raise Refused(400, "bad_coding", "the transfer-encoding does not end in `chunked`, or has it more than once")
    if others:
        raise Refused(501, "unknown_coding", "the only supported transfer-encoding is `chunked`")
    return True


def connection_options(fields: RequestFields, policy: FieldPolicy) -> set[bytes]:
    """The members of ``Connection``, in lower case. The fields that it names end at this hop (RFC 9110 7.6.1)."""
    options = members(fields.hop, b"connection")
    drop_nominated(fields.headers, options, policy)
    return options


def drop_nominated(headers: Headers, options: set[bytes], policy: FieldPolicy) -> None:
    """Remove the fields that the members of ``Connection`` name.

    Those of proxies stay: a client that names them wants to remove what a trusted proxy says about it.
    """
    nominated = {name for name in options - _NOT_NOMINATED if not policy.is_of_proxies(name)}
    if nominated:
        headers[:] = [pair for pair in headers if pair[0] not in nominated]


def is_kept(options: set[bytes], version: str) -> bool:
    """Whether the connection persists (RFC 9112 9.3)."""
    return b"close" not in options and (version == "1.1" or b"keep-alive" in options)


def wanted_protocol(fields: RequestFields, options: set[bytes], head: RequestHead) -> str:
    """The protocol to change to after this request; "" for a protocol that is not supported, which is ignored.

    RFC 6455 4.2.1 requires a GET of HTTP/1.1, RFC 9110 7.8 the option. RFC 9113 3.1 has removed ``h2c``.
    """
    asked = head.method == "GET" and head.http_version == "1.1" and b"upgrade" in options
    return "websocket" if asked and b"websocket" in members(fields.hop, b"upgrade") else ""
