"""The forms of a listening address, in one parser, so that the address that was checked is the one that is bound.

===================  ====================================================================
``0.0.0.0:8443``     one IPv4 address
``[::1]:8443``       one IPv6 address
``:8443``            every address of the machine, IPv4 and IPv6
``localhost:8080``   every address that the name resolves to, when the socket is bound
``unix:/run/a.sock`` a unix socket
``fd:3``             an inherited file descriptor
``systemd:NAME``     sockets passed by systemd under that FileDescriptorName; ``systemd:`` alone: all of them
===================  ====================================================================

Port 0 requests any free port.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal

UNIX_PATH_BYTES = 107
"""``sun_path`` has 108 bytes on Linux; the terminating NUL takes one of them (unix(7))."""

LABEL_LENGTH = 63
NAME_LENGTH = 253
"""Characters of a label and of a whole host name (RFC 1035 2.3.4, in text). No resolver looks longer ones up."""

_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_-]+)*\.?")
_ZONE = re.compile(r"(?!.*\.\.)[!-~]{1,15}")  # the name or the number of an interface (IFNAMSIZ)
_UPSTREAM = re.compile(r"tcp://([^/\s]*):([0-9]{1,5})")
_UPSTREAM_FORMS = "such as unix:/run/app.sock or tcp://127.0.0.1:8000"
_FORMS = "such as 127.0.0.1:8080, [::1]:8080, :8080, localhost:8080, unix:/path, fd:3 or systemd:NAME"


@dataclass(frozen=True, slots=True)
class Address:
    """One parsed address. Fields that do not belong to its ``kind`` have their defaults."""

    kind: Literal["tcp", "unix", "fd", "systemd"]
    host: str = ""
    """For ``tcp``: IPv4, IPv6 (no brackets) or a name; empty for every address of the machine."""
    port: int = 0
    path: str = ""
    fd: int = -1
    name: str = ""
    """For ``systemd``: the FileDescriptorName; empty for all sockets."""

    def __str__(self) -> str:
        """The form that ``parse_address`` reads, normalised."""
        if self.kind == "unix":
            return f"unix:{self.path}"
        if self.kind == "fd":
            return f"fd:{self.fd}"
        if self.kind == "systemd":
            return f"systemd:{self.name}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Parse one address. Raises ValueError with a sentence that describes the mistake."""
    scheme, colon, rest = text.partition(":")
    if scheme == "unix" and colon and not rest.isdecimal():
        return _unix(rest)
    if scheme == "fd" and colon:
        if not re.fullmatch("[0-9]{1,7}", rest):
            raise ValueError(f"must be fd: and the number of an inherited descriptor, such as fd:3, not {text!r}")
        return Address("fd", fd=int(rest))
    if scheme == "systemd" and colon:
        return Address("systemd", name=rest)
    return _tcp(text)


def parse_upstream(text: str) -> Address:
    """Parse the address of a server: ``unix:/path`` or ``tcp://host:port``. Raises ValueError with a sentence."""
    if text.startswith("unix:") and not text.startswith("unix://"):
        return _unix(text[5:])
    match = _UPSTREAM.fullmatch(text)
    if not match:
        raise ValueError(f"must be an address {_UPSTREAM_FORMS}, not {text!r}{_upstream_hint(text)}")
    if not match[1]:
        raise ValueError(f"must name a host before the port, such as tcp://127.0.0.1:{match[2]}, not {text!r}")
    if not 0 < int(match[2]) <= 65535:
        raise ValueError(f"the port must be a number from 1 to 65535, not {match[2]!r}")
    return Address("tcp", host=_host(match[1], text, _UPSTREAM_FORMS), port=int(match[2]))


def upstream_text(address: Address) -> str:
    """The form that ``parse_upstream`` reads, normalised."""
    return str(address) if address.kind == "unix" else f"tcp://{address}"


def _upstream_hint(text: str) -> str:
    """The advice for a path, a URL, or a host and port without a scheme."""
    if text.startswith(("/", "unix:")):
        path = text.removeprefix("unix:").lstrip("/")
        return f"; did you mean 'unix:/{path}'?" if path else ""
    meant = "tcp://" + re.sub("^([a-z][a-z0-9]*://|tcp:/?)", "", text).rstrip("/")
    return f"; did you mean {meant!r}?" if _UPSTREAM.fullmatch(meant) else ""


def _unix(path: str) -> Address:
    if not path or "\0" in path:
        raise ValueError("must name a path after unix:, such as unix:/run/sidegate/http.sock")
    length = len(path.encode())
    if length > UNIX_PATH_BYTES:
        raise ValueError(f"the path of a unix socket may have {UNIX_PATH_BYTES} bytes, {path!r} has {length}")
    return Address("unix", path=path)


def _tcp(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon or "/" in text:
        raise ValueError(f"must be an address {_FORMS}, not {text!r}")
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(f"the port must be a number from 0 to 65535, not {port!r}")
    return Address("tcp", host=_host(host, text, _FORMS), port=int(port))


def _host(host: str, text: str, forms: str) -> str:
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if bare != host or ":" in host:
        if bare == host:
            raise ValueError(f"write an IPv6 address in brackets, such as [::1]:8080, not {text!r}")
        return str(_ip(bare, 6, text))
    if re.fullmatch("[0-9.]+", host):
        return str(_ip(host, 4, text))
    if host and host.isascii() and not _HOST_NAME.fullmatch(host):
        raise ValueError(f"must be an address {forms}, not {text!r}")
    check_name(host)
    return host.lower()


def check_name(host: str) -> None:
    """Check that a name can be looked up, as far as its characters and lengths decide it.

    :raises ValueError: it cannot; a sentence that describes the mistake.
    """
    if not host.isascii():
        raise ValueError(f"must be in ASCII: write {host!r} in its xn-- form")
    long = next((label for label in host.split(".") if len(label) > LABEL_LENGTH), "")
    if long:
        raise ValueError(f"a label of a host name may have {LABEL_LENGTH} characters, {long!r} has {len(long)}")
    if len(host.removesuffix(".")) > NAME_LENGTH:
        raise ValueError(f"a host name may have {NAME_LENGTH} characters, {host!r} has {len(host)}")


def _ip(host: str, version: int, text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    _, percent, zone = host.partition("%")
    try:
        if percent and not _ZONE.fullmatch(zone):
            raise ValueError
        return ipaddress.IPv4Address(host) if version == 4 else ipaddress.IPv6Address(host)
    except ValueError:
        raise ValueError(f"{host!r} in {text!r} is not an IPv{version} address") from None
