"""What the admin server shows of the supervisor.

Where it stands: the only module of the supervisor that knows Prometheus. It is imported when the configuration has
an admin server, because that costs memory. It reads the supervisor and changes nothing. No error leaves it.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from proxy import __version__
from proxy.config.plain import dump
from proxy.observe.collector import CellCollector, Facts, ProcessFact, make_registry
from proxy.observe.resident import resident_bytes
from proxy.supervisor.front import Front
from proxy.supervisor.summary import Addresses, describe_backend
from proxy.supervisor.supervisor import Supervisor

FRONT = "front"


class SupervisorView:
    """Implements the admin server's ``View``. ``counts`` is where the supervisor is to leave its fronts' counters."""

    def __init__(self, supervisor: Supervisor, addresses: Addresses) -> None:
        self.counts = CellCollector(self._facts)
        self._registry = make_registry(self.counts)
        self._supervisor = supervisor
        self._addresses = addresses
        self._started = time.time()

    def metrics(self) -> CollectorRegistry:
        return self._registry

    def alive(self) -> tuple[bool, str]:
        return True, ""

    def ready(self) -> tuple[bool, str]:
        if self._supervisor.wanted.stop is not None:
            return False, "stopping"
        if not self._supervisor.serving:
            return False, "no front process serves yet"
        return True, ""

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
            "backends": {name: describe_backend(backend) for name, backend in config.backends.items()},
            "processes": [self._process(front) for front in supervisor.fronts.values()],
            "restarts": dict(supervisor.restarts),
        }

    def _process(self, front: Front) -> dict[str, Any]:
        return {
            "kind": FRONT,
            "slot": front.slot,
            "pid": front.pid,
            "state": self._supervisor.state(front).value,
            "startTime": front.started,
            "residentBytes": resident_bytes(front.pid),
            "statistics": front.statistics,
        }

    def _facts(self) -> Facts:
        supervisor = self._supervisor
        return Facts(
            http2_engine=supervisor.engines.get("http2", "").partition(" ")[0],
            start_time=self._started,
            processes=[
                ProcessFact(FRONT, supervisor.state(front).value, front.pid) for front in supervisor.fronts.values()
            ],
            restarts={(FRONT, cause): count for cause, count in supervisor.restarts.items()},
        )
