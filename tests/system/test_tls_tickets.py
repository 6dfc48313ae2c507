"""TLS sessions are resumed with every front, and after the restart of one."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl

import pytest

from tests.conftest import Serve
from tests.support.lifecycle import serving, status, wait_until
from tests.support.server import Sidegate, app_config

pytest.importorskip("sidegate.server.tls.openssl", reason="the OpenSSL binding was not built")

FRONTS = 4

Visit = tuple[int, bool, ssl.SSLSession]
"""The front's pid, whether the session was resumed, and the session for the next time."""


def visit(server: Sidegate, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> Visit:
    with (
        socket.create_connection(("127.0.0.1", server.port("https")), timeout=60) as raw,
        context.wrap_socket(raw, session=session) as sock,
    ):
        sock.sendall(b"GET /show HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        received = b""
        while data := sock.recv(65536):
            received += data
        assert sock.session is not None
        pid: int = json.loads(received.rpartition(b"\r\n\r\n")[2])["pid"]
        return pid, bool(sock.session_reused), sock.session


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_every_front_resumes_the_sessions_of_the_others(serve: Serve, version: ssl.TLSVersion) -> None:
    server = serve(app_config("plain:app", tls={"selfSigned": True}, processes=FRONTS, tlsEngine="openssl"))
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = version
    _, resumed, session = visit(server, context)
    assert not resumed
    victim, *_ = fronts = _all_serving(server)
    session = visit_all(server, context, session, fronts)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in serving(server), "the end of a front")
    visit_all(server, context, session, _all_serving(server))


@pytest.mark.parametrize("engine", ["openssl", "ssl"])
def test_the_engine_is_reported(serve: Serve, engine: str) -> None:
    server = serve(app_config("plain:app", tls={"selfSigned": True}, tlsEngine=engine))
    used = status(server)["engines"]["tls"]
    assert used.startswith(f"{engine} ")
    assert f", {used})" in server.wait_log("front process")
    assert f'tls_engine="{engine}"' in server.admin("/metrics")[1]


def visit_all(server: Sidegate, context: ssl.SSLContext, session: ssl.SSLSession, pids: set[int]) -> ssl.SSLSession:
    """Connect until every front has served. Each visit must resume the session of the one before."""
    seen: set[int] = set()

    def another() -> bool:
        nonlocal session
        pid, resumed, session = visit(server, context, session)
        assert resumed
        seen.add(pid)
        return seen >= pids

    wait_until(another, "visits to all fronts")
    return session


def _all_serving(server: Sidegate) -> set[int]:
    return wait_until(lambda: set(serving(server)) if len(serving(server)) == FRONTS else None, "all fronts")
