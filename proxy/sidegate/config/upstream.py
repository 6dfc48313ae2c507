"""Third-party servers: their TLS, and the queue before any target that takes requests from the fronts."""

from __future__ import annotations

from typing import Annotated

from sidegate.config import values
from sidegate.config.listeners import FilePath
from sidegate.config.model import Integer, Model, model, setting
from sidegate.config.quantities import Duration
from sidegate.config.rules import After, Before


def _listed(data: object) -> object:
    if isinstance(data, str):
        return [data]
    if not isinstance(data, list | tuple):
        raise ValueError("must be an address such as unix:/run/app.sock or tcp://127.0.0.1:8000, or a list of them")
    return data


Addresses = Annotated[tuple[Annotated[str, After(values.upstream)], ...], Before(_listed)]
TcpAddresses = Annotated[tuple[Annotated[str, After(values.tcp_upstream)], ...], Before(_listed)]


@model
class UpstreamTls(Model):
    """TLS connections to a server, whose certificate is always verified."""

    ca: FilePath | None = setting(
        default=None,
        description="PEM file: the authorities that may issue the server certificate; by default the system's.",
    )
    cert: FilePath | None = setting(
        default=None, description="PEM file: the client certificate, then its intermediates."
    )
    key: FilePath | None = setting(default=None, description="PEM file: the private key of `cert`, not encrypted.")
    server_name: Annotated[str, After(values.server_name)] | None = setting(
        default=None,
        description="Server name that is sent (SNI) and verified; by default the host of the address.",
    )

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ValueError("'cert' and 'key' belong together: one of them is missing")


@model
class Queue(Model):
    """The requests that wait in a front for a free worker or thread. Further requests, and late ones, get 503."""

    size: Integer = setting(
        default=1000,
        ge=0,
        le=1_000_000,
        description="Requests that may wait in one front process; with 0 no request waits. haproxy: no limit unless "
        "`maxqueue` sets one.",
    )
    timeout: Duration = setting(
        default=10.0,
        ge=0.001,
        le=3600,
        description="Longest wait; then the request gets 503 with `Retry-After`. haproxy: `timeout queue`, usually 5s "
        "or more.",
    )
