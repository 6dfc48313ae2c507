"""Listeners: addresses, TLS, protocols."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from proxy.config import values
from proxy.config.model import Boolean, Integer, Model

Name = Annotated[str, AfterValidator(values.name)]
Address = Annotated[str, AfterValidator(values.address)]
FilePath = Annotated[str, AfterValidator(values.file_path)]
UnixMode = Annotated[
    Integer,
    BeforeValidator(values.unix_mode),
    PlainSerializer(lambda mode: f"{mode:04o}", return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": "^0?[0-7]{3}$", "examples": ["0660"]}),
]


class Certificate(Model):
    """A certificate chain with its private key."""

    cert: FilePath = Field(description="PEM file: the certificate, then its intermediates.")
    key: FilePath = Field(description="PEM file: the private key, not encrypted.")


class ClientCertificates(Model):
    """Whether clients must show a certificate (mutual TLS)."""

    mode: Literal["none", "optional", "required"] = Field(
        default="required",
        description="`required` refuses a handshake without one; `optional` verifies one if it is shown.",
    )
    ca: FilePath | None = Field(
        default=None, description="PEM file: the authorities that client certificates must come from."
    )

    @model_validator(mode="after")
    def _ca_given(self) -> ClientCertificates:
        if self.mode != "none" and self.ca is None:
            raise ValueError(f"mode {self.mode!r} needs 'ca', the file of the authorities to verify against")
        return self


class Tls(Model):
    """TLS of one listener: either certificates or a self-signed one for development."""

    certificates: tuple[Certificate, ...] = Field(
        default=(), description="Chosen by the name the client asks for (SNI): exact, then wildcard, then the first."
    )
    self_signed: Boolean = Field(
        default=False,
        description="Make a certificate for localhost and 127.0.0.1 once and keep it. For development only.",
    )
    client_certificates: ClientCertificates | None = Field(default=None, description="Ask clients for a certificate.")
    min_version: Literal["1.2", "1.3"] = Field(default="1.2", description="Oldest TLS version accepted.")

    @model_validator(mode="after")
    def _one_source(self) -> Tls:
        if bool(self.certificates) == self.self_signed:
            raise ValueError("needs either 'certificates' or 'selfSigned: true'")
        return self


class Listener(Model):
    """One service address, or several with the same settings."""

    short_forms: ClassVar = {"address": ("addresses", 0)}

    name: Name = Field(description="Names the listener in messages and metric labels.")
    addresses: tuple[Address, ...] = Field(
        min_length=1,
        description="Where to listen: `0.0.0.0:8443`, `[::]:8443`, `:8443` (every address), `localhost:8080`, "
        "`unix:/path`, `fd:3`, `systemd:NAME`. Short form: `address` with one of them.",
    )
    mode: UnixMode | None = Field(
        default=None, description='Permissions of a unix socket, in octal and quotes: `"0660"`.'
    )
    backlog: Integer = Field(
        default=2048, ge=1, le=65535, description="Connections the kernel queues before they are taken."
    )
    tls: Tls | None = Field(default=None, description="Without it, the listener speaks cleartext.")
    protocols: tuple[Literal["h2", "http/1.1"], ...] = Field(
        default=("h2", "http/1.1"),
        min_length=1,
        description="Offered by ALPN in this order; on a cleartext listener `h2` is taken by prior knowledge.",
    )

    @model_validator(mode="after")
    def _mode_has_a_socket(self) -> Listener:
        if self.mode is not None and not any(address.startswith("unix:") for address in self.addresses):
            raise ValueError("'mode' is for unix sockets, and none of the addresses is one")
        return self
