"""The admin application, asked over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from sidegate.admin.app import MOST_CONNECTIONS, bounded, make_app
from sidegate.observe.collector import CellCollector, ServiceFacts, make_registry
from tests.support.observing import openmetrics_families, promtool

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
PROMETHEUS_ACCEPT = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


class View:
    """A supervisor with nothing behind it; ``is_ready`` and ``is_alive`` can be changed."""

    def __init__(self) -> None:
        self.registry = make_registry(CellCollector(lambda: ServiceFacts("h2", "ssl", 1.0)))
        self.is_ready = (True, "")
        self.is_alive = (True, "")

    def metrics(self) -> CollectorRegistry:
        return self.registry

    def ready(self) -> tuple[bool, str]:
        return self.is_ready

    def alive(self) -> tuple[bool, str]:
        return self.is_alive

    def status(self) -> Mapping[str, Any]:
        return {"version": "1", "listeners": [{"name": "http"}]}


class Answer:
    """Status, headers and text of one response."""

    def __init__(self, status: int, headers: Mapping[str, str], text: str) -> None:
        self.status, self.headers, self.text = status, headers, text


def ask(view: View, path: str, method: str = "GET", **headers: str) -> Answer:
    async def exchange() -> Answer:
        runner = web.AppRunner(make_app(view), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            port = runner.addresses[0][1]
            async with (
                aiohttp.ClientSession() as client,
                client.request(method, f"http://127.0.0.1:{port}{path}", headers=headers) as response,
            ):
                return Answer(response.status, dict(response.headers), await response.text())
        finally:
            await runner.cleanup()

    return asyncio.run(exchange())


def test_idle_connections_do_not_keep_others_out(view: View) -> None:
    """Nor do they take the descriptors of the supervisor; the oldest are closed."""

    async def live() -> None:
        runner = web.AppRunner(make_app(view), access_log=None)
        await runner.setup()
        assert runner.server is not None
        server = await asyncio.get_running_loop().create_server(bounded(runner.server), "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        try:
            idle = [await asyncio.open_connection(*address) for _ in range(3 * MOST_CONNECTIONS)]
            for reader, writer in idle[:MOST_CONNECTIONS]:
                assert await reader.read() == b""
                writer.close()
            async with (
                aiohttp.ClientSession() as client,
                client.get(f"http://127.0.0.1:{address[1]}/livez") as response,
            ):
                assert response.status == 200
            assert len(runner.server.connections) <= 2 * MOST_CONNECTIONS
            for _, writer in idle[MOST_CONNECTIONS:]:
                writer.close()
        finally:
            server.close()
            await runner.cleanup()

    asyncio.run(live())


@pytest.fixture
def view() -> View:
    return View()


def test_the_index_names_the_pages(view: View) -> None:
    answer = ask(view, "/")
    assert answer.status == 200
    assert all(page in answer.text for page in ("/metrics", "/livez", "/readyz", "/status"))


@pytest.mark.parametrize("accept", ["", "*/*", "text/plain; version=x"])
def test_metrics_as_text(view: View, accept: str) -> None:
    answer = ask(view, "/metrics", accept=accept)
    assert (answer.status, answer.headers["Content-Type"]) == (200, TEXT)
    assert "# TYPE sidegate_requests_total counter" in answer.text
    assert not answer.text.endswith("# EOF\n")


def test_metrics_over_http_please_promtool(view: View) -> None:
    result = promtool("check", "metrics", text=ask(view, "/metrics").text)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("accept", [OPENMETRICS, PROMETHEUS_ACCEPT, "application/OpenMetrics-Text;version=x"])
def test_metrics_as_openmetrics(view: View, accept: str) -> None:
    answer = ask(view, "/metrics", accept=accept)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith(OPENMETRICS)
    names = {family.name for family in openmetrics_families(answer.text)}
    assert {"sidegate_requests", "sidegate_build_info", "process_cpu_seconds"} <= names


@pytest.mark.parametrize(("path", "attribute"), [("/livez", "is_alive"), ("/readyz", "is_ready")])
def test_health(view: View, path: str, attribute: str) -> None:
    assert (ask(view, path).status, ask(view, path).text) == (200, "ok\n")
    setattr(view, attribute, (False, "shutting down"))
    assert (ask(view, path).status, ask(view, path).text) == (503, "shutting down\n")


def test_status_is_json(view: View) -> None:
    answer = ask(view, "/status")
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert json.loads(answer.text) == view.status()


@pytest.mark.parametrize("path", ["/", "/metrics", "/livez", "/readyz", "/status"])
def test_head_answers_without_a_body(view: View, path: str) -> None:
    answer = ask(view, path, "HEAD")
    assert (answer.status, answer.text) == (200, "")
    assert int(answer.headers["Content-Length"]) > 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(view: View, method: str) -> None:
    answer = ask(view, "/status", method)
    assert answer.status == 405
    assert set(answer.headers["Allow"].split(",")) == {"GET", "HEAD"}


@pytest.mark.parametrize("path", ["/nothing", "/metrics/", "//metrics", "/../status/x"])
def test_other_paths_are_not_there(view: View, path: str) -> None:
    assert ask(view, path).status == 404


@pytest.mark.parametrize("path", ["/readyz", "/nothing"])
def test_answers_are_not_stored(view: View, path: str) -> None:
    headers = ask(view, path).headers
    assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")
