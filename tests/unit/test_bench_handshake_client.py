from __future__ import annotations

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.bench.experiments.handshake_client import context_of_handshakes, shake
from tests.bench.servers.kind import HOST
from tests.support.certificates import Authority

PATIENCE = 60.0


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    """The server's."""
    pair = Authority(tmp_path).server("localhost", HOST)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(pair.cert, pair.key)
    return made


def served(listener: socket.socket, context: ssl.SSLContext, *, says_end: bool) -> tuple[str | None, bool, bytes]:
    """Serve one connection: the version, whether a session was resumed, and what the client has sent."""
    plain, _ = listener.accept()
    plain.settimeout(PATIENCE)
    with context.wrap_socket(plain, server_side=True) as connection:
        found = connection.version(), bool(connection.session_reused), connection.recv(1)
        if says_end:
            connection.unwrap().close()
        return found


@pytest.mark.parametrize("says_end", [True, False])
def test_every_handshake_is_a_full_one_of_tls_1_3_and_no_request_follows(
    context: ssl.SSLContext, *, says_end: bool
) -> None:
    ours = context_of_handshakes()
    with socket.create_server((HOST, 0)) as listener, ThreadPoolExecutor() as threads:
        listener.settimeout(PATIENCE)
        for _ in range(2):
            server = threads.submit(served, listener, context, says_end=says_end)
            shake(listener.getsockname()[1], ours)
            assert server.result(PATIENCE) == ("TLSv1.3", False, b"")


def test_a_handshake_that_fails_is_not_counted(context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_server((HOST, 0)) as listener, ThreadPoolExecutor() as threads:
        listener.settimeout(PATIENCE)
        server = threads.submit(served, listener, context, says_end=True)
        with pytest.raises(OSError, match=r"(?i)version"):
            shake(listener.getsockname()[1], context_of_handshakes())
        assert isinstance(server.exception(PATIENCE), OSError)
