"""Listeners: addresses, TLS, protocols."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from sidegate.config import values
from sidegate.config.limits import ListenerLimits, ListenerTimeouts
from sidegate.config.model import Boolean, Integer, Model, model, setting
from sidegate.config.rules import After, Before, Strict
from sidegate.config.websocket import WebSocketConfig

Name = Annotated[str, After(values.name)]
Address = Annotated[str, After(values.address)]
Account = Annotated[str, After(values.account)]
FilePath = Annotated[str, After(values.file_path)]
TlsEngineName = Literal["auto", "openssl", "ssl"]
CipherSuite = Literal[
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
]
"""Those with forward secrecy and authenticated encryption (RFC 9325 4.2)."""
UnixMode = Annotated[
    int,
    Strict(),
    Before(
        values.unix_mode,
        json_schema={"type": "string", "pattern": "^0?[0-7]{3}$", "examples": ["0660"]},
        write=lambda mode: f"{mode:04o}",
    ),
]


@model
class Certificate(Model):
    """A certificate chain with its private key."""

    cert: FilePath = setting(description="PEM file: the certificate, then its intermediates.")
    key: FilePath = setting(description="PEM file: the private key, not encrypted.")
    ocsp_staple: FilePath | None = setting(
        default=None,
        description="DER file: the OCSP response of the certificate, which clients that ask for it get with the "
        "handshake. It is read again within a minute after it has changed. Only the TLS engine `openssl` can do that.",
    )


@model
class ClientCertificates(Model):
    """Whether clients must send a certificate (mutual TLS)."""

    mode: Literal["none", "optional", "required"] = setting(
        default="required",
        description="`required` rejects a handshake without one; `optional` verifies one if the client sends it.",
    )
    ca: FilePath | None = setting(
        default=None, description="PEM file: the authorities that may issue client certificates."
    )

    def __post_init__(self) -> None:
        if self.mode != "none" and self.ca is None:
            raise ValueError(f"mode {self.mode!r} needs 'ca', the file of the authorities to verify against")


@model
class Tls(Model):
    """TLS of one listener: either certificates or a self-signed one for development."""

    certificates: tuple[Certificate, ...] = setting(
        default=(), description="Selected by the client's server name (SNI): exact, then wildcard, then the first."
    )
    self_signed: Boolean = setting(
        default=False,
        description="Create a certificate for localhost and 127.0.0.1 once and reuse it. For development only.",
    )
    client_certificates: ClientCertificates | None = setting(
        default=None, description="Request a certificate from clients."
    )
    min_version: Literal["1.2", "1.3"] = setting(default="1.2", description="Lowest TLS version that is accepted.")
    cipher_suites: tuple[CipherSuite, ...] = setting(
        default=(),
        description="Cipher suites in the order of preference, by their names at IANA. A version of TLS of which none "
        "is named keeps its default: AES-128-GCM first in TLS 1.3. Only the TLS engine `openssl` can do that.",
    )
    curves: tuple[Literal["x25519", "secp256r1", "secp384r1", "secp521r1", "x448"], ...] = setting(
        default=(),
        description="Groups of the key exchange in the order of preference, by their names at IANA. By default those "
        "of OpenSSL. Only the TLS engine `openssl` can do that.",
    )

    def __post_init__(self) -> None:
        if bool(self.certificates) == self.self_signed:
            raise ValueError("needs either 'certificates' or 'selfSigned: true'")


@model
class ListenerConfig(Model):
    """One service address, or several with the same settings."""

    short_forms: ClassVar = {"address": ("addresses", 0)}

    name: Name = setting(description="Names the listener in messages and metric labels.")
    addresses: tuple[Address, ...] = setting(
        min_length=1,
        description="Where to listen: `0.0.0.0:8443`, `[::]:8443`, `:8443` (every address), `localhost:8080`, "
        "`unix:/path`, `fd:3`, `systemd:NAME`. Short form: `address` with one of them.",
    )
    mode: UnixMode | None = setting(
        default=None, description='Permissions of a unix socket, in octal and quotes: `"0660"`.'
    )
    group: Account | None = setting(
        default=None,
        description="Group of a unix socket, by name or number; Sidegate must be root or in the group. By default "
        "Sidegate's own, or the folder's if that is set-group-ID.",
    )
    backlog: Integer = setting(
        default=2048, ge=1, le=65535, description="Connections that the kernel queues until Sidegate accepts them."
    )
    tls: Tls | None = setting(default=None, description="Without it, the listener accepts cleartext connections.")
    protocols: tuple[Literal["h2", "http/1.1"], ...] = setting(
        default=("h2", "http/1.1"),
        min_length=1,
        description="Offered by ALPN in this order; on a cleartext listener `h2` is accepted with prior knowledge.",
    )
    proxy_protocol: Boolean = setting(
        default=False,
        description="Whether a load balancer in `trustedProxies` sends a PROXY header (version 1 or 2) before each "
        "connection, which names the client and its TLS. Connections of such peers without it are refused. Any other "
        "peer is an ordinary client, whose header would be a bad request.",
    )
    https_redirect: Boolean = setting(
        default=False,
        description="Whether requests in cleartext get 308 to `https://` with the same host, path and query. The "
        "location has the port of the first TLS listener if the request came to a port in `addresses`; otherwise "
        "something has mapped the ports, and the location has none (443). Not redirected: requests that came to a "
        "proxy in `trustedProxies` by https, and routes whose paths are all below `/.well-known/acme-challenge`. With "
        "`tls`: whether a client that speaks plain HTTP to this port gets 308, with the same host and port, instead of "
        "400.",
    )
    limits: ListenerLimits = setting(
        default=ListenerLimits(), description="Limits of its connections, where they differ from the top level's."
    )
    timeouts: ListenerTimeouts = setting(
        default=ListenerTimeouts(), description="Timeouts of its connections, where they differ from the top level's."
    )
    websocket: WebSocketConfig = setting(default=WebSocketConfig(), description="WebSockets of its connections.")

    def __post_init__(self) -> None:
        for key in ("mode", "group"):
            if getattr(self, key) is not None and not any(address.startswith("unix:") for address in self.addresses):
                raise ValueError(f"{key!r} is for unix sockets, and none of the addresses is one")
