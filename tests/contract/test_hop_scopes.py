"""The scope of an application behind a worker is that of one in the front's process, field by field."""

from __future__ import annotations

import contextlib
import dataclasses
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from proxy.asgi import RECORD_KEY
from proxy.backends.hop_fields import HopFields
from proxy.config.hop import worker_config
from proxy.config.schema import Config
from proxy.observe.record import Record
from proxy.runtime import Runtime
from proxy.server import hop as facts
from proxy.server.forwarded import TrustedProxies
from proxy.wire import hop
from tests.support.apps import Receive, Scope, Send, respond
from tests.support.certificates import Authority
from tests.support.clients import Client, Fields, Http2Client
from tests.support.running import Running, running
from tests.support.workers import FRONT, pool_of_one

seen: list[Scope] = []


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Keeps every scope."""
    seen.append(scope)
    await respond(send)


class RunningWorker(Running):
    """A worker's runtime on a thread of the test process."""

    fronts = TrustedProxies(["unix"])

    async def _start(self) -> Runtime:
        runtime = Runtime.build(self.config, self._sockets, self.observer, self.fronts)
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
    assert (records[0].client, records[0].scheme) == (records[1].client, records[1].scheme)
    own = (RECORD_KEY, "state")
    assert {k: v for k, v in there.items() if k not in own} == {k: v for k, v in here.items() if k not in own}
    assert list(there) == list(here)


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


def test_what_a_trusted_proxy_said(worker: RunningWorker, codec: str) -> None:
    fields = [(b"x-forwarded-for", b"203.0.113.7, 127.0.0.1"), (b"x-forwarded-proto", b"https")]
    with running(app, codec, trustedProxies=["127.0.0.0/8"]) as front:
        here = only(front.client(codec), headers=fields)
    assert (here["client"], here["scheme"]) == (("203.0.113.7", 0), "https")
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


@pytest.mark.parametrize("field", [(hop.PEER, b"{}"), (hop.PEER, b"\xff"), (hop.TLS, b"[]"), (hop.TLS, b"nonsense")])
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
    client = front_client(worker)
    for port in range(5):
        peer = hop.encode_peer(("192.0.2.1", port), None, "https", "2", "")
        long = hop.encode_peer(("192.0.2.1", port), None, "https", "2", "/" + "x" * facts.MAX_PEER_SIZE)
        tls = hop.encode_tls({"tls_version": port})
        huge = hop.encode_tls({"server_cert": "x" * facts.MAX_TLS_SIZE})
        scope = only(client, headers=[(hop.PEER, peer), (hop.TLS, tls)])
        assert (scope["client"], scope["extensions"]["tls"]) == (("192.0.2.1", port), {"tls_version": port})
        only(client, headers=[(hop.PEER, long), (hop.TLS, huge)])
    assert len(facts._peers) <= 2
    assert len(facts._tls_facts) <= 2
    assert all(len(value) <= facts.MAX_PEER_SIZE for value in facts._peers)
