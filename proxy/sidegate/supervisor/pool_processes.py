"""The processes of one pool, and their counts.

``pool`` starts and stops the processes. This module owns the workers and preloaders that are not reaped yet, and the
sums of the counts of workers that have exited.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from sidegate.observe.worker_counts import Counts, add_counts
from sidegate.supervisor.worker_process import PreloaderProcess, WorkerProcess


class PoolProcesses:
    """``workers`` and ``preloaders`` by serial; ``backend`` is the name of the pool's backend."""

    def __init__(self, backend: str) -> None:
        self.workers: dict[int, WorkerProcess] = {}
        self.preloaders: dict[int, PreloaderProcess] = {}
        self._backend = backend
        self._served: Counter[int] = Counter()  # requests by slot, of workers that have exited
        self._counted: Counts = {}  # of workers that have exited

    @property
    def alive(self) -> bool:
        return bool(self.workers or self.preloaders)

    def __contains__(self, serial: int) -> bool:
        return serial in self.workers or serial in self.preloaders

    def __getitem__(self, serial: int) -> WorkerProcess | PreloaderProcess:
        return self.workers[serial] if serial in self.workers else self.preloaders[serial]

    def all(self) -> list[WorkerProcess | PreloaderProcess]:
        return [*self.workers.values(), *self.preloaders.values()]

    def running(self, pid: int) -> WorkerProcess | PreloaderProcess | None:
        """The process with this pid whose exit was not reported yet."""
        return next((process for process in self.all() if process.pid == pid and not process.exited), None)

    def preloader_of(self, process: WorkerProcess | PreloaderProcess) -> PreloaderProcess | None:
        """The preloader that forks this worker, if there is one and it is not reaped yet."""
        preloader = process.preloader if isinstance(process, WorkerProcess) else None
        return None if preloader is None else self.preloaders.get(preloader.serial)

    def forked(self, number: object, pid: object) -> None:
        """A preloader says that it has forked the worker ``number``: set its pid."""
        worker = self.workers.get(number) if isinstance(number, int) else None
        if worker is not None and worker.pid is None and isinstance(pid, int):
            worker.pid = pid

    def read_preloaders(self) -> None:
        """Learn the pids of forked workers. Call it before the end of a worker's control socket or its exit is handled.

        A preloader sends a worker's pid before it closes its copy of the worker's control socket, and the supervisor
        reaps a worker only after its preloader has exited. So when the socket's end or the exit is noticed, the message
        has arrived, unless the preloader was killed before it sent it.
        """
        for preloader in self.preloaders.values():
            preloader.read_available()

    def title(self, serial: int) -> str:
        """The name of a process in log lines."""
        pid = self[serial].pid
        kind = "worker" if serial in self.workers else "preloader"
        return f"backend {self._backend}: {kind} {'-' if pid is None else pid}"

    def remove(self, process: WorkerProcess | PreloaderProcess) -> None:
        """Remove a process that has exited; its counts are kept."""
        if isinstance(process, WorkerProcess):
            self._served[process.slot] += process.requests()
            add_counts(self._counted, process.counts())
            process.close()
            del self.workers[process.serial]
        else:
            del self.preloaders[process.serial]

    def requests(self) -> Mapping[int, int]:
        """Ended requests by slot, of all workers that were ever in it."""
        counts = Counter(self._served)
        for worker in self.workers.values():
            counts[worker.slot] += worker.requests()
        return counts

    def counts(self) -> Counts:
        """The workers' counts of metrics that fronts cannot count, including workers that have exited."""
        total = dict(self._counted)
        for worker in self.workers.values():
            add_counts(total, worker.counts())
        return total

    def threads(self) -> Mapping[str, int]:
        """WSGI threads that run a request, by state, of all running workers; empty if no worker shows any."""
        counts: Counter[str] = Counter()
        for worker in self.workers.values():
            counts.update(worker.threads())
        return counts

    def in_flight(self) -> int:
        """The number of requests in flight in the workers."""
        return sum(worker.in_flight() for worker in self.workers.values())
