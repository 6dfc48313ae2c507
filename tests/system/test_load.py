"""Load by h2load: no request fails, and a stop in the middle loses none that had begun."""

from __future__ import annotations

import re
import subprocess
import threading
import time

import pytest

from tests.conftest import Serve
from tests.support.lifecycle import wait_until
from tests.support.observing import promtool
from tests.support.programs import program
from tests.support.server import Sidegate, app_config

PATIENCE = 120.0

WAYS = {
    "h2": ("https", ["-c", "16", "-m", "16"]),
    "h2c": ("http", ["-c", "16", "-m", "16"]),
    "h1": ("http", ["--h1", "-c", "16"]),
}


@pytest.fixture(autouse=True)
def _generator() -> None:
    program("h2load")  # else the test is skipped before anything is started


def h2load(server: Sidegate, way: str, requests: int) -> dict[str, int]:
    """Counts of one run: total, started, done, succeeded, failed, errored, timeout."""
    listener, options = WAYS[way]
    command = [program("h2load"), "-n", str(requests), *options, server.url("/echo?x=1", listener)]
    output = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE).stdout
    line = re.search(r"^requests: (.*)$", output, re.MULTILINE)
    assert line, output
    return {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", line.group(1))}


def counted(server: Sidegate) -> float:
    """The sum of ``sidegate_requests_total`` with status 200."""
    text = server.admin("/metrics")[1]
    samples = re.findall(r'^sidegate_requests_total\{.*code="200".*\} (\S+)$', text, re.MULTILINE)
    return sum(float(value) for value in samples)


@pytest.mark.parametrize("engine", ["nghttp2", "h2"])
@pytest.mark.parametrize("way", WAYS)
def test_no_request_fails_under_load(serve: Serve, way: str, engine: str) -> None:
    if engine == "nghttp2":
        pytest.importorskip("sidegate.wire.http2.nghttp2", reason="the nghttp2 binding was not built")
    server = serve(app_config("plain:app", tls={"selfSigned": True}, http2Engine=engine))
    requests = 10_000 if engine == "nghttp2" else 2_000
    counts = h2load(server, way, requests)
    assert (counts["succeeded"], counts["failed"]) == (requests, 0)
    # The last response leaves before its record is closed.
    idle = 'sidegate_requests_in_flight{listener="http"} 0.0'
    wait_until(lambda: idle in server.admin("/metrics")[1], "no request is in flight")
    assert counted(server) == requests
    assert promtool("check", "metrics", text=server.admin("/metrics")[1]).stdout == ""


@pytest.mark.parametrize("way", WAYS)
def test_a_stop_in_the_middle_loses_no_request_that_had_begun(serve: Serve, way: str) -> None:
    config = app_config("plain:app", tls={"selfSigned": True}, gracePeriod="20s", logging={"accessLog": "combined"})
    server = serve(config)
    stop = threading.Thread(target=_stop_in_the_middle, args=[server])
    stop.start()
    counts = h2load(server, way, 1_000_000)
    stop.join()
    assert 0 < counts["started"] < 1_000_000
    assert server.wait() == 0
    # h2load counts requests that it has queued and, after a GOAWAY, never sends. What the server has read is logged.
    logged = re.findall(r'"GET /echo\S* HTTP/[\d.]+" (\d+)', server.log())
    assert set(logged) == {"200"}
    assert len(logged) == counts["succeeded"]


def _stop_in_the_middle(server: Sidegate) -> None:
    deadline = time.monotonic() + PATIENCE
    while counted(server) < 500 and time.monotonic() < deadline:
        time.sleep(0.02)
    server.process.terminate()
