from collections.abc import Callable

import falcon
from common import COOKIES, ApplicationFailed, pattern
from falcon import Request, Response
from wsgi_common import about, about_file, digest, gated, open_gate

Responder = Callable[[Request, Response], None]


class Get:
    """A resource that answers GET and HEAD."""

    def __init__(self, responder: Responder) -> None:
        self._responder = responder

    def on_get(self, req: Request, resp: Response) -> None:
        self._responder(req, resp)

    on_head = on_get


class Post:
    """A resource that answers POST."""

    def __init__(self, responder: Responder) -> None:
        self._responder = responder

    def on_post(self, req: Request, resp: Response) -> None:
        self._responder(req, resp)


def hello(req: Request, resp: Response) -> None:
    resp.media = about("falcon", req.env, req.get_param("name", required=True))


def form(req: Request, resp: Response) -> None:
    fields = req.get_media()
    resp.media = {name: value if isinstance(value, list) else [value] for name, value in fields.items()}


def file(req: Request, resp: Response) -> None:
    note = ""
    for part in req.get_media():
        if part.name == "note":
            note = part.text
        else:
            resp.media = about_file(note, part.filename, part.stream)


def json(req: Request, resp: Response) -> None:
    resp.media = {"got": req.get_media()}


def cookies(req: Request, resp: Response) -> None:
    for name, value in COOKIES.items():
        resp.set_cookie(name, value, secure=False)
    resp.media = dict(req.cookies)


def redirected(req: Request, resp: Response) -> None:
    raise falcon.HTTPFound(f"{req.prefix}/hello?name=redirected")


def upload(req: Request, resp: Response) -> None:
    resp.media = digest(req.stream)


def download(req: Request, resp: Response) -> None:
    resp.content_type = "application/octet-stream"
    resp.stream = pattern(req.get_param_as_int("size", required=True))


def gate(req: Request, resp: Response) -> None:
    resp.content_type = "text/plain"
    resp.stream = gated(req.get_param("key", required=True))


def opened(req: Request, resp: Response) -> None:
    open_gate(req.get_param("key", required=True))
    resp.text = "opened"


def error(req: Request, resp: Response) -> None:
    raise ApplicationFailed


app = falcon.App()
for name, responder in (
    ("hello", hello),
    ("cookies", cookies),
    ("redirect", redirected),
    ("download", download),
    ("gate", gate),
    ("open", opened),
    ("error", error),
):
    app.add_route(f"/{name}", Get(responder))
for name, responder in (("form", form), ("file", file), ("json", json), ("upload", upload)):
    app.add_route(f"/{name}", Post(responder))
