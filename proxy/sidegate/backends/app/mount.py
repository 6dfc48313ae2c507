"""Where an application is mounted: the key ``rootPath`` of a backend.

Both kinds of backend in a process call it if they have a ``rootPath``. It raises no error.
"""

from __future__ import annotations

from sidegate.asgi import Scope
from sidegate.wire.target import merge_slashes


def mount(scope: Scope, root_path: str) -> None:
    """Set ``root_path``, and hand over the path with which it can be compared: repeated slashes are merged.

    The application cuts ``root_path`` off, and the route map has found ``//shop/cart`` below ``/shop``.
    """
    scope["root_path"] = root_path
    scope["path"], scope["raw_path"] = merge_slashes(scope["path"], scope["raw_path"])
