"""``make fuzz``: runs the fuzzing targets, two at a time, and reports executions and findings.

Every target is a module of ``tests/fuzz/targets`` with ``check(data)``, which raises for an input that breaks an
invariant. A run begins with the kept inputs (``corpus/``), and makes others of them and of ``words/``.
``--keep`` adds what it finds, minimised. A failing input is kept in ``tests/fuzz/findings`` and does not end the run.
The exit code is 1 if there is one.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.fuzz import corpora

ROOT = Path(__file__).parents[2]
WORDS = Path(__file__).parent / "words"
FINDINGS = Path(__file__).parent / "findings"

MAX_LENGTH = 4096
"""Bytes of an input."""

SLOWEST = 20
"""Seconds after which an input counts as a hang. One takes milliseconds, on a machine that is busy with others too."""

MEMORY = 2048
"""MiB after which an input counts as a leak."""

_DONE = re.compile(r"stat::number_of_executed_units: (\d+)")
_COVERED = re.compile(r"cov: (\d+)")


@dataclass
class Result:
    """What one target's run did. ``inputs``: those in its corpus afterwards."""

    target: str
    executions: int
    seconds: float
    covered: int
    inputs: int
    findings: list[str]


def fuzz(target: str, seconds: int, keep: bool, work: Path) -> Result:
    """Run one target for ``seconds``; ``work`` is an empty folder."""
    known, new = work / "known", work / "new"
    for folder in (known, new):
        folder.mkdir(parents=True)
    for number, data in enumerate(corpora.read(target)):
        (known / str(number)).write_bytes(data)
    before = findings_of(target)
    started = time.monotonic()
    program = write_program(target, work / "program")
    log = libfuzzer(program, f"-max_total_time={seconds}", f"-dict={WORDS / target}.dict", str(new), str(known))
    took = time.monotonic() - started
    (work / "log").write_text(log)
    executions = _DONE.search(log)
    found = sorted(name for name, _ in findings_of(target) - before)
    if executions is None and not found:
        raise RuntimeError(f"{target} did not run:\n{log[-4000:]}")
    if keep:
        minimise(target, program, work)
    covered = [int(number) for number in _COVERED.findall(log)]
    return Result(
        target,
        int(executions[1]) if executions else 0,
        round(took, 1),
        max(covered, default=0),
        len(corpora.read(target)),
        found,
    )


def write_program(target: str, path: Path) -> Path:
    """Write the program that runs the harness of ``target`` with its arguments."""
    command = [sys.executable, "-m", "tests.fuzz.harness", target, str(FINDINGS), str(path)]
    limits = [f"-max_len={MAX_LENGTH}", f"-timeout={SLOWEST}", f"-rss_limit_mb={MEMORY}", "-print_final_stats=1"]
    options = [*limits, f"-artifact_prefix={FINDINGS}/{target}-"]
    path.write_text(f'#!/bin/sh\nexec {shlex.join([*command, *options])} "$@"\n')
    path.chmod(0o755)
    return path


def libfuzzer(program: Path, *arguments: str) -> str:
    """Run the harness; what it printed."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'proxy'}:{ROOT}", "SIDEGATE_NO_EXTENSIONS": "1"}
    command = [str(program), *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return done.stdout.decode("utf-8", "replace")


def findings_of(target: str) -> set[tuple[str, int]]:
    """Files with failing inputs, and their times: an earlier run may have had the same finding.

    libFuzzer calls an input that is only slow a ``slow-unit``.
    """
    paths = [path for path in FINDINGS.glob(f"{target}-*") if path.suffix != ".txt"]
    return {(path.name, path.stat().st_mtime_ns) for path in paths if not path.name.startswith(f"{target}-slow-unit")}


def minimise(target: str, program: Path, work: Path) -> None:
    """Keep the smallest inputs that reach what all of them reach, and pass."""
    kept = work / "kept"
    kept.mkdir()
    libfuzzer(program, "-merge=1", str(kept), str(work / "known"), str(work / "new"))
    check = importlib.import_module(f"tests.fuzz.targets.{target}").check
    corpora.write(target, [data for path in kept.iterdir() if passes(check, data := path.read_bytes())])


def passes(check: Callable[[bytes], None], data: bytes) -> bool:
    """Whether ``data`` breaks no invariant."""
    try:
        check(data)
    except Exception:  # noqa: BLE001 - a finding
        return False
    return True


def report(results: list[Result]) -> None:
    print(f"\n{'target':<16}{'executions':>12}{'per second':>12}{'covered':>9}{'inputs':>8}{'findings':>10}")
    for one in results:
        rate = one.executions / one.seconds
        print(
            f"{one.target:<16}{one.executions:>12}{rate:>12.0f}{one.covered:>9}{one.inputs:>8}{len(one.findings):>10}"
        )
    for one in results:
        for name in one.findings:
            path = (FINDINGS / name).relative_to(ROOT)
            print(f"\n{path}; to run it again:")
            print(
                f"  PYTHONPATH=proxy SIDEGATE_NO_EXTENSIONS=1 {sys.executable} -m tests.fuzz.replay {one.target} {path}"
            )
            details = path.with_suffix(".txt")
            if details.exists():
                print("  " + details.read_text().strip().replace("\n", "\n  ")[-1500:])


def main() -> None:
    parser = argparse.ArgumentParser(prog="make fuzz", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument("--targets", nargs="*", choices=corpora.TARGETS, help="default: all")
    parser.add_argument("--at-once", type=int, default=2, help="number of targets that run at a time (default: 2)")
    parser.add_argument("--keep", action="store_true", help="add new inputs to tests/fuzz/corpus, minimised")
    parser.add_argument("--json", type=Path, help="write the results there, too")
    options = parser.parse_args()
    FINDINGS.mkdir(exist_ok=True)
    targets = options.targets or corpora.TARGETS
    with (
        tempfile.TemporaryDirectory(prefix="sidegate-fuzz-") as work,
        concurrent.futures.ThreadPoolExecutor(options.at_once) as threads,
    ):
        runs = [threads.submit(fuzz, name, options.seconds, options.keep, Path(work, name)) for name in targets]
        for done in concurrent.futures.as_completed(runs):
            one = done.result()
            print(f"{one.target}: {one.executions} executions, {len(one.findings)} findings", flush=True)
        results = [run.result() for run in runs]
    report(results)
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in results], indent=2) + "\n")
    sys.exit(any(one.findings for one in results))


if __name__ == "__main__":
    main()
