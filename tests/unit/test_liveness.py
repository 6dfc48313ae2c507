"""The event loops of fronts: their beats, their stacks, and when one counts as blocked or stuck."""

from __future__ import annotations

import asyncio
import faulthandler
import io
import os
import pdb
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

import pytest

from sidegate.observe.cells import Area
from sidegate.observe.heartbeat import CELLS, STACK_SIGNAL, STACK_SIZE, Heartbeat, period, start_heartbeat
from sidegate.supervisor.child_process import ChildProcess
from sidegate.supervisor.liveness import Liveness

LIMIT = 30.0
COUNTERS = 8
PID = 4711


class Front:
    """A front as ``Liveness`` sees it. ``stack``: what its event loop shows when it is asked."""

    def __init__(self, serial: int = 1) -> None:
        self.serial = serial
        self.pid = PID
        self.area = Area.create(COUNTERS + CELLS)
        self.is_traced = False
        self.stack = 'Stack (most recent call first):\n  File "shop.py", line 7 in report\n'
        self.signals: list[int] = []

    def signal(self, number: int) -> None:
        self.signals.append(number)
        os.write(self.area.fd, self.stack.encode())

    def beat(self) -> None:
        self.area.cells[COUNTERS] += 1


class Service:
    """Fronts that serve, and the supervisor's view of them."""

    def __init__(self, fronts: list[Front]) -> None:
        self.fronts = fronts
        self.changes = 0
        self.liveness = Liveness(LIMIT, lambda: self.fronts, self._changed)  # type: ignore[arg-type,return-value]

    def _changed(self) -> None:
        self.changes += 1

    def check(self, times: int = 1, elapsed: float = 1.0) -> None:
        for _ in range(times):
            self.liveness.check(elapsed)

    @property
    def seen(self) -> tuple[set[int], set[int]]:
        return set(self.liveness.blocked), set(self.liveness.stuck)


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service([Front()])
    yield made
    for front in made.fronts:
        front.area.close()


def test_the_loop_that_runs_is_left_alone(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(200):
        service.fronts[0].beat()
        service.check()
    assert service.seen == (set(), set())
    assert (service.changes, service.fronts[0].signals, caplog.text) == (0, [], "")


def test_a_third_of_the_limit_shows_the_stack_and_the_whole_makes_it_stuck(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    (front,) = service.fronts
    service.check(9)
    assert (service.seen, front.signals) == ((set(), set()), [])
    service.check(2)
    assert (service.seen, front.signals) == (({1}, set()), [STACK_SIGNAL])
    assert caplog.records[-1].levelname == "WARNING"
    assert f"front {PID}: its event loop has been blocked for 11.0 s: Stack" in caplog.text
    assert "line 7 in report" in caplog.text
    assert service.liveness.blocked_for(front) == 11.0  # type: ignore[arg-type]
    service.check(18)
    assert service.seen == ({1}, set())
    service.check()
    assert service.seen == ({1}, {1})
    assert caplog.records[-1].levelname == "ERROR"
    service.check(50)
    assert (service.changes, front.signals, len(caplog.records)) == (2, [STACK_SIGNAL], 2)


def test_a_loop_that_runs_again_begins_anew(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    (front,) = service.fronts
    for _ in range(2):
        service.check(35)
        assert service.seen == ({1}, {1})
        front.beat()
        service.check()
        assert service.seen == (set(), set())
        assert service.liveness.blocked_for(front) == 0  # type: ignore[arg-type]
    assert front.signals == [STACK_SIGNAL, STACK_SIGNAL]
    assert caplog.text.count("its event loop runs again after 35.0 s") == 2


def test_a_front_that_shows_no_stack_is_reported_all_the_same(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.fronts[0].stack = ""
    service.check(11)
    assert "blocked for 11.0 s: it wrote no stack" in caplog.text


def test_time_in_which_the_supervisor_did_not_run_does_not_count(service: Service) -> None:
    """A supervisor that goes on before the front, after both were frozen, must give the front some time to beat."""
    (front,) = service.fronts
    for _ in range(4):
        service.check(elapsed=3600.0)
    assert service.seen == (set(), set())
    front.beat()
    service.check(elapsed=3600.0)
    service.check(13)
    assert service.seen == ({1}, set())


def test_fronts_are_told_apart_and_forgotten(service: Service) -> None:
    first, second = service.fronts[0], Front(2)
    service.fronts.append(second)
    for _ in range(35):
        second.beat()
        service.check()
    assert service.seen == ({1}, {1})
    service.fronts.remove(first)
    service.check()
    assert service.seen == (set(), set())
    assert service.liveness.blocked_for(first) == 0  # type: ignore[arg-type]
    first.area.close()


# ---- debuggers --------------------------------------------------------------------------------------------


def test_a_front_that_is_traced_is_not_stuck(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    (front,) = service.fronts
    front.is_traced = True
    service.check(500)
    assert service.seen == ({1}, set())
    assert front.signals == [], "a tracer sees every signal"
    assert caplog.text.count("a debugger holds it, so it is not replaced") == 1
    front.is_traced = False
    service.check(35)
    assert service.seen == ({1}, {1})
    front.is_traced = True  # such as by somebody who wants to know why
    service.check()
    assert service.seen == ({1}, set())


class Prompt(io.StringIO):
    """What a debugger reads from; it takes the stack at that moment, as ``faulthandler`` does for the supervisor."""

    stack = ""

    def readline(self, *_: object) -> str:  # type: ignore[override]
        with tempfile.TemporaryFile("w+") as file:
            faulthandler.dump_traceback(file, all_threads=False)
            file.seek(0)
            self.stack = file.read()
        return "continue\n"


def test_a_front_at_a_prompt_of_pdb_is_not_stuck(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    prompt = Prompt()
    debugger = pdb.Pdb(stdin=prompt, stdout=io.StringIO(), nosigint=True, readrc=False)
    tracing = sys.gettrace()  # coverage
    debugger.set_trace()
    sys.settrace(tracing)
    assert "in interaction" in prompt.stack
    service.fronts[0].stack = prompt.stack
    service.check(500)
    assert service.seen == ({1}, set())
    assert caplog.text.count("a debugger holds it, so it is not replaced") == 1


class Process(ChildProcess):
    """A child process of this test."""

    def __init__(self, pid: int | None) -> None:
        super().__init__(1, 0, lambda _: pid)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def child() -> Iterator[Callable[[int | None], Process]]:
    made: list[Process] = []

    def make(pid: int | None) -> Process:
        made.append(Process(pid))
        return made[-1]

    yield make
    for process in made:
        process.close()


TRACER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
traced = os.fork()
if traced == 0:
    sys.stdin.read()
    os._exit(0)
if libc.ptrace(0x4206, traced, 0, 0):  # PTRACE_SEIZE
    traced = -ctypes.get_errno()
print(traced, flush=True)
sys.stdin.read()
"""


def test_a_tracer_is_found(child: Callable[[int | None], Process]) -> None:
    command = [sys.executable, "-c", TRACER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as tracer:
        assert tracer.stdout is not None
        traced = int(tracer.stdout.readline())
        if traced < 0:
            pytest.skip(f"ptrace: {os.strerror(-traced)}")
        process = child(traced)
        assert process.is_traced
        process.exited = True
        assert not process.is_traced
        assert not child(tracer.pid).is_traced
        tracer.communicate()


def test_a_process_that_is_not_there_is_not_traced(child: Callable[[int | None], Process]) -> None:
    assert not child(None).is_traced
    assert not child(5_000_000).is_traced


# ---- beats and stacks -------------------------------------------------------------------------------------


@pytest.fixture
def area() -> Iterator[Area]:
    made = Area.create(COUNTERS + CELLS)
    yield made
    faulthandler.unregister(STACK_SIGNAL)
    made.close()


def test_a_loop_beats_and_writes_its_stack_behind_the_counters(area: Area) -> None:
    heartbeat = Heartbeat(area)

    async def run() -> None:
        start_heartbeat(area, 0.012)
        while heartbeat.beats < 5:
            await asyncio.sleep(0.001)

    asyncio.run(run())
    for _ in range(2):
        heartbeat.expect_stack()
        assert heartbeat.stack() == ""
        signal.raise_signal(STACK_SIGNAL)
        assert "in test_a_loop_beats_and_writes_its_stack" in heartbeat.stack()
        assert heartbeat.stack().startswith("Stack (most recent call first)")
    assert list(area.cells[:COUNTERS]) == [0.0] * COUNTERS


def test_a_stack_that_is_too_long_is_cut(area: Area) -> None:
    heartbeat = Heartbeat(area)

    async def run() -> None:
        start_heartbeat(area, LIMIT)

    asyncio.run(run())
    heartbeat.expect_stack()
    code = compile("def f(n):\n    f(n - 1) if n else raise_signal(number)\n", f"/{'long' * 100}.py", "exec")
    names = {"raise_signal": signal.raise_signal, "number": STACK_SIGNAL}
    exec(code, names)
    names["f"](90)  # type: ignore[operator]
    assert STACK_SIZE * 0.9 < len(heartbeat.stack()) <= STACK_SIZE
    assert len(area) == COUNTERS + CELLS


@pytest.mark.parametrize(("limit", "seconds"), [(1.0, 1 / 12), (6.0, 0.5), (30.0, 1.0), (3600.0, 1.0)])
def test_a_limit_has_many_periods(limit: float, seconds: float) -> None:
    assert period(limit) == pytest.approx(seconds)
