from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.case import Load
from tests.bench.h2load import H2load, Run, read_log, read_report, warm_up

REPORT = """\
Main benchmark duration is over for thread #0. Stopping all clients.
finished in 1.03s, 3125.00 req/s, 402.95KB/s
requests: 3125 total, 3189 started, 3125 done, 3125 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 3126 2xx, 0 3xx, 0 4xx, 0 5xx
time for request:     1.94ms     55.69ms     19.29ms      9.59ms    67.04%
"""

LOG = b"""\
1795378731937514\t200\t300
1795378731937515\t503\t10
1795378731937516\t-1\t5
1795378731937517\t200\t100
1795378731937518\t404\t7
1795378731937519\t0\t200
"""


def read(report: str = "", log: bytes = b"") -> Run:
    run = Run(seconds=1.0)
    read_report(report, run)
    read_log(log, run)
    return run


def test_the_log_tells_answers_from_what_was_shed_and_what_failed() -> None:
    run = read(log=LOG)
    assert run.latencies == [100, 200, 300]
    assert (run.answered, run.shed, run.failed) == (3, 1, 2)


def test_what_was_started_and_has_no_line_is_unanswered() -> None:
    run = read(REPORT, LOG)
    assert run.started == 3189
    assert run.unanswered == 3189 - 6


def test_a_report_that_broke_off_leaves_nothing_unanswered() -> None:
    assert read("Main benchmark duration is started", LOG).unanswered == 0


@pytest.mark.parametrize(("share", "milliseconds"), [(0.01, 0.001), (0.5, 0.05), (0.99, 0.099), (1.0, 0.1)])
def test_a_percentile_is_the_latency_that_the_share_did_not_exceed(share: float, milliseconds: float) -> None:
    assert Run(latencies=list(range(1, 101))).milliseconds(share) == milliseconds


def test_the_percentiles_of_one_answer_are_that_answer() -> None:
    run = Run(latencies=[2000])
    assert run.milliseconds(0.5) == run.milliseconds(0.99) == 2.0


def test_options_say_protocol_body_and_rate_per_connection() -> None:
    load = Load("h1", False, 64, 1, "/upload", "1m", rate=1000.0)
    options = H2load("h2load", [], Path("/folder")).arguments(load, 1.5)
    assert options[options.index("-D") + 1] == "1500ms"
    assert options[options.index("-d") + 1] == "/folder/1m"
    assert options[options.index("--rps") + 1] == "15.625"
    assert "--h1" in options


def test_a_closed_loop_of_h2_has_no_rate_and_no_h1() -> None:
    options = H2load("h2load", [], Path("/folder")).arguments(Load("h2", True, 16, 16), 1.0)
    assert "--rps" not in options
    assert "--h1" not in options
    assert "-d" not in options


def test_the_warm_up_leaves_time_for_every_handshake() -> None:
    few, many = Load("h2", True, 1), Load("h2", True, 256)
    assert warm_up(many) > warm_up(few) > 0
    assert warm_up(Load("h2", True, 256, warm_up=False)) == 0
