"""Keeps the read buffers of idle TLS connections off memory that was used before.

uvloop gives every TLS connection a read buffer of 256 KiB, of which an idle one has touched a page or two. The rest
would cost nothing if it were fresh. But malloc takes it from the end of the heap, where the memory is that the
handshake before has used and freed, so each idle connection would hold some 22 KiB without need. A block of the same
size, allocated just before and freed just after, covers that memory meanwhile; the next handshake uses it again.

Tried and dropped: a mapping for each buffer (mallopt's M_MMAP_THRESHOLD) has the same effect, but also maps the bytes
of large uploads, at twice their CPU time; malloc_trim takes milliseconds if an application has left a fragmented heap.
This module raises nothing.
"""

from __future__ import annotations

import asyncio
import ctypes

READ_BUFFER = 256 * 1024
"""uvloop's SSL_READ_MAX_SIZE, and asyncio's, which zeroes its buffers and so gains nothing here."""

_libc = ctypes.CDLL(None)
_libc.malloc.restype = ctypes.c_void_p
_libc.malloc.argtypes = [ctypes.c_size_t]
_libc.free.restype = None
_libc.free.argtypes = [ctypes.c_void_p]


def cover_used(loop: asyncio.AbstractEventLoop) -> None:
    """Hold one block until the running step of ``loop`` has ended."""
    loop.call_soon(_libc.free, _libc.malloc(READ_BUFFER))
