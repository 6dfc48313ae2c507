"""The transport of a connection that has closed its sending side and drops what the peer still sends.

A connection that closed its socket at once would destroy what the peer has not yet read: the kernel answers late bytes
with a RST. The connection swaps its transport for this one; ``timeouts.py`` bounds how long it lingers.
"""

from __future__ import annotations

import asyncio
from typing import Any


class LingeringTransport:
    """The loop's transport without its sending side: what is written to it is dropped, as by a closed transport.

    An application may still read a body, which gives the peer credit.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        """Close the sending side when all output is written."""
        self._transport = transport
        transport.resume_reading()  # the peer's end has to be read too
        try:
            transport.write_eof()
        except OSError:  # asyncio's own loop: the peer has reset the connection
            transport.abort()

    def write(self, data: bytes) -> None:
        """Drop it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
