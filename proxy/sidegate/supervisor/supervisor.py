"""The supervisor's loop: it carries out the actions that the plan returns.

It runs in the parent process, on asyncio's own event loop. It owns the listening sockets, the fronts and the wanted
state (``Wanted``); ``plan`` has the rules and ``child_state`` the states. ``pools`` manages workers; the loop calls it
in each round. The supervisor never reads data of a client and never imports an application. Messages, exits and signals
are queued when they arrive and handled in one place, so nothing changes between a plan and its actions. A failed start
is reported and becomes an exit code.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from sidegate.config.schema import Config
from sidegate.errors import StartError
from sidegate.ipc import control, signals
from sidegate.ipc.control import Message
from sidegate.observe import heartbeat
from sidegate.observe.cells import Area
from sidegate.observe.metrics import CellLayout
from sidegate.supervisor import plan
from sidegate.supervisor.child_process import exit_cause
from sidegate.supervisor.child_state import ChildStatus, Event, ImpossibleEventError, State
from sidegate.supervisor.front_process import FrontProcess
from sidegate.supervisor.interfaces import Interfaces
from sidegate.supervisor.liveness import Liveness
from sidegate.supervisor.pid_one import reap
from sidegate.supervisor.plan import Action, PoolsState, Sockets, Stop, Wanted
from sidegate.supervisor.pools import Pools, SupervisorLoop
from sidegate.supervisor.sockets import Locate, ServiceSockets
from sidegate.supervisor.stop_report import report_stop
from sidegate.supervisor.ticket_rotation import TicketRotation

logger = logging.getLogger("sidegate.supervisor")

BAD_CONFIGURATION = 2
FAILED_START = 3

CANNOT = {
    signal.SIGHUP: "SIGHUP: this version cannot reload; restart it instead",
    signal.SIGUSR2: "SIGUSR2: this version cannot be upgraded while it runs; restart it instead",
}
"""Answers to signals by which other servers are operated."""

DRAINED = "drained"
"""The cause of an exit after the front itself received SIGTERM."""

STUCK = "stuck"
"""The cause of the exit of a front that was replaced because its event loop was blocked."""


class Counts(Protocol):
    """Where the fronts' counters go (``CellCollector``)."""

    def attach(self, area: Area, layout: CellLayout) -> None:
        """A front that counts into ``area`` is about to start."""

    def retire(self, area: Area) -> None:
        """That front has exited: ``area`` is not needed any more and must be closed."""


class NoCounts:
    """Counts of a service without an admin server: nothing reads them."""

    def attach(self, area: Area, layout: CellLayout) -> None:
        """Does nothing: only the front uses the area."""

    def retire(self, area: Area) -> None:
        area.close()


@dataclass(frozen=True, slots=True)
class Operator:
    """Functions that inform the operator.

    ``locate``: adds the position in the file to a message. ``report``: prints the reasons of a failed start.
    ``serving``: called when the service begins to listen.
    """

    locate: Locate
    report: Callable[[str], None]
    serving: Callable[[], None]


class Supervisor:
    """The service's parent process.

    ``children``: the statuses of the running fronts and of the last front that exited in each slot, by serial.
    ``fronts``: the running fronts, by serial. ``liveness``: which of them have a blocked event loop.
    """

    def __init__(self, config: Config, sockets: ServiceSockets, operator: Operator) -> None:
        self.config = config
        self.counts: Counts = NoCounts()
        self.wanted = Wanted(config.processes, start_timeout=config.start_timeout, grace_period=config.grace_period)
        self.children: dict[int, ChildStatus] = {}
        self.fronts: dict[int, FrontProcess] = {}
        self.restarts: Counter[str] = Counter()
        self._sockets = sockets
        self._operator = operator
        self._tickets = TicketRotation(self._started_fronts)
        self._layout = CellLayout(config)
        self._spawned = 0
        self._news: deque[Callable[[], None]] = deque()
        self._wake = asyncio.Event()
        self.liveness = Liveness(config.liveness_timeout, lambda: self.serving, self._wake.set)
        self._reported: set[str] = set()
        self._stop_began: float | None = None
        self._cut = 0
        self.interfaces = Interfaces(config.backends)
        loop = SupervisorLoop(self._now, self._note, self._started_fronts, self.interfaces.learn)
        self.pools = Pools(config, operator.locate, loop)

    async def run(self) -> int:
        """Serve until a signal stops the service or the first start fails; return the exit code.

        The first SIGTERM, SIGINT or SIGQUIT drains, the second one stops immediately (exit code 128 plus its number, as
        in shells). SIGUSR1 opens the access log's file again, for logrotate (nginx uses the same signal).
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._on_child_ended)
        self._on_child_ended()  # as PID 1 we may have inherited orphans that exited before the handler was set
        for number in signals.STOP_SIGNALS:
            loop.add_signal_handler(number, self._note, partial(self._stop, number))
        loop.add_signal_handler(signal.SIGUSR1, self._reopen_logs)
        for number, text in CANNOT.items():
            loop.add_signal_handler(number, logger.warning, text)
        self._tickets.start()
        self.liveness.start()
        try:
            return await self._work()
        finally:
            self._tickets.stop()
            self.liveness.stop()
            # Processes are left here only after an error in this loop.
            for front in self.fronts.values():
                front.signal(signal.SIGKILL)
            self.pools.close()

    def state(self, front: FrontProcess) -> State:
        """The state of ``front``."""
        return self.children[front.serial].state

    @property
    def serving(self) -> list[FrontProcess]:
        """The fronts that accept connections."""
        return [front for front in self.fronts.values() if self.state(front) is State.SERVING]

    @property
    def engines(self) -> Mapping[str, str]:
        """The engines that the fronts use, as reported by the first front that is ready; empty before."""
        return next((front.engines for front in self.fronts.values() if front.engines), {})

    async def _work(self) -> int:
        while True:
            self._wake.clear()
            while self._news:
                self._news.popleft()()
            acted, due = self.pools.step()
            stuck, blocked = self.liveness.stuck, self.liveness.blocked
            self.wanted = replace(self.wanted, workers=self.pools.phase, stuck=stuck, blocked=blocked)
            *orders, last = plan.plan(self.wanted, list(self.children.values()), self._now())
            for order in orders:
                self._carry_out(order)
            if isinstance(last, plan.Exit):
                if self._stop_began is not None:
                    report_stop(logger, self._now() - self._stop_began, self._cut)
                return last.code
            if isinstance(last, plan.Wait) and not orders and not acted:
                times = [time for time in (last.until, due) if time is not None]
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(min(times, default=None)):
                        await self._wake.wait()

    def _note(self, news: Callable[[], None]) -> None:
        self._news.append(news)
        self._wake.set()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _started_fronts(self) -> list[FrontProcess]:
        """The fronts that read messages: before it is ready, a front must get no message but the first one."""
        return [front for front in self.fronts.values() if front.engines]

    # ---- actions of the plan ------------------------------------------------------------------------------

    def _carry_out(self, action: Action) -> None:
        match action:
            case plan.Spawn(slot, failures):
                self._spawn(slot, failures)
            case plan.Listen():
                self._listen()
            case plan.Close():
                self._sockets.close_listeners()
                self.wanted = replace(self.wanted, sockets=Sockets.CLOSED)
            case plan.StopWorkers(kill_at):
                self.pools.stop(kill_at)
            case plan.Serve(serial):
                self.fronts[serial].send("serve")
                self._happened(serial, Event.SERVE)
            case plan.Drain(serial, seconds):
                self._drain(self.fronts[serial], seconds)
            case plan.Abort(serial):
                logger.warning(
                    "front %d: grace period exceeded: aborting the requests in flight", self.fronts[serial].pid
                )
                self.fronts[serial].send("abort")
                self._happened(serial, Event.ABORT)
            case plan.Dump(serial):
                self._dump(self.fronts[serial])
            case plan.Kill(serial, reason):
                self._kill(self.fronts[serial], reason)
            case plan.GiveUp(stop):
                self.wanted = replace(self.wanted, stop=stop)

    def _spawn(self, slot: int, failures: int) -> None:
        gone = [c.serial for c in self.children.values() if c.slot == slot and c.state is State.DEAD]
        for serial in gone:
            del self.children[serial]
        self._spawned += 1
        child = ChildStatus(self._spawned, slot, failures, self._now())
        self.children[child.serial] = child
        try:
            self._start(child)
        except OSError as error:
            self._failed_to_start(f"cannot start a front process: {error.strerror}")
            self._happened(child.serial, Event.EXITED)

    def _start(self, child: ChildStatus) -> None:
        area = Area.create(self._layout.size + heartbeat.CELLS)
        try:
            front = FrontProcess(child, area, self._sockets.by_listener())
            front.open(self.config, lambda message: self._note(partial(self._heard, front, message)))
        except OSError:
            area.close()
            raise
        self.counts.attach(area, self._layout)
        self.fronts[child.serial] = front
        logger.debug("front %d started in slot %d", front.pid, front.slot)

    def _listen(self) -> None:
        try:
            self._sockets.listen()
        except StartError as error:
            self._operator.report(str(error))
            now = self._now()
            self.wanted = replace(self.wanted, stop=Stop(now, now + plan.FAILED_START_GRACE, FAILED_START))
            return
        self.wanted = replace(self.wanted, sockets=Sockets.LISTENING)
        self._operator.serving()

    def _drain(self, front: FrontProcess, seconds: float) -> None:
        if self.state(front) is State.STARTING:
            # It may be importing and read no messages; until it can drain, SIGTERM ends it.
            front.signal(signal.SIGTERM)
            self._happened(front.serial, Event.INTERRUPT)
        else:
            if self.wanted.stop is None:
                logger.info("front %d is drained: its successor serves", front.pid)
                front.cause = STUCK
            front.send("drain", grace=seconds)
            self._happened(front.serial, Event.DRAIN)

    def _dump(self, front: FrontProcess) -> None:
        logger.error("front %d is still stuck, and its successor serves: dumping its stacks and ending it", front.pid)
        front.cause = STUCK
        front.signal(signal.SIGABRT)
        self._happened(front.serial, Event.DUMP)

    def _kill(self, front: FrontProcess, reason: str) -> None:
        if self.state(front) is State.STARTING:
            front.cause = "start_timeout"
            self._failed_to_start(f"front {front.pid} is killed: {reason}")
        else:
            level = logging.INFO if self.state(front) is State.INTERRUPTED else logging.ERROR
            logger.log(level, "front %d is killed: %s", front.pid, reason)
        front.signal(signal.SIGKILL)
        self._happened(front.serial, Event.KILL)

    # ---- events -------------------------------------------------------------------------------------------

    def _happened(self, serial: int, event: Event) -> None:
        self.children[serial] = self.children[serial].after(event, self._now())

    def _heard(self, front: FrontProcess, message: Message) -> None:
        """Handle a message of a front."""
        try:
            match message["type"]:
                case "ready":
                    front.engines = message["engines"]
                    self.interfaces.learn(message["interfaces"])
                    self._tickets.introduce(front)
                    self.pools.introduce(front)
                    self._happened(front.serial, Event.READY)
                case "failed":
                    self._heard_failed(front, message)
                case "draining":
                    front.cause = DRAINED
                    self._happened(front.serial, Event.DRAIN)
                case "drained":
                    self._happened(front.serial, Event.DRAINED)
                case "statistics":
                    front.statistics, front.reported = message["statistics"], time.monotonic()
                case "pressure" | "stuck":
                    self.pools.heard(front, message)
                case "exhausted":
                    text = (
                        "backend %s: all of its WSGI threads in front %d are stuck; a pool's worker would be replaced"
                    )
                    logger.error(text, message["backend"], front.pid)
                case control.INVALID:
                    logger.error("front %d: %s", front.pid, control.INVALID_TEXT)
        except ImpossibleEventError as error:
            self._kill(front, f"it violated the control protocol ({error})")
        except (LookupError, TypeError, ValueError):
            logger.exception("front %d: %s", front.pid, control.INVALID_TEXT)

    def _heard_failed(self, front: FrontProcess, message: Message) -> None:
        front.cause = "failed_start" if self.state(front) is State.STARTING else "failed"
        if problems := message.get("problems"):
            self.children[front.serial] = replace(self.children[front.serial], exit_code=BAD_CONFIGURATION)
            for path, text in problems:
                self._failed_to_start(self._operator.locate(tuple(path), text))
        else:
            self._failed_to_start(message["message"])
        self._happened(front.serial, Event.FAILED)

    def _failed_to_start(self, reason: str) -> None:
        """Report a reason once during the first start: all fronts of a generation fail for the same reason."""
        if reason in self._reported:
            return  # the sockets may already be closed, but this failure still belongs to the first start
        if self.wanted.sockets is not Sockets.BOUND:
            logger.error("%s", reason)
        else:
            self._reported.add(reason)
            self._operator.report(reason)

    def _on_child_ended(self) -> None:
        """Reap children; as PID 1, also orphans of other processes."""
        for pid, status in reap():
            self.pools.ended(pid, status)
            for front in self.fronts.values():
                if front.pid == pid and not front.exited:
                    front.read_remaining_messages()
                    self._note(partial(self._ended, front, status))

    def _ended(self, front: FrontProcess, status: int) -> None:
        child = self.children[front.serial]
        cause = front.cause or exit_cause(status)
        self._happened(front.serial, Event.EXITED)
        del self.fronts[front.serial]
        self.pools.front_ended(front)
        if self.wanted.stop is not None:
            self._cut += self._layout.cut(front.area)
        self.counts.retire(front.area)
        if self.wanted.stop is not None:
            logger.debug("front %d exited (%s)", front.pid, cause)
        elif self.wanted.sockets is Sockets.BOUND:
            if child.left is None:
                self._failed_to_start(f"front {front.pid} exited before it was ready ({cause})")
        else:
            self.restarts[cause] += 1
            level = logging.INFO if cause == DRAINED else logging.ERROR
            logger.log(level, "front %d exited (%s) after %.1f s", front.pid, cause, time.time() - front.started)

    def _reopen_logs(self) -> None:
        logger.info("SIGUSR1: reopening the access log")
        for front in self.fronts.values():
            front.send("reopen")

    def _stop(self, number: signal.Signals) -> None:
        """The first signal starts the drain, any further one stops immediately."""
        now = self._now()
        if self.wanted.stop is None:
            logger.info("%s: stopping", number.name)
            self._stop_began = now
            delay = self.config.shutdown_delay if self.wanted.sockets is Sockets.LISTENING else 0.0
            stop = Stop(now + delay, now + self.config.grace_period, 0)
        else:
            logger.warning("%s again: stopping immediately", number.name)
            stop = Stop(now, now, self.wanted.stop.exit_code or 128 + number)
        self.wanted = replace(self.wanted, stop=stop)
        if self.wanted.workers is PoolsState.STOPPING:
            self.pools.stop(stop.kill_at)
