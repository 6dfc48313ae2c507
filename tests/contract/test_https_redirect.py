"""``httpsRedirect`` on a cleartext listener: 308 to https for every request, in both versions of HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from sidegate.observe import metrics
from tests.support import proxy_headers
from tests.support.apps import hello
from tests.support.clients import request
from tests.support.running import Running, only_record, running
from tests.support.websocket import upgrade

CHALLENGE = "/.well-known/acme-challenge"
REDIRECT = {"name": "test", "address": "127.0.0.1:8080", "httpsRedirect": True}


@contextlib.contextmanager
def redirecting(codec: str = "http1", **settings: Any) -> Iterator[Running]:
    """A server whose listener redirects."""
    with running(hello, codec, listener=REDIRECT, **settings) as server:
        yield server


def raw(server: Running, head: str) -> tuple[bytes, dict[str, str]]:
    """The status line and the fields of the response to a request that is sent as it is written."""
    sock = server.connect()
    sock.sendall(head.replace("\n", "\r\n").encode())
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        assert piece, data
        data += piece
    sock.close()
    lines = data.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    return lines[0].encode(), {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_a_request_is_redirected(codec: str, method: str) -> None:
    with redirecting(codec) as server:
        client = server.client(codec)
        response = request(client, method, "/a/%7Eb?q=1&q=%20")
        assert (response.status, response.body, response.reset) == (308, b"", False)
        assert response.get(b"location") == b"https://localhost/a/%7Eb?q=1&q=%20"
        assert response.get(b"content-length") == b"0"
        assert response.get(b"date")
        assert request(client, "GET", "/").status == 308  # on the same connection
        record = only_record(server, 2)
        assert (record.status, record.route.name, record.backend, record.fault) == (308, "", "", None)
        assert server.count(metrics.REQUESTS, "", "", "1.1" if codec == "http1" else "2", "308") == 2


def test_an_upload_is_redirected_before_it_is_read(codec: str) -> None:
    with redirecting(codec) as server:
        client = server.client(codec)
        response = request(client, "POST", "/upload", bytes(100_000))
        assert (response.status, response.get(b"location")) == (308, b"https://localhost/upload")
        assert request(server.client(codec), "POST", "/", b"x").status == 308


def test_a_client_that_waits_for_100_gets_its_redirect(codec: str) -> None:
    with redirecting(codec) as server:
        client = server.client(codec)
        stream = client.begin("POST", "/", [(b"content-length", b"5"), (b"expect", b"100-continue")], end=False)
        response = client.finish(stream)
        assert (response.status, response.informational) == (308, [])


def test_a_websocket_is_redirected(codec: str) -> None:
    with redirecting(codec) as server:
        response = upgrade(server.client(codec), "/chat").response
        assert (response.status, response.get(b"location")) == (308, b"https://localhost/chat")


def test_paths_are_normalised_as_for_routes(codec: str) -> None:
    with redirecting(codec) as server:
        for path, expected in {
            "/a/../b": b"/b",
            "/%2e%2e%2fadmin/": None,
            "//evil.test/": b"//evil.test/",
            "/%0d%0ax": None,
        }.items():
            response = request(server.client(codec), "GET", path)
            assert response.status == (400 if expected is None else 308), path
            assert response.get(b"location") == (None if expected is None else b"https://localhost" + expected)


# The host and the port.


HOSTS = [
    ("example.com", "example.com"),
    ("EXAMPLE.com:8080", "EXAMPLE.com"),
    ("example.com:80", "example.com"),
    ("example.com:", "example.com"),
    ("example.com:30080", "example.com"),
    ("[::1]", "[::1]"),
    ("[::1]:8080", "[::1]"),
]


@pytest.mark.parametrize(("host", "expected"), HOSTS)
def test_without_a_tls_listener_the_location_has_no_port(host: str, expected: str) -> None:
    with redirecting() as server:
        line, fields = raw(server, f"GET /x HTTP/1.1\nhost: {host}\n\n")
        assert line.startswith(b"HTTP/1.1 308 ")
        assert fields["location"] == f"https://{expected}/x"


@pytest.mark.parametrize(
    "request_line",
    ["GET http://example.com/x?y HTTP/1.1", "GET HTTP://example.com/x?y HTTP/1.1"],
    ids=["lower", "upper"],
)
def test_an_absolute_form(request_line: str) -> None:
    with redirecting() as server:
        line, fields = raw(server, f"{request_line}\nhost: example.com\n\n")
        assert line.startswith(b"HTTP/1.1 308 ")
        assert fields["location"] == "https://example.com/x?y"


def test_options_of_the_server_itself() -> None:
    with redirecting() as server:
        line, fields = raw(server, "OPTIONS * HTTP/1.1\nhost: example.com\n\n")
        assert line.split()[1] == b"308"
        assert fields["location"] == "https://example.com"


def test_the_authority_of_an_absolute_form_is_the_host() -> None:
    with redirecting() as server:
        _, fields = raw(server, "GET http://example.com/x HTTP/1.1\nhost: other.example\n\n")
        assert fields["location"] == "https://example.com/x"


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1\n\n",
        "GET / HTTP/1.0\n\n",
        "GET / HTTP/1.1\nhost:\n\n",
        "GET / HTTP/1.1\nhost: a b\n\n",
        "GET / HTTP/1.1\nhost: user@example.com\n\n",
        "GET / HTTP/1.1\nhost: a\nhost: b\n\n",
        "GET / HTTP/1.1\nhost: example.com/x\n\n",
    ],
)
def test_without_a_valid_host_there_is_no_redirect(head: str) -> None:
    with redirecting() as server:
        line, fields = raw(server, head)
        assert line.split()[1] == b"400"
        assert "location" not in fields
        assert only_record(server).reason == "bad_host"


def test_http_1_0_with_a_host() -> None:
    with redirecting() as server:
        line, fields = raw(server, "GET /x HTTP/1.0\nhost: example.com\n\n")
        assert line.split()[1] == b"308"
        assert fields["location"] == "https://example.com/x"


# What is not redirected.


def routes(*paths: str) -> list[dict[str, Any]]:
    challenges = [{"name": f"acme-{number}", "path": path, "backend": "acme"} for number, path in enumerate(paths)]
    return [*challenges, {"name": "all", "path": "/", "backend": "app"}]


@pytest.mark.parametrize(
    ("route", "path", "status"),
    [
        (CHALLENGE, f"{CHALLENGE}/token", 200),
        (f"{CHALLENGE}/", f"{CHALLENGE}/token", 200),
        (f"{CHALLENGE}/one", f"{CHALLENGE}/one", 200),
        (f"{CHALLENGE}/one", f"{CHALLENGE}/two", 308),
        (CHALLENGE, f"{CHALLENGE}s/token", 308),
        (CHALLENGE, f"{CHALLENGE}/../../admin", 308),
        (f"{CHALLENGE}s", f"{CHALLENGE}s/token", 308),
        ("/.well-known", f"{CHALLENGE}/token", 308),
    ],
)
def test_challenges_of_acme_have_to_have_a_route_of_their_own(codec: str, route: str, path: str, status: int) -> None:
    backends = {"acme": {"respond": {"body": "token"}}, "app": {"respond": {}}}
    with redirecting(codec, backends=backends, routes=routes(route)) as server:
        response = request(server.client(codec), "GET", path)
        assert response.status == status
        name = "acme-0" if status == 200 else ""
        record = only_record(server)
        assert (record.route.name, record.backend) == (name, "acme" if status == 200 else "")
        assert server.count(metrics.ROUTE_IN_FLIGHT, name) == 0


def test_a_proxy_that_got_the_request_by_https(codec: str) -> None:
    with redirecting(codec, trustedProxies=["127.0.0.1"]) as server:
        for word, status in (("https", 200), ("http", 308), ("", 308)):
            headers = [(b"x-forwarded-proto", word.encode())] if word else []
            assert request(server.client(codec), "GET", "/x", headers=headers).status == status
    with redirecting(codec) as server:
        headers = [(b"x-forwarded-proto", b"https")]
        assert request(server.client(codec), "GET", "/x", headers=headers).status == 308


@pytest.mark.parametrize(("over_tls", "status"), [(True, b"200"), (False, b"308")])
def test_a_balancer_of_tcp_that_got_the_connection_by_tls(over_tls: bool, status: bytes) -> None:
    fields = [proxy_headers.tls_field(proxy_headers.OVER_TLS, 0)] if over_tls else []
    header = proxy_headers.relayed(("192.0.2.1", 4711), ("198.51.100.7", 443), *fields)
    listener = REDIRECT | {"proxyProtocol": True}
    with running(hello, listener=listener, trustedProxies=["127.0.0.1"]) as server:
        sock = server.connect()
        sock.sendall(header + b"GET /x HTTP/1.1\r\nhost: example.com\r\n\r\n")
        assert sock.recv(12) == b"HTTP/1.1 " + status
        only_record(server)


def test_only_the_listener_that_has_the_key_redirects(codec: str) -> None:
    listeners = [REDIRECT, {"name": "other", "address": "127.0.0.1:8081"}]
    with running(hello, codec, listeners=listeners) as server:
        assert request(server.client(codec), "GET", "/x").status == 308
        assert request(server.client(codec, sock=server.connect("other")), "GET", "/x").status == 200
        first, second = (listener.service.app for listener in server.runtime._listeners)
        assert type(first).__name__ == "HttpsRedirect"
        assert type(second).__name__ == "Router"
