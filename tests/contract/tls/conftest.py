"""The TLS engines of this installation."""

from __future__ import annotations

import pytest

from tests.support.certificates import Authority, Pair


@pytest.fixture(params=["openssl", "ssl"])
def tls_engine(request: pytest.FixtureRequest) -> str:
    """The engines in turn."""
    if request.param == "openssl":
        pytest.importorskip("sidegate.server.tls.openssl", reason="the OpenSSL binding was not built")
    return str(request.param)


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    """The server's certificate."""
    return authority.server("localhost", "127.0.0.1")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that the server does not know."""
    return Authority(tmp_path_factory.mktemp("stranger"), "Nobody")
