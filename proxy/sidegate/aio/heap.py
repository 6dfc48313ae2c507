"""Gives memory that was freed back to the system after a burst of connections.

glibc's ``free`` shrinks the heap only at its end. One block there that stays in use keeps all that was freed before it:
20 KiB for each connection of HTTP/2, 45 KiB for each TLS handshake, and large messages, which it takes from the heap
once the first of them was freed. ``malloc_trim`` returns whole pages in between. It takes milliseconds, so it is called
only when much more is free than it left the last time (Envoy: ``shrink_heap``).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final

PERIOD: Final = 5.0
"""Seconds between two looks."""

STEP: Final = 8 * 2**20
"""Bytes; so many more have to be free."""


class Heap:
    """The C library's heap of this process. ``check`` is called at every tick of the clock."""

    def __init__(self, free_bytes: Callable[[], int], trim: Callable[[], object]) -> None:
        """``free_bytes``: of the heap, also those whose pages were given back."""
        self._free_bytes = free_bytes
        self._trim = trim
        self._looked = 0.0
        self._left: int | None = None  # the fewest bytes that were free since the last call of trim

    def check(self, now: float) -> None:
        """Look from time to time; ``now``: the loop's time."""
        if now - self._looked < PERIOD:
            return
        self._looked = now
        free = self._free_bytes()
        if self._left is None or free < self._left:
            self._left = free
        elif free > self._left + STEP:
            self._trim()
            self._left = self._free_bytes()


def glibc_heap() -> Heap | None:
    """The heap of this process; None for another C library. musl keeps little."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "malloc_trim"):
        return None
    # glibc before 2.33 has only the numbers of 32 bits.
    name, number = ("mallinfo2", ctypes.c_size_t) if hasattr(library, "mallinfo2") else ("mallinfo", ctypes.c_uint)
    mallinfo = getattr(library, name)
    mallinfo.restype = _mallinfo(number)
    return Heap(lambda: int(mallinfo().fordblks), lambda: library.malloc_trim(ctypes.c_size_t(0)))


def _mallinfo(number: type[ctypes.c_size_t | ctypes.c_uint]) -> type[ctypes.Structure]:
    """``struct mallinfo`` or ``struct mallinfo2`` (``man mallinfo``)."""
    names = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    return type("Mallinfo", (ctypes.Structure,), {"_fields_": [(name, number) for name in names]})
