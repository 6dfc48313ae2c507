"""The harness's WebSocket client, against Sidegate and against other implementations of what it writes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import hpack
import pytest
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.streams import StreamReader

from tests.bench import websocket_frames as ws
from tests.bench.applications import echo_websocket
from tests.bench.case import CPU, Case, Comparison, Load
from tests.bench.experiments.echo import echo
from tests.bench.experiments.idle import idle
from tests.bench.h2load import H2load
from tests.bench.programs import Peers
from tests.bench.report import Report
from tests.bench.running import Cores, Starter
from tests.bench.servers.kind import Kind
from tests.bench.servers.sidegate import Sidegate as Configuration
from tests.bench.servers.sidegate import best_engine, kind
from tests.bench.servers.table import KINDS
from tests.bench.session import Session, Settings, opened
from tests.bench.websocket_client import MESSAGE, NoWebSocket, Way, WebSocket, compress
from tests.support.certificates import Authority
from tests.support.running import running

WAYS = [Way(protocol, False, deflate) for protocol in ("h1", "h2") for deflate in (False, True)]


def parsed(data: bytes, extensions: Sequence[PerMessageDeflate] = ()) -> Frame:
    """One frame of a client, by another implementation."""
    reader = StreamReader()
    reader.feed_data(data)
    reading = Frame.parse(reader.read_exact, mask=True, extensions=extensions)
    try:
        while True:
            next(reading)
    except StopIteration as end:
        frame: Frame = end.value
        return frame


def test_the_message_is_one_frame() -> None:
    frame = parsed(ws.message(MESSAGE))
    assert (frame.opcode, frame.data, frame.fin) == (Opcode.BINARY, MESSAGE, True)
    deflated = ws.message(compress(MESSAGE), compressed=True)
    assert len(deflated) < len(ws.message(MESSAGE))
    assert parsed(deflated, [PerMessageDeflate(True, True, 15, 15)]).data == MESSAGE


def test_the_upgrade_is_one_that_others_accept() -> None:
    protocol = ServerProtocol()
    protocol.receive_data(ws.upgrade(deflate=False))
    (request,) = protocol.events_received()
    assert isinstance(request, Request)
    assert protocol.accept(request).status_code == 101


@pytest.mark.parametrize("tls", [False, True])
def test_the_extended_connect_has_the_fields_of_the_rfc(tls: bool) -> None:
    fields = hpack.Decoder().decode(ws.extended_connect(1, tls, deflate=True)[9:], raw=True)
    assert list(fields) == [
        (b":method", b"CONNECT"),
        (b":scheme", b"https" if tls else b"http"),
        (b":path", b"/"),
        (b":protocol", b"websocket"),
        (b":authority", b"localhost"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-extensions", ws.DEFLATE),
    ]


def test_messages_are_counted_however_they_are_cut() -> None:
    one, ping = b"\x82\x02ab", b"\x89\x00"
    assert ws.Messages().feed(one + ping + one) == 2
    messages = ws.Messages()
    assert [messages.feed(bytes([byte])) for byte in one + ping + one] == [0, 0, 0, 1, 0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_message_comes_back(way: Way) -> None:
    with running(echo_websocket.app, "http1" if way.protocol == "h1" else "http2-h2") as server:
        one = WebSocket(server.address[1], way)
        for _ in range(3):
            one.send()
            assert one.receive() == 1
        one.sock.close()


def test_a_server_without_websocket_says_so() -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        raise NotImplementedError

    with running(app, "http1") as server, pytest.raises(NoWebSocket, match="500"):
        WebSocket(server.address[1], Way("h1", False, False))


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """Of Sidegate alone, a short turn."""
    peers, cores = Peers(tmp_path / "none"), Cores(None, None)
    starter = Starter(tmp_path, peers, cores, Authority(tmp_path).server("localhost", "127.0.0.1"))
    ours = kind("sidegate", "sidegate", Configuration(best_engine()))
    settings = Settings(rounds=1, seconds=0.2, idle=8)
    return Session([ours], settings, cores, starter, H2load("h2load", [], tmp_path), Report(["sidegate"], {}))


@pytest.mark.parametrize(("run", "key"), [(echo, "cpu_us"), (idle, "held")])
def test_a_case_measures_a_real_server(session: Session, run: Callable[[Case, Session], None], key: str) -> None:
    load = Load("h2", True, 2)
    case = Case("w", "w", run, load, (CPU,), Comparison("cpu_us", "ours"), "echo_websocket")
    with opened(session):
        for _ in range(50):  # CPU time is counted in ticks of 10 ms; on a busy machine a turn may get less
            case.run(case, session)
            row = session.report.rows["w"]["sidegate"]
            assert row.note is None
            if row.samples[-1][key] > 0:
                break
    assert row.samples[-1][key] > 0


def test_peers_stand_with_each_of_their_implementations() -> None:
    def rows(name: str) -> list[str]:
        found: Kind = next(known for known in KINDS if known.name == name)
        return [kind.title for kind in found.with_interface("websocket")]

    assert rows("uvicorn") == [f"uvicorn (ws: {name})" for name in ("websockets-sansio", "websockets", "wsproto")]
    assert rows("hypercorn") == ["hypercorn"]
    assert rows("granian") == ["granian"]


def test_the_client_says_why_there_is_no_websocket() -> None:
    words = ["-m", "tests.bench.experiments.echo_client", "1", "1", "0", "0"]
    result = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert "refused" in result.stdout
