"""Backends that have no WebSocket: a fixed answer, a WSGI application."""

from __future__ import annotations

from typing import Any

from tests.support.clients import request
from tests.support.running import only_record, running
from tests.support.websocket import upgrade


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """A WSGI application."""
    start_response("200 OK", [])
    return [b"hello"]


def answer(codec: str, **settings: Any) -> tuple[int, str]:
    """Status and reason of a handshake; the connection then serves a request."""
    with running(wsgi, codec, **settings) as server:
        client = server.client(codec)
        status = upgrade(client).status
        reason = only_record(server).reason
        assert request(client, "GET", "/").body == b"hello"
        return status, reason


def test_a_fixed_answer(codec: str) -> None:
    assert answer(codec, backends={"app": {"respond": {"body": "hello"}}}) == (501, "no_websocket")


def test_a_wsgi_application(codec: str) -> None:
    assert answer(codec, backend={"interface": "wsgi"}) == (501, "no_websocket")
