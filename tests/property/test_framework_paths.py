"""No spelling of a protected path reaches a framework's view of it by the route of something else.

``/admin`` (or ``/app/admin`` of an application that is mounted at ``/app``) has a route of its own, and everything else
the other one. The frameworks read what the other route lets pass.
"""

from __future__ import annotations

import asyncio
import io
import sys
import types
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Literal

import bottle
import django
import falcon
import falcon.asgi
import pytest
from django.conf import settings as django_settings
from django.http import HttpRequest, HttpResponse
from django.urls import re_path
from fastapi import FastAPI
from flask import Flask
from hypothesis import example, given, settings
from hypothesis import strategies as st
from litestar import Litestar, get
from quart import Quart
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route as StarletteRoute

from sidegate.asgi import Message, Scope
from sidegate.backends.app.mount import mount
from sidegate.backends.app.wsgi.environ import base_environ, make_environ
from sidegate.config.schema import BackendRef, Match, PathMatch, RouteConfig
from sidegate.errors import Refused
from sidegate.route import Route
from sidegate.routing.index import RouteIndex
from sidegate.wire.target import PathPolicy, RequestTarget

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # WebOb imports cgi, Pyramid pkg_resources
    from pyramid.config import Configurator
    from pyramid.response import Response as PyramidResponse

SECRET = b"what only the route of /admin may show"

Ask = Callable[[Scope], bytes]
"""Gives an application one request and returns the body of its answer."""


# The applications: each shows the secret at /admin, at /admin/ and below, and nowhere else.


def flask() -> Ask:
    app = Flask("test")

    @app.route("/admin", strict_slashes=False)
    @app.route("/admin/<path:rest>")
    def admin(rest: str = "") -> bytes:
        return SECRET

    return wsgi(app.wsgi_app)


def bottle_() -> Ask:
    app = bottle.Bottle()
    for path in ("/admin", "/admin/<rest:path>", "/admin/"):
        app.route(path, callback=lambda rest="": SECRET)
    return wsgi(app)


class FalconAdmin:
    def on_get(self, req: Any, resp: Any, rest: str = "") -> None:
        resp.data = SECRET


class FalconAsyncAdmin:
    async def on_get(self, req: Any, resp: Any, rest: str = "") -> None:
        resp.data = SECRET


def falcon_wsgi() -> Ask:
    app = falcon.App()
    app.req_options.strip_url_path_trailing_slash = True
    for path in ("/admin", "/admin/{rest:path}"):
        app.add_route(path, FalconAdmin())
    return wsgi(app)


def falcon_asgi() -> Ask:
    app = falcon.asgi.App()
    app.req_options.strip_url_path_trailing_slash = True
    for path in ("/admin", "/admin/{rest:path}"):
        app.add_route(path, FalconAsyncAdmin())
    return asgi(app)


class PyramidFolder(dict[str, Any]):
    """Traversal, which leaves out empty elements; URL dispatch is the other way of Pyramid."""


def pyramid_traversal() -> Ask:
    root = PyramidFolder(admin=PyramidFolder(panel=PyramidFolder()))
    admins = (root["admin"], root["admin"]["panel"])
    config = Configurator(root_factory=lambda request: root)
    config.add_view(
        lambda context, request: PyramidResponse(body=SECRET if any(context is one for one in admins) else b""),
        context=PyramidFolder,
    )
    return wsgi(config.make_wsgi_app())


def pyramid_dispatch() -> Ask:
    config = Configurator()
    for name, pattern in (("admin", "/admin"), ("below", "/admin/*rest")):
        config.add_route(name, pattern)
        config.add_view(lambda request: PyramidResponse(body=SECRET), route_name=name)
    return wsgi(config.make_wsgi_app())


def _admin_of_django(request: HttpRequest, rest: str = "") -> HttpResponse:
    return HttpResponse(SECRET)


def _set_up_django() -> None:
    if django_settings.configured:
        return
    urls = types.ModuleType("urls_of_the_test")
    urls.urlpatterns = [re_path("^admin(?:/(?P<rest>.*))?$", _admin_of_django)]  # type: ignore[attr-defined]
    sys.modules[urls.__name__] = urls
    middleware = ["django.middleware.common.CommonMiddleware"]  # it redirects
    django_settings.configure(
        ALLOWED_HOSTS=["*"], MIDDLEWARE=middleware, ROOT_URLCONF=urls.__name__, SECRET_KEY="x" * 50
    )
    django.setup(set_prefix=False)


def django_wsgi() -> Ask:
    _set_up_django()
    from django.core.wsgi import get_wsgi_application  # noqa: PLC0415 - the settings come first

    return wsgi(get_wsgi_application())


def django_asgi() -> Ask:
    _set_up_django()
    from django.core.asgi import get_asgi_application  # noqa: PLC0415 - the settings come first

    return asgi(get_asgi_application())


def starlette() -> Ask:
    async def admin(request: Request) -> PlainTextResponse:
        return PlainTextResponse(SECRET)

    return asgi(Starlette(routes=[StarletteRoute(path, admin) for path in ("/admin", "/admin/{rest:path}")]))


def fastapi() -> Ask:
    app = FastAPI()

    @app.get("/admin/{rest:path}")
    @app.get("/admin")
    async def admin() -> PlainTextResponse:
        return PlainTextResponse(SECRET)

    return asgi(app)


def quart() -> Ask:
    app = Quart("test")

    @app.route("/admin", strict_slashes=False)
    @app.route("/admin/<path:rest>")
    async def admin(rest: str = "") -> bytes:
        return SECRET

    return asgi(app)


def litestar() -> Ask:
    @get(["/admin", "/admin/{rest:path}"])
    async def admin() -> bytes:
        return SECRET

    return asgi(Litestar([admin], openapi_config=None))


FRAMEWORKS = {
    make.__name__.strip("_"): make
    for make in (
        *(flask, bottle_, falcon_wsgi, falcon_asgi, pyramid_traversal, pyramid_dispatch, django_wsgi, django_asgi),
        *(starlette, fastapi, quart, litestar),
    )
}


# What Sidegate hands over.


def wsgi(app: Callable[..., Iterable[bytes]]) -> Ask:
    base = base_environ(multithread=True, multiprocess=False)

    def ask(scope: Scope) -> bytes:
        environ = make_environ(scope, base)
        environ["wsgi.input"], environ["wsgi.errors"] = io.BytesIO(), io.StringIO()
        try:
            answer = app(environ, lambda status, headers, failure=None: None)
        except UnicodeDecodeError:  # Pyramid: the client gets 500
            return b""
        try:
            return b"".join(answer)
        finally:
            getattr(answer, "close", bool)()

    return ask


def asgi(app: Any) -> Ask:
    async def run(scope: Scope) -> bytes:
        unread: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]
        body: list[bytes] = []
        answered = asyncio.Event()

        async def receive() -> Message:
            if unread:
                return unread.pop()
            await answered.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            body.append(message.get("body", b""))
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                answered.set()

        await app(scope, receive, send)
        return b"".join(body)

    def ask(scope: Scope) -> bytes:
        with asyncio.Runner() as runner:
            return runner.run(run(scope))

    return ask


def scope_of(target: RequestTarget, root_path: str) -> Scope:
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": target.path,
        "raw_path": target.raw_path,
        "query_string": target.query,
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": ("192.0.2.1", 1),
        "server": ("192.0.2.2", 80),
        "extensions": {},
        "state": {},
    }
    if root_path:
        mount(scope, root_path)
    return scope


async def unused(*_: object) -> None:
    raise AssertionError("the index only finds routes")


def index_of(*paths: str) -> RouteIndex:
    ref = BackendRef(name="a")
    configs = [
        RouteConfig(name=path, backend_refs=(ref,), matches=(Match(path=PathMatch(value=path)),)) for path in paths
    ]
    return RouteIndex([Route(place, config, unused) for place, config in enumerate(configs)])


def shown(ask: Ask, raw: bytes, root_path: str = "", policy: PathPolicy | None = None) -> bytes | None:
    """What the application answers to a request that comes by the other route; None if none does."""
    try:
        target = (policy or PathPolicy()).split(raw)
    except Refused:
        return None
    scope = scope_of(target, root_path)
    route = index_of(f"{root_path}/admin", root_path or "/").find(target.matched, scope)
    return ask(scope) if route.index == 1 else None


# The spellings.

SLASHES = [*["/"] * 4, "//", "///", "%2f", "%2F", "/%2f", "/./", "/%2e/", "/x/../", "/x//../", "\\", "%5c", ";/"]
JUNK = [
    *[""] * 40, "%ff", "%C3", "%e2%80", "%c0%af", "%ed%a0%80", "%f8", "%20", "%09", "%00", "%ef%bb%bf", "%e2%80%8b",
    "%25", "%252f", "%2e", ".", "..", ";", ";a=b", "%3b", "%3f", "%23", "+", "~", "*",
]  # fmt: skip


@st.composite
def spellings(draw: st.DrawFn) -> bytes:
    text = draw(st.sampled_from(["/admin", "/admin/", "/admin/panel", "/ADMIN/", "/x/../admin", "/./admin/"]))
    spelt = []
    for letter in text:
        spelt.append(draw(st.sampled_from(JUNK)))
        if letter == "/":
            spelt.append(draw(st.sampled_from(SLASHES)))
        else:
            spelt.append(draw(st.sampled_from([letter] * 6 + [f"%{ord(letter):02x}", f"%25{ord(letter):02x}"])))
    return "".join([*spelt, draw(st.sampled_from([*JUNK, *SLASHES, "?", "?/admin"]))]).encode()


@pytest.fixture(params=sorted(FRAMEWORKS), scope="module")
def ask(request: pytest.FixtureRequest) -> Ask:
    return FRAMEWORKS[request.param]()


@given(spelling=spellings(), root_path=st.sampled_from(["", "", "/app"]), slashes=st.sampled_from(["keep", "merge"]))
@settings(deadline=None)
@example(spelling=b"//admin/", root_path="", slashes="keep")
@example(spelling=b"/%2fadmin/", root_path="", slashes="keep")
@example(spelling=b"/%ffadmin", root_path="", slashes="keep")
@example(spelling=b"/ad%C3min/", root_path="", slashes="keep")
@example(spelling=b"/%ff/admin", root_path="", slashes="keep")
@example(spelling=b"/%ff../admin", root_path="", slashes="keep")
@example(spelling=b"//admin/", root_path="/app", slashes="keep")
@example(spelling=b"/x/%2e%2e//admin", root_path="/app", slashes="merge")
def test_no_spelling_gets_round_a_route(
    ask: Ask, spelling: bytes, root_path: str, slashes: Literal["keep", "merge"]
) -> None:
    raw = root_path.encode() + spelling if spelling.startswith((b"/", b"%2")) else spelling
    assert shown(ask, raw, root_path, PathPolicy(slashes)) != SECRET


def test_the_applications_have_something_to_protect(ask: Ask) -> None:
    for path in (b"/admin", b"/admin/panel"):
        assert ask(scope_of(PathPolicy().split(path), "")) == SECRET
    assert ask(scope_of(PathPolicy().split(b"/"), "")) != SECRET


@pytest.mark.parametrize("framework", sorted(FRAMEWORKS.keys() - {"falcon_asgi"}))  # which takes no root_path
def test_a_mounted_application_finds_itself(framework: str) -> None:
    ask = FRAMEWORKS[framework]()
    for path in (b"/app/admin/panel", b"//app/admin/panel", b"/%2fapp//admin/panel"):
        assert ask(scope_of(PathPolicy().split(path), "/app")) == SECRET


@pytest.mark.parametrize(
    ("framework", "raw"),
    [
        ("flask", b"//admin/panel"),
        ("bottle", b"/ad%FFmin"),
        ("falcon_wsgi", b"/%2fadmin"),
        ("falcon_asgi", b"//admin"),
        ("pyramid_traversal", b"//admin"),
        ("litestar", b"//admin"),
    ],
)
def test_frameworks_read_more_than_one_spelling(framework: str, raw: bytes) -> None:
    """Else the property above would hold for a router that compares what the client sent."""
    assert FRAMEWORKS[framework]()(scope_of(PathPolicy().split(raw), "")) == SECRET
