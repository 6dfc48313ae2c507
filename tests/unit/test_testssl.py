"""What ``make testssl`` makes of the findings of testssl.sh."""

from __future__ import annotations

import pytest

from tests.conformance import testssl
from tests.conformance.testssl import EXPECTED, Finding, judge

COMPLETE = [Finding(id_, "OK", "not vulnerable") for id_ in EXPECTED]


def test_an_examination_without_severe_findings_passes() -> None:
    lines, passed = judge("rsa", [*COMPLETE, Finding("x", "LOW", "could be better"), Finding("y", "INFO", "z")])
    assert passed
    assert lines == [f"rsa: {len(COMPLETE) + 2} findings, 0 of MEDIUM or above, 0 not excluded"]


@pytest.mark.parametrize("severity", ["MEDIUM", "HIGH", "CRITICAL", "WARN", "FATAL"])
def test_a_severe_finding_fails_unless_it_is_excluded(severity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [*COMPLETE, Finding("x", severity, "bad")]
    lines, passed = judge("rsa", found)
    assert not passed
    assert lines[1:] == [f"  {severity:<9} x: bad"]
    monkeypatch.setitem(testssl.EXCLUDED, "x", "why")
    lines, passed = judge("rsa", found)
    assert passed
    assert lines[1:] == [f"  excluded: {severity:<9} x: bad (why)"]


def test_an_examination_that_was_not_finished_fails() -> None:
    lines, passed = judge("rsa", COMPLETE[1:])
    assert not passed
    assert lines[1:] == [f"  not examined: {EXPECTED[0]}"]
