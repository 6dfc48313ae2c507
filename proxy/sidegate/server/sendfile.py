"""Writes to a socket without its transport, for sendfile(2).

Each connection has one, and reports to it when the transport has room and when the transport is lost. It writes only
while the transport has nothing to write, so bytes keep their order.
"""

from __future__ import annotations

import asyncio

from sidegate.server.files import OpenFile
from sidegate.server.messages import bad_message


class SendfileWriter:
    """At most one ``write`` at a time: it is used for the one response that HTTP/1.1 has in flight."""

    __slots__ = ("_lost", "_notified", "_writing")

    def __init__(self) -> None:
        self._lost = self._writing = False
        self._notified: asyncio.Future[None] | None = None

    def tell(self, lost: bool) -> None:
        """Note that the transport has room again, or is lost."""
        self._lost = self._lost or lost
        if self._notified is not None and not self._notified.done():
            self._notified.set_result(None)

    async def write(self, transport: asyncio.Transport, file: OpenFile, stall: float) -> None:
        """Write the file's ``sendable`` bytes.

        :raises OSError: the socket's; TimeoutError if the peer takes nothing for ``stall`` seconds.
        :raises ExchangeError: 500; the file's, or the application sends two files at once.
        """
        if self._writing:
            raise bad_message("a file while another one is sent")
        self._writing = True
        try:
            await self._write(transport, file, stall)
        finally:
            self._writing = False

    async def _write(self, transport: asyncio.Transport, file: OpenFile, stall: float) -> None:
        loop = asyncio.get_running_loop()
        while transport.get_write_buffer_size() and not self._lost:
            self._notified = loop.create_future()
            await self._notified
        if self._lost or transport.is_closing():  # then its descriptor may belong to another connection
            raise ConnectionAbortedError("the connection was closed")
        self._notified = loop.create_future()  # from here on only its loss is reported
        await file.send_to(transport.get_extra_info("socket").fileno(), stall, self._notified)
