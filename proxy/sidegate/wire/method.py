"""The request method: one policy for both versions of HTTP.

Every token passes, as in nginx and hypercorn, because WebDAV and private protocols have methods of their own; whether
a resource knows it is the application's business. Two kinds are refused with 501 (RFC 9110 9.1), and not with 405,
which would require ``Allow``:

* CONNECT (except that of RFC 8441) and TRACE, which Sidegate does not implement;
* a method with lower-case letters. Methods are case-sensitive, and ASGI and many frameworks (Django) convert them to
  upper case: a route for ``DELETE`` must not be avoided by ``delete``.
"""

from __future__ import annotations

from typing import Final

from sidegate.errors import Refused
from sidegate.wire.fields import TOKEN_BYTES

METHOD_BYTES: Final = TOKEN_BYTES + b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"

METHODS: Final = {word.encode(): word for word in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")}
"""The usual methods, which need no check."""


def is_token(method: bytes) -> bool:
    """Whether ``method`` has the syntax of a method (RFC 9110 9.1)."""
    return bool(method) and not method.translate(None, METHOD_BYTES)


def check_method(method: bytes) -> str:
    """The text of a method that is a token. Raises ``Refused`` (501)."""
    if method in (b"CONNECT", b"TRACE"):
        raise Refused(501, "method_not_implemented", "CONNECT and TRACE are not implemented")
    if method != method.upper():
        raise Refused(501, "unknown_method", "the method has lower-case letters")
    return method.decode("ascii")
