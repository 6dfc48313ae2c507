"""The check of what an application sends: ASGI messages in, checked values out.

The exchange calls it for every message. It has no state; the exchange decides which message may come when. It raises
``ExchangeError`` with the application's fault, whose detail is only logged.
"""

from __future__ import annotations

from typing import Any

from sidegate.asgi import Headers, Message
from sidegate.errors import ExchangeError, Fault
from sidegate.wire.fields import ResponseFields, ResponseTooLarge, allowed_trailers, response_fields


def bad_message(detail: str) -> ExchangeError:
    """The error of an application that broke the ASGI specification."""
    return ExchangeError(Fault.APPLICATION, 500, "bad_message", detail)


def check_start(message: Message) -> tuple[int, Headers, int | None, bool, bool, Headers | None]:
    """Check ``http.response.start``. Returns the status, then the checked fields (``ResponseFields``)."""
    status = message.get("status")
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise bad_message(f"status must be an int from 200 to 599, not {status!r}")
    headers, length, dated, close, hop = check_fields(message.get("headers", ()), "response headers")
    return status, headers, length, dated, close, hop


def kept_hop_fields(hop: Headers, status: int, trailers: bool) -> Headers:
    """The ``upgrade`` of a 426, and ``trailer`` if ``trailers`` may follow; other responses do not have them."""
    return [pair for pair in hop if (trailers if pair[0] == b"trailer" else status == 426)]


def check_trailers(message: Message) -> Headers:
    """Check ``http.response.trailers``. Returns the fields that may be trailers."""
    return allowed_trailers(check_fields(message.get("headers", ()), "response trailers")[0])


def check_fields(raw: Any, what: str) -> ResponseFields:
    """Check the header fields of an application's message."""
    try:
        return response_fields(raw)
    except ResponseTooLarge as error:
        raise ExchangeError(Fault.APPLICATION, 500, "response_head_too_large", f"{what}: {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise bad_message(f"{what}: {error}") from error


def check_early_hint(message: Message) -> Headers:
    """Check ``http.response.early_hint``. Returns the ``link`` fields of a 103 response (RFC 8297)."""
    links = message.get("links", ())
    try:
        raw = [(b"link", link) for link in links]
    except TypeError as error:
        raise bad_message(f"early hint: {error}") from error
    return check_fields(raw, "early hint")[0]


def is_event_stream(headers: Headers) -> bool:
    """Whether a response is a stream of server-sent events."""
    for name, value in headers:  # no generator: a compiled one costs more
        if name == b"content-type":
            return value.startswith(b"text/event-stream")
    return False


def as_bytes(data: object) -> bytes:
    """Body data, copied if it is another buffer than ``bytes``."""
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    raise bad_message(f"body must be bytes, not {type(data).__name__}")
