"""The environ of one request (PEP 3333, "environ Variables"), made from its ASGI scope.

Where it stands: called on a request's thread. Everything in it was judged before: the path is the one that the route
map saw, header names with underscores are gone. No error leaves it.

PEP 3333 wants text that stands for bytes, one character for one byte (latin-1). ``PATH_INFO`` therefore comes from
``raw_path``: its bytes are the client's, where ``path`` may have replaced what is no UTF-8.
"""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import unquote_to_bytes

from sidegate.asgi import Scope

Environ = dict[str, Any]

HTTP_VERSIONS = {"1.0": "HTTP/1.0", "1.1": "HTTP/1.1", "2": "HTTP/2.0"}
"""RFC 3875 4.1.16 wants a digit behind the point, as nginx, Apache httpd and gunicorn have it."""

TLS_VERSIONS = {0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}
"""Numbers of the ASGI TLS extension, by the names of Apache httpd's ``SSL_PROTOCOL``."""

DEFAULT_PORTS = {"http": "80", "https": "443"}

REMEMBERED = 1024
"""Header names whose key is remembered, at most."""

_KEYS_OF_THEIR_OWN = {"CONTENT_TYPE": "CONTENT_TYPE", "CONTENT_LENGTH": "CONTENT_LENGTH", "PROXY": ""}

_keys: dict[bytes, str] = {}


def base_environ(multithread: bool, multiprocess: bool) -> Environ:
    """What is the same for every request of one process."""
    return {
        "wsgi.version": (1, 0),
        "wsgi.multithread": multithread,
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "SERVER_SOFTWARE": "sidegate",
    }


def make_environ(scope: Scope, base: Environ) -> Environ:
    """A fresh environ, but for ``wsgi.input``, ``wsgi.errors`` and what sends something."""
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
        key = _keys.get(name) or _remember(name)
        if key in environ:
            environ[key] += ("; " if key == "HTTP_COOKIE" else ", ") + value.decode("latin-1")
        elif key:
            environ[key] = value.decode("latin-1")
    _add_server(environ, scope)
    if "tls" in scope["extensions"]:
        _add_tls(environ, scope["extensions"]["tls"])
    return environ


def _mounted(root_path: str, path: str) -> tuple[str, str]:
    """SCRIPT_NAME and PATH_INFO. A path that is not below ``root_path`` has lost that in front of us."""
    root = root_path.encode("utf-8").decode("latin-1")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return root, path[len(root) :]
    return root, path


def _remember(name: bytes) -> str:
    """The key of a header field. ``proxy`` has none: HTTP_PROXY is taken for a setting (CVE-2016-5385, "httpoxy")."""
    text = name.decode("latin-1").upper().replace("-", "_")
    key = _KEYS_OF_THEIR_OWN.get(text, f"HTTP_{text}")
    if len(_keys) >= REMEMBERED:
        _keys.clear()
    _keys[name] = sys.intern(key)
    return key


def _add_server(environ: Environ, scope: Scope) -> None:
    """PEP 3333: neither name nor port may be empty. A unix socket has none, so what the client calls us counts."""
    server = scope["server"]
    if server is not None and server[1] is not None:
        environ["SERVER_NAME"], environ["SERVER_PORT"] = server[0], str(server[1])
        return
    host, _, port = environ.get("HTTP_HOST", "").rpartition(":")
    if not port.isdecimal():
        host, port = environ.get("HTTP_HOST", ""), DEFAULT_PORTS[scope["scheme"]]
    environ["SERVER_NAME"], environ["SERVER_PORT"] = host or "localhost", port


def _add_tls(environ: Environ, tls: dict[str, Any]) -> None:
    """PEP 3333 asks for Apache httpd's variables where TLS is in use."""
    version = TLS_VERSIONS.get(tls["tls_version"])
    if version is not None:
        environ["SSL_PROTOCOL"] = version
    chain = tls["client_cert_chain"]
    environ["SSL_CLIENT_VERIFY"] = "SUCCESS" if chain else "NONE"
    if chain:
        environ["SSL_CLIENT_CERT"] = chain[0]
        environ["SSL_CLIENT_S_DN"] = tls["client_cert_name"] or ""
