"""The Prometheus rules: promtool's own check and tests, and that they speak of metrics that exist."""

from __future__ import annotations

import re
from pathlib import Path

from sidegate.observe.metrics import FRONT_METRICS, SUPERVISOR_METRICS
from sidegate.supervisor.child_state import State
from tests.support.observing import promtool

FOLDER = Path(__file__).parents[2] / "dashboards" / "prometheus"
RULES = FOLDER / "sidegate.rules.yml"


def test_promtool_accepts_the_rules() -> None:
    result = promtool("check", "rules", str(RULES))
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_rules_do_what_their_tests_say() -> None:
    result = promtool("test", "rules", str(FOLDER / "sidegate.test.yml"))
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_rules_speak_of_metrics_that_exist() -> None:
    known = {metric.name for metric in (*FRONT_METRICS, *SUPERVISOR_METRICS)}
    named = set(re.findall(r"(?<![:\w])sidegate_\w+", RULES.read_text()))
    assert len(named) > 5, "the pattern finds nothing any more"
    assert {name.removesuffix("_bucket") for name in named} - known == set()


def test_the_rules_speak_of_states_that_exist() -> None:
    states = set(re.findall(r'state="(\w+)"', RULES.read_text()))
    assert states
    assert states <= {state.value for state in State}
