"""The reason words that may become label values, and what each means.

Where it stands: data for the metric table and its reference page. A label value must come from a fixed set, so
a reason that is not here counts as ``other``; a test reads the source tree and holds that none is missing.
"""

from __future__ import annotations

OTHER = "other"

REFUSALS = {
    "bad_chunk": "the chunked framing is malformed",
    "bad_content_length": "content-length is not one decimal number, or does not fit the body",
    "bad_expectation": "expect names something else than 100-continue",
    "bad_field_name": "a field name is not a token",
    "bad_field_value": "a field value contains a control character",
    "bad_host": "the host is missing, malformed, given twice, or differs from the request's authority",
    "bad_method": "the method is not a token",
    "bad_request_line": "the request line is not `method target version`",
    "bad_target": "the request target is malformed",
    "bad_version": "the version is not HTTP/1.0 or HTTP/1.1",
    "body_too_large": "the body is larger than limits.requestBody",
    "coding_in_http_1_0": "transfer-encoding in HTTP/1.0",
    "length_and_coding": "content-length together with transfer-encoding",
    "malformed": "any other error of syntax",
    "method_not_implemented": "CONNECT or TRACE",
    "path_above_root": "the path climbs above the root",
    "too_many_fields": "more fields than limits.headerFields",
    "trailers_too_large": "more trailers than limits.headerBlock",
    "unknown_coding": "a transfer-encoding other than chunked",
    "unknown_method": "a method that HTTP does not know",
    OTHER: "any other refusal",
}
"""Why a request was refused by the header policy or a limit, before any application saw it."""

VIOLATIONS = {
    OTHER: "any other violation",
}
"""Why a connection could not go on."""

HANDSHAKE_FAILURES = {
    "certificate_rejected": "the client does not accept our certificate",
    "cleartext": "bytes that are no TLS, often plain HTTP on a TLS port",
    "client_certificate": "the client's certificate is not trusted or not valid",
    "disconnected": "the client closed the connection during the handshake",
    "no_client_certificate": "the client sent no certificate where one is required",
    "no_shared_cipher": "no cipher in common",
    "protocol_version": "the client speaks no TLS version that is allowed",
    "timeout": "not done within limits.tlsHandshake",
    OTHER: "any other failure",
}
"""Why a TLS handshake failed."""

EXCHANGE_ERRORS = {
    "bad_message": "the application sent a message that ASGI forbids",
    "body_timeout": "the request's body stopped for longer than limits.bodyIdle",
    "client_disconnected": "the client went away before the response was complete",
    "content_length_mismatch": "the application's body was not as long as its content-length",
    "exception": "the application raised an exception",
    "no_response": "the application returned without completing its response",
    "no_route": "no route matched",
    "shutdown": "cut off at the end of gracePeriod",
    "write_stall": "the client took no bytes for longer than limits.writeStall",
}
"""What ended an exchange in an error, besides every refusal."""

DROPS = {
    "buffer_full": "the destination is slower than the requests come",
    "write_error": "the destination refused the write (disk full, reader gone)",
}
"""Why access-log lines were lost."""
