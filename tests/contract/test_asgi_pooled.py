"""The ASGI contract once more, for an application in a worker behind a front: the tests of ``test_asgi.py``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.errors import Fault
from proxy.observe.record import Record
from tests.contract import test_asgi
from tests.contract.test_asgi import *  # noqa: F403 - the same tests
from tests.support.relaying import RunningFront, RunningWorker, pooled


class Both:
    """Clients connect to the front; what an application does wrong is in the worker's records."""

    def __init__(self, front: RunningFront, worker: RunningWorker) -> None:
        self._front = front
        self.observer = Records(front, worker)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._front, name)


class Records:
    """The front's records; of a request that it only relayed, the worker's."""

    def __init__(self, front: RunningFront, worker: RunningWorker) -> None:
        self._front, self._worker = front.observer, worker.observer

    @property
    def records(self) -> list[Record]:
        relayed = {record.request_id: record for record in self._worker.records}
        found = [
            record if self._is_fronts_own(record, relayed) else relayed.get(record.request_id)
            for record in self._front.records
        ]
        return [record for record in found if record is not None]

    def _is_fronts_own(self, record: Record, relayed: dict[str, Record]) -> bool:
        if record.reason == "client_disconnected":  # the front knows first; it counts when the application was told
            return record.request_id in relayed
        return record.fault not in (None, Fault.UPSTREAM)


@pytest.fixture(autouse=True)
def _in_a_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    @contextlib.contextmanager
    def running(app: Callable[..., Any], codec: str = "http1", **settings: Any) -> Iterator[Both]:
        settings.pop("loop_factory", None)
        backend = {key: settings.pop(key) for key in ("lifespan",) if key in settings}
        with pooled(app, tmp_path, codec, backend=backend, **settings) as (front, worker):
            yield Both(front, worker)

    monkeypatch.setattr(test_asgi, "running", running)
