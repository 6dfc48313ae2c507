"""A fixed response from the configuration: for a health probe, a maintenance page, a refusal.

Step 7 of the request line. It reads no request body.
"""

from __future__ import annotations

from typing import cast

from sidegate.asgi import RECORD_KEY, Headers, Receive, Scope, Send, send_response
from sidegate.backends.backend import Backend
from sidegate.backends.context import BuildContext
from sidegate.backends.no_websocket import refuse_websocket
from sidegate.config.schema import Respond


def build(context: BuildContext) -> RespondBackend:
    """Make the backend."""
    return RespondBackend(context.name, cast(Respond, context.backend.respond))


class RespondBackend(Backend):
    """An App that sends the same response to every request."""

    def __init__(self, name: str, respond: Respond) -> None:
        super().__init__(name)
        self._status = respond.status
        self._headers: Headers = [
            (header.name.lower().encode("ascii"), header.value.encode("latin-1")) for header in respond.headers
        ]
        if respond.body and all(field != b"content-type" for field, _ in self._headers):
            self._headers.append((b"content-type", respond.content_type.encode("latin-1")))
        self._body = respond.body.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[RECORD_KEY].backend = self.name
        refuse_websocket(scope)
        await send_response(send, self._status, self._headers, self._body)
