"""Lets a process print the stacks of all its threads on standard error when a fatal signal ends it.

``faulthandler`` does so, and moves every signal handler of Python to a signal stack of its own, because that of the
thread may be exhausted. It has room for a few handlers. Signals that arrive together are handled within each other,
each with a frame that holds the registers of the processor: six of them overflow it on x86-64 with AVX-512, and fewer
where there are more registers. That ends the process or overwrites its memory. So this module replaces the stack by one
that all signals fit on.
"""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import sys

STDERR = 2

STACK_SIZE = 1024 * 1024
"""Bytes for 64 signals. Memory that is never written takes none."""


class _Stack(ctypes.Structure):
    """``stack_t`` of sigaltstack(2), as Linux defines it."""

    _fields_ = (("pointer", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def print_stacks() -> None:
    """Print the stacks on SIGABRT, SIGSEGV, SIGBUS, SIGFPE and SIGILL. Call it in the main thread."""
    faulthandler.enable(STDERR)
    if sys.platform == "linux":
        _enlarge_signal_stack()


def _enlarge_signal_stack() -> None:
    """Does nothing if the system has no memory for it. It is not freed: a signal may arrive until the process ends."""
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    pointer = libc.mmap(None, STACK_SIZE, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
    if pointer != ctypes.c_void_p(-1).value:
        libc.sigaltstack(ctypes.byref(_Stack(pointer, 0, STACK_SIZE)), None)
