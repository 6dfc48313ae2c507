"""Every module imports on its own, first in its process, and importing it does nothing but import."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

from tests.layout.modules import modules

# Run in one fresh interpreter: each module is imported with no other module of the package loaded before it.
PROBE = """
import importlib, sys, threading
for name in sys.argv[1:]:
    for loaded in [m for m in sys.modules if m == "sidegate" or m.startswith("sidegate.")]:
        # The extension module keeps C state and may be loaded only once in a process.
        if not hasattr(sys.modules[loaded], "__file__") or (sys.modules[loaded].__file__ or "").endswith(".py"):
            del sys.modules[loaded]
    importlib.import_module(name)
    assert threading.active_count() == 1, f"{name} starts a thread when imported"
"""


NEEDS = {"sidegate.server.tls.openssl_engine": "sidegate.server.tls.openssl"}
"""Modules that are imported only where a binding was built, and the binding."""


def test_every_module_imports_first() -> None:
    names = [name for name in modules() if not name.endswith("__main__") and find_spec(NEEDS.get(name, name))]
    command = [sys.executable, "-W", "error", "-c", PROBE, *names]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "", "importing prints"
