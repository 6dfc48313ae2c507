"""The opening handshake of a WebSocket: what the client's fields mean, and the fields that answer them.

The exchange accepts or refuses with it; the frames get the compression that is negotiated here. The codec finds out
whether a request asks for a WebSocket at all (``RequestHead.protocol``), and it makes ``sec-websocket-accept``.
Sources: RFC 6455 4.2 and 9, RFC 8441 5, RFC 7692 7. It raises ``Refused`` (the client's handshake) and ``ValueError``
(the application's subprotocol).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from sidegate.asgi import Headers
from sidegate.errors import Refused
from sidegate.wire.fields import TOKEN_BYTES
from sidegate.wire.websocket.library import (
    ExtensionParameter,
    InvalidHeaderFormat,
    NegotiationError,
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
    build_extension,
    parse_extension,
)

if TYPE_CHECKING:
    from sidegate.config.websocket import Compression

VERSION = b"13"
"""The only version that became a standard (RFC 6455 4.1)."""

MAX_OFFERS = 8
"""Offers of compression that are read: each costs microseconds, and a header block has room for a thousand."""

Offer = Sequence[ExtensionParameter]
"""The parameters of one ``permessage-deflate`` that a client offers."""


class Handshake(NamedTuple):
    """A handshake that passed: subprotocols offered, the client's preferred one first, and compression offers."""

    subprotocols: list[str]
    offers: list[Offer]


class Deflate(NamedTuple):
    """The negotiated compression. ``answer`` is the value of ``sec-websocket-extensions`` in the answer."""

    answer: bytes
    client_takeover: bool
    server_takeover: bool
    client_bits: int
    server_bits: int
    memory_level: int

    def extension(self) -> PerMessageDeflate:
        """Create the compressor and decompressor of one WebSocket."""
        return PerMessageDeflate(
            not self.client_takeover,
            not self.server_takeover,
            self.client_bits,
            self.server_bits,
            {"memLevel": self.memory_level},
        )


def check_handshake(headers: Headers, http_version: str) -> Handshake:
    """Check the ``sec-websocket-*`` fields of a request for a WebSocket; ``http_version`` as in an ASGI scope.

    Only HTTP/1.1 has the key (RFC 8441 5). Extensions that do not parse count as none. Raises ``Refused``.
    """
    if _values(headers, b"sec-websocket-version") != [VERSION]:
        raise Refused(426, "websocket_version", "sec-websocket-version has to be 13")
    if http_version == "1.1" and [len(key) for key in map(_decoded, _values(headers, b"sec-websocket-key"))] != [16]:
        raise Refused(400, "websocket_key", "sec-websocket-key has to be 16 bytes in base64, once")
    subprotocols = _elements(_values(headers, b"sec-websocket-protocol"))
    if not all(map(_is_token, subprotocols)):
        raise Refused(400, "websocket_subprotocol", "a subprotocol is not a token")
    offers = _offers(_values(headers, b"sec-websocket-extensions"))
    return Handshake([name.decode("ascii") for name in subprotocols], offers)


def refusal_headers(status: int, http_version: str) -> Headers:
    """The header fields of the answer to a refused handshake (RFC 6455 4.4, RFC 9110 15.5.22)."""
    if status != 426:
        return []
    version = (b"sec-websocket-version", VERSION)
    return [version, (b"upgrade", b"websocket"), (b"connection", b"Upgrade")] if http_version == "1.1" else [version]


def negotiate(offers: Sequence[Offer], compression: Compression) -> Deflate | None:
    """The first offer that can be met, restricted by ``compression``; None if messages are sent uncompressed."""
    if compression.mode == "off":
        return None
    factory = ServerPerMessageDeflateFactory(
        server_no_context_takeover=not compression.context_takeover,
        client_no_context_takeover=not compression.context_takeover,
        server_max_window_bits=compression.window_bits,
        client_max_window_bits=compression.window_bits,
    )
    for offer in offers[:MAX_OFFERS]:
        try:
            parameters, agreed = factory.process_request_params(offer, [])
        except (NegotiationError, ValueError):  # the latter is zlib's for a window of 8 bits, until websockets 17
            continue
        return Deflate(
            build_extension([(agreed.name, list(parameters))]).encode("ascii"),
            not agreed.remote_no_context_takeover,
            not agreed.local_no_context_takeover,
            agreed.remote_max_window_bits,
            agreed.local_max_window_bits,
            compression.memory_level,
        )
    return None


def accept_headers(subprotocol: str | None, deflate: Deflate | None) -> Headers:
    """The fields that tell the client what was chosen. Raises ``ValueError`` if the subprotocol is no token.

    It does not check whether the client offered it: clients differ in what they tolerate.
    """
    headers: Headers = []
    if subprotocol is not None:
        name = subprotocol.encode("utf-8", "surrogatepass")
        if not _is_token(name):
            raise ValueError(f"the subprotocol {subprotocol!r} is not a token")
        headers.append((b"sec-websocket-protocol", name))
    if deflate is not None:
        headers.append((b"sec-websocket-extensions", deflate.answer))
    return headers


def _values(headers: Headers, wanted: bytes) -> list[bytes]:
    return [value for name, value in headers if name == wanted]


def _elements(values: list[bytes]) -> list[bytes]:
    """The elements of a list field without the empty ones, which do not count (RFC 9110 5.6.1.2)."""
    elements = [element.strip(b" \t") for value in values for element in value.split(b",")]
    return [element for element in elements if element]


def _is_token(name: bytes) -> bool:
    return name != b"" and not name.lower().translate(None, TOKEN_BYTES)


def _decoded(key: bytes) -> bytes:
    try:
        return base64.b64decode(key, validate=True)
    except binascii.Error:
        return b""


def _offers(values: list[bytes]) -> list[Offer]:
    try:
        extensions = parse_extension(b", ".join(values).decode("latin-1"))
    except InvalidHeaderFormat:
        return []
    return [parameters for name, parameters in extensions if name == PerMessageDeflate.name]
