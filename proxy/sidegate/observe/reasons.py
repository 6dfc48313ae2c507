"""The reasons that may become label values, and their meanings.

This is data for the metric table and its reference page. A label value must come from a fixed set, so a reason that is
not in these tables counts as ``other``; a test reads the source tree and checks that none is missing.
"""

from __future__ import annotations

OTHER = "other"
SHUTDOWN = "shutdown"

REFUSALS = {
    "bad_chunk": "the chunked framing is malformed",
    "bad_coding": "the last transfer-encoding is not chunked, or chunked is repeated",
    "bad_content_length": "content-length is not one decimal number, or does not fit the body",
    "bad_expectation": "an expect header other than 100-continue",
    "bad_field_name": "a field name is not a token",
    "bad_field_value": "a field value contains a control character",
    "bad_hop_facts": "the facts that a front sends about its client cannot be read: it has another version of Sidegate",
    "bad_host": "the host is missing, malformed or given twice, or an HTTP/2 host differs from the :authority",
    "bad_line_end": "a bare CR or LF",
    "bad_method": "the method is not a token",
    "bad_pseudo_header": "an HTTP/2 pseudo-header field is unknown, misplaced, repeated or in the trailers",
    "bad_request_line": "the request line is not `method target version`",
    "bad_scheme": "a scheme that is not http or https, or not that of the connection of an untrusted peer",
    "bad_target": "the request target is malformed",
    "bad_version": "a request line of another major version than HTTP/1",
    "body_too_large": "the body is larger than limits.requestBody",
    "coding_in_http_1_0": "transfer-encoding in HTTP/1.0",
    "connection_field": "a connection-specific field in HTTP/2",
    "content_length_mismatch": "the body is not as long as content-length says",
    "encoded_slash": "the path contains an encoded slash, and path.encodedSlash is refuse",
    "head_timeout": "the request head was not complete within timeouts.requestHead",
    "header_block_too_large": "a header block larger than limits.headerBlock",
    "length_and_coding": "content-length together with transfer-encoding",
    "malformed": "any other error of syntax",
    "method_not_implemented": "CONNECT or TRACE",
    "path_above_root": "the path climbs above the root",
    "repeated_slash": "the path contains repeated slashes, and path.slashes is refuse",
    "request_line_too_long": "a request line or :path longer than limits.requestLine",
    "too_many_cookies": "more cookies than limits.cookies",
    "too_many_fields": "more fields than limits.headerFields",
    "trailers_too_large": "more trailers than limits.headerBlock",
    "unknown_coding": "a transfer-encoding beside chunked",
    "unknown_method": "a method with lower-case letters",
    "unknown_protocol": "an HTTP/2 :protocol other than websocket",
    "websocket_body": "a WebSocket handshake that announces a body, or ends its HTTP/2 stream",
    "websocket_key": "a WebSocket handshake over HTTP/1.1 without a valid sec-websocket-key",
    "websocket_subprotocol": "a WebSocket handshake with a subprotocol that is not a token",
    "websocket_version": "a WebSocket handshake with a version other than 13",
    OTHER: "any other reason",
}
"""Why a request was refused by the header policy or a limit: before any application saw it, or within its body."""

VIOLATIONS = {
    "accept_failed": "a connection could not be accepted or had to wait, mostly for lack of file descriptors",
    "bad_proxy_header": "a trusted proxy sent a malformed PROXY header",
    "body_timeout": "the rest of an unread body did not arrive within timeouts.bodyIdle",
    "client_limit": "the client has as many connections as limits.connectionsPerClient allows: a new one was closed",
    "client_share": "limits.connections is nearly reached, and this client has most: an idle or a new one was closed",
    "compression_error": "the HPACK state is lost (RFC 9113 4.3)",
    "continuation_flood": "more CONTINUATION frames than limits.continuationFrames",
    "continuation_timeout": "a header block was not complete within timeouts.continuation",
    "control_flood": "more control frames than limits.controlFrames",
    "empty_data_flood": "more empty DATA frames than limits.emptyDataFrames",
    "excessive_load": "a header block far above the limits, or another overload that the HTTP/2 engine detects",
    "flow_control_error": "more bytes than the flow-control window allowed (RFC 9113 5.2)",
    "frame_size_error": "a frame with a size that is not allowed (RFC 9113 4.2)",
    "min_rate": "the client took fewer bytes than limits.minRate while the front was nearly full",
    "no_descriptors": "closed to make room while it was idle, because few file descriptors were left",
    "no_proxy_header": "a trusted proxy sent no PROXY header, and the listener has proxyProtocol",
    "overload": "limits.connections is reached: an idle connection was closed, or a new one if none was idle",
    "no_protocol": "a TLS client without ALPN where the listener speaks only HTTP/2",
    "preface_timeout": "no HTTP/2 preface within timeouts.http2Preface",
    "protocol_error": "any other violation of RFC 9113",
    "proxy_header_timeout": "a PROXY header was not complete within timeouts.proxyHeader",
    "slow_client": "a client with a large backlog of responses accepted no bytes for 5 s",
    "stream_closed": "a frame on a stream that had ended (RFC 9113 5.1)",
    "stream_resets": "more reset streams than limits.streamResetBurst and streamResetRate",
    "write_timeout": "the client accepted no bytes for longer than timeouts.write",
}
"""Why a connection was ended, besides every refusal: a request's framing may become invalid within its body."""

HANDSHAKE_FAILURES = {
    "certificate_rejected": "the client does not accept the server's certificate",
    "cleartext": "the bytes are not TLS, often plain HTTP on a TLS port",
    "client_certificate": "the client certificate is not trusted or not valid",
    "disconnected": "the client closed the connection during the handshake",
    "no_application_protocol": "client and server have no protocol (ALPN) in common; counted by the engine openssl",
    "no_client_certificate": "the client sent no certificate, and one is required",
    "no_shared_cipher": "client and server have no cipher in common",
    "protocol_version": "the client supports none of the allowed TLS versions",
    "timeout": "the handshake was not complete within timeouts.tlsHandshake",
    OTHER: "any other failure",
}
"""Why a TLS handshake failed."""

EXCHANGE_ERRORS = {
    "bad_message": "the application sent a message that ASGI does not allow",
    "body_timeout": "no byte of the request body arrived within timeouts.bodyIdle",
    "buffer_lost": "a temporary file with a part of the body could not be read",
    "client_disconnected": "the client disconnected before the response was complete",
    "client_limit": "the client has as much as limits.requestsPerClient or websocketsPerClient allows (429)",
    "client_share": "a limit of all clients is nearly reached, and this client has most of it (429)",
    "content_length_mismatch": "a body was shorter or longer than its content-length",
    "exception": "the application raised an exception",
    "file_failed": "a file that is the response could not be opened or read",
    "front_lost": "its front process exited before the response was complete: killed, or crashed with an application",
    "min_rate": "the client sent or took fewer bytes than limits.minRate while the front was nearly full",
    "no_response": "the application returned without completing its response",
    "no_route": "no route matched",
    "no_thread": "all threads of a worker are stuck: the front sends the request to another worker",
    "no_websocket": "a WebSocket request to a backend that does not support it: a WSGI application, a fixed response",
    "no_worker": "the backend had no worker within its queue.timeout",
    "overload": "more requests in flight than limits.concurrentRequests",
    "queue_delay": "the event loop was blocked for longer than limits.queueDelay allows",
    "queue_full": "the backend's queue has queue.size requests already",
    "queue_timeout": "no worker or thread was free within the backend's queue.timeout",
    "request_timeout": "the response was not complete within the route's timeouts.request",
    "response_head_too_large": "a response has more than 1000 header fields or 256 KiB of them; trailers count alike",
    SHUTDOWN: "aborted at the end of gracePeriod",
    "slow_client": "a client with a large backlog of responses accepted no bytes for 5 s, or asked for more (429)",
    "upstream_head_too_large": "the head of a server's response has more than 1000 fields or 256 KiB; trailers alike",
    "upstream_lost": "the connection to the worker or server broke before the response was complete",
    "upstream_no_websocket": "a WebSocket request to a server that does not support WebSockets over HTTP/2 (RFC 8441)",
    "upstream_protocol": "no server of the backend speaks its protocol, such as HTTP/1.1 where h2c is configured",
    "upstream_refused": "no worker or server accepted the request, and its body can no longer be sent again",
    "upstream_reset": "the worker or server reset the stream before the response was complete",
    "upstream_tls": "TLS fails with every server of the backend, such as by a certificate that does not verify",
    "upstream_unreachable": "no socket of the backend exists, or there is no permission to connect to it",
    "write_timeout": "the client accepted no bytes for longer than timeouts.write",
}
"""Why an exchange ended in an error, besides every refusal."""

DROPS = {
    "buffer_full": "the destination is slower than requests arrive",
    "write_error": "the destination rejected the write (disk full, pipe closed)",
}
"""Why access-log lines were lost."""

RETRIES = {
    "lost": "the connection broke; the method is idempotent and the request had no body",
    "refused": "the worker or server did not process it (REFUSED_STREAM, GOAWAY)",
    "unsent": "the connection broke before anything was sent",
}
"""Why a request was sent once more."""
