"""What a connection's session of nghttp2 holds."""

from __future__ import annotations

import mmap
import platform
import subprocess
import sys

import pytest

from tests.support import http2 as c

ENGINES = 500
MOST = 7 * 1024
"""Bytes for each engine: 4.4 KiB were measured, and 10.4 where the buffer keeps the pages of a hole."""

# A TLS handshake leaves such holes in the heap. Its pages count as resident until they are given back.
PROGRAM = f"""
import ctypes, pathlib, resource
from sidegate.wire.http2 import EngineSettings, load_engine
settings = EngineSettings(
    concurrent_streams=10, stream_window=65_535, header_fields=100, header_block=32_768, continuation_frames=8
)
create = load_engine("nghttp2").create
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

kept = [create(settings) for _ in range(20)]
holes = []
for _ in range({ENGINES}):
    holes.append(libc.malloc(16400))
    ctypes.memset(holes[-1], 1, 16400)
    libc.malloc(2000)  # keeps two holes apart
for hole in holes:
    libc.free(hole)
before = resident()
kept += [create(settings) for _ in range({ENGINES})]
print((resident() - before) / {ENGINES})
"""


@pytest.mark.skipif("nghttp2" not in c.ENGINES, reason="the binding of nghttp2 was not built")
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="where malloc puts a block is glibc's")
@pytest.mark.skipif(mmap.PAGESIZE > 4096, reason="the buffer has no whole page")
def test_the_buffer_for_frames_takes_memory_only_where_it_was_written() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert float(done.stdout) < MOST
