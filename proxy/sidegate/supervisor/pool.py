"""One pool: it carries out the actions that its plan (``pool_plan``) returns.

It owns the states of the pool's processes. Messages, exits and samples are handled between two plans. A process that
cannot be started is logged, and started again later.
"""

from __future__ import annotations

import logging
import random
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from sidegate.config.backends import THREADS
from sidegate.config.schema import PoolConfig
from sidegate.ipc import control
from sidegate.ipc.control import Message
from sidegate.supervisor import plan
from sidegate.supervisor.child_process import exit_cause
from sidegate.supervisor.child_state import ChildStatus, Event, ImpossibleEventError, State
from sidegate.supervisor.pool_plan import (
    PRELOADER,
    STUCK,
    STUCK_THREADS,
    Member,
    PoolAction,
    Resize,
    Retire,
    WantedPool,
    has_started,
    plan_pool,
)
from sidegate.supervisor.pool_processes import PoolProcesses
from sidegate.supervisor.sockets import Locate
from sidegate.supervisor.worker_process import Launch, PreloaderProcess, WorkerProcess

logger = logging.getLogger("sidegate.supervisor")

DRAINED = "drained"
IDLE, STOP = "idle", "stop"
"""Causes of an exit without a replacement: the pool shrank; the service stops."""

STUCK_MESSAGES = {
    STUCK: "is stuck: its event loop is blocked; dumping its stacks and replacing it",
    STUCK_THREADS: "is stuck: all of its WSGI threads are blocked; replacing it",
}
"""Log messages about a stuck worker, by the cause of its exit."""


@dataclass(frozen=True, slots=True)
class PoolContext:
    """Functions of the supervisor that pools need.

    ``now``: its clock, in seconds. ``note``: queues a function that the loop calls before the next plan. ``publish``:
    sends the fronts the workers of a backend. ``locate``: adds the position in the file to a message. ``learn``: takes
    descriptions of applications.
    """

    now: Callable[[], float]
    note: Callable[[Callable[[], None]], None]
    publish: Callable[[str, list[tuple[int, str]]], None]
    locate: Locate
    learn: Callable[[Mapping[str, str]], None]


class Pool:
    """The processes of one pool.

    ``restarts`` and ``preloader_restarts`` count the processes that were replaced or exited unexpectedly, by cause.
    ``pressure``: number of requests that wait in a front, by its serial. ``has_started``: the pool has had a worker, or
    has failed to start one. ``was_ready``: a worker has been ready once.
    """

    def __init__(self, launch: Launch, config: PoolConfig, context: PoolContext) -> None:
        workers = config.workers
        self.wanted = WantedPool(
            workers.min,
            workers.max,
            size=workers.min,
            concurrency=config.concurrency,
            idle_timeout=workers.idle_timeout,
            preload=config.preload,
            resized=context.now(),
            start_timeout=config.start_timeout,
            stop_timeout=config.stop_timeout,
        )
        self.members: dict[int, Member] = {}
        self.processes = PoolProcesses(launch.name)
        self.restarts: Counter[str] = Counter()
        self.preloader_restarts: Counter[str] = Counter()
        self.has_started = self.was_ready = False
        self.pressure: dict[int, int] = {}
        self._launch = launch
        self._config = config
        self._context = context
        self._peaks: deque[tuple[float, int]] = deque()
        self._spawned = 0
        self._is_published = True
        self._last_failure = ""

    # ---- state --------------------------------------------------------------------------------------------

    @property
    def sampled(self) -> bool:
        """Whether the pool needs ``sample``."""
        return self.wanted.minimum < self.wanted.maximum or self._config.max_memory > 0

    def state(self, serial: int) -> State:
        return self.members[serial].child.state

    def published(self) -> list[tuple[int, str]]:
        """Serial and socket of the workers that may get requests."""
        workers = self.processes.workers
        return [(serial, worker.path) for serial, worker in workers.items() if self.state(serial) is State.SERVING]

    # ---- actions of the plan ------------------------------------------------------------------------------

    def step(self) -> tuple[bool, float | None]:
        """Carry out the actions that are due. Returns whether there were any, and the time of the next one."""
        *orders, last = plan_pool(self.wanted, list(self.members.values()), self._context.now())
        for order in orders:
            self._carry_out(order)
        self._publish()
        self.has_started = self.has_started or has_started(self.members.values())
        return bool(orders), last.until if isinstance(last, plan.Wait) else None

    def _carry_out(self, action: PoolAction) -> None:
        match action:
            case plan.Spawn(slot, failures):
                self._spawn(slot, failures)
            case plan.Serve(serial):
                self._happened(serial, Event.SERVE)
            case plan.Drain(serial, seconds):
                self._drain(serial, seconds)
            case plan.Abort(serial):
                logger.warning(
                    "%s: grace period exceeded: aborting the requests in flight", self.processes.title(serial)
                )
                self.processes[serial].send("abort")
                self._happened(serial, Event.ABORT)
            case plan.Kill(serial, reason):
                self._kill(serial, reason)
            case plan.Dump(serial):
                self.processes[serial].cause = self.members[serial].stuck
                self.processes[serial].signal(signal.SIGABRT)
                self._happened(serial, Event.DUMP)
            case Retire(serial, cause):
                self._retire(serial, cause)
            case Resize(size):
                logger.info("backend %s: resizing from %d to %d workers", self._launch.name, self.wanted.size, size)
                self.wanted = replace(self.wanted, size=size, resized=self._context.now())

    def _spawn(self, slot: int, failures: int) -> None:
        gone = [m.child.serial for m in self.members.values() if m.child.slot == slot and m.child.state is State.DEAD]
        for serial in gone:
            del self.members[serial]
        self._spawned += 1
        child = ChildStatus(self._spawned, slot, failures, self._context.now())
        self.members[child.serial] = Member(child, None if slot == PRELOADER else _lifetime(self._config))
        try:
            self._start(child)
        except (OSError, ValueError) as error:
            self._failed(f"cannot start a worker process: {error}")
            self._happened(child.serial, Event.EXITED)

    def _start(self, child: ChildStatus) -> None:
        if child.slot == PRELOADER:
            preloader = PreloaderProcess(child, self._launch)
            preloader.open(self._listener(preloader))
            self.processes.preloaders[child.serial] = preloader
        else:
            # The plan spawns no worker while a pool that preloads has no preloader that serves.
            preloaders = [p for p in self.processes.preloaders.values() if self.state(p.serial) is State.SERVING]
            worker = WorkerProcess(child, self._launch, preloaders[-1] if preloaders else None)
            worker.open(self._listener(worker), partial(self._context.note, partial(self._gone, worker)))
            self.processes.workers[child.serial] = worker

    def _listener(self, process: WorkerProcess | PreloaderProcess) -> Callable[[Message], None]:
        def listener(message: Message) -> None:
            if message["type"] == "forked":  # not later: the worker's exit may be reported next
                self.processes.forked(message.get("number"), message.get("pid"))
            self._context.note(partial(self._heard, process, message))

        return listener

    def _drain(self, serial: int, seconds: float) -> None:
        process, member = self.processes[serial], self.members[serial]
        otherwise = STOP if self.wanted.kill_at is not None else IDLE
        process.cause = process.cause or member.stuck or member.retired or otherwise
        starting = member.child.state is State.STARTING
        self._happened(serial, Event.INTERRUPT if starting else Event.DRAIN)
        self._publish()  # before the message: fronts must stop selecting this worker before it drains
        if starting or isinstance(process, PreloaderProcess):
            # It may be importing and read no messages; until it can drain, SIGTERM ends it.
            process.signal(signal.SIGTERM)
        else:
            process.send("drain", grace=seconds)

    def _kill(self, serial: int, reason: str) -> None:
        process = self.processes[serial]
        if self.state(serial) is State.STARTING:
            process.cause = "start_timeout"
            preloader = self.processes.preloader_of(process)
            if process.pid is None and preloader is not None and self.state(preloader.serial) is State.SERVING:
                self._kill(preloader.serial, "it does not fork workers")
        level = logging.INFO if self.state(serial) is State.INTERRUPTED else logging.ERROR
        logger.log(level, "%s is killed: %s", self.processes.title(serial), reason)
        process.signal(signal.SIGKILL)
        self._happened(serial, Event.KILL)

    def _retire(self, serial: int, cause: str) -> None:
        member = self.members[serial]
        if not member.retired and member.child.left is None:
            logger.info("%s is replaced (%s)", self.processes.title(serial), cause)
            self.members[serial] = replace(member, retired=cause)

    # ---- events -------------------------------------------------------------------------------------------

    def stop(self, kill_at: float) -> None:
        """Drain all processes; those that still run at ``kill_at`` are killed."""
        self.wanted = replace(self.wanted, kill_at=kill_at)

    def files_changed(self, names: list[str]) -> None:
        """The application's files have changed: replace all processes and ignore earlier failures."""
        logger.info("backend %s: files changed, replacing the workers: %s", self._launch.name, ", ".join(names))
        self._last_failure = ""
        self.wanted = replace(self.wanted, changed=self._context.now())
        for serial in [*self.processes.preloaders, *self.processes.workers]:
            self._retire(serial, "reload")

    def pressed(self, front: int, queued: int) -> None:
        """``queued`` requests wait in the front with the serial ``front``."""
        self.pressure[front] = queued
        self.wanted = replace(self.wanted, queued=any(self.pressure.values()))

    def stuck(self, serial: int, cause: str = STUCK) -> None:
        """A worker is stuck, as a front or the worker itself reports; only the first report counts."""
        if serial in self.processes.workers and not self.members[serial].stuck:
            logger.error("%s %s", self.processes.title(serial), STUCK_MESSAGES[cause])
            self.members[serial] = replace(self.members[serial], stuck=cause)

    def sample(self) -> None:
        """Check the workers' memory and requests in flight; to be called once a second."""
        limit = self._config.max_memory
        for serial, worker in self.processes.workers.items():
            # A worker that needs more than the limit at its start would be replaced again and again.
            if self.state(serial) is State.SERVING and worker.baseline < limit < worker.resident:
                self._retire(serial, "max_memory")
        now = self._context.now()
        self._peaks.append((now, self.processes.in_flight()))
        while self._peaks[0][0] < now - self.wanted.idle_timeout:
            self._peaks.popleft()
        concurrency = self.wanted.concurrency
        if self.processes.threads():  # whether a worker has threads is known after its first request
            concurrency = min(self._config.concurrency, self._config.threads or THREADS)
        self.wanted = replace(self.wanted, peak=max(count for _, count in self._peaks), concurrency=concurrency)

    def ended(self, pid: int, status: int) -> bool:
        """A process has exited. Returns whether it was one of this pool."""
        self.processes.read_preloaders()
        process = self.processes.running(pid)
        if process is None:
            return False
        process.read_remaining_messages()
        self._context.note(partial(self._end, process, exit_cause(status)))
        return True

    def _gone(self, worker: WorkerProcess) -> None:
        """The worker's control socket was closed.

        The worker gets no more requests: it has exited, even if its exit is reported late, or it cannot be managed any
        more. If its pid is not known, nobody will report its exit: it was not forked.
        """
        if worker.serial not in self.processes.workers:
            return
        self.processes.read_preloaders()
        if worker.pid is None:
            worker.read_remaining_messages()
            self._end(worker, "not_forked")
        else:
            self._happened(worker.serial, Event.DRAINED)

    def _happened(self, serial: int, event: Event) -> None:
        member = self.members[serial]
        child = member.child.after(event, self._context.now())
        self.members[serial] = replace(member, child=child)
        if State.SERVING in (member.child.state, child.state) and child.slot != PRELOADER:
            self._is_published = False

    def _publish(self) -> None:
        """Send the fronts the list of workers, once for all changes of a turn."""
        if not self._is_published:
            self._is_published = True
            self._context.publish(self._launch.name, self.published())

    def _heard(self, process: WorkerProcess | PreloaderProcess, message: Message) -> None:
        if process.serial not in self.processes:
            return
        try:
            self._take(process, message)
        except ImpossibleEventError as error:
            self._kill(process.serial, f"it violated the control protocol ({error})")
        except (LookupError, TypeError, ValueError):
            logger.exception("%s: %s", self.processes.title(process.serial), control.INVALID_TEXT)

    def _take(self, process: WorkerProcess | PreloaderProcess, message: Message) -> None:
        match message["type"]:
            case "ready":
                self._last_failure = ""
                process.engines = message.get("engines", {})
                if isinstance(process, WorkerProcess):
                    self.was_ready = True
                    self._context.learn(message.get("interfaces", {}))
                    _note_memory(process, self._config.max_memory, self.processes.title(process.serial))
                self._happened(process.serial, Event.READY)
            case "failed":
                starting = self.state(process.serial) is State.STARTING
                process.cause = "failed_start" if starting else "failed"
                for path, text in message.get("problems", ()):
                    self._failed(self._context.locate(tuple(path), text))
                if "message" in message:
                    self._failed(message["message"])
                self._happened(process.serial, Event.FAILED)
            case "draining":
                process.cause = process.cause or DRAINED
                self._happened(process.serial, Event.DRAIN)
            case "drained":
                self._happened(process.serial, Event.DRAINED)
            case "retire":
                self._retire(process.serial, message["cause"])
            case "exhausted":
                self.stuck(process.serial, STUCK_THREADS)
            case "forked":
                # Not earlier: the worker may have been reaped when its pid is found.
                if (worker := self.processes.workers.get(message["number"])) is not None:
                    worker.send_pending_signal()
            case "exited":
                self.ended(message["pid"], message["status"])
                process.send("reap", pid=message["pid"])
            case control.INVALID:
                logger.error("%s: %s", self.processes.title(process.serial), control.INVALID_TEXT)

    def _failed(self, reason: str) -> None:
        """Log a reason once: all workers of a pool fail for the same reason, and each is started again and again."""
        if reason != self._last_failure:
            self._last_failure = reason
            logger.error("backend %s: %s", self._launch.name, reason)

    def _end(self, process: WorkerProcess | PreloaderProcess, death: str) -> None:
        serial = process.serial
        name, member = self.processes.title(serial), self.members[serial]
        cause = process.cause or death
        self._happened(serial, Event.EXITED)
        self.processes.remove(process)
        if self.wanted.kill_at is not None or cause == IDLE:
            logger.debug("%s exited (%s)", name, cause)
            return
        (self.restarts if isinstance(process, WorkerProcess) else self.preloader_restarts)[cause] += 1
        requested = cause in (DRAINED, member.retired) and death in ("exit_0", "SIGTERM")
        level = logging.INFO if requested else logging.ERROR
        logger.log(level, "%s exited (%s) after %.1f s", name, cause, time.time() - process.started)


def _lifetime(config: PoolConfig) -> float | None:
    """The age at which a new worker is to be replaced."""
    part = config.recycle_jitter / 100 * random.random()  # noqa: S311 - it need not be unpredictable
    return config.max_age * (1 - part) or None


def _note_memory(worker: WorkerProcess, limit: int, title: str) -> None:
    """Note the memory of a worker that is ready; warn if it is already above the limit."""
    worker.baseline = worker.resident
    if 0 < limit <= worker.baseline:
        text = "%s uses %d MiB at its start, more than maxMemory: it is not replaced because of its memory"
        logger.warning(text, title, worker.baseline >> 20)
