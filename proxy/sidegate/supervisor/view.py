"""The facts about the supervisor that the admin server shows.

This is the only module of the supervisor that imports prometheus_client. Because the import costs memory, the module is
imported only if the configuration has an admin server. It reads the supervisor's state and changes nothing.
"""

from __future__ import annotations

import os
import platform
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from sidegate import __version__
from sidegate.config.loaded import Expiry
from sidegate.config.plain import dump
from sidegate.observe import process_log
from sidegate.observe.collector import CellCollector, PoolFact, ProcessFact, ServiceFacts, make_registry
from sidegate.supervisor.child_process import ChildProcess
from sidegate.supervisor.child_state import State
from sidegate.supervisor.front_process import FrontProcess
from sidegate.supervisor.pool import Pool
from sidegate.supervisor.readiness import PoolFacts, ReadinessFacts, RemoteFacts, readiness
from sidegate.supervisor.summary import Addresses
from sidegate.supervisor.supervisor import Supervisor

FRONT, WORKER, PRELOADER = "front", "worker", "preloader"

POOL = "pool"
REMOTE = ("h2c", "h2")
"""The kinds of backends (``KINDS``) that other processes answer for."""


class SupervisorView:
    """Implements the admin server's ``View``. ``counts``: the collector that the supervisor attaches its fronts to.

    ``expiry``: of the listeners' certificates.
    """

    def __init__(self, supervisor: Supervisor, addresses: Addresses, expiry: Expiry) -> None:
        self.counts = CellCollector(self._facts)
        self._registry = make_registry(self.counts)
        self._supervisor = supervisor
        self._addresses = addresses
        self._expiry = expiry
        self._started = time.time()

    def metrics(self) -> CollectorRegistry:
        return self._registry

    def alive(self) -> tuple[bool, str]:
        return True, ""

    def ready(self) -> tuple[bool, str]:
        if self._supervisor.wanted.stop is not None:
            return False, "stopping"
        admin = self._supervisor.config.admin
        return readiness(admin.ready if admin else "serving", self._readiness())

    def _readiness(self) -> ReadinessFacts:
        supervisor = self._supervisor
        kinds = {name: backend.kind for name, backend in supervisor.config.backends.items()}
        serving = supervisor.serving
        pools = supervisor.pools.pools
        return ReadinessFacts(
            fronts=supervisor.config.processes,
            serving=len(serving),
            blocked=sum(front.serial in supervisor.liveness.blocked for front in serving),
            local=any(kind not in (POOL, *REMOTE) for kind in kinds.values()),
            pools={name: PoolFacts(pool.was_ready, len(pool.published())) for name, pool in pools.items()},
            remotes={name: _remote(name, serving) for name, kind in kinds.items() if kind in REMOTE},
        )

    def status(self) -> Mapping[str, Any]:
        supervisor = self._supervisor
        config = supervisor.config
        ready, reason = self.ready()
        return {
            "version": __version__,
            "python": platform.python_version(),
            "pid": os.getpid(),
            "startTime": self._started,
            "ready": ready,
            "reason": reason,
            "engines": supervisor.engines,
            "listeners": [
                {
                    "name": listener.name,
                    "urls": list(self._addresses.listeners[listener.name]),
                    "protocols": list(listener.protocols),
                    "tls": listener.tls is not None,
                }
                for listener in config.listeners
            ],
            "routes": [dump(route) for route in config.routes],
            "backends": {name: backend.describe() for name, backend in config.backends.items()},
            "interfaces": dict(supervisor.interfaces.found),
            "processes": [self._front(front) for front in supervisor.fronts.values()],
            "restarts": dict(supervisor.restarts),
            "pools": {name: _pool(pool) for name, pool in supervisor.pools.pools.items()},
        }

    def _front(self, front: FrontProcess) -> dict[str, Any]:
        return {
            "kind": FRONT,
            "slot": front.slot,
            **_process(front, self._supervisor.state(front)),
            "blockedSeconds": self._supervisor.liveness.blocked_for(front),
            "statistics": front.statistics,
        }

    def _facts(self) -> ServiceFacts:
        supervisor = self._supervisor
        pools = supervisor.pools.pools
        return ServiceFacts(
            http2_engine=supervisor.engines.get("http2", "").partition(" ")[0],
            tls_engine=supervisor.engines.get("tls", "").partition(" ")[0],
            start_time=self._started,
            processes=[
                *(ProcessFact(FRONT, supervisor.state(front).value, front.pid) for front in supervisor.fronts.values()),
                *(fact for pool in pools.values() for fact in _process_facts(pool)),
            ],
            restarts={
                (kind, cause): count
                for kind, counts in (
                    (FRONT, supervisor.restarts),
                    (WORKER, _sum(pool.restarts for pool in pools.values())),
                    (PRELOADER, _sum(pool.preloader_restarts for pool in pools.values())),
                )
                for cause, count in counts.items()
            },
            pools=[_pool_fact(name, pool) for name, pool in pools.items()],
            log_dropped=process_log.stderr.dropped,
            expiry=self._expiry,
        )


def _remote(name: str, fronts: Iterable[FrontProcess]) -> RemoteFacts:
    """What the fronts have last reported of a backend of third-party servers."""
    now = time.monotonic()
    times, problems = [], []
    for front in fronts:
        statistics = front.statistics.get("backends", {}).get(name, {})
        if (since := statistics.get("sinceConnected")) is not None:
            times.append(since + now - front.reported)
        connections = statistics.get("connections", ())
        problems += [f"{one['endpoint']}: {one['problem']}" for one in connections if "problem" in one]
    return RemoteFacts(min(times, default=None), "; ".join(dict.fromkeys(problems)))


def _process(process: ChildProcess, state: State) -> dict[str, Any]:
    return {
        "pid": process.pid,
        "state": state.value,
        "startTime": process.started,
        "residentBytes": process.resident,
    }


def _pool(pool: Pool) -> dict[str, Any]:
    wanted = pool.wanted
    return {
        "size": wanted.size,
        "min": wanted.minimum,
        "max": wanted.maximum,
        "queued": sum(pool.pressure.values()),
        "workers": [
            {
                "slot": worker.slot,
                **_process(worker, pool.state(serial)),
                "requests": worker.requests(),
                "inFlight": worker.in_flight(),
                "threads": dict(worker.threads()),
                "retired": pool.members[serial].retired,
            }
            for serial, worker in pool.processes.workers.items()
        ],
        "preloaders": [_process(process, pool.state(serial)) for serial, process in pool.processes.preloaders.items()],
        "restarts": dict(pool.restarts),
    }


def _process_facts(pool: Pool) -> Iterator[ProcessFact]:
    for serial, worker in pool.processes.workers.items():
        yield ProcessFact(WORKER, pool.state(serial).value, worker.pid)
    for serial, preloader in pool.processes.preloaders.items():
        yield ProcessFact(PRELOADER, pool.state(serial).value, preloader.pid)


def _pool_fact(name: str, pool: Pool) -> PoolFact:
    """The metrics of a pool, with a zero for every state without workers, so that a series exists for each state."""
    processes = pool.processes
    states = Counter(pool.state(serial) for serial in processes.workers)
    return PoolFact(
        name,
        workers={state.value: states[state] for state in State if state is not State.DEAD},
        restarts=pool.restarts,
        resident=sum(process.resident for process in processes.all()),
        requests=processes.requests(),
        threads=processes.threads(),
        counts=processes.counts(),
    )


def _sum(counts: Iterable[Counter[str]]) -> Counter[str]:
    return sum(counts, Counter[str]())
