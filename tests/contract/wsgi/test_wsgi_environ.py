"""The WSGI contract: ``environ``, field by field (PEP 3333, "environ Variables")."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority
from tests.support.clients import Fields, Http2Client, request
from tests.support.running import Run, RunningServer, fetch, only_record
from tests.support.wsgi import Environ, StartResponse, respond

STREAMS = {"wsgi.input", "wsgi.errors", "wsgi.file_wrapper", "wsgi.early_hints"}


class Keeping:
    """An application that keeps what it was given."""

    def __init__(self) -> None:
        self.environs: list[Environ] = []

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.environs.append(dict(environ))
        assert type(environ) is dict
        return respond(start_response)

    def of(self, server: RunningServer, codec: str, method: str = "GET", path: str = "/", **fields: Any) -> Environ:
        """The environ of one more request."""
        response = fetch(server, codec, method, path, **fields)
        assert response.status == 200, bytes(response.body)
        return self.environs[-1]


def test_the_environ_is_exact(codec: str, running: Run) -> None:
    app = Keeping()
    with running(app, codec, backend={"rootPath": "/mount"}) as server:
        client = server.client(codec)
        local = client.sock.getsockname()
        fields = [(b"x-two", b"1"), (b"x-two", b"2"), (b"accept", b"a/b")]
        assert request(client, "GET", "/mount/a%20b/%C3%A9?x=%201&y", headers=fields).status == 200
        client.close()
    (environ,) = app.environs
    assert {key: value for key, value in environ.items() if key not in STREAMS} == {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": "/mount/a%20b/%C3%A9?x=%201&y",
        "SCRIPT_NAME": "/mount",
        "PATH_INFO": "/a b/\xc3\xa9",
        "QUERY_STRING": "x=%201&y",
        "SERVER_NAME": server.address[0],
        "SERVER_PORT": str(server.address[1]),
        "SERVER_PROTOCOL": "HTTP/1.1" if codec == "http1" else "HTTP/2.0",
        "SERVER_SOFTWARE": "sidegate",
        "REMOTE_ADDR": local[0],
        "REMOTE_PORT": str(local[1]),
        "HTTP_HOST": "localhost",
        "HTTP_X_TWO": "1, 2",
        "HTTP_ACCEPT": "a/b",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    assert set(environ) >= STREAMS
    assert all(type(key) is str for key in environ)
    assert all(type(value) is str for key, value in environ.items() if "wsgi." not in key)
    assert type(environ["wsgi.version"]) is tuple
    assert type(environ["wsgi.url_scheme"]) is str


def test_every_method_reaches_the_application(codec: str, running: Run) -> None:
    app = Keeping()
    with running(app, codec) as server:
        assert app.of(server, codec, "PROPFIND")["REQUEST_METHOD"] == "PROPFIND"


def test_length_and_type_of_a_body(codec: str, running: Run) -> None:
    app = Keeping()
    with running(app, codec) as server:
        environ = app.of(server, codec, "POST", body=b"12345", headers=[(b"content-type", b"text/x; charset=utf-8")])
        assert (environ["CONTENT_LENGTH"], environ["CONTENT_TYPE"]) == ("5", "text/x; charset=utf-8")
        assert not [key for key in environ if key.startswith("HTTP_CONTENT")]
        client = server.client(codec)
        stream = client.begin("POST", "/", [], end=False)
        client.body(stream, b"12345", end=True)
        assert client.finish(stream).status == 200
        client.close()
        assert app.environs[-1]["CONTENT_LENGTH"] == "5"
        assert not app.environs[-1].get("CONTENT_TYPE")


def test_an_environ_is_the_applications_own(codec: str, running: Run) -> None:
    seen = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        seen.append("left.behind" in environ)
        environ["left.behind"] = environ["wsgi.version"] = environ["SERVER_SOFTWARE"] = "changed"
        return respond(start_response)

    with running(app, codec, threads=1) as server:
        for _ in range(2):
            fetch(server, codec, "GET", "/")
        assert seen == [False, False]


PATHS = {
    "/": "/",
    "/%E2%82%AC": "/\xe2\x82\xac",  # the bytes of UTF-8, one character each
    "/%FF": "/\xff",  # no UTF-8 at all: the bytes are still the client's
    "/a%2Fb%25": "/a/b%",
    "/public/%2e%2e/admin": "/admin",  # what the route map judged
    "//a//b": "//a//b",
    "/a;b=c": "/a;b=c",
}


def test_the_path_is_bytes_in_latin_1(codec: str, running: Run) -> None:
    app = Keeping()
    with running(app, codec) as server:
        environs = {path: app.of(server, codec, path=path) for path in PATHS}
    assert {path: environ["PATH_INFO"] for path, environ in environs.items()} == PATHS
    assert {environ["SCRIPT_NAME"] for environ in environs.values()} == {""}


MOUNTED = {
    "/m%C3%B6unt/x": "/x",
    "/m%C3%B6unt": "",
    "/m%C3%B6unt/": "/",
    "/m%C3%B6untain": "/m\xc3\xb6untain",  # not below it
    "/other": "/other",
}


def test_where_the_application_is_mounted(codec: str, running: Run) -> None:
    app = Keeping()
    with running(app, codec, backend={"rootPath": "/möunt"}) as server:
        environs = {path: app.of(server, codec, path=path) for path in MOUNTED}
    assert {path: environ["PATH_INFO"] for path, environ in environs.items()} == MOUNTED
    assert {environ["SCRIPT_NAME"] for environ in environs.values()} == {"/m\xc3\xb6unt"}


def test_header_fields(codec: str, running: Run) -> None:
    app = Keeping()
    fields: Fields = [
        (b"cookie", b"a=1"),
        (b"cookie", b"b=2"),
        (b"x-list", b"one"),
        (b"x-other", b"\xe9"),
        (b"x-list", b"two, three"),
        (b"x-empty", b""),
        (b"proxy", b"http://evil.example"),  # HTTP_PROXY is a setting to many libraries: CVE-2016-5385
        (b"x_list", b"smuggled"),
        (b"content_length", b"99"),
    ]
    with running(app, codec) as server:
        environ = app.of(server, codec, headers=fields)
    found = {key: value for key, value in environ.items() if key.startswith(("HTTP_", "CONTENT_")) and value != ""}
    assert found == {
        "HTTP_HOST": "localhost",
        "HTTP_COOKIE": "a=1; b=2",
        "HTTP_X_LIST": "one, two, three",
        "HTTP_X_OTHER": "\xe9",
    }
    assert environ["HTTP_X_EMPTY"] == ""


def test_tls(codec: str, running: Run, authority: Authority) -> None:
    app = Keeping()
    pair = authority.server("localhost")
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.set_alpn_protocols(["http/1.1" if codec == "http1" else "h2"])
    with running(app, codec, tls={"certificates": [pair.as_yaml()]}) as server:
        client = server.client(codec, sock=server.connect_tls(context))
        assert request(client, "GET", "/").status == 200
        client.close()
    (environ,) = app.environs
    assert (environ["wsgi.url_scheme"], environ["HTTPS"]) == ("https", "on")
    assert environ["SSL_PROTOCOL"] == "TLSv1.3"
    assert environ["SSL_CLIENT_VERIFY"] == "NONE"
    assert environ["SERVER_PORT"] == str(server.address[1])


def test_a_client_certificate(codec: str, running: Run, authority: Authority) -> None:
    app = Keeping()
    pair, own = authority.server("localhost"), authority.client("someone")
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.set_alpn_protocols(["http/1.1" if codec == "http1" else "h2"])
    context.load_cert_chain(own.cert, own.key)
    tls = {"certificates": [pair.as_yaml()], "clientCertificates": {"ca": str(authority.ca)}}
    with running(app, codec, tls=tls) as server:
        client = server.client(codec, sock=server.connect_tls(context))
        assert request(client, "GET", "/").status == 200
        client.close()
    (environ,) = app.environs
    assert environ["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert environ["SSL_CLIENT_CERT"].startswith("-----BEGIN CERTIFICATE-----")
    assert "someone" in environ["SSL_CLIENT_S_DN"]


def test_a_trusted_proxy_says_who_and_how(codec: str, running: Run) -> None:
    app = Keeping()
    fields = [(b"x-forwarded-for", b"203.0.113.7"), (b"x-forwarded-proto", b"https")]
    with running(app, codec, trustedProxies=["127.0.0.0/8"]) as server:
        environ = app.of(server, codec, headers=fields)
        assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("203.0.113.7", "https")
        assert environ["HTTPS"] == "on"
        environ = app.of(server, codec, headers=[(b"forwarded", b'for="[2001:db8::1]:99";proto=https')])
        assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("2001:db8::1", "99")
        assert environ["wsgi.url_scheme"] == "https"
        client = server.client(codec)
        if isinstance(client, Http2Client):
            client.scheme = b"https"
        assert request(client, "GET", "/" if codec != "http1" else "https://localhost/").status == 200
        assert app.environs[-1]["wsgi.url_scheme"] == "https"
        client.close()
    with running(app, codec) as server:
        environ = app.of(server, codec, headers=fields)
        assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("127.0.0.1", "http")
        assert "HTTPS" not in environ
        assert "HTTP_X_FORWARDED_FOR" not in environ


def test_a_unix_socket_has_a_name_and_a_port_nevertheless(codec: str, running: Run, tmp_path: Path) -> None:
    """PEP 3333: SERVER_NAME and SERVER_PORT must never be empty."""
    app = Keeping()
    with running(app, codec, listener={"address": f"unix:{tmp_path / 's'}"}) as server:
        environ = app.of(server, codec)
        assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("localhost", "80")
        assert not environ.get("REMOTE_ADDR")
        assert not environ.get("REMOTE_PORT")


def test_http_1_0(running: Run) -> None:
    app = Keeping()

    def with_hints(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        environ["wsgi.early_hints"]([("Link", "</a.css>")])  # RFC 9110 15.2: no 1xx for such a client
        return app(environ, start_response)

    with running(with_hints) as server:
        sock = server.connect()
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        received = b""
        while data := sock.recv(65536):
            received += data
        assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    (environ,) = app.environs
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.0"
    assert environ["SERVER_NAME"] == server.address[0]


@pytest.mark.parametrize("threads", [1, 2])
def test_multithread_is_true_to_the_set_up(codec: str, running: Run, threads: int) -> None:
    app = Keeping()
    with running(app, codec, threads=threads) as server:
        environ = app.of(server, codec)
        assert environ["wsgi.multithread"] is (threads > 1)
        assert environ["wsgi.run_once"] is False


@pytest.mark.front_only("test_wsgi_pooled.py: the processes are the workers of the pool")
@pytest.mark.parametrize("processes", [1, 2])
def test_multiprocess_is_true_to_the_set_up(codec: str, running: Run, processes: int) -> None:
    app = Keeping()
    with running(app, codec, processes=processes) as server:
        assert app.of(server, codec)["wsgi.multiprocess"] is (processes > 1)


def test_errors_is_a_text_stream_into_the_log(codec: str, running: Run, caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        errors = environ["wsgi.errors"]
        errors.write("first half, ")
        errors.write("second half \N{SNOWMAN}\n")
        errors.writelines(["a line\n", "another line\nwithout an end"])
        errors.flush()
        print("by print", file=errors)
        return respond(start_response)

    caplog.set_level(logging.INFO)
    with running(app, codec) as server:
        assert fetch(server, codec, "GET", "/").status == 200
        record = only_record(server)
    lines = [line.getMessage() for line in caplog.records if record.request_id in line.getMessage()]
    starts = ["first half, second half \N{SNOWMAN}", "a line", "another line", "without an end", "by print"]
    assert len(lines) == len(starts)
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True))
