"""The WSGI contract: ``wsgi.early_hints``, 103 responses (RFC 8297) by the name that gunicorn gave them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from sidegate.errors import Fault
from sidegate.observe.record import Record
from tests.support.clients import Response
from tests.support.running import Run, fetch, only_record
from tests.support.wsgi import TEXT, App, Environ, StartResponse, respond


def hinted(running: Run, codec: str, app: App) -> tuple[Response, Record]:
    """The response of one request to ``app``, and its record."""
    with running(app, codec) as server:
        return fetch(server, codec, "GET", "/"), only_record(server)


def test_early_hints_by_gunicorns_name(codec: str, running: Run) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        hints = [("Link", "</a.css>; rel=preload"), ("X-Other", "stays here"), ("link", "</b.js>; rel=preload")]
        assert environ["wsgi.early_hints"](hints) is None
        environ["wsgi.early_hints"]([("X-Other", "alone")])
        return respond(start_response, b"x")

    response, _ = hinted(running, codec, app)
    links = [(b"link", b"</a.css>; rel=preload"), (b"link", b"</b.js>; rel=preload")]
    assert response.informational == [(103, links)]
    assert (response.status, response.body) == (200, b"x")


def test_early_hints_are_too_late_once_the_head_is_out(codec: str, running: Run) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [TEXT])
        yield b"one"
        environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
        yield b"two"

    response, record = hinted(running, codec, app)
    assert (response.body, response.reset, response.informational) == (b"onetwo", False, [])
    assert record.fault is None


@pytest.mark.parametrize("value", ["</a>\r\nset-cookie: a=b", "</\N{SNOWMAN}>", b"</a>", None])
def test_early_hints_that_are_none(codec: str, running: Run, value: Any) -> None:
    """Gunicorn 3585: what a framework passes on unchecked must not become bytes of the response."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        environ["wsgi.early_hints"]([("Link", value)])
        return respond(start_response, b"x")

    response, record = hinted(running, codec, app)
    assert (response.status, response.informational) == (500, [])
    assert record.fault is Fault.APPLICATION
