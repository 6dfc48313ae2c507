"""``config/demo.yaml`` as ``make run`` serves it, seen by curl and by a browser."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest
import yaml

from tests.conftest import Serve
from tests.support.chromium import Chromium
from tests.support.ports import reserve_port
from tests.support.programs import output_of, program
from tests.support.server import Sidegate

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture(scope="module")
def demo(serve_module: Serve) -> Sidegate:
    config = yaml.safe_load((CONFIG / "demo.yaml").read_text())
    for listener in config["listeners"]:
        listener["address"] = f"localhost:{reserve_port()}"
    config["admin"]["address"] = f"127.0.0.1:{reserve_port()}"
    config["backends"]["demo"]["directory"] = str(CONFIG)
    return serve_module(config)


@pytest.mark.parametrize(
    ("listener", "flags", "protocol"),
    [
        ("https", ["--http2"], "HTTP/2 over TLS"),
        ("https", ["--http1.1"], "HTTP/1.1 over TLS"),
        ("http", ["--http1.1"], "HTTP/1.1 in clear text"),
        ("http", ["--http2-prior-knowledge"], "HTTP/2 in clear text"),
        # curl offers `Upgrade: h2c` here; the offer is ignored.
        ("http", ["--http2"], "HTTP/1.1 in clear text"),
    ],
)
def test_curl(demo: Sidegate, listener: str, flags: list[str], protocol: str) -> None:
    url = demo.url("/api/request?a=1", listener).replace("127.0.0.1", "localhost")
    answer = json.loads(output_of(program("curl"), "--silent", "--show-error", "--fail", "--insecure", *flags, url))
    assert answer["protocol"] == protocol
    assert answer["query"] == {"a": "1"}
    assert answer["client"] in {"127.0.0.1", "::1"}


def test_fixed_answer(demo: Sidegate) -> None:
    assert output_of(program("curl"), "--silent", "--fail", demo.url("/healthz")) == "ok\n"


def test_page_in_browser_over_h2(demo: Sidegate, tmp_path: Path) -> None:
    asyncio.run(_try_everything(demo.url("/", "https").replace("127.0.0.1", "localhost"), tmp_path))


async def _try_everything(url: str, folder: Path) -> None:
    async with Chromium(folder) as browser:
        await browser.open(url)
        assert await browser.evaluate("document.getElementById('told').textContent") == "HTTP/2 over TLS"
        assert await browser.evaluate("document.getElementById('negotiated').textContent") == "HTTP/2 (h2)"

        request = json.loads(await _press(browser, "json"))
        assert request["httpVersion"] == "2"
        assert request["query"] == {"from": "page"}

        events = await _press(browser, "events")
        assert events.split("\n") == [*(f"{number} of 5" for number in range(1, 6)), "end of stream"]

        upload = await _press(browser, "upload")
        assert upload.startswith("4194304 bytes\nsha256 ")

        assert await _press(browser, "slow") == "answered in this order: quick, slow"

        protocols = await browser.evaluate("performance.getEntriesByType('resource').map((e) => e.nextHopProtocol)")
        assert protocols
        assert set(protocols) == {"h2"}


async def _press(browser: Chromium, name: str) -> str:
    """Press a button of the page; what it shows once it says that all went well."""
    await browser.evaluate(f"document.querySelector('#{name} button').click()")
    await browser.wait_for(f"['ok', 'failed'].includes(document.querySelector('#{name} output').dataset.state)")
    state = await browser.evaluate(f"document.querySelector('#{name} output').dataset.state")
    text = str(await browser.evaluate(f"document.querySelector('#{name} output').textContent"))
    assert state == "ok", text
    return text


def test_events_arrive_one_by_one(demo: Sidegate) -> None:
    """The first event is at the client while the application still holds the others back."""
    url = demo.url("/events?count=2&interval=10", "https")
    with httpx.Client(http2=True, verify=False) as client, client.stream("GET", url) as response:
        assert response.http_version == "HTTP/2"
        assert next(response.iter_text()) == "id: 1\nevent: tick\ndata: 1 of 2\n\n"
