from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.bench import chart
from tests.bench.case import CPU, RATE, Case, Comparison, Load
from tests.bench.cases import CASES
from tests.bench.compare import QUICK_CASES
from tests.bench.report import Report, markdown, table, text
from tests.bench.servers.table import KINDS


def case(how: Comparison | None = None) -> Case:
    comparison = how or Comparison("cpu_us", "ours / this")
    return Case("small", "a small case", lambda *_: None, Load("h2", True, 1), (CPU, RATE), comparison)


def report_of(which: Case, **rows: Sequence[float]) -> Report:
    """Rows by title, with CPU times; a row without any has a note."""
    report = Report(["sidegate", "spare"], {"machine": "this one"})
    for title, times in rows.items():
        report.row(which, title, None if times else "no HTTP/2")
        for spent in times:
            report.add(which, title, {"cpu_us": spent, "rps": 1e6 / spent})
    return report


def test_a_row_shows_the_range_with_the_median_and_our_share_of_it() -> None:
    small = case()
    headings, ours, theirs = table(report_of(small, sidegate=[12, 8, 10], granian=[16, 20, 24]), small)
    assert headings[1:4] == ("CPU µs/request", "req/s", "ours / this")
    assert ours[:2] == ("sidegate", "8.0 · 10.0 · 12.0")
    assert ours[3] == "1.00"
    assert theirs[1:4] == ("16.0 · 20.0 · 24.0", "41667 · 50000 · 62500", "0.50")


@pytest.mark.parametrize("times", [[10], [10, 10.01, 10]])
def test_what_does_not_vary_is_one_number(times: list[float]) -> None:
    small = case()
    assert table(report_of(small, sidegate=times), small)[1][1] == "10.0"


def test_what_a_server_cannot_do_is_a_row_that_says_so() -> None:
    small = case()
    report = report_of(small, sidegate=[10], uvicorn=[])
    assert table(report, small)[2] == ("uvicorn", "no HTTP/2", "", "", "")
    assert "uvicorn   no HTTP/2" in text(report)
    assert "| uvicorn | no HTTP/2 |" in markdown(report)


def test_without_our_best_the_next_of_ours_is_compared() -> None:
    small = case()
    report = report_of(small, sidegate=[], spare=[30], granian=[20])
    assert [line[3] for line in table(report, small)[1:]] == ["", "1.00", "1.50"]


def test_without_any_of_ours_nothing_is_compared() -> None:
    small = case()
    assert table(report_of(small, granian=[20]), small)[1][3] == ""


def test_settings_of_ours_are_compared_with_the_first() -> None:
    more = case(Comparison("cpu_us", "µs on top", "more"))
    times = case(Comparison("rps", "times", "times"))
    rows = {"off": [10.0], "on": [12.5]}
    assert [line[3] for line in table(report_of(more, **rows), more)[1:]] == ["+0.0", "+2.5"]
    assert [line[3] for line in table(report_of(times, **rows), times)[1:]] == ["1.00", "0.80"]


def test_a_remark_and_a_note_beside_samples_are_shown() -> None:
    small = case()
    report = report_of(small, sidegate=[10])
    report.remark(small, "at 5000 req/s")
    report.row(small, "sidegate", "held 9 of 10")
    for shown in (text(report), markdown(report)):
        assert "at 5000 req/s" in shown
        assert "held 9 of 10" in shown
        assert "machine: this one" in shown


def test_columns_of_the_text_stand_below_each_other() -> None:
    small = case()
    report = report_of(small, sidegate=[10], nginx=[])
    report.row(small, "nginx", "a note that is longer than any of the numbers beside it")
    heading, ours = text(report).splitlines()[1:3]
    assert heading.index("CPU") == ours.index("10.0")
    assert heading.index("ours / this") == ours.index("1.00")


def test_the_chart_has_a_bar_for_samples_and_words_for_none() -> None:
    small = case()
    report = report_of(small, sidegate=[12, 8, 10], uvicorn=[])
    bars = chart.bars(report.as_json())["small: a small case"]
    assert (bars["sidegate"].value, bars["sidegate"].label, bars["sidegate"].colour) == (10, "10.0", chart.OURS)
    assert (bars["uvicorn"].value, bars["uvicorn"].label, bars["uvicorn"].colour) == (0, "no HTTP/2", chart.THEIRS)


def test_the_chart_leaves_out_what_does_not_count_cpu_time() -> None:
    memory = Case("idle", "memory", lambda *_: None, Load("h2", True, 1), (RATE,), Comparison("rps", "ours / this"))
    report = Report(["sidegate"], {})
    report.add(memory, "sidegate", {"rps": 1.0})
    report.row(case(), "sidegate", "no HTTP/2")
    assert chart.bars(report.as_json()) == {}


def test_names_of_cases_and_servers_are_unique_and_the_quick_ones_exist() -> None:
    names = [known.name for known in CASES]
    assert len(set(names)) == len(names)
    assert set(QUICK_CASES) <= set(names)
    assert len({kind.title for kind in KINDS}) == len({kind.name for kind in KINDS}) == len(KINDS)


def test_the_columns_that_are_compared_and_drawn_are_known() -> None:
    for known in CASES:
        assert known.comparison.key in {column.key for column in known.columns}, known.name
