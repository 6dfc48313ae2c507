"""Writing to a socket past its transport, for sendfile(2).

Where it stands: one for each connection, which tells it when the transport has room and when it is lost. It writes
only while the transport has nothing to write, so bytes keep their order. Errors: OSError, as the socket raises it.
"""

from __future__ import annotations

import asyncio
import os

from sidegate.server.files import OpenFile


class SendfileWriter:
    """At most one ``write`` at a time: it is used for the one response that HTTP/1.1 has under way."""

    __slots__ = ("_lost", "_told")

    def __init__(self) -> None:
        self._lost = False
        self._told: asyncio.Future[None] | None = None

    def tell(self, lost: bool) -> None:
        """The transport has room again, or is lost."""
        self._lost = self._lost or lost
        if self._told is not None and not self._told.done():
            self._told.set_result(None)

    async def write(self, transport: asyncio.Transport, file: OpenFile, stall: float) -> None:
        """Write the file's range. Raises TimeoutError if the peer takes nothing for ``stall`` seconds."""
        loop = asyncio.get_running_loop()
        while transport.get_write_buffer_size() and not self._lost:
            self._told = loop.create_future()
            await self._told
        if self._lost:
            raise ConnectionAbortedError("the connection was closed")
        self._told = loop.create_future()  # from here on only its loss can be told
        # A descriptor of our own: the transport's number belongs to another connection as soon as it is closed.
        sock = os.dup(transport.get_extra_info("socket").fileno())
        try:
            await file.splice_to(sock, stall, self._told)
        finally:
            os.close(sock)
