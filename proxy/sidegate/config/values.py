"""The rules for single values: names, host names, paths, header fields, networks, applications.

Every function takes the text as written and returns it normalised; it raises ValueError with a predicate that completes
the sentence "``<path>``: …".
"""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from sidegate.config.address import Address, check_name, parse_address, parse_upstream, upstream_text

if TYPE_CHECKING:
    from pydantic import ValidationInfo

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,62}\$?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOSTNAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_FIELD_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # RFC 9110 5.5 allows a tab inside a value


def name(text: str) -> str:
    """A name of a listener, backend or route, which becomes a metric label and part of messages."""
    if not _NAME.fullmatch(text):
        raise ValueError(
            f"must be 1 to 63 letters, digits, '-', '_' or '.', a letter or digit at each end, not {text!r}"
        )
    return text


def hostname(text: str) -> str:
    """A host name as in Gateway API ``Hostname``: exact, or ``*.`` and a suffix; in lower case."""
    host = text.lower()
    if re.fullmatch(r"[0-9.]+|.*\[.*|.*:.*:.*", host):
        raise ValueError(f"must be a host name, not the IP address {text!r}; leave hostnames out to match any host")
    if ":" in host or "/" in host:
        raise ValueError(f"must be a host name without scheme, port and path, not {text!r}")
    check_name(text)
    if host == "*":
        raise ValueError("must be a host name or a wildcard such as *.example.com; leave hostnames out to match any")
    if not _HOSTNAME.fullmatch(host):
        raise ValueError(f"must be a host name such as www.example.com or *.example.com, not {text!r}")
    return host


def path(text: str) -> str:
    """A path that routes compare with the decoded, normalised path of a request."""
    if text.startswith(("^", "~")):
        raise ValueError(f"must be a path that starts with '/'; regular expressions are not supported, not {text!r}")
    if not text.startswith("/"):
        raise ValueError(f"must start with '/', not {text!r}")
    if "%" in text:
        raise ValueError(f"must be written decoded, without '%': routes match the decoded path, not {text!r}")
    if "?" in text or "#" in text:
        raise ValueError(f"must be a path only; match a query by queryParams, not {text!r}")
    if _CONTROL.search(text):
        raise ValueError(f"must not contain control characters, not {text!r}")
    if "//" in text or {".", ".."} & set(text.split("/")):
        raise ValueError(f"must be normalised, without '//', '.' or '..' elements, not {text!r}")
    return text


def root_path(text: str) -> str:
    """ASGI ``root_path``: empty, or a path without a closing slash."""
    if text and (text.endswith("/") or path(text) != text):
        raise ValueError(f"must be empty or a path without a closing '/', such as /shop, not {text!r}")
    return text


def header_name(text: str) -> str:
    """A field name (RFC 9110 5.1), in lower case as in HTTP/2 and ASGI."""
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"must be a header name of letters, digits and '-', not {text!r}")
    return text.lower()


def header_pattern(text: str) -> str:
    """A field name as in ``header_name``, or the beginning of names, with ``*`` at its end."""
    return header_name(text.removesuffix("*")) + text[len(text.removesuffix("*")) :]


def header_value(text: str) -> str:
    """A field value (RFC 9110 5.5): ASCII, because no charset is agreed for other characters."""
    if not text.isascii() or _FIELD_CONTROL.search(text) or text != text.strip(" \t"):
        raise ValueError(f"must be ASCII without control characters or spaces at its ends, not {text!r}")
    return text


_FRAMING = frozenset(
    ["connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"]
)


def response_header_name(text: str) -> str:
    """A header that a fixed answer may have: Sidegate itself sets framing and hop-by-hop fields."""
    lowered = header_name(text)
    if lowered in _FRAMING:
        raise ValueError(f"must not be {lowered!r}: Sidegate frames the response itself")
    if lowered == "content-type":
        raise ValueError("must not be 'content-type': write it as contentType beside headers")
    return lowered


def method(text: str) -> str:
    """A request method (RFC 9110 9.1); methods are case-sensitive."""
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"must be a method such as GET or POST, not {text!r}")
    if text != text.upper():
        raise ValueError(f"must be in capitals: did you mean {text.upper()!r}?")
    if text in ("CONNECT", "TRACE"):
        raise ValueError(f"must not be {text}: Sidegate refuses such requests, so the route would never match")
    return text


def query_name(text: str) -> str:
    """The decoded name of a query parameter."""
    if not text:
        raise ValueError("must not be empty")
    return text


def network(text: str) -> str:
    """A CIDR block, or one address as a block of its own, normalised; or ``unix`` for peers on unix sockets."""
    if text == "unix":
        return text
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        wanted = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"must be an address block such as 10.0.0.0/8 or fd00::/8, not {text!r}") from None
    raise ValueError(f"{text!r} has bits set beyond its prefix: did you mean {str(wanted)!r}?")


def application(text: str) -> str:
    """``module:attribute``, the attribute dotted, ``()`` at its end for a factory."""
    module, colon, attribute = text.partition(":")
    attribute = attribute.removesuffix("()")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
        raise ValueError(f"must be module:attribute, such as shop.asgi:app or shop:create_app(), not {text!r}")
    return text


def address(text: str, info: ValidationInfo) -> str:
    """A listening address, normalised; a relative unix path is resolved like every other path."""
    if text.startswith("unix:") and text != "unix:" and not text[5:].isdecimal():
        text = f"unix:{file_path(text[5:], info)}"
    return str(parse_address(text))


def upstream(text: str, info: ValidationInfo) -> str:
    """The address of a server, normalised: ``unix:/path`` or ``tcp://host:port``."""
    return upstream_text(_upstream(text, info))


def tcp_upstream(text: str, info: ValidationInfo) -> str:
    """``tcp://host:port``, normalised."""
    address = _upstream(text, info)
    if address.kind == "unix":
        raise ValueError(f"must be an address such as tcp://host:8443: a unix socket needs no TLS, write h2c: {text}")
    return upstream_text(address)


def _upstream(text: str, info: ValidationInfo) -> Address:
    if text.startswith("unix:") and text != "unix:" and not text.startswith("unix://"):
        text = f"unix:{file_path(text[5:], info)}"
    return parse_upstream(text)


def server_name(text: str) -> str:
    """A name or IP address against which a certificate is verified."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        pass
    else:
        if "%" in text:
            raise ValueError(f"must be without a zone, not {text!r}: certificates have none")
        return str(address)
    host = hostname(text)
    if host.startswith("*."):
        raise ValueError(f"must be one host name, not the wildcard {text!r}")
    return host


def executable(text: str) -> str:
    """An executable Python interpreter. Symbolic links are kept: Python finds its virtual environment by them."""
    if Path(text).is_file() and os.access(text, os.X_OK):
        return text
    if Path(text).is_dir():
        inside = os.path.join(text, "bin", "python")  # noqa: PTH118 - text stays text
        hint = f"; did you mean {inside!r}?" if os.access(inside, os.X_OK) else ""
        raise ValueError(f"must be a Python interpreter, and {text!r} is a folder{hint}")
    if Path(text).exists():
        raise ValueError(f"must be a Python interpreter, and {text!r} is not executable")
    import shutil  # noqa: PLC0415 - fronts have no mistakes to explain

    known = shutil.which(Path(text).name)
    hint = f"; did you mean {known!r}?" if known else ""
    raise ValueError(f"must be a Python interpreter, and there is no file {text!r}{hint}")


def account(text: str) -> str:
    """A user or group, by name or number; whether it exists is checked when workers start."""
    if not _ACCOUNT.fullmatch(text):
        raise ValueError(f"must be a name such as www-data or a number in quotes, not {text!r}")
    return text


def variable_name(text: str) -> str:
    """The name of an environment variable, as shells and systemd accept it."""
    if not _VARIABLE.fullmatch(text):
        raise ValueError(f"must be the name of a variable: letters, digits and '_', no digit first, not {text!r}")
    return text


def variable_value(text: str) -> str:
    """The value of an environment variable: any text without NUL, which the kernel uses as its end."""
    if "\0" in text:
        raise ValueError("must not contain a NUL character")
    return text


def usable_cpus() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def file_path(text: str, info: ValidationInfo) -> str:
    """A path of this machine, joined to the folder of the config file if the loader gives one."""
    if not text or "\0" in text:
        raise ValueError("must be the path of a file or folder")
    folder = (info.context or {}).get("folder")
    return os.path.normpath(Path(folder, text)) if folder else text


def unix_mode(value: object, info: ValidationInfo) -> object:
    """Permission bits from octal digits in quotes; Python code may pass the number itself."""
    if isinstance(value, int) and not isinstance(value, bool) and info.mode == "json":
        raise ValueError(f'must be octal digits in quotes, such as "{value:04d}", not a bare number')
    if isinstance(value, str):
        if not re.fullmatch("0?[0-7]{3}", value):
            raise ValueError(f'must be octal digits such as "0660", not {value!r}')
        return int(value, 8)
    return value
