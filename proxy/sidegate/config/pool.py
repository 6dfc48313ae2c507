"""Pools: how many worker processes run a backend's application, how each is set up, and when one is replaced."""

from __future__ import annotations

from typing import Annotated

from sidegate.config import values
from sidegate.config.listeners import Account, FilePath, UnixMode
from sidegate.config.model import Boolean, Integer, Model, model, setting
from sidegate.config.quantities import Duration, Size
from sidegate.config.rules import After, Before

DAY = 86400.0
MAX_WORKERS = 1024

MAX_THREADS = 1024
"""The maximum for one process; an application that needs more should have more processes."""

USUAL_JITTER = 10
"""In percent; see ``PoolConfig.recycle_jitter``."""


def _expand_workers(data: object) -> object:
    if data == "auto":
        data = values.usable_cpus()
    if isinstance(data, int) and not isinstance(data, bool):
        if not 1 <= data <= MAX_WORKERS:
            raise ValueError(f"must be 1 to {MAX_WORKERS} workers, not {data}")
        return {"min": data, "max": data}
    if not isinstance(data, dict | WorkerCount):
        written = f", not {data!r}" if isinstance(data, str) else ""
        raise ValueError(f"must be a whole number, auto, or a mapping with 'min' and 'max'{written}")
    return data


@model
class WorkerCount(Model):
    """How many worker processes a pool has."""

    min: Integer = setting(default=1, ge=1, le=MAX_WORKERS, description="Workers that always run.")
    max: Integer = setting(
        ge=1,
        le=MAX_WORKERS,
        description="Most workers; they are started one after the other while requests wait in the queue.",
    )
    idle_timeout: Duration = setting(
        default=60.0,
        ge=0.001,
        le=DAY,
        description="A worker above `min` is stopped when the others alone would have been enough for this time.",
    )

    def __post_init__(self) -> None:
        if self.min > self.max:
            raise ValueError(f"'min' must not be above 'max', and {self.min} is above {self.max}")


@model
class WorkerLimits(Model):
    """Resource limits of one worker, enforced by the kernel (`setrlimit`)."""

    open_files: Integer | None = setting(
        default=None,
        ge=64,
        le=2**20,
        description="Open files and sockets, RLIMIT_NOFILE; by default the limit of Sidegate itself.",
    )
    memory: Size | None = setting(
        default=None,
        ge=32 * 1024**2,
        le=64 * 1024**4,
        description="Data and private writable memory, RLIMIT_DATA; above it Python raises MemoryError.",
    )


@model
class Reload(Model):
    """For development: replace the workers when the code changes."""

    watch: tuple[FilePath, ...] = setting(
        min_length=1,
        description="Files and folders, checked once a second; in folders all Python files, at any depth.",
    )


@model
class PoolConfig(Model):
    """Worker processes that run a backend's application, instead of the fronts."""

    workers: Annotated[WorkerCount, Before(_expand_workers)] = setting(
        default=WorkerCount(max=1),
        description="Number of workers. Short form: a whole number; `auto` is one for each CPU this process may use.",
    )
    concurrency: Integer = setting(
        default=100,
        ge=1,
        le=100_000,
        description="Requests in flight in one worker of an ASGI application; further requests wait in the backend's "
        "`queue`. The fronts share it evenly; each front has at least one.",
    )
    threads: Integer | None = setting(
        default=None,
        ge=1,
        le=MAX_THREADS,
        description="Threads of each worker that run a WSGI application, one request each; the counterpart of "
        "`concurrency`. By default 4.",
    )
    python: Annotated[FilePath, After(values.executable)] | None = setting(
        default=None,
        description="Interpreter of the workers, such as `/srv/shop/.venv/bin/python`: CPython 3.11 or newer, with the "
        "application's packages; Sidegate need not be installed there. By default the interpreter of Sidegate.",
    )
    directory: FilePath | None = setting(
        default=None, description="Working folder of the workers, also put first on the import path."
    )
    env: dict[Annotated[str, After(values.variable_name)], Annotated[str, After(values.variable_value)]] = setting(
        default_factory=dict, description="Environment variables, added to those of Sidegate and of `envFile`."
    )
    env_file: FilePath | None = setting(
        default=None,
        description="File of `KEY=VALUE` lines in the format of systemd's EnvironmentFile, read when a worker starts.",
    )
    user: Account | None = setting(
        default=None, description="User, by name or number, that the workers run as; needs root."
    )
    group: Account | None = setting(
        default=None,
        description="Group, by name or number, that the workers run as; needs root. By default the user's own groups.",
    )
    umask: UnixMode | None = setting(
        default=None, description='Permissions that are removed from new files, in octal and quotes: `"0027"`.'
    )
    nice: Integer = setting(
        default=0, ge=-20, le=19, description="Added to the niceness of Sidegate; below 0 needs root."
    )
    limits: WorkerLimits = setting(
        default=WorkerLimits(), description="Resource limits of one worker, enforced by the kernel."
    )
    start_timeout: Duration = setting(
        default=60.0,
        ge=0.001,
        le=DAY,
        description="How long a worker may take to import the application and run its startup before it is killed.",
    )
    stop_timeout: Duration = setting(
        default=30.0,
        ge=0,
        le=DAY,
        description="How long a replaced worker may take to finish its requests and its shutdown; then they are "
        "aborted. When Sidegate itself stops, `gracePeriod` applies.",
    )
    max_requests: Integer = setting(
        default=0,
        ge=0,
        le=1_000_000_000,
        description="Requests after which a worker is replaced, 0 for no limit; for applications that leak memory.",
    )
    max_age: Duration = setting(
        default=0.0, ge=0, le=365 * DAY, description="Age at which a worker is replaced, 0s for no limit."
    )
    max_memory: Size = setting(
        default=0,
        ge=0,
        le=64 * 1024**4,
        description="Resident memory (RSS) above which a worker is replaced, 0 for no limit. It is checked once a "
        "second; set a hard limit in `limits`.",
    )
    recycle_jitter: Integer = setting(
        default=USUAL_JITTER,
        ge=0,
        le=90,
        description="Percent of `maxRequests` and `maxAge` that are subtracted at random for each worker, so that "
        "workers are not replaced all at once.",
    )
    liveness_timeout: Duration = setting(
        default=30.0,
        ge=0,
        le=DAY,
        description="How long the event loop of a worker may be blocked, 0s for no limit. A worker that is blocked for "
        "longer writes the stacks of its threads to stderr, is killed and is replaced.",
    )
    preload: Boolean = setting(
        default=False,
        description="Import the application once and fork the workers from that process: they start faster and share "
        "memory. The import must not start threads or open connections.",
    )
    reload: Reload | None = setting(default=None, description="Replace the workers when files change.")

    def __post_init__(self) -> None:
        if self.recycle_jitter != USUAL_JITTER and not (self.max_requests or self.max_age):
            raise ValueError("'recycleJitter' is a part of 'maxRequests' and 'maxAge', and neither is set")
        if self.limits.memory is not None and self.max_memory >= self.limits.memory:
            raise ValueError(
                "'maxMemory' must be below 'limits.memory', or a worker runs out of memory before it is replaced"
            )
