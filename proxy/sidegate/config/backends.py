"""Backends: the configuration of what answers a request."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Annotated, Literal

from sidegate.config import values
from sidegate.config.model import Integer, Model, camel, model, setting
from sidegate.config.pool import MAX_THREADS, PoolConfig
from sidegate.config.rules import After
from sidegate.config.upstream import Addresses, Queue, TcpAddresses, UpstreamTls

THREADS = 4
"""Default of ``threads`` in a process that runs a WSGI application."""

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
    lifespan: Literal["auto", "on", "off"] = setting(
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

    def __post_init__(self) -> None:
        kinds = [key for key in ("app", "respond", "h2c", "h2") if getattr(self, key) not in (None, ())]
        if len(kinds) != 1:
            raise ValueError("needs exactly one of 'app', 'respond', 'h2c' and 'h2'")
        (kind,) = kinds
        addresses = self.h2c + self.h2
        found = [
            *_foreign_keys(self, kind),
            *_contradictions(self),
            *(f"{kind!r} names {one!r} twice" for one in sorted(set(addresses)) if addresses.count(one) > 1),
        ]
        if found:
            raise ValueError("; ".join(found))


def lacks_lifespan(interface: str, lifespan: str) -> bool:
    """Whether the lifespan is required, which WSGI does not have; ``interface``: declared, or found by the import."""
    return interface == "wsgi" and lifespan == "on"


_HOMES = {
    "interface": ("app",),
    "threads": ("app",),
    "directory": ("app",),
    "root_path": ("app",),
    "lifespan": ("app",),
    "pool": ("app",),
    "tls": ("h2",),
    "queue": ("app", "h2c", "h2"),
}
"""The kinds of backend to which a key belongs."""


def _foreign_keys(backend: BackendConfig, kind: str) -> Iterator[str]:
    """Report keys that were set and belong to another kind of backend."""
    for field in dataclasses.fields(BackendConfig):
        homes = _HOMES.get(field.name, (kind,))
        if kind not in homes and getattr(backend, field.name) != field.default:
            *others, last = map(repr, homes)
            words = f"{', '.join(others)} and {last}" if others else last
            yield f"{camel(field.name)!r} belongs to {words}, not to {kind!r}"


def _contradictions(backend: BackendConfig) -> Iterator[str]:
    """Report settings of an ASGI application that were made for a WSGI application, and the reverse."""
    if backend.app is None:
        return
    if backend.threads is not None and backend.pool is not None:
        yield "'threads' belongs in 'pool', whose workers run the application"
    elif backend.interface == "asgi" and (backend.threads or (backend.pool and backend.pool.threads)):
        yield "'threads' are for WSGI applications, but 'interface' is asgi"
    if backend.interface == "asgi" and backend.pool is None and backend.queue != Queue():
        yield "'queue' has no effect: requests do not wait for an ASGI application in the front's own process"
    if lacks_lifespan(backend.interface, backend.lifespan):
        yield "'lifespan: on' needs an ASGI application, but 'interface' is wsgi"
