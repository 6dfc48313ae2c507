"""The WSGI application in asgiref's wrapper, for servers that run ASGI only.

Imported by name, as everything here is: in the environment of the peers.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

asgiref: Any = import_module("asgiref.wsgi")
plain: Any = import_module("plain_wsgi")

app = asgiref.WsgiToAsgi(plain.app)
