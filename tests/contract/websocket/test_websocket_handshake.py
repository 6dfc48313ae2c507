"""WebSocket handshakes: refused, accepted, and what the application is told of them (RFC 6455 4, RFC 8441, ASGI)."""

from __future__ import annotations

import asyncio
import ssl
import threading
from typing import Any

import pytest

from sidegate.errors import Fault
from sidegate.observe import metrics
from tests.support.apps import Receive, Scope, Send, respond, share_a_pool
from tests.support.certificates import Authority
from tests.support.clients import Fields, Http2Client, request
from tests.support.running import Run, RunningServer, only_record, wait_for
from tests.support.websocket import (
    KEY,
    UPGRADE,
    VERSION,
    Keeping,
    accept,
    answer,
    ask,
    begin,
    connect,
    echo,
    required,
    upgrade,
)
from tests.support.websocket_frames import TEXT, frame

KEY_FIELD = (b"sec-websocket-key", KEY)

WRONG: dict[str, tuple[Fields, int, str]] = {
    "no version": ([], 426, "websocket_version"),
    "another version": ([(b"sec-websocket-version", b"8")], 426, "websocket_version"),
    "two versions": ([VERSION, VERSION], 426, "websocket_version"),
    "a subprotocol that is no token": ([VERSION, (b"sec-websocket-protocol", b"a b")], 400, "websocket_subprotocol"),
    "a subprotocol beyond ASCII": (
        [VERSION, (b"sec-websocket-protocol", b"caf\xc3\xa9")],
        400,
        "websocket_subprotocol",
    ),
}
KEYS: dict[str, Fields] = {
    "none": [],
    "two": [KEY_FIELD, KEY_FIELD],
    "no base64": [(b"sec-websocket-key", b"?")],
    "too short": [(b"sec-websocket-key", b"AAAA")],
}


def never(scope: Scope, receive: Receive, send: Send) -> Any:
    """For what no application may see."""
    raise AssertionError("it was called")


def either(scope: Scope, receive: Receive, send: Send) -> Any:
    """Echoes over WebSocket, answers the path over HTTP."""
    return echo(scope, receive, send) if scope["type"] == "websocket" else respond(send, scope["path"].encode())


HANDSHAKES: list[Fields] = [
    UPGRADE,
    [(b"connection", b"keep-alive"), (b"connection", b"Upgrade, x-one"), (b"upgrade", b"WebSocket"), (b"x-one", b"1")],
]


@pytest.mark.parametrize("fields", HANDSHAKES, ids=["usual", "unusual"])
def test_the_application_gets_connection_and_upgrade(codec: str, running: Run, fields: Fields) -> None:
    """As they came; over HTTP/2, where they cannot come, they are put there."""

    async def telling(scope: Scope, receive: Receive, send: Send) -> None:
        found = [pair for pair in scope["headers"] if pair[0] in (b"connection", b"upgrade", b"x-one")]
        await accept(receive, send, headers=[(b"x-found", repr(found).encode())])

    own = [KEY_FIELD, *fields] if codec == "http1" else []
    with running(telling, codec) as server:
        accepted = ask(server.client(codec), "/", [VERSION, *own])
        expected = [pair for pair in fields if pair[0] != b"x-one"] if codec == "http1" else UPGRADE
        assert accepted.get(b"x-found") == repr(expected).encode()
        accepted.closed()


# Refused.


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_handshake_is_answered(codec: str, running: Run, case: str) -> None:
    fields, status, reason = WRONG[case]
    own = [] if codec != "http1" else [*UPGRADE, KEY_FIELD]
    with running(never, codec) as server:
        refused = ask(server.client(codec), "/", [*own, *fields])
        record = only_record(server)
    assert refused.status == record.status == status
    assert (record.fault, record.reason) == (Fault.CLIENT, reason)
    assert refused.get(b"sec-websocket-version") == (b"13" if status == 426 else None)
    assert refused.get(b"upgrade") == (b"websocket" if status == 426 and codec == "http1" else None)
    assert refused.response.body
    assert record.bytes_out == len(refused.response.body)


@pytest.mark.parametrize("case", KEYS)
def test_a_wrong_key_is_answered(running: Run, case: str) -> None:
    """Over HTTP/1.1 alone: HTTP/2 has none (RFC 8441 5)."""
    with running(never) as server:
        refused = ask(server.client("http1"), "/", [*UPGRADE, VERSION, *KEYS[case]])
        assert (refused.status, only_record(server).reason) == (400, "websocket_key")


def test_the_connection_of_a_refused_handshake_goes_on(codec: str, running: Run) -> None:
    own = [] if codec != "http1" else [*UPGRADE, KEY_FIELD]
    with running(either, codec) as server:
        client = server.client(codec)
        assert ask(client, "/", own).status == 426
        assert request(client, "GET", "/next").body == b"/next"
        assert upgrade(client).echoed("last") == "last"


def test_a_handshake_that_no_route_matches(codec: str, running: Run) -> None:
    routes = {"routes": [{"name": "all", "path": "/app", "backend": "app"}]}
    with running(either, codec, **routes) as server:
        client = server.client(codec)
        assert upgrade(client, "/other").status == 404
        assert request(client, "GET", "/app").status == 200
        assert upgrade(client, "/app").echoed(b"x") == b"x"


def test_a_handshake_of_which_the_header_policy_disapproves(codec: str, running: Run) -> None:
    with running(never, codec) as server:
        assert upgrade(server.client(codec), "/../x").status == 400
        assert only_record(server).reason == "path_above_root"


def test_an_upgrade_to_something_else_is_ignored(running: Run) -> None:
    with running(either) as server:
        client = server.client("http1")
        answer = request(client, "GET", "/x", headers=[(b"connection", b"upgrade"), (b"upgrade", b"h2c")])
        assert (answer.status, answer.body) == (200, b"/x")


# The scope.


class Seen:
    """Accepts, and keeps the scopes of WebSockets; a lifespan's state is shared."""

    def __init__(self, **accepting: Any) -> None:
        self.scopes: list[Scope] = []
        self._accepting = accepting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await share_a_pool(scope, receive, send)
            return
        self.scopes.append(scope)
        await accept(receive, send, **self._accepting)


def test_the_scope_is_exact(codec: str, running: Run) -> None:
    app = Seen()
    sent = [(b"sec-websocket-protocol", b"chat, superchat"), (b"sec-websocket-protocol", b"x"), (b"x-own", b"1")]
    with running(app, codec, lifespan="on") as server:
        client = server.client(codec)
        local = client.sock.getsockname()
        ws = upgrade(client, "/a%20b/%C3%A9?x=%201&y", sent)
        assert ws.status == (101 if codec == "http1" else 200)
        assert ws.closed().code == 1000
        address = server.address
    scope = app.scopes[0]
    assert scope["type"] == "websocket"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.5"}
    assert scope["http_version"] == ("1.1" if codec == "http1" else "2")
    assert scope["scheme"] == "ws"
    assert "method" not in scope
    assert scope["path"] == "/a b/é"
    assert scope["raw_path"] == b"/a%20b/%C3%A9"
    assert scope["query_string"] == b"x=%201&y"
    assert scope["root_path"] == ""
    assert scope["subprotocols"] == ["chat", "superchat", "x"]
    assert scope["headers"][0] == (b"host", b"localhost")
    assert set(sent) <= set(scope["headers"])
    assert tuple(scope["client"]) == local
    assert tuple(scope["server"]) == address
    assert scope["state"] == {"pool": "shared"}
    assert scope["extensions"] == {"websocket.http.response": {}}


def test_tls_makes_it_wss(codec: str, running: Run, authority: Authority) -> None:
    app = Seen()
    pair = authority.server("localhost", "127.0.0.1")
    tls = {"certificates": [pair.as_yaml()]}
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.set_alpn_protocols(["http/1.1" if codec == "http1" else "h2"])
    with running(app, codec, tls=tls) as server:
        ws = connect(server, codec, sock=server.connect_tls(context))
        assert ws.closed().code == 1000
    scope = app.scopes[0]
    assert scope["scheme"] == "wss"
    assert scope["extensions"]["tls"]["tls_version"] == 0x0304


@pytest.mark.parametrize("field", [(b"x-forwarded-proto", b"wss"), (b"forwarded", b"for=192.0.2.1;proto=wss")])
def test_a_proxy_may_name_the_scheme_of_the_websocket(codec: str, running: Run, field: tuple[bytes, bytes]) -> None:
    app = Seen()
    with running(app, codec, trustedProxies=["127.0.0.0/8"]) as server:
        connect(server, codec, headers=[field]).closed()
    assert app.scopes[0]["scheme"] == "wss"


def test_no_subprotocols_are_an_empty_list(codec: str, running: Run) -> None:
    app = Seen()
    with running(app, codec) as server:
        connect(server, codec).closed()
    assert app.scopes[0]["subprotocols"] == []


def test_root_path_is_the_backends(codec: str, running: Run) -> None:
    app = Seen()
    with running(app, codec, backend={"rootPath": "/mounted"}) as server:
        connect(server, codec).closed()
    assert app.scopes[0]["root_path"] == "/mounted"


# Accepted.


def test_accept_with_a_subprotocol_and_headers(codec: str, running: Run) -> None:
    app = Seen(subprotocol="superchat", headers=[(b"x-own", b"1"), (b"Set-Cookie", b"a=b")])
    with running(app, codec) as server:
        ws = connect(server, codec, headers=[(b"sec-websocket-protocol", b"chat, superchat")])
        assert ws.get(b"sec-websocket-protocol") == b"superchat"
        assert (ws.get(b"x-own"), ws.get(b"set-cookie")) == (b"1", b"a=b")
        assert [name for name, _ in ws.response.headers].count(b"date") == 1
        ws.closed()


def test_the_key_is_answered(running: Run) -> None:
    """RFC 6455 1.3 has the example."""
    with running(echo) as server:
        fields = [*UPGRADE, VERSION, (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")]
        ws = ask(server.client("http1"), "/", fields)
        assert ws.get(b"sec-websocket-accept") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert (ws.get(b"connection"), ws.get(b"upgrade")) == (b"Upgrade", b"websocket")


@pytest.mark.parametrize(
    "message",
    [
        {"headers": [(b"sec-websocket-extensions", b"x-own")]},
        {"headers": [(b"sec-websocket-accept", b"x")]},
        {"headers": [(b"x-own", b"a\r\nb: c")]},
        {"headers": 7},
        {"subprotocol": "a b"},
        {"subprotocol": ""},
    ],
    ids=str,
)
def test_an_application_that_accepts_badly(codec: str, running: Run, message: dict[str, Any]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send, **message)

    with running(app, codec) as server:
        assert connect(server, codec).status == 500
        record = only_record(server)
        assert (record.status, record.fault, record.reason) == (500, Fault.APPLICATION, "bad_message")


def test_accepted_twice(codec: str, running: Run) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await send({"type": "websocket.accept"})

    with running(app, codec) as server:
        assert connect(server, codec).closed().code == 1011
        assert only_record(server).reason == "bad_message"


def test_frames_may_come_before_the_answer(running: Run) -> None:
    """RFC 6455 4.1 forbids it; what comes too early is kept until it is decided what it is."""
    gate = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.to_thread(gate.wait)
        await echo(scope, receive, send)

    with running(app) as server:
        client = server.client("http1")
        sock = client.sock
        sent = b"".join(b"%s: %s\r\n" % pair for pair in [(b"host", b"localhost"), *UPGRADE, VERSION, KEY_FIELD])
        sock.sendall(b"GET / HTTP/1.1\r\n" + sent + b"\r\n" + b"\x81\x81\0\0\0\0!")
        gate.set()
        answer = b""
        while not answer.endswith(b"\x81\x01!"):
            answer += sock.recv(4096)
        assert answer.startswith(b"HTTP/1.1 101 ")


def test_what_comes_before_the_answer_on_a_stream(engine: str, running: Run) -> None:
    """As much as a window holds."""
    gate = threading.Event()
    app = Keeping()

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.to_thread(gate.wait)
        await (app if scope["path"] == "/ended" else echo)(scope, receive, send)

    with running(late, engine) as server:
        client = server.client(engine)
        early, ended = begin(client, "/", required(client)), begin(client, "/ended", required(client))
        client.body(early, frame(TEXT, b"early"), end=False)
        client.body(ended, frame(TEXT, b"last"), end=True)
        gate.set()
        assert answer(client, early).receive() == "early"
        assert answer(client, ended).closed().code in (1001, 1006)  # a front that passes it on says that it leaves
        wait_for(lambda: app.ends)
    assert [message.get("text") for message in app.messages] == ["last", None]
    assert app.ends == [(1006, "")]


def test_many_on_one_connection_beside_requests(engine: str, running: Run) -> None:
    with running(either, engine) as server:
        client = server.client(engine)
        opened = [upgrade(client, f"/{number}") for number in range(10)]
        for number, ws in enumerate(opened):
            ws.send(f"message {number}")
            assert request(client, "GET", f"/{number}").body == b"/%d" % number
        for number, ws in reversed(list(enumerate(opened))):
            assert ws.receive() == f"message {number}"
            assert ws.close(1000) == (1000, "", False)
        assert isinstance(client, Http2Client)
        assert not client.goaways


# What applies to any request applies to a handshake.


@pytest.mark.front_only("test_websocket_pooled.py: a front and a worker have a record each")
def test_what_is_recorded(codec: str, running: Run) -> None:
    with running(echo, codec) as server:
        ws = connect(server, codec, "/path")
        assert ws.echoed(b"12345") == b"12345"
        wait_for(lambda: server.count(metrics.IN_FLIGHT, "test") == 1)
        assert not server.observer.records
        ws.close(1000)
        record = only_record(server)
    assert record.status == (101 if codec == "http1" else 200)
    assert (record.fault, record.reason) == (None, "")
    assert record.target == b"/path"
    assert (record.bytes_in, record.bytes_out) == (6 + 5 + 6 + 2, 2 + 5 + 2 + 2)  # headers, masks, codes


def test_handshakes_under_way_are_bounded(codec: str, running: Run) -> None:
    gate = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.to_thread(gate.wait)
        await echo(scope, receive, send)

    with running(app, codec, limits={"concurrentRequests": 2}) as server:
        clients = [server.client(codec) for _ in range(2)]
        streams = [begin(client, "/", required(client)) for client in clients]
        wait_for(lambda: server.count(metrics.IN_FLIGHT, "test") == 2)
        assert connect(server, codec).status == 503
        gate.set()
        opened = [answer(client, stream) for client, stream in zip(clients, streams, strict=True)]
        assert [ws.echoed("x") for ws in opened] == ["x", "x"]


def test_an_open_websocket_is_no_request_under_way(codec: str, running: Run) -> None:
    """``limits.concurrentRequests`` bounds the work at one time; a WebSocket may be idle for days."""
    with running(either, codec, limits={"concurrentRequests": 2}) as server:
        opened = [connect(server, codec) for _ in range(4)]
        assert [one.echoed("x") for one in opened] == ["x"] * 4
        assert all(one.close().code == 1000 for one in opened)
        wait_for(lambda: len(server.observer.records) == 4)
        assert server.observer.in_flight == 0


def errors(server: RunningServer, reason: str) -> float:
    """Exchanges that ended so, whosever fault it was."""
    found: float = sum(server.count(metrics.EXCHANGE_ERRORS, "all", fault, reason) for fault in Fault)
    return found


@pytest.mark.parametrize("accepting", [False, True])
def test_the_time_of_a_route_bounds_the_handshake_only(codec: str, running: Run, accepting: bool) -> None:
    routes = {"routes": [{"name": "all", "path": "/", "backend": "app", "timeouts": {"request": "200ms"}}]}
    told = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if accepting:
            await send({"type": "websocket.accept"})
            await asyncio.sleep(1.2)  # longer than two ticks of the clock and the time
            await send({"type": "websocket.send", "text": "late"})
        else:
            assert (await receive())["type"] == "websocket.connect"
            told.append(await receive())

    with running(app, codec, **routes) as server:
        ws = connect(server, codec)
        if accepting:
            assert ws.receive() == "late"
        else:
            assert ws.status == 504
            wait_for(lambda: errors(server, "request_timeout") == 1)
            wait_for(lambda: told)
            assert told == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]
