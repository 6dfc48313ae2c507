from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.bench.applications import plain_wsgi
from tests.bench.case import CPU, Case, Comparison, Load
from tests.bench.cases import CASES
from tests.bench.h2load import H2load
from tests.bench.programs import Peers
from tests.bench.report import Report
from tests.bench.running import Cores, Starter
from tests.bench.servers.kind import THREADS, Kind, Site
from tests.bench.servers.table import KINDS
from tests.bench.session import Session, Settings
from tests.support.certificates import Authority


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Of a WSGI application, beside an environment of peers."""
    python = tmp_path / "peers" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    pair = Authority(tmp_path).server("localhost")
    return Site("plain_wsgi", False, 8080, tmp_path, pair, Peers(tmp_path / "peers"))


def in_place_of(name: str) -> Kind:
    kind = next(known for known in KINDS if known.name == name).wsgi
    assert kind is not None
    return kind


@pytest.mark.parametrize("path", plain_wsgi.BODIES)
def test_the_application_answers_with_the_length_it_says(path: str) -> None:
    said: list[Any] = []
    body = b"".join(plain_wsgi.app({"PATH_INFO": path}, lambda *told: said.append(told)))
    status, headers = said[0]
    assert status == "200 OK"
    assert dict(headers)["Content-Length"] == str(len(body))


@pytest.mark.parametrize(("name", "option"), [("gunicorn", "--threads"), ("granian", "--blocking-threads")])
def test_peers_have_as_many_threads_as_we_have(site: Site, name: str, option: str) -> None:
    (command,) = in_place_of(name).launch(site)
    arguments = list(command.arguments)
    assert arguments[arguments.index(option) + 1] == str(THREADS)
    assert "plain_wsgi:app" in arguments


@pytest.mark.parametrize(("name", "place"), [("sidegate", ["backends", "app"]), ("sidegate-pool", ["pool"])])
def test_ours_has_its_threads_where_the_application_runs(site: Site, name: str, place: list[str]) -> None:
    in_place_of(name).launch(site)
    text = (site.folder / "sidegate.yaml").read_text()
    assert f"threads: {THREADS}" in text
    assert ("pool:" in text) is (place == ["pool"])


def test_servers_without_threads_get_the_application_wrapped(site: Site) -> None:
    assert "wrapped_wsgi:app" in in_place_of("uvicorn").launch(site)[0].arguments
    assert "wsgi:plain_wsgi:app" in in_place_of("hypercorn").launch(site)[0].arguments


def test_who_runs_no_wsgi_has_a_row_that_says_so(tmp_path: Path) -> None:
    wanted = [kind for kind in KINDS if kind.name in ("daphne", "granian")]
    pair = Authority(tmp_path).server("localhost")
    peers = Peers(tmp_path / "none")
    starter = Starter(tmp_path, peers, Cores(None, None), pair)
    report = Report(["sidegate"], {})
    session = Session(wanted, Settings(1, 1, 1), Cores(None, None), starter, H2load("h2load", [], tmp_path), report)
    case = Case("w", "w", lambda *_: None, Load("h1", False, 1), (CPU,), Comparison("cpu_us", "ours"), "plain_wsgi")
    assert session.able(case) == []
    assert {title: row.note for title, row in report.rows["w"].items()} == {
        "daphne": "no WSGI",
        "granian": "not installed",
    }


def test_what_takes_a_servers_place_has_its_name_and_a_title_of_its_own() -> None:
    others = [kind.wsgi for kind in KINDS if kind.wsgi is not None]
    assert all(kind.wsgi is None or kind.wsgi.name == kind.name for kind in KINDS)
    assert len({kind.title for kind in others}) == len(others)
    assert {known.interface for known in CASES} == {"asgi", "wsgi", "websocket"}
