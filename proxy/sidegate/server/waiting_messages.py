"""The memory of decoded WebSocket messages that wait for their applications, in all WebSockets of one process.

Each process has one ``WaitingMessages``; the inboxes of its WebSockets count in it. Text of 1 KiB can be inflated to a
message of 1 MiB, which takes 4 MiB in memory if it has an emoji. So the windows of the connections bound nothing here.
This bound cannot cause a deadlock, because it stops only what is decoded ahead of the application: a ``receive`` that
waits gets its message. Beyond the bound a message waits as the bytes that the client sent, for which the client gets no
new credit.

Other servers have no bound for the whole process. Each WebSocket may hold ``max_queue`` messages of ``max_size``
(uvicorn with websockets: 32 of 16 MiB; websockets: 16 frames of 1 MiB); gorilla and ws decode when the application
reads.
"""

from __future__ import annotations

MOST = 4 * 1024 * 1024
"""Bytes after which no message is decoded ahead; those that one read decodes come on top, at most one large one."""


class WaitingMessages:
    """``held``: bytes of the messages that wait."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = 0

    def has_room(self) -> bool:
        """Whether messages may be decoded for which no application waits yet."""
        return self.held < MOST
