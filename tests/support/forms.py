"""Which form of the compiled modules the tests run: their sources, or what was compiled from them."""

from __future__ import annotations

import os
from pathlib import Path

SETTING = "SIDEGATE_NO_EXTENSIONS"


def choose() -> None:
    """Run the sources in this process, unless the variable is set. Call it before anything imports ``sidegate``.

    Set, but empty, it means the compiled modules. Processes that tests start choose as an operator's would; but where
    the compiled modules are out of date they too run the sources, without a message in every output.
    """
    if SETTING in os.environ:
        return
    os.environ[SETTING] = "1"
    from sidegate import compiled  # noqa: PLC0415 - it takes the variable as it is now

    if not compiled.stale(Path(compiled.__file__).parent):
        del os.environ[SETTING]
