"""The table of metrics, the layout of cells, and the reasons that become labels."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sidegate.config.plain import dump, pack, unpack
from sidegate.config.schema import Config
from sidegate.config.validation import validate
from sidegate.observe import metrics, reasons
from sidegate.observe.metrics import FRONT_METRICS, SUPERVISOR_METRICS, CellLayout
from sidegate.observe.reference import reference
from sidegate.server.tls.engine import CLEARTEXT, DISCONNECTED, TIMEOUT
from tests.support.observing import make_config

ROOT = Path(__file__).parents[2]

REFUSALS = re.compile(r'\b[45]\d\d,\s*"(\w+)"|\bMalformed\(\s*"(\w+)"|return "(\w+)", "')
"""An error status or ``Malformed`` followed by a word, and helpers that give reason and detail."""

VIOLATIONS = re.compile(r'(?:Violation|_violate)\(\s*"(\w+)"|^    (?:codes\.)?[A-Z_]+: "([a-z_]+)",', re.MULTILINE)
"""Calls, and the rows of the table from HTTP/2 error codes to words."""


def words(pattern: re.Pattern[str], *folders: str) -> set[str]:
    places = [ROOT / "proxy" / "sidegate" / folder for folder in folders]
    files = [path for place in places for path in ([place] if place.is_file() else place.rglob("*.py*"))]
    texts = [path.read_text() for path in files if path.suffix in {".py", ".pyx"}]
    return {match[match.lastindex] for text in texts for match in pattern.finditer(text) if match.lastindex}


def test_every_cell_belongs_to_one_sample() -> None:
    layout = CellLayout(make_config(routes=3))
    cells = [block.start + index for block in layout.blocks for index in range(len(block.run))]
    assert cells == list(range(layout.size))


def test_front_and_supervisor_agree_on_the_layout() -> None:
    config = make_config(routes=3)
    copy = unpack(Config, json.loads(json.dumps(pack(config))))
    assert CellLayout(copy).blocks == CellLayout(config).blocks


def test_a_sample_is_found_by_its_labels() -> None:
    layout = CellLayout(make_config())
    start = layout.start(metrics.REQUESTS, "r1", "b1", "2")
    assert layout.offsets(metrics.REQUESTS, "r1", "b1", "2")["200"] == start + 101
    assert layout.cell(metrics.REQUESTS, "r1", "b1", "2", "200") == start + 101
    with pytest.raises(KeyError):
        layout.start(metrics.REQUESTS, "r1", "b0", "2")


def test_a_route_with_a_backend_named_twice_has_it_once() -> None:
    route = {"name": "split", "backendRefs": [{"name": "b0", "weight": 9}, {"name": "b0"}, {"name": "b1"}]}
    layout = CellLayout(_with_routes([route]))
    backends = [block.labels[1] for block in layout.blocks if block.metric is metrics.REQUESTS]
    assert backends == [name for name in ("b0", "b1", "", "") for _ in metrics.PROTOCOLS]


def _with_routes(routes: list[object]) -> Config:
    data = dump(make_config())
    return validate(Config, {**data, "routes": routes})


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
    found = words(REFUSALS, "wire")
    assert {"bad_host", "bad_line_end", "bad_pseudo_header"} <= found, "the pattern misses some"
    assert found - reasons.REFUSALS.keys() == set()


def test_every_violation_of_the_wire_is_in_the_table() -> None:
    found = words(VIOLATIONS, "wire")
    assert {"head_timeout", "control_flood", "flow_control_error"} <= found, "the pattern misses some"
    assert found - reasons.VIOLATIONS.keys() - reasons.REFUSALS.keys() == set()


def test_every_error_of_an_exchange_is_in_the_table() -> None:
    found = words(REFUSALS, "server", "backends") | words(REFUSALS, "route.py")
    assert {"no_route", "no_response", "body_too_large"} <= found, "the pattern misses some"
    assert found - reasons.EXCHANGE_ERRORS.keys() - reasons.REFUSALS.keys() == set()


def test_every_handshake_failure_is_in_the_table() -> None:
    found = {CLEARTEXT, DISCONNECTED, TIMEOUT}
    for name in ("ssl_engine.py", "openssl.pyx"):
        text = (ROOT / "proxy" / "sidegate" / "server" / "tls" / name).read_text()
        table = text[text.lower().index("_reasons = {") :]
        words = set(re.findall(r': "([a-z_]+)"', table[: table.index("}")]))
        assert "protocol_version" in words, "the pattern misses some"
        found |= words
    assert found - reasons.HANDSHAKE_FAILURES.keys() == set()


def test_the_reference_is_current() -> None:
    command = [sys.executable, "-m", "sidegate.observe.reference"]
    page = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    committed = (ROOT / "dashboards" / "METRICS.md").read_text()
    assert committed == page, "run: python -m sidegate.observe.reference > dashboards/METRICS.md"
    assert page == reference()
