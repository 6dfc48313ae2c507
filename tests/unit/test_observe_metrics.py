"""The table of metrics, the layout of cells, and the reasons that become labels."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.config.schema import Config
from proxy.observe import metrics, reasons
from proxy.observe.metrics import FRONT_METRICS, SUPERVISOR_METRICS, Layout
from tests.support.observing import make_config

ROOT = Path(__file__).parents[2]

REFUSAL = re.compile(r'\b[45]\d\d,\s*"([a-z][a-z0-9_]*)"')
"""An error status followed by a word: how Refused, Rejected, ExchangeError and their helpers are written."""

REFUSAL_WORDS = re.compile(r'return "([a-z][a-z0-9_]*)", "')
"""A helper that gives reason and detail."""

VIOLATION = re.compile(r'Violation\(\s*"([a-z][a-z0-9_]*)"')


def words(pattern: re.Pattern[str], *folders: str) -> set[str]:
    files = [path for folder in folders for path in sorted((ROOT / "proxy" / folder).rglob("*.py*"))]
    texts = [path.read_text() for path in files if path.suffix in {".py", ".pyx"}]
    return {word for text in texts for word in pattern.findall(text)}


def test_every_cell_belongs_to_one_sample() -> None:
    layout = Layout(make_config(routes=3))
    cells = [block.start + index for block in layout.blocks for index in range(len(block.run))]
    assert cells == list(range(layout.size))


def test_front_and_supervisor_agree_on_the_layout() -> None:
    config = make_config(routes=3)
    copy = Config.model_validate_json(config.model_dump_json(by_alias=True))
    assert Layout(copy).blocks == Layout(config).blocks


def test_a_sample_is_found_by_its_labels() -> None:
    layout = Layout(make_config())
    start = layout.start(metrics.REQUESTS, "r1", "b1", "2")
    assert layout.offsets(metrics.REQUESTS, "r1", "b1", "2")["200"] == start + 101
    with pytest.raises(KeyError):
        layout.start(metrics.REQUESTS, "r1", "b0", "2")


def test_a_route_with_a_backend_named_twice_has_it_once() -> None:
    route = {"name": "split", "backendRefs": [{"name": "b0", "weight": 9}, {"name": "b0"}, {"name": "b1"}]}
    layout = Layout(_with_routes([route]))
    backends = [block.labels[1] for block in layout.blocks if block.metric is metrics.REQUESTS]
    assert backends == [name for name in ("b0", "b1", "", "") for _ in metrics.PROTOCOLS]


def _with_routes(routes: list[object]) -> Config:
    data = make_config().model_dump(mode="json", by_alias=True)
    return Config.model_validate({**data, "routes": routes})


@pytest.mark.parametrize("metric", [*FRONT_METRICS, *SUPERVISOR_METRICS], ids=lambda metric: metric.name)
def test_names_follow_the_naming_rules_of_prometheus(metric: metrics.Metric) -> None:
    assert re.fullmatch(r"sidegate(_[a-z0-9]+)+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.help.endswith(".")
    assert "le" not in metric.labels
    assert len(set(metric.labels)) == len(metric.labels)


def test_buckets_rise() -> None:
    assert list(metrics.BUCKETS) == sorted(set(metrics.BUCKETS))


def test_every_refusal_of_the_wire_is_in_the_table() -> None:
    found = words(REFUSAL, "wire") | words(REFUSAL_WORDS, "wire")
    assert len(found) > 10, "the pattern finds nothing any more"
    assert found - reasons.REFUSALS.keys() == set()


def test_every_violation_of_the_wire_is_in_the_table() -> None:
    found = words(VIOLATION, "wire")
    assert found, "the pattern finds nothing any more"
    assert found - reasons.VIOLATIONS.keys() - reasons.REFUSALS.keys() == set()


def test_every_error_of_an_exchange_is_in_the_table() -> None:
    found = words(REFUSAL, "server", "backends", "") | words(REFUSAL_WORDS, "wire")
    assert found - reasons.EXCHANGE_ERRORS.keys() - reasons.REFUSALS.keys() == set()


def test_every_handshake_failure_is_in_the_table() -> None:
    listener = (ROOT / "proxy" / "server" / "listener.py").read_text()
    table = listener[listener.index("_REASONS = {") :]
    found = set(re.findall(r': "([a-z_]+)"', table[: table.index("}")])) | {"timeout", "disconnected"}
    assert found - reasons.HANDSHAKE_FAILURES.keys() == set()
