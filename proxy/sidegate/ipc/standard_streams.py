"""Opens the descriptors 0 to 2 if this process was started without them (``sidegate serve … 2>&-``).

The command line calls it first. Else a socket of the service would get one of these numbers, and the access log or a
traceback would be written into it. The processes that this one starts inherit them.
"""

from __future__ import annotations

import os
import sys

_STREAMS = ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w"))


def open_missing() -> None:
    """Open /dev/null in place of each descriptor that is closed, and make the stream that Python left out for it."""
    for number, name, mode in _STREAMS:
        if not _is_open(number):
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one
        if getattr(sys, name) is None:
            stream = open(number, mode, closefd=False)  # noqa: SIM115 - a descriptor, for the process's life
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
