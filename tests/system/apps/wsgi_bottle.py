from collections.abc import Iterator
from typing import Any

from bottle import Bottle, redirect, request, response
from common import COOKIES, ApplicationFailed, pattern
from wsgi_common import about, about_file, digest, gated, open_gate

app = Bottle()


@app.get("/hello")
def hello() -> dict[str, str]:
    return about("bottle", request.environ, request.query.getunicode("name"))


@app.post("/form")
def form() -> dict[str, list[str]]:
    return dict(request.forms.decode().dict)


@app.post("/file")
def file() -> dict[str, Any]:
    sent = request.files["file"]
    return about_file(request.forms.getunicode("note"), sent.raw_filename, sent.file)


@app.post("/json")
def json() -> dict[str, Any]:
    return {"got": request.json}


@app.get("/cookies")
def cookies() -> dict[str, str]:
    for name, value in COOKIES.items():
        response.set_cookie(name, value)
    return dict(request.cookies)


@app.get("/redirect")
def redirected() -> None:
    redirect("hello?name=redirected", 302)


@app.post("/upload")
def upload() -> dict[str, int | str]:
    # Bottle's own `request.body` is read to its end before the first byte of it can be had.
    return digest(request.environ["wsgi.input"])


@app.get("/download")
def download() -> Iterator[bytes]:
    response.content_type = "application/octet-stream"
    return pattern(int(request.query["size"]))


@app.get("/gate")
def gate() -> Iterator[bytes]:
    response.content_type = "text/plain"
    return gated(request.query["key"])


@app.get("/open")
def opened() -> str:
    open_gate(request.query["key"])
    return "opened"


@app.get("/error")
def error() -> str:
    raise ApplicationFailed
