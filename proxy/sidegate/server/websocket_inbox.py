"""What one WebSocket has received and its application has not: messages, and input that is not decoded yet.

``websocket.py`` makes it when the WebSocket is accepted, puts messages in and takes them out. It decides how far
messages are decoded ahead of the application: as long as few of them wait, in this WebSocket and in all of the process
(``waiting_messages.py``). The rest of the input waits as it came. It raises no error.
"""

from __future__ import annotations

from collections import deque

from sidegate.server.service import HIGH_WATER, MANY_PIECES
from sidegate.server.waiting_messages import WaitingMessages
from sidegate.wire.websocket.events import Event, Message
from sidegate.wire.websocket.frames import WebSocketFrames


class Inbox:
    """``messages``: those that are decoded, oldest first. ``continuing``: the next turn of the loop decodes on."""

    __slots__ = ("_all_waiting", "_frames", "_most", "_pieces", "_waiting", "continuing", "messages")

    def __init__(self, frames: WebSocketFrames, most: int, all_waiting: WaitingMessages) -> None:
        """``most``: messages that may wait; ``all_waiting``: the process's."""
        self._frames = frames
        self._most = most
        self._all_waiting = all_waiting
        self._waiting = 0  # bytes that this has counted in `all_waiting`
        self._pieces: list[bytes] = []
        self.messages: deque[Message] = deque()
        self.continuing = False

    def add(self, data: bytes) -> None:
        """Add input."""
        self._pieces.append(data)
        if len(self._pieces) > MANY_PIECES:
            self._pieces = [b"".join(self._pieces)]

    def has_undecoded(self) -> bool:
        """Whether any input is not decoded."""
        return self._frames.more or len(self._pieces) > 0

    def has_room(self) -> bool:
        """Whether messages may be decoded for which the application does not wait yet."""
        return len(self.messages) < self._most and self._waiting < HIGH_WATER and self._all_waiting.has_room()

    def is_ahead(self) -> bool:
        """Whether messages wait, and the next ones have to wait undecoded."""
        return len(self.messages) > 0 and (self._frames.more or not self.has_room())

    def is_long(self) -> bool:
        """Whether the input holds more frames without a message than one turn of the loop may handle."""
        return self._frames.more and not self.messages

    def decode(self, now: float) -> list[Event]:
        """Decode as many messages as there is room for, at least one if the input has a whole one."""
        most = self._most - len(self.messages) if self.has_room() else 1
        return self._frames.receive(b"" if self._frames.more else self._take_pieces(), now, most)

    def put(self, message: Message) -> None:
        """Add a decoded message."""
        self.messages.append(message)
        self._count(message.size)

    def take(self) -> Message:
        """Remove and return the oldest message."""
        message = self.messages.popleft()
        self._count(-message.size)
        return message

    def end(self, now: float) -> list[Event]:
        """The client will send nothing more. Return its end; nothing if any input is not decoded."""
        self._frames.receive(self._take_pieces(), now, 0)
        return self._frames.receive_eof()

    def disconnect(self, size: int, now: float) -> list[Event]:
        """The client has disconnected. ``size``: bytes of input; they are kept if the process has room for them."""
        if self.has_undecoded() and self._all_waiting.has_room():
            self._count(size)
        else:
            self._pieces.clear()
            self._frames.drop()
        return self.end(now)

    def clear(self) -> None:
        """Drop the messages."""
        self.messages.clear()
        self._count(-self._waiting)

    def release(self) -> None:
        """Drop everything: the exchange has ended."""
        self.clear()
        self._pieces.clear()
        self._frames.release()

    def _count(self, size: int) -> None:
        self._waiting += size
        self._all_waiting.held += size

    def _take_pieces(self) -> bytes:
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return data
