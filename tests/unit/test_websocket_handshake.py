"""The opening handshake of a WebSocket: what is refused, what is understood, what compression is agreed on."""

from __future__ import annotations

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.headers import parse_extension

from sidegate.asgi import Headers
from sidegate.config.websocket import Compression
from sidegate.errors import Refused
from sidegate.wire.websocket.handshake import (
    MAX_OFFERS,
    Deflate,
    Handshake,
    accept_headers,
    check_handshake,
    negotiate,
    refusal_headers,
)

VERSION = (b"sec-websocket-version", b"13")
KEY = (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")
PLAIN = [VERSION, KEY]


def extensions(*values: bytes) -> Headers:
    return [(b"sec-websocket-extensions", value) for value in values]


def subprotocols(*values: bytes) -> Headers:
    return [(b"sec-websocket-protocol", value) for value in values]


@pytest.mark.parametrize(("headers", "http_version"), [(PLAIN, "1.1"), ([VERSION], "2"), ([VERSION, KEY, KEY], "2")])
def test_a_plain_handshake_passes(headers: Headers, http_version: str) -> None:
    assert check_handshake([(b"host", b"a"), *headers], http_version) == Handshake([], [])


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ([KEY], 426, "websocket_version"),
        ([KEY, (b"sec-websocket-version", b"8")], 426, "websocket_version"),
        ([KEY, (b"sec-websocket-version", b"13, 8")], 426, "websocket_version"),
        ([KEY, VERSION, VERSION], 426, "websocket_version"),
        ([VERSION], 400, "websocket_key"),
        ([VERSION, KEY, KEY], 400, "websocket_key"),
        ([VERSION, (b"sec-websocket-key", b"")], 400, "websocket_key"),
        ([VERSION, (b"sec-websocket-key", b"c2hvcnQ=")], 400, "websocket_key"),
        ([VERSION, (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=")], 400, "websocket_key"),
        ([VERSION, (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==!")], 400, "websocket_key"),
        ([VERSION, (b"sec-websocket-key", b"\xff" * 24)], 400, "websocket_key"),
        ([*PLAIN, *subprotocols(b"a b")], 400, "websocket_subprotocol"),
        ([*PLAIN, *subprotocols(b"chat", "gr\u00fc\u00df".encode())], 400, "websocket_subprotocol"),
        ([*PLAIN, *subprotocols(b'"chat"')], 400, "websocket_subprotocol"),
    ],
)
def test_a_wrong_handshake_is_refused(headers: Headers, status: int, reason: str) -> None:
    with pytest.raises(Refused) as raised:
        check_handshake(headers, "1.1")
    assert (raised.value.status, raised.value.reason) == (status, reason)


def test_a_refusal_tells_the_version_and_on_http1_how_to_upgrade() -> None:
    assert refusal_headers(400, "1.1") == []
    assert refusal_headers(426, "2") == [VERSION]
    assert refusal_headers(426, "1.1") == [VERSION, (b"upgrade", b"websocket"), (b"connection", b"Upgrade")]


def test_subprotocols_come_in_the_order_of_all_fields() -> None:
    headers = [*PLAIN, *subprotocols(b"Chat.v2 ,chat", b"", b",superchat,")]
    assert check_handshake(headers, "1.1").subprotocols == ["Chat.v2", "chat", "superchat"]


@pytest.mark.parametrize(
    ("values", "offers"),
    [
        ([b"permessage-deflate"], [[]]),
        (
            [b"x-webkit-deflate-frame, permessage-deflate; client_max_window_bits", b'permessage-deflate;a="b"'],
            [[("client_max_window_bits", None)], [("a", "b")]],
        ),
        ([b""], []),
        ([b"permessage-deflate; =3"], []),
        ([b"permessage-deflate", b"\xff"], []),
    ],
)
def test_offers_to_compress(values: list[bytes], offers: list[list[tuple[str, str | None]]]) -> None:
    assert check_handshake([*PLAIN, *extensions(*values)], "1.1").offers == offers


def agree(value: bytes, compression: Compression) -> Deflate | None:
    return negotiate(check_handshake([*PLAIN, *extensions(value)], "1.1").offers, compression)


@pytest.mark.parametrize(
    ("offer", "compression", "answer"),
    [
        (b"permessage-deflate", Compression(), b"permessage-deflate; server_max_window_bits=12"),
        (
            b"permessage-deflate; client_max_window_bits",
            Compression(),
            b"permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
        ),
        (
            b"permessage-deflate; server_max_window_bits=10; client_max_window_bits=9; server_no_context_takeover",
            Compression(window_bits=15),
            b"permessage-deflate; server_no_context_takeover; server_max_window_bits=10; client_max_window_bits=9",
        ),
        (
            b"permessage-deflate; client_max_window_bits",
            Compression(window_bits=9, context_takeover=False),
            (
                b"permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
                b"server_max_window_bits=9; client_max_window_bits=9"
            ),
        ),
        (
            b"permessage-deflate; server_max_window_bits=8, permessage-deflate",
            Compression(),
            b"permessage-deflate; server_max_window_bits=12",
        ),
    ],
)
def test_compression_is_agreed_on(offer: bytes, compression: Compression, answer: bytes) -> None:
    deflate = agree(offer, compression)
    assert deflate is not None
    assert deflate.answer == answer
    agreed = deflate.extension()
    assert agreed.compress_settings == {"memLevel": compression.memory_level}
    [(_, parameters)] = parse_extension(answer.decode())
    bits = dict(parameters)
    assert agreed.local_max_window_bits == int(bits["server_max_window_bits"] or 0)
    assert agreed.remote_max_window_bits == int(bits.get("client_max_window_bits") or 15)
    assert agreed.local_no_context_takeover == ("server_no_context_takeover" in bits)
    assert agreed.remote_no_context_takeover == ("client_no_context_takeover" in bits)


def test_a_client_understands_the_answer() -> None:
    client = ClientPerMessageDeflateFactory(client_max_window_bits=True, server_no_context_takeover=True)
    deflate = negotiate([client.get_request_params()], Compression())
    assert deflate is not None
    [(_, parameters)] = parse_extension(deflate.answer.decode())
    agreed = client.process_response_params(parameters, [])
    assert (agreed.local_max_window_bits, agreed.remote_max_window_bits) == (12, 12)
    assert agreed.remote_no_context_takeover


@pytest.mark.parametrize(
    ("offer", "compression"),
    [
        (b"permessage-deflate", Compression(mode="off")),
        (b"x-unknown", Compression()),
        (b"permessage-deflate; unknown", Compression()),
        (b"permessage-deflate; server_max_window_bits=8", Compression()),
        (b"permessage-deflate; client_no_context_takeover; client_no_context_takeover", Compression()),
        (b", ".join([b"permessage-deflate; unknown"] * MAX_OFFERS + [b"permessage-deflate"]), Compression()),
    ],
)
def test_what_cannot_be_met_goes_without_compression(offer: bytes, compression: Compression) -> None:
    assert agree(offer, compression) is None


def test_the_answer_names_what_was_chosen() -> None:
    deflate = agree(b"permessage-deflate", Compression())
    assert accept_headers(None, None) == []
    assert accept_headers("Chat.v2", deflate) == [
        (b"sec-websocket-protocol", b"Chat.v2"),
        (b"sec-websocket-extensions", b"permessage-deflate; server_max_window_bits=12"),
    ]


@pytest.mark.parametrize("name", ["", "a,b", "a b", "gr\u00fc\u00df", "a\r\nb", "\udc80"])
def test_a_subprotocol_of_the_application_is_a_token(name: str) -> None:
    with pytest.raises(ValueError, match="is not a token"):
        accept_headers(name, None)
