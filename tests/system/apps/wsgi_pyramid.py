from typing import Any

from common import COOKIES, ApplicationFailed, pattern
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPFound
from pyramid.request import Request
from pyramid.response import Response
from wsgi_common import about, about_file, digest, gated, open_gate


def hello(request: Request) -> dict[str, str]:
    return about("pyramid", request.environ, request.GET["name"])


def form(request: Request) -> dict[str, list[str]]:
    return {name: request.POST.getall(name) for name in request.POST}


def file(request: Request) -> dict[str, Any]:
    sent = request.POST["file"]
    return about_file(request.POST["note"], sent.filename, sent.file)


def json(request: Request) -> dict[str, Any]:
    return {"got": request.json_body}


def cookies(request: Request) -> dict[str, str]:
    for name, value in COOKIES.items():
        request.response.set_cookie(name, value)
    return dict(request.cookies)


def redirected(request: Request) -> HTTPFound:
    return HTTPFound(request.route_url("hello", _query={"name": "redirected"}))


def upload(request: Request) -> dict[str, int | str]:
    return digest(request.body_file)


def download(request: Request) -> Response:
    return Response(app_iter=pattern(int(request.GET["size"])), content_type="application/octet-stream")


def gate(request: Request) -> Response:
    return Response(app_iter=gated(request.GET["key"]), content_type="text/plain")


def opened(request: Request) -> str:
    open_gate(request.GET["key"])
    return "opened"


def error(request: Request) -> str:
    raise ApplicationFailed


with Configurator() as config:
    for name, view in (
        ("hello", hello),
        ("form", form),
        ("file", file),
        ("json", json),
        ("cookies", cookies),
        ("redirect", redirected),
        ("upload", upload),
        ("download", download),
        ("gate", gate),
        ("open", opened),
        ("error", error),
    ):
        config.add_route(name, f"/{name}")
        config.add_view(view, route_name=name, renderer="json")
    app = config.make_wsgi_app()
