"""Backends: what answers a request."""

from __future__ import annotations

from typing import Annotated, Literal

from proxy.config import values
from proxy.config.model import Integer, Model, model, setting
from proxy.config.rules import After

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
    """What answers a request: exactly one of `app` and `respond`."""

    app: Annotated[str, After(values.application)] | None = setting(
        default=None,
        description="ASGI application in the proxy's own process: `module:attribute`; `()` calls a factory.",
    )
    directory: FilePath | None = setting(default=None, description="Folder put first on the import path of `app`.")
    root_path: Annotated[str, After(values.root_path)] = setting(
        default="", description="ASGI `root_path`: where the application is mounted, without a closing `/`."
    )
    lifespan: Literal["auto", "on", "off"] = setting(
        default="auto", description="ASGI lifespan: `auto` goes on without it if the application does not know it."
    )
    respond: Respond | None = setting(default=None, description="A fixed answer instead of an application.")

    def __post_init__(self) -> None:
        if (self.app is None) == (self.respond is None):
            raise ValueError("needs exactly one of 'app' and 'respond'")
        if self.respond and (self.directory or self.root_path or self.lifespan != "auto"):
            raise ValueError("'directory', 'rootPath' and 'lifespan' belong to 'app', not to 'respond'")
