"""The block that covers used memory while a TLS connection gets its read buffer."""

from __future__ import annotations

import asyncio
import ctypes
import sys

import pytest

from sidegate.server.tls.read_buffer import READ_BUFFER, cover_used


class Statistics(ctypes.Structure):
    """glibc's ``struct mallinfo2``."""

    _fields_ = (
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks")),
        *((name, ctypes.c_size_t) for name in ("fsmblks", "uordblks", "fordblks", "keepcost")),
    )


def in_use() -> int:
    statistics = ctypes.CDLL(None).mallinfo2
    statistics.restype = Statistics
    found = statistics()
    return int(found.uordblks + found.hblkhd)


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="asks glibc")
def test_it_is_held_for_one_step_of_the_loop() -> None:
    async def steps() -> list[int]:
        used = [in_use()]
        cover_used(asyncio.get_running_loop())
        used.append(in_use())
        await asyncio.sleep(0)
        return [*used, in_use()]

    before, held, after = asyncio.run(steps())
    assert held - before >= READ_BUFFER
    assert after - before < READ_BUFFER
