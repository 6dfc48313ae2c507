"""A runtime as a whole: what building it finds, start, drain, and the end of everything at the grace period."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from sidegate.backends.app.loading import import_applications
from sidegate.config.schema import Config
from sidegate.config.validation import validate
from sidegate.errors import Fault, Problems, StartError
from sidegate.observe.cells import Area
from sidegate.observe.metrics import CellLayout
from sidegate.observe.observer import Observer
from sidegate.process.runtime import BuildError, Runtime, check
from sidegate.server.tls.self_signed import ensure_self_signed
from tests.support.accounts import as_nobody, needs_root, public_folder
from tests.support.apps import Gate, Receive, Scope, Send, hello, respond, wait_for_disconnect
from tests.support.certificates import Authority, Pair
from tests.support.clients import Http1Client, Http2Client, request
from tests.support.running import Running, running, wait_for


@contextlib.contextmanager
def module(**attributes: Any) -> Iterator[str]:
    """A module with those attributes; its name."""
    made = types.ModuleType("applications_of_test_runtime")
    vars(made).update(attributes)
    sys.modules[made.__name__] = made
    try:
        yield made.__name__
    finally:
        del sys.modules[made.__name__]


def config(**top_level: Any) -> Config:
    return validate(
        Config,
        {
            "listeners": [{"name": "test", "address": "127.0.0.1:0"}],
            "backends": {"hello": {"respond": {"body": "hello"}}},
            "routes": [{"path": "/", "backend": "hello"}],
            **top_level,
        },
    )


@contextlib.contextmanager
def built(settings: Config) -> Iterator[Callable[[], Runtime]]:
    """Builds within a running loop; closes what it took."""
    area = Area.create(CellLayout(settings).size)
    sockets = {listener.name: [socket.socket()] for listener in settings.listeners}
    try:
        yield lambda: Runtime.build(
            settings, sockets, Observer(settings, area.cells), import_applications(settings.backends)
        )
    finally:
        for (sock,) in sockets.values():
            sock.close()
        gc.collect()
        area.close()


# What only building finds.


def problems(settings: Config, import_apps: bool = True) -> Problems:
    found, _ = check(dict(enumerate(settings.listeners)), settings.backends, import_apps)
    return found


def test_problems_are_found_at_once_with_their_paths(tmp_path: Path) -> None:
    settings = config(
        listeners=[
            {"name": "one", "address": ":1", "tls": {"certificates": [{"cert": "/no/cert", "key": "/no/key"}]}},
            {"name": "two", "address": ":2"},
        ],
        backends={
            "hello": {"respond": {}},
            "shop": {"app": "no_such_module_anywhere:app", "directory": str(tmp_path)},
            "other": {"app": "os:path"},
        },
    )
    expected = [
        (("listeners", 0, "tls", "certificates", 0, "cert"),
         "cannot read the certificate /no/cert: No such file or directory"),
        (("backends", "shop", "app"),
         f"there is no module 'no_such_module_anywhere' in {tmp_path} or in this Python's packages"),
        (("backends", "other", "app"),
         "os:path is a module; name its attribute, neither an ASGI nor a WSGI application"),
    ]  # fmt: skip
    assert problems(settings) == expected
    assert problems(settings, import_apps=False) == expected[:1]

    async def build() -> None:
        with pytest.raises(BuildError) as caught:
            make()
        assert sorted(caught.value.problems, key=str) == sorted(expected, key=str)
        assert str(caught.value).count("; ") >= 2

    with built(settings) as make:
        asyncio.run(build())


def encrypted(pair: Pair) -> bytes:
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


DAMAGED: dict[str, tuple[list[tuple[str, str]], tuple[Any, ...], str]] = {
    "no key": ([("cert", "no")], ("certificates", 0, "key"), "cannot read the private key no: No such file"),
    "no certificate": ([("no", "key")], ("certificates", 0, "cert"), "cannot read the certificate no: No such file"),
    "a folder": ([(".", "key")], ("certificates", 0, "cert"), "cannot read the certificate .: Is a directory"),
    "no PEM": ([("text", "key")], ("certificates", 0, "cert"), "text contains no certificate in PEM format"),
    "damaged": ([("cut", "key")], ("certificates", 0), "cut and key are not a PEM certificate and private key ("),
    "exchanged": (
        [("key", "cert")],
        ("certificates", 0, "cert"),
        "key contains no certificate in PEM format, but: PRIVATE KEY",
    ),
    "the certificate as its key": (
        [("cert", "cert")],
        ("certificates", 0, "key"),
        "cert contains no private key in PEM format, but: CERTIFICATE",
    ),
    "DER": (
        [("der", "key")],
        ("certificates", 0, "cert"),
        "der contains no certificate in PEM format; it looks like DER",
    ),
    "another key": (
        [("cert", "other")],
        ("certificates", 0, "key"),
        "the private key other does not belong to the certificate cert",
    ),
    "an authority's certificate first": (
        [("chain", "key")],
        ("certificates", 0, "key"),
        "the private key key does not belong to the certificate chain, but to certificate 2 of that file; the server's",
    ),
    "encrypted": (
        [("cert", "encrypted")],
        ("certificates", 0, "key"),
        "encrypted: the private key is encrypted; give one without a passphrase",
    ),
    "the second": (
        [("cert", "key"), ("no", "key")],
        ("certificates", 1, "cert"),
        "cannot read the certificate no: No such file",
    ),
}
"""Certificates and keys by file name, the path they are reported at, and how the message begins."""


@pytest.fixture
def files(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with certificates and keys in it."""
    pair = authority.server("localhost")
    (tmp_path / "cert").write_bytes(pair.cert.read_bytes())
    (tmp_path / "key").write_bytes(pair.key.read_bytes())
    (tmp_path / "other").write_bytes(authority.server("other").key.read_bytes())
    (tmp_path / "chain").write_bytes(authority.ca.read_bytes() + pair.cert.read_bytes())
    (tmp_path / "encrypted").write_bytes(encrypted(pair))
    (tmp_path / "cut").write_bytes(pair.cert.read_bytes()[:100])
    (tmp_path / "der").write_bytes(ssl.PEM_cert_to_DER_cert(pair.cert.read_text()))
    (tmp_path / "text").write_text("no PEM at all")
    (tmp_path / "empty").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tls_problem(tls: dict[str, Any]) -> tuple[Any, str]:
    ((path, message),) = problems(config(listeners=[{"name": "test", "address": ":1", "tls": tls}]))
    assert path[:3] == ("listeners", 0, "tls")
    return path[3:], message


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("kind", DAMAGED)
def test_certificates_that_cannot_be_used(kind: str) -> None:
    pairs, path, words = DAMAGED[kind]
    found, message = tls_problem({"certificates": [{"cert": cert, "key": key} for cert, key in pairs]})
    assert found == path
    assert message.startswith(words)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("ca", "words"),
    [
        ("no", "cannot read the CA certificates no: No such file or directory"),
        ("empty", "empty contains no CA certificates in PEM format"),
        ("text", "text contains no CA certificates in PEM format"),
    ],
)
def test_authorities_that_cannot_be_used(ca: str, words: str) -> None:
    tls = {"certificates": [{"cert": "cert", "key": "key"}], "clientCertificates": {"ca": ca}}
    assert tls_problem(tls) == (("clientCertificates", "ca"), words)


@needs_root
def test_a_file_that_the_user_may_not_read(authority: Authority) -> None:
    pair = authority.server("localhost")
    with public_folder() as folder:
        cert, key, closed = folder / "cert", folder / "key", folder / "closed"
        cert.write_bytes(pair.cert.read_bytes())
        key.write_bytes(pair.key.read_bytes())
        key.chmod(0o600)
        closed.mkdir(0o700)
        tls = {"certificates": [{"cert": str(cert), "key": str(key)}]}
        reason = f"the user nobody may not read {key} (-rw------- root:root)"
        message = f"cannot read the private key {key}: Permission denied; {reason}"
        assert as_nobody(lambda: repr(tls_problem(tls))) == repr((("certificates", 0, "key"), message))
        settings = config(backends={"hello": {"h2": "tcp://a:1", "tls": {"ca": str(closed / "ca")}}})
        reason = f"the user nobody may not enter the folder {closed} (drwx------ root:root)"
        message = f"cannot read the CA certificates {closed}/ca: Permission denied; {reason}"
        expected = [(("backends", "hello", "tls", "ca"), message)]
        assert as_nobody(lambda: repr(problems(settings, import_apps=False))) == repr(expected)


def test_a_self_signed_certificate_is_not_made_by_a_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = config(listeners=[{"name": "test", "address": ":1", "tls": {"selfSigned": True}}])
    assert problems(settings) == []
    assert list(tmp_path.iterdir()) == []


def test_the_self_signed_certificate_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ensure_self_signed()
    context = ssl.create_default_context(cafile=str(tmp_path / "sidegate" / "self-signed.pem"))
    with running(hello, tls={"selfSigned": True}) as server:
        for name in ("localhost", "127.0.0.1"):
            assert request(Http1Client(server.connect_tls(context, name)), "GET", "/x").status == 200


# Start.


def test_a_runtime_that_never_served_ends_too() -> None:
    async def live() -> None:
        runtime = make()
        await runtime.start()
        await runtime.drain(0.0, 1.0)
        assert runtime.statistics() == {"connections": [0], "backends": {}}

    with built(config()) as make:
        asyncio.run(live())


def test_backends_that_have_started_are_stopped_when_a_later_one_fails() -> None:
    seen: list[str] = []

    def named(name: str) -> Any:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            for phase in ("startup", "shutdown"):
                await receive()
                seen.append(f"{name} {phase}")
                await send({"type": f"lifespan.{phase}.complete"})

        return app

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    async def live() -> None:
        runtime = make()
        with pytest.raises(StartError, match="no database"):
            await runtime.start()

    with module(one=named("one"), two=named("two"), broken=broken) as name:
        backends: dict[str, Any] = {key: {"app": f"{name}:{key}"} for key in ("one", "two", "broken")}
        with built(config(backends={"hello": {"respond": {}}, **backends})) as make:
            asyncio.run(live())
    assert seen == ["one startup", "two startup", "two shutdown", "one shutdown"]


def test_fixed_answers() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send)

    respond_to = {"status": 410, "headers": [{"name": "X-Why", "value": "moved"}], "body": "gône"}
    with module(app=app):
        backends = {"gone": {"respond": respond_to}, "empty": {"respond": {"status": 204}}}
        routes = [{"path": "/", "backend": "gone"}, {"path": "/empty", "backend": "empty"}]
        with running(app, backends=backends, routes=routes) as server:
            client = server.client("http1")
            response = request(client, "GET", "/")
            assert (response.status, bytes(response.body)) == (410, "gône".encode())
            assert response.get(b"x-why") == b"moved"
            assert response.get(b"content-type") == b"text/plain; charset=utf-8"
            response = request(client, "GET", "/empty")
            assert (response.status, response.get(b"content-type")) == (204, None)


def test_statistics() -> None:
    with running(hello) as server:
        assert server.runtime.statistics() == {"connections": [0], "backends": {}}
        client = server.client("http1")
        request(client, "GET", "/")
        assert server.runtime.statistics() == {"connections": [1], "backends": {}}


# Drain.


def draining(server: Running, delay: float = 0.0, grace: float = 20.0) -> Any:
    """Begin to drain; a future of its end."""
    return asyncio.run_coroutine_threadsafe(server.runtime.drain(delay, grace), server._loop)


def is_draining(server: Running) -> bool:
    return bool(server.runtime._listeners[0].service.draining)


def test_idle_connections_are_closed(codec: str) -> None:
    with running(hello, codec) as server:
        clients = [server.client(codec) for _ in range(3)]
        for client in clients:
            assert request(client, "GET", "/").status == 200
        server.connect()  # has not said anything yet
        end = draining(server)
        for client in clients:
            while client.sock.recv(1000):
                pass
            client.sock.close()
        end.result(20)


def test_what_is_under_way_is_finished(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    with running(gate, codec) as server:
        client = server.client(codec)
        stream = client.begin("GET", "/wait", [], end=True)
        wait_for(lambda: gate.waiting)
        if isinstance(client, Http2Client):
            monkeypatch.setattr(client.state.state_machine, "process_input", lambda event: [])
        end = draining(server)
        wait_for(lambda: is_draining(server))
        threading.Event().wait(0.7)  # past the second GOAWAY
        assert not end.done()
        gate.open()
        response = client.finish(stream)
        assert (response.status, bytes(response.body), response.reset) == (200, b"/wait", False)
        if codec == "http1":
            assert response.get(b"connection") == b"close"
        end.result(10)


def test_a_request_that_was_on_its_way_is_answered() -> None:
    with running(hello) as server:
        client = server.client("http1")
        assert request(client, "GET", "/").status == 200
        end = draining(server)
        wait_for(lambda: is_draining(server))
        response = request(client, "GET", "/late")
        assert (response.status, response.get(b"connection")) == (200, b"close")
        end.result(10)


def test_connections_that_the_kernel_had_taken_are_served() -> None:
    with running(hello) as server:

        async def connect_and_drain() -> None:  # the loop does not run while they connect and send their requests
            clients.extend(Http1Client(server.connect()) for _ in range(40))
            for client in clients:
                client.begin("GET", "/x", [], end=True)
            await server.runtime.drain(0.0, 20.0)

        clients: list[Http1Client] = []
        end = asyncio.run_coroutine_threadsafe(connect_and_drain(), server._loop)
        wait_for(lambda: is_draining(server))
        for client in clients:
            response = client.finish(1)
            assert (response.status, response.get(b"connection")) == (200, b"close")
        end.result(10)
        with pytest.raises(ConnectionRefusedError):
            server.connect()


def test_the_delay_goes_on_serving() -> None:
    with running(hello) as server:
        end = draining(server, delay=0.3)
        client = server.client("http1")
        assert request(client, "GET", "/").get(b"connection") is None
        end.result(10)


def test_what_outlives_the_grace_period_is_cut(codec: str, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        entered.set()
        await asyncio.sleep(1000)

    entered = threading.Event()
    with running(app, codec) as server:
        client = server.client(codec)
        stream = client.begin("GET", "/", [], end=True)
        assert entered.wait(10)
        draining(server, grace=0.1).result(10)
        assert client.finish(stream).reset
        record = server.observer.records[0]
        assert (record.fault, record.reason) == (Fault.PROXY, "shutdown")
        assert "grace period of 0.1 s exceeded: aborting the requests in flight" in caplog.text


def test_an_application_that_ignores_its_disconnect_is_cancelled() -> None:
    cancelled = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await wait_for_disconnect(receive)
        left.set()
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    left = threading.Event()
    with running(app) as server:
        client = server.client("http1")
        client.begin("GET", "/", [], end=True)
        wait_for(lambda: server.observer.open)
        client.close()
        assert left.wait(10)
        assert server.connections  # closed, but its application still runs
        draining(server, grace=0.1).result(10)
        assert cancelled.is_set()
        assert server.observer.records[0].reason == "client_disconnected"


def test_a_request_that_came_with_the_cut_closes_its_record() -> None:
    """A task that is cancelled before its first step never runs, so it could not close its record."""
    with running(hello) as server:
        server.connect()
        wait_for(lambda: server.connections)
        (connection,) = server.connections

        async def both_at_once() -> None:
            connection.data_received(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            server.runtime.abort()

        server.run(both_at_once())
        wait_for(lambda: server.observer.records)


def test_a_shutdown_that_hangs_is_given_up(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidegate.process.runtime.ABORT_PAUSE", 0.05)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.sleep(1000)

    with running(app, lifespan="on") as server:
        draining(server, grace=0.0).result(10)
        assert "an application's lifespan shutdown did not end within the grace period" in caplog.text
        server.run(cancel_lifespans())


async def cancel_lifespans() -> None:
    """What the end of the front's loop does to a lifespan that was given up."""
    tasks = [task for task in asyncio.all_tasks() if task.get_name().startswith("lifespan")]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
