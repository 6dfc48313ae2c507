from typing import Any

from common import COOKIES, ApplicationFailed, pattern
from flask import Flask, Response, jsonify, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse
from wsgi_common import about, about_file, digest, gated, gated_events, open_gate

app = Flask(__name__)


@app.get("/hello")
def hello() -> dict[str, str]:
    return about("flask", request.environ, request.args["name"])


@app.post("/form")
def form() -> dict[str, list[str]]:
    return request.form.to_dict(flat=False)


@app.post("/file")
def file() -> dict[str, Any]:
    sent = request.files["file"]
    return about_file(request.form["note"], sent.filename or "", sent.stream)


@app.post("/json")
def json() -> dict[str, Any]:
    return {"got": request.get_json()}


@app.get("/cookies")
def cookies() -> Response:
    response = jsonify(request.cookies)
    for name, value in COOKIES.items():
        response.set_cookie(name, value)
    return response


@app.get("/redirect")
def redirected() -> AnyResponse:
    return redirect(url_for("hello", name="redirected"))


@app.post("/upload")
def upload() -> dict[str, int | str]:
    return digest(request.stream)


@app.get("/download")
def download() -> Response:
    return Response(pattern(int(request.args["size"])), mimetype="application/octet-stream")


@app.get("/gate")
def gate() -> Response:
    return Response(gated(request.args["key"]), mimetype="text/plain")


@app.get("/events")
def events() -> Response:
    return Response(gated_events(request.args["key"]), mimetype="text/event-stream")


@app.get("/open")
def opened() -> str:
    open_gate(request.args["key"])
    return "opened"


@app.get("/error")
def error() -> str:
    raise ApplicationFailed
