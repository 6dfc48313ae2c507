"""Backends: what answers a request."""

from __future__ import annotations

from typing import Annotated, Literal

from proxy.config import values
from proxy.config.model import Integer, Model, model, setting
from proxy.config.pool import Pool
from proxy.config.rules import After
from proxy.config.upstream import Addresses, Queue, TcpAddresses, UpstreamTls

FilePath = Annotated[str, After(values.file_path)]
HeaderValue = Annotated[str, After(values.header_value)]


@model
class Header(Model):
    """A response header."""

    name: Annotated[str, After(values.response_header_name)] = setting(description="Name, lower-cased.")
    value: HeaderValue = setting(description="Value, in ASCII.")


@model
class Respond(Model):
    """A fixed answer."""

    status: Integer = setting(default=200, ge=200, le=599, description="Status code.")
    headers: tuple[Header, ...] = setting(default=(), description="Further headers, in order.")
    body: str = setting(default="", description="Body, sent as UTF-8.")
    content_type: HeaderValue = setting(default="text/plain; charset=utf-8", description="`content-type` of a body.")

    def __post_init__(self) -> None:
        if self.status in (204, 205, 304) and self.body:
            raise ValueError(f"a response with status {self.status} has no body (RFC 9110 6.4.1)")


@model
class Backend(Model):
    """What answers a request: exactly one of `app`, `respond`, `h2c` and `h2`."""

    app: Annotated[str, After(values.application)] | None = setting(
        default=None,
        description="ASGI application: `module:attribute`; `()` calls a factory. Without `pool` it runs in the fronts' "
        "own processes.",
    )
    directory: FilePath | None = setting(default=None, description="Folder put first on the import path of `app`.")
    root_path: Annotated[str, After(values.root_path)] = setting(
        default="", description="ASGI `root_path`: where the application is mounted, without a closing `/`."
    )
    lifespan: Literal["auto", "on", "off"] = setting(
        default="auto", description="ASGI lifespan: `auto` goes on without it if the application does not know it."
    )
    pool: Pool | None = setting(default=None, description="Worker processes that run `app`.")
    respond: Respond | None = setting(default=None, description="A fixed answer.")
    h2c: Addresses = setting(
        default=(),
        description="A server that speaks cleartext HTTP/2 by prior knowledge, such as `sidegate worker`: "
        "`unix:/path`, `tcp://host:port`, or a list of them. A name stands for all its addresses.",
    )
    h2: TcpAddresses = setting(
        default=(), description="A server that speaks HTTP/2 over TLS: `tcp://host:port`, or a list of them."
    )
    tls: UpstreamTls | None = setting(default=None, description="How `h2` is verified, and what is shown to it.")
    queue: Queue = setting(default=Queue(), description="Where requests wait for `pool`, `h2c` and `h2`.")

    def __post_init__(self) -> None:
        kinds = [key for key in ("app", "respond", "h2c", "h2") if getattr(self, key) not in (None, ())]
        if len(kinds) != 1:
            raise ValueError("needs exactly one of 'app', 'respond', 'h2c' and 'h2'")
        (kind,) = kinds
        if kind != "app" and (self.directory or self.root_path or self.lifespan != "auto"):
            raise ValueError(f"'directory', 'rootPath' and 'lifespan' belong to 'app', not to {kind!r}")
        if kind != "app" and self.pool:
            raise ValueError(f"'pool' belongs to 'app', not to {kind!r}")
        if kind != "h2" and self.tls:
            raise ValueError(f"'tls' belongs to 'h2', not to {kind!r}")
        if self.queue != Queue() and (kind == "respond" or (kind == "app" and not self.pool)):
            raise ValueError("'queue' belongs to 'pool', 'h2c' and 'h2': nothing waits for what a front runs itself")
        for address in {*self.h2c, *self.h2}:
            if (self.h2c + self.h2).count(address) > 1:
                raise ValueError(f"{kind!r} names {address!r} twice")
