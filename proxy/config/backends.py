"""Backends: what answers a request."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from proxy.config import values
from proxy.config.model import Integer, Model

FilePath = Annotated[str, AfterValidator(values.file_path)]
HeaderValue = Annotated[str, AfterValidator(values.header_value)]


class Header(Model):
    """A response header."""

    name: Annotated[str, AfterValidator(values.response_header_name)] = Field(description="Name, lower-cased.")
    value: HeaderValue = Field(description="Value, in ASCII.")


class Respond(Model):
    """A fixed answer."""

    status: Integer = Field(default=200, ge=200, le=599, description="Status code.")
    headers: tuple[Header, ...] = Field(default=(), description="Further headers, in order.")
    body: str = Field(default="", description="Body, sent as UTF-8.")
    content_type: HeaderValue = Field(default="text/plain; charset=utf-8", description="`content-type` of a body.")

    @model_validator(mode="after")
    def _body_allowed(self) -> Respond:
        if self.status in (204, 205, 304) and self.body:
            raise ValueError(f"a response with status {self.status} has no body (RFC 9110 6.4.1)")
        return self


class Backend(Model):
    """What answers a request: exactly one of `app` and `respond`."""

    app: Annotated[str, AfterValidator(values.application)] | None = Field(
        default=None,
        description="ASGI application in the proxy's own process: `module:attribute`; `()` calls a factory.",
    )
    directory: FilePath | None = Field(default=None, description="Folder put first on the import path of `app`.")
    root_path: Annotated[str, AfterValidator(values.root_path)] = Field(
        default="", description="ASGI `root_path`: where the application is mounted, without a closing `/`."
    )
    lifespan: Literal["auto", "on", "off"] = Field(
        default="auto", description="ASGI lifespan: `auto` goes on without it if the application does not know it."
    )
    respond: Respond | None = Field(default=None, description="A fixed answer instead of an application.")

    @model_validator(mode="after")
    def _one_kind(self) -> Backend:
        if (self.app is None) == (self.respond is None):
            raise ValueError("needs exactly one of 'app' and 'respond'")
        if self.respond and (self.directory or self.root_path or self.lifespan != "auto"):
            raise ValueError("'directory', 'rootPath' and 'lifespan' belong to 'app', not to 'respond'")
        return self
