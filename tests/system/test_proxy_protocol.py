"""The PROXY protocol, sent by curl to a whole service."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.support.programs import output_of, program
from tests.support.server import Sidegate, app_config, listener


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidegate]:
    config = app_config("plain:app", trustedProxies=["127.0.0.0/8"])
    config["listeners"] = [
        listener(proxyProtocol=True),
        listener(name="https", proxyProtocol=True, tls={"selfSigned": True}),
    ]
    config["backends"] = {"hello": {"respond": {"body": "hello"}}}
    config["routes"] = [{"backend": "hello"}]
    server = Sidegate(tmp_path_factory.mktemp("proxy-protocol"), config)
    try:
        server.wait_ready()
        yield server
    finally:
        server.close()


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("http", ["--http1.1"]),
        ("http", ["--http2-prior-knowledge"]),
        ("https", ["--http1.1"]),
        ("https", ["--http2"]),
    ],
)
def test_curl(service: Sidegate, name: str, flags: list[str]) -> None:
    command = [program("curl"), "--silent", "--fail", "--insecure", *flags, service.url("/", name)]
    assert output_of(*command, "--haproxy-protocol") == "hello"
    without = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert without.returncode not in (0, 22)  # 22: an answer with a status of 400 or more
    assert not without.stdout
