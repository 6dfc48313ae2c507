from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.bench import installation
from tests.bench.case import CPU, RATE, Case, Comparison, Load, Sample
from tests.bench.cases import CASES
from tests.bench.compare import SELECTIONS, parse, selected
from tests.bench.experiments.load import closed
from tests.bench.h2load import H2load
from tests.bench.installation import Installation, Unavailable, installed, keys_of
from tests.bench.programs import Peers
from tests.bench.report import Report, markdown, ratios, table, table_of_ratios, text
from tests.bench.running import Cores, Failed, Starter
from tests.bench.servers.kind import Site
from tests.bench.servers.sidegate import Sidegate, kind, with_revision
from tests.bench.servers.table import KINDS
from tests.bench.session import Session, Settings
from tests.support.certificates import Authority

COMMIT = "0123456789ab"
OTHER = Installation(Path("/nowhere"), COMMIT)
LOAD = Load("h1", False, 1)
# How the older and the newer configuration have the same keys.
SCHEMAS = {
    "limits only": {
        "properties": {"limits": {"$ref": "#/$defs/Limits"}},
        "$defs": {"Limits": {"properties": {"connectionRequests": {}, "keepAlive": {}}}},
    },
    "limits and timeouts": {
        "properties": {"limits": {"$ref": "#/$defs/Limits"}, "timeouts": {"$ref": "#/$defs/Timeouts"}},
        "$defs": {
            "Limits": {"properties": {"connectionRequests": {}}},
            "Timeouts": {"properties": {"keepAlive": {}}},
        },
    },
}


def case(how: Comparison | None = None) -> Case:
    return Case("small", "a small case", closed, LOAD, (CPU, RATE), how or Comparison("cpu_us", "ours / this"))


def report_of(which: Case, rows: dict[str, list[Sample]]) -> Report:
    report = Report(["sidegate"], {}, against=OTHER)
    for title, samples in rows.items():
        report.row(which, title)
        for sample in samples:
            report.add(which, title, sample)
    return report


def sample(number: int, spent: float) -> Sample:
    return {"cpu_us": spent, "rps": 1e6 / spent, "round": number}


def installation_of(folder: Path, schema: object) -> Installation:
    """An environment whose ``sidegate schema`` prints ``schema``, and which can do nothing else."""
    command = folder / "bin" / "sidegate"
    command.parent.mkdir(parents=True)
    printed = f"if sys.argv[1] == 'schema': print({json.dumps(schema)!r}); sys.exit()"
    command.write_text(f"#!{sys.executable}\nimport sys\n{printed}\nsys.exit('no key keepAlive')\n")
    command.chmod(0o755)
    return Installation(folder, COMMIT)


def site_of(folder: Path) -> Site:
    return Site("plain", False, 8080, folder, Authority(folder).server("localhost"), Peers(folder))


def test_ratios_are_of_the_same_round() -> None:
    small = case()
    ours = [sample(0, 10), sample(1, 30), sample(2, 12)]
    theirs = [sample(0, 20), sample(2, 10)]  # it failed in the second round
    report = report_of(small, {"sidegate": ours, f"sidegate @{COMMIT}": theirs})
    assert ratios(report, small) == {"sidegate": [0.5, 1.2]}
    _, line = table_of_ratios(report, COMMIT)
    assert line == ("small", "sidegate", "CPU µs/request", "0.850 (0.500..1.200)", "")
    for shown in (text(report), markdown(report)):
        assert f"this tree / {COMMIT}" in shown
        assert "0.850 (0.500..1.200)" in shown
    written = json.loads(json.dumps(report.as_json()))
    assert written["against"] == COMMIT
    assert written["cases"]["small"]["ratios"] == {"sidegate": [0.5, 1.2]}


def test_a_case_that_one_revision_cannot_run_says_so() -> None:
    small = case()
    report = report_of(small, {"sidegate": [sample(0, 10)], f"sidegate @{COMMIT}": [], "granian": [sample(0, 30)]})
    report.row(small, f"sidegate @{COMMIT}", "ended at start: no key keepAlive")
    _, line = table_of_ratios(report, COMMIT)
    assert line[3:] == ("not comparable", f"{COMMIT}: ended at start: no key keepAlive")
    assert ratios(report, small) == {"sidegate": []}


def test_settings_are_compared_with_the_first_of_their_own_revision() -> None:
    more = case(Comparison("cpu_us", "µs on top", "more"))
    rows = {"off": 10.0, f"off @{COMMIT}": 20.0, "on": 12.5, f"on @{COMMIT}": 21.0}
    report = report_of(more, {title: [sample(0, spent)] for title, spent in rows.items()})
    assert [line[3] for line in table(report, more)[1:]] == ["+0.0", "+0.0", "+2.5", "+1.0"]


def test_without_another_revision_there_are_no_ratios() -> None:
    small = case()
    report = Report(["sidegate"], {})
    report.add(small, "sidegate", sample(0, 10))
    assert report.as_json()["against"] is None
    assert report.as_json()["cases"]["small"]["ratios"] == {}
    assert "this tree" not in text(report) + markdown(report)


def test_the_other_revision_follows_each_of_ours_in_every_interface() -> None:
    ours = [known for known in KINDS if known.ours]
    both = with_revision(KINDS, OTHER)
    assert [known.title for known in both[:2]] == ["sidegate", f"sidegate @{COMMIT}"]
    assert len(both) == len(KINDS) + len(ours)
    assert [known for known in both if known.ours] == ours
    for interface in ("asgi", "wsgi", "websocket"):
        (known,) = both[1].with_interface(interface)
        assert known.title == f"sidegate @{COMMIT}"
    assert with_revision(KINDS, None) == list(KINDS)


@pytest.mark.parametrize("words", SCHEMAS)
def test_limits_and_timeouts_are_where_the_revision_has_them(tmp_path: Path, words: str) -> None:
    other = installation_of(tmp_path / "other", SCHEMAS[words])
    (command,) = Sidegate("h2", limits={"queueDelay": "1s"}, installation=other).launch(site_of(tmp_path))
    assert command.arguments[0] == str(tmp_path / "other" / "bin" / "sidegate")
    config = yaml.safe_load((tmp_path / "sidegate.yaml").read_text())
    assert config["limits"]["connectionRequests"] == 1_000_000_000
    assert config["limits"]["queueDelay"] == "1s"  # the schema has it nowhere
    assert ("keepAlive" in config["limits"]) is (words == "limits only")
    assert ("keepAlive" in config.get("timeouts", {})) is (words == "limits and timeouts")


def test_without_a_section_of_timeouts_all_are_limits(tmp_path: Path) -> None:
    command = tmp_path / "bin" / "sidegate"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\nexit 2\n")  # it has no schema at all
    command.chmod(0o755)
    assert Installation(tmp_path, COMMIT).bounds({"keepAlive": "1s"}) == {"limits": {"keepAlive": "1s"}}
    assert keys_of({"properties": {}}, "timeouts") == frozenset()
    assert keys_of({"properties": {"timeouts": {"properties": {"keepAlive": {}}}}}, "timeouts") == {"keepAlive"}


def test_a_revision_that_does_not_start_gets_a_row_and_the_run_goes_on(tmp_path: Path) -> None:
    peers, cores = Peers(tmp_path / "peers"), Cores(None, None)
    starter = Starter(tmp_path, peers, cores, Authority(tmp_path).server("localhost", "127.0.0.1"))
    other = installation_of(tmp_path / "other", SCHEMAS["limits only"])
    broken = kind("sidegate", "sidegate", Sidegate("h2", installation=other))
    report = Report(["sidegate"], {}, against=other)
    small = case()
    load = H2load("h2load", [], tmp_path)
    session = Session([broken], Settings(1, 0.1, 1), cores, starter, load, report, other)
    small.run(small, session)
    session.stop_fleet()
    row = report.rows["small"][f"sidegate @{COMMIT}"]
    assert row.samples == []
    assert row.note == "ended at start: no key keepAlive"
    with pytest.raises(Failed, match="no key keepAlive"), starter.one(broken, "plain", tls=False):
        pass


def test_samples_name_their_round(tmp_path: Path) -> None:
    small = case()
    report = Report(["sidegate"], {})
    starter = Starter(tmp_path, Peers(tmp_path), Cores(None, None), Authority(tmp_path).server("localhost"))
    session = Session([], Settings(2, 0.1, 1), Cores(None, None), starter, H2load("h2load", [], tmp_path), report)
    session.turns(small, {"sidegate": lambda: {"cpu_us": 1.0, "rps": 1.0}})
    assert [taken["round"] for taken in report.rows["small"]["sidegate"].samples] == [0, 1]


def test_a_revision_that_git_does_not_know_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="no-such-revision"):
        installed("no-such-revision")


def test_a_revision_is_named_by_its_commit_and_installed_beside_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    runs: list[list[str]] = []
    status = 0

    def run(command: list[object], **_options: object) -> subprocess.CompletedProcess[str]:
        runs.append([str(word) for word in command])
        return subprocess.CompletedProcess(runs[-1], status)

    monkeypatch.setattr("subprocess.run", run)
    monkeypatch.setattr(installation, "_git", lambda *_: commit)
    found = installed("a-branch")
    assert found == Installation(Path(f"{sys.prefix}-against") / COMMIT, COMMIT)
    assert runs[0][1:] == [COMMIT, str(found.folder)]
    status = 1
    with pytest.raises(Unavailable, match=f"{COMMIT} could not be installed"):
        installed("a-branch")


def test_cases_are_chosen_by_name_by_pattern_and_by_selection() -> None:
    names = [known.name for known in CASES]
    assert selected(["h1-small"], names) == ["h1-small"]
    assert selected(["websocket-h1*"], names) == ["websocket-h1", "websocket-h1-deflate", "websocket-h1-tls"]
    assert selected(["*"], names) == names
    assert {"h1-tls-small", "h2-64k", "wsgi-h2-small", "websocket-h2"} <= set(selected(["main"], names))
    with pytest.raises(ValueError, match="no-such-case"):
        selected(["h1-small", "no-such-case"], names)
    for chosen in SELECTIONS.values():
        assert set(chosen) <= set(names)


def test_against_leaves_the_peers_out_unless_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def parsed(*arguments: str) -> list[str]:
        monkeypatch.setattr("sys.argv", ["compare", *arguments])
        servers: list[str] = parse().servers
        return servers

    assert parsed() == [known.name for known in KINDS]
    assert parsed("--against", "HEAD") == [known.name for known in KINDS if known.ours]
    assert parsed("--against", "HEAD", "--servers", "sidegate", "granian") == ["sidegate", "granian"]
    with pytest.raises(SystemExit):
        parsed("--against", "HEAD", "--servers", "granian")
    with pytest.raises(SystemExit):
        parsed("--cases", "no-such-case")
