"""Backends: the configuration of what answers a request.

``KINDS`` has one row for each kind of backend: the keys that select it, the keys that belong to it, and what every
process must know of it. ``backends/kinds.py`` names the module in which a kind answers requests.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Annotated, Literal, cast

from sidegate.config import values
from sidegate.config.model import Integer, Model, camel, model, setting
from sidegate.config.pool import MAX_THREADS, PoolConfig
from sidegate.config.rules import After
from sidegate.config.upstream import Addresses, Queue, TcpAddresses, UpstreamTls

THREADS = 4
"""Default of ``threads`` in a process that runs a WSGI application."""

Choice = Literal["auto", "on", "off"]

FilePath = Annotated[str, After(values.file_path)]
HeaderValue = Annotated[str, After(values.header_value)]


@model
class Header(Model):
    """A response header."""

    name: Annotated[str, After(values.response_header_name)] = setting(description="Name, lower-cased.")
    value: HeaderValue = setting(description="Value, in ASCII.")


@model
class Respond(Model):
    """A fixed response."""

    status: Integer = setting(default=200, ge=200, le=599, description="Status code.")
    headers: tuple[Header, ...] = setting(default=(), description="Further headers, in order.")
    body: str = setting(default="", description="Body, sent as UTF-8.")
    content_type: HeaderValue = setting(default="text/plain; charset=utf-8", description="`content-type` of a body.")

    def __post_init__(self) -> None:
        if self.status in (204, 205, 304) and self.body:
            raise ValueError(f"a response with status {self.status} has no body (RFC 9110 6.4.1)")


@model
class BackendConfig(Model):
    """What responds to a request: exactly one of `app`, `respond`, `h2c` and `h2`."""

    app: Annotated[str, After(values.application)] | None = setting(
        default=None,
        description="ASGI or WSGI application: `module:attribute`; `()` calls a factory. Without `pool` it runs in the "
        "fronts' own processes.",
    )
    interface: Literal["auto", "asgi", "wsgi"] = setting(
        default="auto",
        description="How `app` is called: `auto` inspects it to tell ASGI 3, ASGI 2 and WSGI (PEP 3333) apart; "
        "`sidegate check` prints the result.",
    )
    threads: Integer | None = setting(
        default=None,
        ge=1,
        le=MAX_THREADS,
        description="Threads that run a WSGI application in each front's own process, one request each; further "
        "requests wait in `queue`. By default 4. With `pool`, set `threads` there.",
    )
    directory: FilePath | None = setting(default=None, description="Folder put first on the import path of `app`.")
    root_path: Annotated[str, After(values.root_path)] = setting(
        default="",
        description="Where the application is mounted, without a closing `/`: ASGI `root_path`, WSGI `SCRIPT_NAME`.",
    )
    lifespan: Choice = setting(
        default="auto", description="ASGI lifespan: `auto` does without it if the application does not support it."
    )
    pool: PoolConfig | None = setting(default=None, description="Worker processes that run `app`.")
    respond: Respond | None = setting(default=None, description="A fixed response.")
    h2c: Addresses = setting(
        default=(),
        description="A server that speaks cleartext HTTP/2 by prior knowledge, such as `sidegate worker`: "
        "`unix:/path`, `tcp://host:port`, or a list of them. A name stands for all its addresses.",
    )
    h2: TcpAddresses = setting(
        default=(), description="A server that speaks HTTP/2 over TLS: `tcp://host:port`, or a list of them."
    )
    tls: UpstreamTls | None = setting(
        default=None, description="How the server certificate of `h2` is verified, and the client certificate."
    )
    queue: Queue = setting(
        default=Queue(),
        description="Where requests wait for `pool`, `h2c` and `h2`, and for the threads of a WSGI application. "
        "Requests to an ASGI application in the front's own process do not wait.",
    )
    body_buffering: Choice = setting(
        default="auto",
        description="Whether a request's body is read to its end before the request takes a thread or a worker: the "
        "first 64 KiB into memory, more into a file in `tempDirectory`. Then slow uploads occupy nothing, and "
        "`content-length` is always known. `auto`: for WSGI applications, also those of `sidegate worker`. nginx: on.",
    )
    response_buffering: Choice = setting(
        default="auto",
        description="Whether the part of a response that a slow client has not taken is kept, so that the thread and "
        "the worker are free when the application has finished: 1 MiB in memory, then up to 64 MiB in a file in "
        "`tempDirectory`; beyond that the application waits. Nothing is delayed. `X-Accel-Buffering: no` in a response "
        "turns it off. `auto`: for WSGI applications, also those of `sidegate worker`. nginx: on.",
    )

    def __post_init__(self) -> None:
        keys = dict.fromkeys(kind.key for kind in KINDS.values())
        if sum(map(self._has, keys)) != 1:
            raise ValueError(f"needs exactly one of {_listed(keys)}")
        kind = KINDS[self.kind]
        found = [*_foreign_keys(self, kind), *kind.contradictions(self)]
        if found:
            raise ValueError("; ".join(found))

    def _has(self, key: str) -> bool:
        return getattr(self, key) not in (None, ())

    @property
    def kind(self) -> str:
        """The name of its kind in ``KINDS``."""
        return next(name for name, kind in KINDS.items() if all(map(self._has, kind.selected_by)))

    @property
    def may_have_threads(self) -> bool:
        """Whether a front may run its application on threads; ASGI or WSGI may be known only after the import."""
        return KINDS[self.kind].queued == "wsgi" and self.interface != "asgi"

    @property
    def may_queue(self) -> bool:
        """Whether requests may wait in its ``queue``."""
        return KINDS[self.kind].queued == "always" or self.may_have_threads

    def describe(self) -> str:
        """One line for the start-up summary, ``sidegate check`` and ``/status``."""
        return KINDS[self.kind].describe(self)


@dataclasses.dataclass(frozen=True, slots=True)
class BackendKind:
    """What every process must know of a kind of backend; a row of ``KINDS``.

    ``selected_by``: the fields that select the kind if all of them are set; messages name the kind by the first.
    ``keys``: the other fields that belong to it. ``describe``: one line. ``contradictions``: reports fields that
    contradict each other. ``queued``: whether requests wait in ``queue``; ``wsgi``: if the application is a WSGI one.
    """

    selected_by: tuple[str, ...]
    keys: tuple[str, ...]
    describe: Callable[[BackendConfig], str]
    contradictions: Callable[[BackendConfig], Iterable[str]] = lambda _: ()
    queued: Literal["never", "always", "wsgi"] = "never"

    @property
    def key(self) -> str:
        """The first of ``selected_by``. A backend has exactly one of all these keys."""
        return self.selected_by[0]


def lacks_lifespan(interface: str, lifespan: str) -> bool:
    """Whether the lifespan is required, which WSGI does not have; ``interface``: declared, or found by the import."""
    return interface == "wsgi" and lifespan == "on"


def _listed(words: Iterable[str]) -> str:
    *others, last = map(repr, words)
    return f"{', '.join(others)} and {last}" if others else last


def _foreign_keys(backend: BackendConfig, own: BackendKind) -> Iterator[str]:
    """Report keys that were set and belong to another kind of backend."""
    for field in dataclasses.fields(BackendConfig):
        homes = dict.fromkeys(kind.key for kind in KINDS.values() if field.name in (*kind.selected_by, *kind.keys))
        if own.key not in homes and getattr(backend, field.name) != field.default:
            yield f"{camel(field.name)!r} belongs to {_listed(homes)}, not to {own.key!r}"


def _app_contradictions(backend: BackendConfig) -> Iterator[str]:
    if backend.interface == "asgi" and backend.threads:
        yield "'threads' are for WSGI applications, but 'interface' is asgi"
    if backend.interface == "asgi" and backend.queue != Queue():
        yield "'queue' has no effect: requests do not wait for an ASGI application in the front's own process"
    yield from _lifespan_contradiction(backend)


def _pool_contradictions(backend: BackendConfig) -> Iterator[str]:
    pool = cast(PoolConfig, backend.pool)
    if backend.threads is not None:
        yield "'threads' belongs in 'pool', whose workers run the application"
    elif backend.interface == "asgi" and pool.threads:
        yield "'threads' are for WSGI applications, but 'interface' is asgi"
    yield from _lifespan_contradiction(backend)


def _lifespan_contradiction(backend: BackendConfig) -> Iterator[str]:
    if lacks_lifespan(backend.interface, backend.lifespan):
        yield "'lifespan: on' needs an ASGI application, but 'interface' is wsgi"


def _describe_pool(backend: BackendConfig) -> str:
    workers = cast(PoolConfig, backend.pool).workers
    count = str(workers.max) if workers.min == workers.max else f"{workers.min} to {workers.max}"
    return f"{backend.app}, {count} worker{'' if workers.max == 1 else 's'}"


def _repeated_addresses(key: str, backend: BackendConfig) -> Iterator[str]:
    addresses: tuple[str, ...] = getattr(backend, key)
    return (f"{key!r} names {one!r} twice" for one in sorted(set(addresses)) if addresses.count(one) > 1)


def _describe_addresses(key: str, backend: BackendConfig) -> str:
    return ", ".join(f"{key} {address}" for address in getattr(backend, key))


_BUFFERING_KEYS = ("body_buffering", "response_buffering")
_APPLICATION_KEYS = ("interface", "threads", "directory", "root_path", "lifespan", "queue", *_BUFFERING_KEYS)

KINDS = {
    "pool": BackendKind(
        selected_by=("app", "pool"),
        keys=_APPLICATION_KEYS,
        describe=_describe_pool,
        contradictions=_pool_contradictions,
        queued="always",
    ),
    "app": BackendKind(
        selected_by=("app",),
        keys=_APPLICATION_KEYS,
        describe=lambda backend: str(backend.app),
        contradictions=_app_contradictions,
        queued="wsgi",
    ),
    "respond": BackendKind(
        selected_by=("respond",),
        keys=(),
        describe=lambda backend: f"responds {cast(Respond, backend.respond).status}",
    ),
    "h2c": BackendKind(
        selected_by=("h2c",),
        keys=("queue", *_BUFFERING_KEYS),
        describe=partial(_describe_addresses, "h2c"),
        contradictions=partial(_repeated_addresses, "h2c"),
        queued="always",
    ),
    "h2": BackendKind(
        selected_by=("h2",),
        keys=("tls", "queue", *_BUFFERING_KEYS),
        describe=partial(_describe_addresses, "h2"),
        contradictions=partial(_repeated_addresses, "h2"),
        queued="always",
    ),
}
"""The kinds of backend, by name. A backend has the first kind that its fields select, so ``pool`` is before ``app``."""
