from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.bench.micro import __main__ as program
from tests.bench.micro import instructions
from tests.bench.micro.instructions import Counter, NotCounted, counted, total_of
from tests.bench.micro.results import Result, Results, comparison, read, table, write

WHY = "valgrind is not installed"
DUMP = "events: Ir\nsummary: 1\n\nfn=(1) main\n1 7\n\ntotals: {}\n"


def results(seconds: float, count: float | None, title: str = "HTTP/1.1") -> Results:
    layers = {"wire in": seconds, "whole": 2 * seconds}
    counts = {} if count is None else {"wire in": count, "whole": 2 * count}
    return Results({"commit": "abc"}, {"h1": Result(title, layers, counts, "" if counts else WHY)})


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    for written in (results(1e-6, 500), results(1e-6, None)):
        write(written, path)
        assert read(path) == written


def test_instructions_stand_beside_microseconds() -> None:
    heading, first, whole = table(results(1.5e-6, 500)).splitlines()
    assert heading.split() == ["of", "one", "request", "HTTP/1.1:", "µs", "instructions"]
    assert first.split() == ["wire", "in", "1.50", "500"]
    assert whole.split() == ["whole", "3.00", "1000"]
    assert len(first) == len(whole) == len(heading)


def test_the_column_says_why_it_is_empty() -> None:
    _, *lines = table(results(1e-6, None)).splitlines()
    assert all(line.endswith(WHY) for line in lines)


def test_two_results_are_compared_layer_by_layer() -> None:
    shown = comparison(results(2e-6, 1000), results(1e-6, 990))
    assert "before: commit abc" in shown
    line = next(line for line in shown.splitlines() if line.startswith("wire in"))
    assert line.split()[2:] == ["1000", "990", "0.990", "2.00", "1.00", "0.500"]


def test_what_only_one_result_has_gets_no_ratio() -> None:
    before, now = results(1e-6, None), results(1e-6, 500)
    now.setups["h1"].seconds["task"] = 1e-6
    before.setups["h1"].seconds["wire in"] = -1e-6
    now.setups["h2"] = Result("HTTP/2", {}, {}, "")
    shown = comparison(before, now)
    lines = {line.split("  ")[0]: line.split() for line in shown.splitlines()}
    assert lines["task"] == ["task", "1.00"]
    assert lines["wire in"] == ["wire", "in", "500", "-1.00", "1.00"]
    assert f"before: {WHY}" in shown
    assert "HTTP/2: not measured before" in shown


def test_the_total_of_a_dump() -> None:
    assert total_of(DUMP.format(42)) == 42
    with pytest.raises(ValueError, match="without totals"):
        total_of("events: Ir\n")


def test_the_counter_leaves_out_what_it_takes_to_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, work = 0, 0

    def dump(_pid: int) -> int:
        """As callgrind: 100 instructions between two readings, and some thousand for a reading itself."""
        nonlocal calls, work
        calls += 1
        (tmp_path / f"dump.{calls}").write_text(DUMP.format(100 + work if calls % 2 else 5000))
        work = 0
        return 0

    monkeypatch.setattr(f"os.{instructions.MARK}", dump)
    counter = Counter(str(tmp_path / "dump"))
    begun = counter()
    work = 12_345
    assert counter() - begun == 12_345
    assert counter() - begun == 12_345
    assert len(list(tmp_path.iterdir())) <= 2  # they are not left behind


def test_without_valgrind_the_reason_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(NotCounted, match="valgrind"):
        counted("h1")


def test_what_valgrind_says_last_is_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "valgrind"
    broken.write_text("#!/bin/sh\necho first >&2; echo unrecognised instruction >&2; exit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda _name: str(broken))
    with pytest.raises(NotCounted, match="valgrind failed: unrecognised instruction"):
        counted("h1")
    broken.write_text("#!/bin/sh\nkill -TERM $$\n")
    with pytest.raises(NotCounted, match="valgrind failed: status -15"):
        counted("h1")


def test_the_program_measures_writes_and_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "old.json")
    small = ["--setups", "h1", "--rounds", "1", "--requests", "32", "--no-instructions", "--json", path]
    monkeypatch.setattr(sys, "argv", ["micro", *small])
    program.main()
    assert "not counted" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["micro", "--read", path, "--compare", path])
    program.main()
    shown = capsys.readouterr().out
    assert "request path:" in shown
    assert next(line for line in shown.splitlines() if line.startswith("wire in") and "1.000" in line)
