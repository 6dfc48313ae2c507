"""The environ of one request (PEP 3333, "environ Variables"), made from its ASGI scope.

It is called in a request's thread. All values were checked before: the path is the one that the route map matched, and
the header policy has dropped header names with underscores. It raises no error.

PEP 3333 requires text in which each character represents one byte (latin-1). ``PATH_INFO`` therefore comes from
``raw_path``, which has the client's bytes; in ``path``, bytes that are not UTF-8 may have been replaced.
"""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import unquote_to_bytes

from sidegate.asgi import Scope
from sidegate.caches import remember

Environ = dict[str, Any]

HTTP_VERSIONS = {"1.0": "HTTP/1.0", "1.1": "HTTP/1.1", "2": "HTTP/2.0"}
"""RFC 3875 4.1.16 requires a digit after the point; nginx, Apache httpd and gunicorn do the same."""

TLS_VERSIONS = {0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}
"""Version number of the ASGI TLS extension -> name in Apache httpd's ``SSL_PROTOCOL``."""

DEFAULT_PORTS = {"http": "80", "https": "443"}

REMEMBERED = 1024
"""Largest number of header names whose key is cached."""

_KEYS_OF_THEIR_OWN = {"CONTENT_TYPE": "CONTENT_TYPE", "CONTENT_LENGTH": "CONTENT_LENGTH", "PROXY": ""}

_keys: dict[bytes, str] = {}


def base_environ(multithread: bool, multiprocess: bool) -> Environ:
    """Make the variables that are the same for all requests of one process."""
    return {
        "wsgi.version": (1, 0),
        "wsgi.multithread": multithread,
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "SERVER_SOFTWARE": "sidegate",
    }


def make_environ(scope: Scope, base: Environ) -> Environ:
    """Make a new environ; ``wsgi.input``, ``wsgi.errors`` and ``wsgi.early_hints`` are added later."""
    environ = base.copy()
    raw_path, root_path = scope["raw_path"], scope["root_path"]
    raw, query = raw_path.decode("latin-1"), scope["query_string"].decode("latin-1")
    path = unquote_to_bytes(raw_path).decode("latin-1") if "%" in raw else raw
    environ["REQUEST_METHOD"] = scope["method"]
    environ["SCRIPT_NAME"], environ["PATH_INFO"] = _mounted(root_path, path) if root_path else ("", path)
    environ["QUERY_STRING"] = query
    environ["REQUEST_URI"] = f"{raw}?{query}" if query else raw
    environ["SERVER_PROTOCOL"] = HTTP_VERSIONS[scope["http_version"]]
    environ["wsgi.url_scheme"] = scheme = scope["scheme"]
    if scheme == "https":
        environ["HTTPS"] = "on"
    client = scope["client"]
    environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = (client[0], str(client[1])) if client else ("", "")
    for name, value in scope["headers"]:
        key = _keys.get(name) or _new_key(name)
        if key in environ:
            environ[key] += ("; " if key == "HTTP_COOKIE" else ", ") + value.decode("latin-1")
        elif key:
            environ[key] = value.decode("latin-1")
    _add_server(environ, scope)
    if "tls" in scope["extensions"]:
        _add_tls(environ, scope["extensions"]["tls"])
    return environ


def _mounted(root_path: str, path: str) -> tuple[str, str]:
    """SCRIPT_NAME and PATH_INFO. If the path is not below ``root_path``, a proxy in front has removed that prefix."""
    root = root_path.encode("utf-8").decode("latin-1")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return root, path[len(root) :]
    return root, path


def _new_key(name: bytes) -> str:
    """The key of a header field. ``proxy`` has none: HTTP_PROXY is read as a setting (CVE-2016-5385, "httpoxy")."""
    text = name.decode("latin-1").upper().replace("-", "_")
    key = _KEYS_OF_THEIR_OWN.get(text, f"HTTP_{text}")
    remember(_keys, name, sys.intern(key), REMEMBERED)
    return key


def _add_server(environ: Environ, scope: Scope) -> None:
    """PEP 3333: neither name nor port may be empty. A unix socket has none, so the request's host is used."""
    server = scope["server"]
    if server is not None and server[1] is not None:
        environ["SERVER_NAME"], environ["SERVER_PORT"] = server[0], str(server[1])
        return
    host, _, port = environ.get("HTTP_HOST", "").rpartition(":")
    if not port.isdecimal():
        host, port = environ.get("HTTP_HOST", ""), DEFAULT_PORTS[scope["scheme"]]
    environ["SERVER_NAME"], environ["SERVER_PORT"] = host or "localhost", port


def _add_tls(environ: Environ, tls: dict[str, Any]) -> None:
    """PEP 3333 asks for Apache httpd's variables if TLS is in use."""
    version = TLS_VERSIONS.get(tls["tls_version"])
    if version is not None:
        environ["SSL_PROTOCOL"] = version
    chain, name, error = tls["client_cert_chain"], tls["client_cert_name"], tls["client_cert_error"]
    if error:
        environ["SSL_CLIENT_VERIFY"] = f"FAILED:{error}"
        return
    environ["SSL_CLIENT_VERIFY"] = "SUCCESS" if chain or name else "NONE"
    if chain:
        environ["SSL_CLIENT_CERT"] = chain[0]
    if chain or name:  # a proxy that ended TLS may have told the name only
        environ["SSL_CLIENT_S_DN"] = name or ""
