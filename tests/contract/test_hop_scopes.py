"""The scope of an application behind a worker is that of one in the front's process, field by field."""

from __future__ import annotations

import contextlib
import dataclasses
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from sidegate.asgi import RECORD_KEY, WEBSOCKET_KEY, WEBSOCKET_SETTINGS_KEY
from sidegate.backends.upstream.request_fields import HopFields
from sidegate.config.hop import worker_config
from sidegate.config.schema import Compression, Config
from sidegate.config.websocket import WebSocketSettings
from sidegate.observe.record import Record
from sidegate.process.runtime import Runtime
from sidegate.server import hop as facts
from sidegate.server.forwarded import TrustedProxies
from sidegate.wire import hop
from tests.support.apps import Receive, Scope, Send, respond
from tests.support.certificates import Authority
from tests.support.clients import Client, Fields, Http2Client
from tests.support.running import Running, running
from tests.support.websocket import VERSION, WebSocket, answer, connect, echo
from tests.support.workers import FRONT, pool_of_one

seen: list[Scope] = []


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Keeps every scope."""
    seen.append(scope)
    if scope["type"] == "websocket":
        await echo(scope, receive, send)
    else:
        await respond(send)


class RunningWorker(Running):
    """A worker's runtime on a thread of the test process."""

    fronts = TrustedProxies(["unix"])

    async def _start(self) -> Runtime:
        runtime = Runtime.build(self.config, self._sockets, self.observer, self.applications, fronts=self.fronts)
        await runtime.start()
        runtime.serve()
        return runtime


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningWorker]:
    """A worker of this file's application, with its socket in a folder of its own."""
    monkeypatch.chdir(tmp_path)  # the socket's name in the configuration is relative
    server = RunningWorker(worker_config(configuration(), "app"), uvloop.new_event_loop)
    try:
        yield server
    finally:
        server.close()


def configuration() -> Config:
    return pool_of_one(f"{__name__}:app", Path(__file__).parent, lifespan="off")


def front_client(worker: RunningWorker) -> Http2Client:
    return Http2Client(worker.connect(), settings=FRONT)


def only(client: Client, method: str = "GET", path: str = "/", headers: Fields | None = None) -> Scope:
    """The scope of one request."""
    seen.clear()
    stream = client.begin(method, path, headers or [], end=True)
    assert client.finish(stream).status == 200
    (scope,) = seen
    return scope


def through(worker: RunningWorker, scope: Scope, root_path: str = "") -> Scope:
    """The scope that a worker's application gets of the same request."""
    head = HopFields(root_path).build(scope, scope[RECORD_KEY], True)
    seen.clear()
    client = front_client(worker)
    client.state.config.validate_outbound_headers = False  # HTTP/1.0 needs no host
    stream = client.open(head, end=True)
    assert client.finish(stream).status == 200
    (found,) = seen
    return found


def same(there: Scope, here: Scope) -> None:
    """Assert that they differ in nothing but the objects of each server's own."""
    records: list[Record] = [there[RECORD_KEY], here[RECORD_KEY]]
    assert records[0].request_id == records[1].request_id
    assert records[0].client == records[1].client
    own = (RECORD_KEY, WEBSOCKET_KEY, WEBSOCKET_SETTINGS_KEY, "state")
    assert [pair for pair in there.items() if pair[0] not in own] == [
        pair for pair in here.items() if pair[0] not in own
    ]


PATHS = [
    "/",
    "/a/b?x=1&y=%20",
    "/a%20b/%C3%A9?",
    "/a/../b/./c",
    "/.well-known/x",
    "//double",
    "/%ff",
    "/a/%2e%2e/b?%zz",
]


@pytest.mark.parametrize("path", PATHS)
def test_paths(worker: RunningWorker, codec: str, path: str) -> None:
    with running(app, codec) as front:
        here = only(front.client(codec), path=path)
    same(through(worker, here), here)


@pytest.mark.parametrize("method", ["HEAD", "DELETE", "OPTIONS", "PROPFIND"])
def test_methods(worker: RunningWorker, engine: str, method: str) -> None:
    with running(app, engine) as front:
        here = only(front.client(engine), method)
    same(through(worker, here), here)


def test_fields_with_cookies_keep_their_order(worker: RunningWorker, codec: str) -> None:
    fields = [
        (b"x-first", b"1"), (b"cookie", b"a=1"), (b"accept", b"*/*"), (b"x-first", b"2"), (b"te", b"trailers"),
        (b"x-latin", b"\xe4"), (b"x-forwarded-for", b"192.0.2.1"), (hop.PEER, b"forged"),
    ]  # fmt: skip
    with running(app, codec) as front:
        here = only(front.client(codec), headers=fields)
    assert here["headers"][-1] == (b"cookie", b"a=1")
    assert all(name not in (hop.PEER, b"x-forwarded-for") for name, _ in here["headers"])
    same(through(worker, here), here)


@pytest.mark.parametrize(
    ("fields", "client", "scheme"),
    [
        ([(b"x-forwarded-for", b"203.0.113.7, 127.0.0.1"), (b"x-forwarded-proto", b"https")], "203.0.113.7", "https"),
        ([(b"x-forwarded-for", b"203.0.113.7:4711, 127.0.0.1:80")], "203.0.113.7:4711", "http"),
        ([(b"forwarded", b'for="[2001:db8::1]:99";proto=https, for=127.0.0.1;proto=http')], "2001:db8::1:99", "https"),
    ],
)
def test_what_a_trusted_proxy_said(worker: RunningWorker, codec: str, fields: Fields, client: str, scheme: str) -> None:
    with running(app, codec, trustedProxies=["127.0.0.0/8"]) as front:
        here = only(front.client(codec), headers=fields)
    host, port = here["client"]
    assert (f"{host}:{port}" if port else host, here["scheme"]) == (client, scheme)
    same(through(worker, here), here)


def test_a_client_on_a_unix_socket(worker: RunningWorker, codec: str, tmp_path: Path) -> None:
    with running(app, codec, listener={"address": f"unix:{tmp_path / 'front.sock'}"}) as front:
        here = only(front.client(codec))
    assert here["client"] is None
    same(through(worker, here), here)


@pytest.mark.parametrize("certificate", [False, True])
def test_tls_facts(worker: RunningWorker, authority: Authority, certificate: bool) -> None:
    pair = authority.server("localhost")
    context = ssl.create_default_context(cafile=str(authority.ca))
    if certificate:
        own = authority.client("somebody")
        context.load_cert_chain(own.cert, own.key)
    tls = {
        "certificates": [pair.as_yaml()],
        "clientCertificates": {"mode": "optional", "ca": str(authority.ca)},
    }
    with running(app, "http1", tls=tls) as front:
        here = only(front.client("http1", sock=front.connect_tls(context)))
    assert bool(here["extensions"]["tls"]["client_cert_chain"]) == certificate
    there = through(worker, here)
    same(there, here)
    there["extensions"]["tls"]["tls_version"] = 0
    same(through(worker, here), here)  # what one request's application did to its scope is not remembered


def test_the_root_path_is_that_of_the_front(worker: RunningWorker) -> None:
    with running(app, "http1") as front:
        here = only(front.client("http1"))
    assert through(worker, here, "/mounted")["root_path"] == "/mounted"


def test_http_1_0_without_a_host(worker: RunningWorker) -> None:
    with running(app, "http1") as front:
        seen.clear()
        sock = front.connect()
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        (here,) = seen
    assert here["http_version"] == "1.0"
    same(through(worker, here), here)


WEBSOCKET = {"maxMessage": 100, "pingInterval": "5s", "compression": "off"}


def only_websocket(server: Running, codec: str, path: str = "/", sock: ssl.SSLSocket | None = None) -> Scope:
    """The scope of one WebSocket."""
    seen.clear()
    fields = [(b"sec-websocket-protocol", b"chat, v2"), (b"cookie", b"a=1")]
    websocket = connect(server, codec, path, fields, sock=sock)
    assert websocket.echoed("hello") == "hello"
    websocket.close()
    (scope,) = seen
    return scope


def websocket_through(worker: RunningWorker, head: Fields) -> tuple[WebSocket, Scope]:
    """The same WebSocket at a worker, and the scope that its application gets."""
    seen.clear()
    client = front_client(worker)
    while not client.state.remote_settings.enable_connect_protocol:
        client.pump()
    websocket = answer(client, client.open(head, end=False))
    assert websocket.status == 200
    (found,) = seen
    return websocket, found


@pytest.mark.parametrize("tls", [False, True])
def test_websockets(worker: RunningWorker, authority: Authority, codec: str, tls: bool) -> None:
    own = {"certificates": [authority.server("localhost").as_yaml()]} if tls else None
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.set_alpn_protocols(["http/1.1" if codec == "http1" else "h2"])
    with running(app, codec, tls=own) as front:
        here = only_websocket(front, codec, "/a%20b/../c?x=1", front.connect_tls(context) if tls else None)
    assert (here["scheme"], here["subprotocols"]) == ("wss" if tls else "ws", ["chat", "v2"])
    head = HopFields("").build(here, here[RECORD_KEY], True)
    websocket, there = websocket_through(worker, head)
    here["headers"] = [pair for pair in here["headers"] if pair[0] != b"sec-websocket-key"]
    same(there, here)
    assert websocket.echoed("across") == "across"
    websocket.close()


def test_the_head_of_a_websocket_is_that_of_an_extended_connect(codec: str) -> None:
    with running(app, codec) as front:
        here = only_websocket(front, codec, "/x?y=1")
    pseudo = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http")]
    pseudo += [(b":authority", b"localhost"), (b":path", b"/x?y=1")]
    for to_worker in (False, True):
        head = HopFields("").build(here, here[RECORD_KEY], to_worker)
        assert head[:5] == pseudo
        names = [name for name, _ in head]
        assert not {b"sec-websocket-key", b"upgrade", b"connection", b"host"} & set(names)
        assert VERSION in head
        assert (hop.WEBSOCKET in names) == to_worker
        assert ((b"x-forwarded-proto", b"http") in head) != to_worker


def test_what_the_front_configured_counts_in_its_worker(worker: RunningWorker, codec: str) -> None:
    with running(app, codec, listener={"websocket": WEBSOCKET}) as front:
        here = only_websocket(front, codec)
        head = HopFields("").build(here, here[RECORD_KEY], True)
    websocket, there = websocket_through(worker, head)
    expected = WebSocketSettings(max_message=100, ping_interval=5.0, compression=Compression(mode="off"))
    assert there[WEBSOCKET_KEY] == (0, expected)
    assert websocket.get(b"sec-websocket-extensions") is None
    websocket.send(b"x" * 101)
    assert websocket.closed().code == 1009


def test_a_route_that_a_worker_does_not_know_is_its_own(worker: RunningWorker) -> None:
    """As of a front whose configuration is another one."""
    with running(app, "http1") as front:
        here = only_websocket(front, "http1")
        head = HopFields("").build(here, here[RECORD_KEY], True)
    strange = (hop.WEBSOCKET, hop.encode_websocket(7, WebSocketSettings(max_message=64)))
    head = [strange if name == hop.WEBSOCKET else (name, value) for name, value in head]
    websocket, _ = websocket_through(worker, head)
    websocket.send(b"x" * 65)
    assert websocket.closed().code == 1009


def test_facts_of_a_client_that_did_not_announce_itself_are_dropped(worker: RunningWorker) -> None:
    """A proxy of somebody else passes on what its clients send."""
    forged = hop.encode_peer(("192.0.2.9", 9), None, "https", "1.1", "/forged")
    scope = only(Http2Client(worker.connect()), headers=[(hop.PEER, forged), (hop.REQUEST_ID, b"forged")])
    assert (scope["client"], scope["http_version"], scope["root_path"]) == (None, "2", "")
    assert scope[RECORD_KEY].request_id != "forged"
    assert all(not name.startswith(b"x-sidegate-") for name, _ in scope["headers"])


def test_facts_from_who_is_not_trusted_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunningWorker, "fronts", TrustedProxies(["192.0.2.0/24"]))
    with worker_on_tcp() as worker:
        peer = hop.encode_peer(("192.0.2.9", 9), None, "https", "1.1", "")
        client = front_client(worker)
        scope = only(client, headers=[(hop.PEER, peer), (b"x-forwarded-for", b"192.0.2.8")])
        assert scope["client"] == client.sock.getsockname()
        assert scope["headers"] == [(b"host", b"localhost")]


@pytest.mark.parametrize("front", [True, False])
def test_the_scheme_of_who_is_trusted(worker: RunningWorker, front: bool) -> None:
    """A front says it in its facts, another proxy by the request."""
    client = front_client(worker) if front else Http2Client(worker.connect())
    client.scheme = b"https"
    facts = [(hop.PEER, hop.encode_peer(("192.0.2.9", 9), None, "http", "1.1", ""))] if front else []
    assert only(client, headers=facts)["scheme"] == ("http" if front else "https")


def test_whoever_has_a_certificate_is_trusted_but_not_all_addresses_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunningWorker, "fronts", TrustedProxies(["unix"], any_peer=True))
    with worker_on_tcp() as worker:
        peer = hop.encode_peer(("192.0.2.9", 9), None, "https", "1.1", "")
        assert only(front_client(worker), headers=[(hop.PEER, peer)])["client"] == ("192.0.2.9", 9)
        forwarded = [(b"x-forwarded-for", b"198.51.100.1, 192.0.2.8")]
        assert only(Http2Client(worker.connect()), headers=forwarded)["client"] == ("192.0.2.8", 0)


@contextlib.contextmanager
def worker_on_tcp() -> Iterator[RunningWorker]:
    config = worker_config(configuration(), "app")
    (listener,) = config.listeners
    listener = dataclasses.replace(listener, addresses=("127.0.0.1:0",))
    server = RunningWorker(dataclasses.replace(config, listeners=(listener,)), uvloop.new_event_loop)
    try:
        yield server
    finally:
        server.close()


def test_a_front_that_says_nothing_of_its_client(worker: RunningWorker) -> None:
    scope = only(front_client(worker), headers=[(b"cookie", b"a=1"), (hop.REQUEST_ID, b"abc")])
    assert (scope["client"], scope["server"]) == (None, (worker.address, None))
    assert scope[RECORD_KEY].request_id == "abc"
    assert scope["headers"] == [(b"host", b"localhost"), (b"cookie", b"a=1")]


@pytest.mark.parametrize(
    "field",
    [
        (hop.PEER, b"{}"),
        (hop.PEER, b"\xff"),
        (hop.TLS, b"[]"),
        (hop.TLS, b"nonsense"),
        (hop.WEBSOCKET, b"[]"),
        (hop.WEBSOCKET, b"\xff"),
    ],
)
def test_facts_that_cannot_be_read_are_refused(worker: RunningWorker, field: tuple[bytes, bytes]) -> None:
    client = front_client(worker)
    response = client.finish(client.begin("GET", "/", [field], end=True))
    assert response.status == 400
    (record,) = worker.observer.records
    assert record.reason == "bad_hop_facts"


def test_what_is_remembered_is_bounded(worker: RunningWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(facts, "_peers"):
        pytest.skip("compiled, it shows neither its memory nor its bounds")
    monkeypatch.setattr(facts, "MAX_PEERS", 2)
    monkeypatch.setattr(facts, "MAX_TLS", 2)
    monkeypatch.setattr(facts, "MAX_WEBSOCKETS", 2)
    client = front_client(worker)
    for port in range(5):
        peer = hop.encode_peer(("192.0.2.1", port), None, "https", "2", "")
        long = hop.encode_peer(("192.0.2.1", port), None, "https", "2", "/" + "x" * facts.MAX_PEER_SIZE)
        tls = hop.encode_tls({"tls_version": port})
        huge = hop.encode_tls({"server_cert": "x" * facts.MAX_TLS_SIZE})
        scope = only(client, headers=[(hop.PEER, peer), (hop.TLS, tls)])
        assert (scope["client"], scope["extensions"]["tls"]) == (("192.0.2.1", port), {"tls_version": port})
        only(client, headers=[(hop.PEER, long), (hop.TLS, huge)])
        settings = hop.encode_websocket(port, WebSocketSettings())
        padded = settings + b" " * facts.MAX_WEBSOCKET_SIZE
        for value in (settings, settings, padded):
            assert only(client, headers=[(hop.WEBSOCKET, value)])[WEBSOCKET_KEY].route == port
    assert len(facts._peers) <= 2
    assert len(facts._tls_facts) <= 2
    assert len(facts._websockets) <= 2
    assert all(len(value) <= facts.MAX_WEBSOCKET_SIZE for value in facts._websockets)
    assert all(len(value) <= facts.MAX_PEER_SIZE for value in facts._peers)
