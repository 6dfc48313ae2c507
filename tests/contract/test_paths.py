"""The path of a request: what the route map compares, and what the application gets, wherever it runs."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.support import relaying, wsgi
from tests.support import running as in_process
from tests.support.apps import Receive, Scope, Send, respond
from tests.support.running import Run, RunningServer, fetch, wait_for
from tests.support.websocket import connect
from tests.support.wsgi import Environ, StartResponse

ROUTES = [{"name": "admin", "path": "/admin", "backend": "app"}, {"name": "all", "path": "/", "backend": "app"}]


async def asgi_app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": scope["path"]})
        await send({"type": "websocket.close"})
        return
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    await respond(send, "\n".join((scope["root_path"], scope["path"], target.decode())).encode())


def wsgi_app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """``path`` as ASGI has it: PATH_INFO below SCRIPT_NAME, decoded."""
    path = (environ["SCRIPT_NAME"] + environ["PATH_INFO"]).encode("latin-1").decode("utf-8", "replace")
    root = environ["SCRIPT_NAME"].encode("latin-1").decode()
    return wsgi.respond(start_response, "\n".join((root, path, environ["REQUEST_URI"])).encode())


Serve = Callable[..., contextlib.AbstractContextManager[RunningServer]]


@pytest.fixture(params=["asgi", "wsgi"])
def serve(request: pytest.FixtureRequest, place: str, tmp_path: Path) -> Serve:
    """Serve the application of either interface in that place."""
    app, module = (asgi_app, in_process) if request.param == "asgi" else (wsgi_app, wsgi)
    if place == "front":
        return functools.partial(module.running, app)
    behind = wsgi.behind_a_front if request.param == "wsgi" else relaying.behind_a_front
    return functools.partial(behind, tmp_path, app)


def seen(server: RunningServer, codec: str, path: str) -> tuple[str, str, str]:
    """``root_path``, ``path`` and the encoded target that the application got."""
    response = fetch(server, codec, "GET", path)
    assert response.status == 200, bytes(response.body)
    root_path, decoded, target = response.body.decode().split("\n")
    return root_path, decoded, target


def route_of(server: RunningServer, count: int) -> str:
    """The route of the last of ``count`` requests, in the front."""
    front: Any = getattr(server, "front", server)
    wait_for(lambda: len(front.observer.records) == count)
    name: str = front.observer.records[-1].route.name
    return name


SPELLINGS = {
    "/admin/": ("admin", "/admin/"),
    "//admin/": ("admin", "//admin/"),
    "/%2fadmin/": ("admin", "//admin/"),
    "///admin//x": ("admin", "///admin//x"),
    "/x/..//admin": ("admin", "//admin"),
    "/%ffadmin": ("admin", "/\ufffdadmin"),
    "/ad%C3min/x": ("admin", "/ad\ufffdmin/x"),
    "/%ff/admin": ("admin", "/\ufffd/admin"),
    "/administrator": ("all", "/administrator"),
    "/fetch/http://host/": ("all", "/fetch/http://host/"),
    "/caf%E9?//admin": ("all", "/caf\ufffd"),
}


def test_the_route_is_that_of_the_merged_path_and_the_path_stays(codec: str, serve: Serve) -> None:
    with serve(codec, routes=ROUTES) as server:
        for count, (spelling, (route, path)) in enumerate(SPELLINGS.items(), 1):
            sent = "//admin" if spelling.startswith("/x/") else spelling
            assert seen(server, codec, spelling) == ("", path, sent)
            assert route_of(server, count) == route, spelling


BELOW = {
    "/möunt/x": "/m%C3%B6unt/x",
    "//m%C3%B6unt/x?//": "/m%C3%B6unt/x?//",
    "/%2fm%C3%B6unt%2F/x//": "/m%C3%B6unt/x/",
    "/m%C3%B6unt/http://host/%ff": "/m%C3%B6unt/http:/host/%FF",
    "/m%C3%B6unt/a%2Fb": "/m%C3%B6unt/a%2Fb",
    "//other": "/other",
}


def test_a_mounted_application_gets_the_merged_path(codec: str, serve: Serve) -> None:
    """Its root path is compared with it."""
    with serve(codec, backend={"rootPath": "/möunt"}) as server:
        for spelling, target in BELOW.items():
            root_path, path, found = seen(server, codec, spelling.replace("ö", "%C3%B6"))
            assert (root_path, found) == ("/möunt", target)
            assert "//" not in path


def test_slashes_are_merged_if_the_operator_says_so(codec: str, serve: Serve) -> None:
    with serve(codec, routes=ROUTES, path={"slashes": "merge"}) as server:
        assert seen(server, codec, "/%2Fadmin//%C3%A9?//") == ("", "/admin/é", "/admin/%C3%A9?//")
        assert route_of(server, 1) == "admin"
        assert seen(server, codec, "/a%2Fb") == ("", "/a/b", "/a%2Fb")


REFUSED = [
    ({"slashes": "refuse"}, "/a//b", "repeated_slash"),
    ({"slashes": "refuse"}, "/a%2f/b", "repeated_slash"),
    ({"encodedSlash": "refuse"}, "/a%2Fb", "encoded_slash"),
]


@pytest.mark.parametrize(("policy", "path", "reason"), REFUSED)
def test_slashes_are_refused_if_the_operator_says_so(
    codec: str, running: Run, policy: dict[str, str], path: str, reason: str
) -> None:
    with running(asgi_app, codec, path=policy) as server:
        assert fetch(server, codec, "GET", path).status == 400
        front: Any = getattr(server, "front", server)
        wait_for(lambda: front.observer.records)
        assert front.observer.records[0].reason == reason
        assert fetch(server, codec, "GET", "/a/b?//%2f").status == 200


def test_a_websocket_has_the_route_of_the_merged_path(codec: str, running: Run) -> None:
    with running(asgi_app, codec, routes=ROUTES) as server:
        websocket = connect(server, codec, "//admin")
        assert websocket.receive() == "//admin"
        websocket.closed()
        assert route_of(server, 1) == "admin"
