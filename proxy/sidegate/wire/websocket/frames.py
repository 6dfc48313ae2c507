"""The frames of one accepted WebSocket, in the server's role: bytes <-> whole messages (RFC 6455 5 to 7, RFC 7692).

The exchange calls it and owns the handshake, the clock and the messages. It is independent of the codecs, because an
HTTP/1.1 connection after 101 and an HTTP/2 stream carry the same bytes. It never waits or calls the exchange. It raises
``ValueError`` for what the application may not send; a fault of the peer becomes ``Closed``.

Theory of operation. websockets' sans-I/O ``Protocol`` decides about frames, control frames, fragments and the closing
handshake. It gets one frame at a time, whose end this module finds by the header's length alone. So nothing after a
violation or a close is parsed, reads may split the input anywhere, and a length that is too large fails before its
payload comes. Only whole, unfragmented messages, which are most of a WebSocket's traffic, do not pass the library: this
module unmasks them, inflates them with websockets' extension, and writes the frames of outgoing messages. The library
takes 6 µs for both, this module 1 µs. A property test compares the two.

Bounds: a message (``max_message`` bytes after inflation), its fragments, control frames by a token bucket, and the
messages that one call decodes: a read of 64 KiB may hold sixty compressed messages of 1 MiB, or ten thousand empty
ones. The rest of the input waits as it came. So does a compressed message until its last fragment is there: a client
can make this module hold no more bytes than it sends.
"""

from __future__ import annotations

import codecs
from sys import getsizeof
from typing import Any, Final

from sidegate.wire.events import FRAMES_A_TURN
from sidegate.wire.http2.floods import Bucket
from sidegate.wire.websocket.events import Closed, Event, Message, Pong
from sidegate.wire.websocket.handshake import Deflate
from sidegate.wire.websocket.library import (
    Close,
    Extension,
    Frame,
    Opcode,
    PayloadTooBig,
    Protocol,
    ProtocolError,
    Side,
    State,
    apply_mask,
)

MAX_CONTROL: Final = 125
"""Bytes of a control frame's payload (RFC 6455 5.5)."""

MAX_FRAGMENTS: Final = 1 << 17
"""Fragments of one message; Autobahn|Testsuite sends 65536. Without it a message of empty fragments need not end."""

MIN_DEFLATED: Final = 64
"""Shorter messages are not compressed (RFC 7692 6 lets the sender choose): it saves less than a packet's header."""

BATCH: Final = 1 << 16
"""Bytes of messages after which ``receive`` stops so that the application can read; one message may be larger."""

ALL: Final = 1 << 30
"""As many messages as ``BATCH`` allows."""

_TEXT: Final = 0x81  # first byte of a frame: FIN and opcode
_BINARY: Final = 0x82
_RSV1: Final = 0x40  # the message is compressed

# Module constants: to read a member of an Enum class costs more than the comparison that uses it.
_CLOSE, _PING, _PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG
_TEXT_FRAME, _BINARY_FRAME, _CONT_FRAME = Opcode.TEXT, Opcode.BINARY, Opcode.CONT

_UTF8 = codecs.getincrementaldecoder("utf-8")


class _Silent:
    """A logger that drops everything: events report what the library would log."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's name
        return False

    def error(self, *args: Any, **kwargs: Any) -> None:
        pass


_SILENT: Any = _Silent()


class _Undecoded(Extension):
    """Stands for the compression within the library: it checks the frames, and this module inflates whole messages."""

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """Return the frame as it is, as if it were not compressed."""
        if frame.rsv1 and frame.opcode is _CONT_FRAME:
            raise ProtocolError("RSV1 bit set in continuation frame")  # RFC 7692 6.1
        if not frame.rsv1 or frame.opcode not in (_TEXT_FRAME, _BINARY_FRAME):
            return frame
        return Frame(frame.opcode, frame.data, frame.fin, False, frame.rsv2, frame.rsv3)

    def encode(self, frame: Frame) -> Frame:
        """Return the frame as it is: the library writes only control frames."""
        return frame


_UNDECODED: list[Extension] = [_Undecoded()]


class WebSocketFrames:
    """The frames of one WebSocket. After each call ``take_output`` returns the bytes to send.

    ``closing``: our close frame is queued or sent, so nothing else will be sent, and no more messages are reported.
    ``closed``: ``Closed`` was reported (after ``close``: when the peer has answered) or ``fail`` was called; end our
    side after the output. ``more``: input is held back; call ``receive(b"", now)`` once the application has read.
    When nothing will be received or sent any more, call ``release``.
    """

    __slots__ = (
        "_at", "_batched", "_compressed", "_controls", "_decoder", "_deflate", "_eof", "_fragments", "_held",
        "_max_message", "_message", "_missing", "_output", "_protocol", "_reported", "_zlib", "closed", "closing",
        "more",
    )  # fmt: skip

    def __init__(self, max_message: int, deflate: Deflate | None, controls: Bucket) -> None:
        """``max_message``: bytes, at least 1; ``controls``: bounds the rate of pings and pongs."""
        self.closing = False
        self.closed = False
        self.more = False
        self._max_message = max_message
        self._deflate = deflate
        self._zlib: Extension | None = None
        self._controls = controls
        self._protocol: Protocol | None = _new_protocol(self._max_message, deflate)
        self._held = b""  # input; it was parsed up to `_at`
        self._at = 0
        self._eof = False
        self._missing = 0  # bytes still missing of the frame whose beginning the library has
        self._message: bytearray | None = None  # the fragments so far
        self._compressed = False  # the library's current message is
        self._fragments = 0
        self._decoder: codecs.IncrementalDecoder | None = None  # of a fragmented text message
        self._batched = self._reported = 0  # bytes and number of the messages that this call of receive has reported
        self._output: list[bytes] = []

    def receive(self, data: bytes, now: float, most: int = ALL) -> list[Event]:
        """Take bytes read at ``now`` (seconds on a monotonic clock). ``b""`` continues with the input held back.

        Reports at most ``most`` messages; 0: ``data`` is only kept. Handles at most ``FRAMES_A_TURN`` frames: what is
        left then without a message is for the next turn of the event loop.
        """
        held = self._held
        at = self._at
        if not held:
            held = data
        elif data:
            held = held[at:] + data
            at = 0
        self.more = False
        self._batched = self._reported = 0
        events: list[Event] = []
        size = len(held)
        left = FRAMES_A_TURN
        while at < size and not self.closed:
            if self._reported >= most or self._batched >= BATCH or not left:
                self.more = True
                break
            left -= 1
            if self._missing:
                at = self._feed(held, at, now, events)
                continue
            end = self._frame(held, at, now, events)
            if end < 0:
                held = held[at:]
                at = 0
                break
            at = end
        if at == size or self.closed:
            held = b""
            at = 0
        self._held = held
        self._at = at
        if self._eof and not self.more and not self.closed:
            self._lose(events)
        return events

    def receive_eof(self) -> list[Event]:
        """The peer will send nothing more. If there is ``more``, ``Closed`` comes after that input instead."""
        events: list[Event] = []
        self._eof = True
        if not self.more and not self.closed:
            self._lose(events)
        return events

    def send_text(self, text: str) -> None:
        """Queue a text message; nothing if ``closing``. Raises ``ValueError`` for lone surrogates (not UTF-8)."""
        self._send(_TEXT, text.encode())

    def send_binary(self, data: bytes) -> None:
        """Queue a binary message; nothing if ``closing``."""
        self._send(_BINARY, data)

    def ping(self, payload: bytes) -> None:
        """Queue a ping; nothing if ``closing``. Raises ``ValueError`` for more than 125 bytes."""
        if self.closing:
            return
        protocol: Any = self._protocol
        try:
            protocol.send_ping(payload)
        except ProtocolError as error:
            raise ValueError(str(error)) from error
        self._output += protocol.data_to_send()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Queue a close frame; nothing if ``closing``. Raises ``ValueError``: reserved code, reason above 123 bytes."""
        if not self.closing:
            self._output.append(_close_frame(code, reason))
            self.closing = True

    def fail(self, code: int, reason: str) -> None:
        """Abort the WebSocket without waiting for the peer (RFC 6455 7.1.7): queue a close frame, then end."""
        self.close(code, reason)
        self.closed = True
        self._message = None

    def drop(self) -> None:
        """Drop the input that is not parsed yet, and the fragments of a message that has no end yet."""
        self._held = b""
        self._at = 0
        self.more = False
        self._message = None

    def release(self) -> None:
        """Free everything: the WebSocket has ended."""
        if self._protocol is not None:
            _free(self._protocol)
        self._protocol = self._zlib = self._decoder = None
        self.drop()
        self.closing = self.closed = True

    def take_output(self) -> bytes:
        """Take the bytes to send. If ``closed``, they are the last."""
        output = self._output
        if not output:
            return b""
        self._output = []
        return output[0] if len(output) == 1 else b"".join(output)

    def _frame(self, data: bytes, at: int, now: float, events: list[Event]) -> int:
        """Begin the frame at ``at``. Returns the end of the bytes used of it, or -1 if its header is incomplete."""
        size = len(data)
        if size - at < 2:
            return -1
        first = data[at]
        length = data[at + 1] - 0x80
        if length < 0:  # not masked; two bytes are enough for the library to refuse it
            self._missing = 2
            return self._feed(data, at, now, events)
        payload = at + 6
        if length >= 126:
            width = 2 if length == 126 else 8
            payload += width
            if payload > size:
                return -1
            announced = int.from_bytes(data[at + 2 : at + 2 + width], "big")
            fault = _length_fault(first, announced, width, self._max_message)
            if fault is not None:
                self._violate(fault[0], fault[1], events)
                return size
            length = announced
        elif payload > size:
            return -1
        if payload + length <= size and self._message is None:
            if first in (_TEXT, _BINARY):
                content = apply_mask(data[payload : payload + length], data[payload - 4 : payload])
                self._report(first == _TEXT, content, events)
                return payload + length
            if first in (_TEXT | _RSV1, _BINARY | _RSV1) and self._deflate is not None:
                content = apply_mask(data[payload : payload + length], data[payload - 4 : payload])
                opcode = _TEXT_FRAME if first == _TEXT | _RSV1 else _BINARY_FRAME
                self._inflate(self._extension(self._deflate), Frame(opcode, content, rsv1=True), events)
                return payload + length
        if first & 0x0F == _CLOSE and self._message is not None:
            # RFC 6455 5.4 allows a close frame between fragments; the library would call that a protocol error.
            self._message = None
            _free(self._protocol)
            self._protocol = _new_protocol(self._max_message, self._deflate)
        elif first & 0x0F in (_TEXT_FRAME, _BINARY_FRAME):
            self._compressed = first & _RSV1 != 0
        self._missing = payload + length - at
        return self._feed(data, at, now, events)

    def _inflate(self, extension: Extension, frame: Frame, events: list[Event]) -> None:
        """Inflate a whole compressed message as the library would."""
        try:
            frame = extension.decode(frame, max_size=self._max_message + MAX_CONTROL)
        except PayloadTooBig:
            self._violate(1009, _too_many_bytes(self._max_message), events)
        except ProtocolError as error:
            self._violate(1002, str(error), events)
        except BaseException:  # a bug
            self.fail(1011, "")
            raise
        else:
            self._report(frame.opcode is _TEXT_FRAME, frame.data, events)

    def _feed(self, data: bytes, at: int, now: float, events: list[Event]) -> int:
        """Give the library the bytes that have come of its current frame; returns where they end."""
        end = min(at + self._missing, len(data))
        self._missing -= end - at
        protocol: Any = self._protocol
        protocol.receive_data(data[at:end])
        if protocol.parser_exc is not None:
            self._on_violation(protocol.parser_exc, events)
            return end
        written = protocol.data_to_send()
        if not self.closing:  # nothing follows our close frame: the peer need not read further
            self._output += written
        frames: list[Any] = protocol.events_received()
        for frame in frames:
            if frame.opcode is _CLOSE:
                received = protocol.close_rcvd
                self.closing = True
                self.closed = True
                events.append(Closed(int(received.code), received.reason))
            elif frame.opcode is _PING or frame.opcode is _PONG:
                self._on_control(frame, now, events)
            else:
                self._on_data(frame, events)
        return end

    def _on_control(self, frame: Any, now: float, events: list[Event]) -> None:
        if not self._controls.take(now):
            self._violate(1008, "too many control frames", events)
        elif frame.opcode is _PONG:
            events.append(Pong(bytes(frame.data)))

    def _on_data(self, frame: Any, events: list[Event]) -> None:
        """Take a whole message, compressed or split over several reads, or a fragment of one."""
        opening = self._message is None
        if opening and frame.fin:
            self._report_whole(frame.opcode, frame.data, events)
            return
        if opening:
            self._fragments = 0
            self._decoder = _UTF8() if frame.opcode is _TEXT_FRAME else None
        self._add_fragment(bytearray() if self._message is None else self._message, frame, events)

    def _add_fragment(self, message: bytearray, frame: Any, events: list[Event]) -> None:
        message += frame.data
        self._message = message
        self._fragments += 1
        if len(message) > self._max_message and not self._compressed:
            self._violate(1009, _too_many_bytes(self._max_message), events)
        elif self._fragments > MAX_FRAGMENTS:
            self._violate(1008, "too many fragments", events)
        elif self._valid_so_far(frame, events) and frame.fin:
            self._message = None
            self._report_whole(_BINARY_FRAME if self._decoder is None else _TEXT_FRAME, message, events)

    def _report_whole(self, opcode: Opcode, content: bytes | bytearray | memoryview, events: list[Event]) -> None:
        """Report a message that the library has checked."""
        if self._compressed and self._deflate is not None:
            self._inflate(self._extension(self._deflate), Frame(opcode, content, rsv1=True), events)
        else:
            self._report(opcode is _TEXT_FRAME, content, events)

    def _valid_so_far(self, frame: Any, events: list[Event]) -> bool:
        """Check that a fragment of text is UTF-8 so far. A fault fails now, not when the message ends."""
        if self._decoder is not None and not self._compressed:
            try:
                self._decoder.decode(frame.data, frame.fin)
            except UnicodeDecodeError as error:
                self._violate(1007, f"{error.reason} in a text message", events)
        return not self.closed

    def _report(self, text: bool, content: bytes | bytearray | memoryview, events: list[Event]) -> None:
        """Report a whole message."""
        size = len(content)
        if size > self._max_message:
            self._violate(1009, _too_many_bytes(self._max_message), events)
            return
        self._batched += size
        if text:
            try:
                string = str(content, "utf-8")
            except UnicodeDecodeError as error:
                self._violate(1007, f"{error.reason} in a text message", events)
                return
            if not self.closing:
                self._reported += 1
                events.append(Message(string, size if string.isascii() else getsizeof(string)))
        elif not self.closing:
            self._reported += 1
            events.append(Message(bytes(content), size))

    def _on_violation(self, error: Exception, events: list[Event]) -> None:
        """The library has failed. Its close frame is not sent, because it would name another limit than ours."""
        protocol: Any = self._protocol
        sent = protocol.close_sent
        if sent.code == 1011:  # a bug in this module or in the library
            self.fail(1011, "")
            raise error
        if sent.code == 1009:
            self._violate(1009, _too_many_bytes(self._max_message), events)
        else:
            self._violate(int(sent.code), sent.reason, events)

    def _violate(self, code: int, reason: str, events: list[Event]) -> None:
        self.fail(code, reason)
        events.append(Closed(code, reason))

    def _lose(self, events: list[Event]) -> None:
        self.closing = True
        self.closed = True
        self._message = None
        events.append(Closed(1006, ""))

    def _send(self, first: int, payload: bytes) -> None:
        if self.closing:
            return
        if self._deflate is not None and len(payload) >= MIN_DEFLATED:
            opcode = _TEXT_FRAME if first == _TEXT else _BINARY_FRAME
            payload = bytes(self._extension(self._deflate).encode(Frame(opcode, payload)).data)
            first |= _RSV1
        size = len(payload)
        if size < 126:
            self._output.append(bytes((first, size)) + payload)
        elif size < 1 << 16:
            self._output.append(bytes((first, 126)) + size.to_bytes(2, "big") + payload)
        else:
            self._output += bytes((first, 127)) + size.to_bytes(8, "big"), payload

    def _extension(self, deflate: Deflate) -> Extension:
        """Created when it is first needed, because zlib would take most of the memory of an idle WebSocket."""
        if self._zlib is None:
            self._zlib = deflate.extension()
        return self._zlib


def _new_protocol(max_message: int, deflate: Deflate | None) -> Protocol:
    # `WebSocketFrames` enforces the limit, of compressed fragments when they are inflated; until then they may be a
    # sixteenth longer, because what cannot be compressed becomes longer. If the library had less room than a control
    # frame takes, it would refuse a ping within a message that is nearly full.
    max_size = max_message + (max_message >> 4) + MAX_CONTROL
    protocol = Protocol(Side.SERVER, state=State.OPEN, max_size=max_size, logger=_SILENT)
    if deflate is not None:
        protocol.extensions = _UNDECODED
    return protocol


def _free(protocol: Any) -> None:
    """Break the library's cycles: the parser refers to its protocol, and an error to the parser that it has passed."""
    protocol.parser.close()
    protocol.parser_exc = None


def _length_fault(first: int, length: int, width: int, max_message: int) -> tuple[int, str] | None:
    """Code and reason to close if a length above 7 bits is wrong, before the payload, for which the library waits."""
    if length < 126 or (width == 8 and length < 1 << 16):
        return 1002, "a length is not in its shortest form"  # RFC 6455 5.2
    if first & 0x08:
        return 1002, "control frame too long"
    if length > max_message:
        return 1009, _too_many_bytes(max_message)
    return None


def _too_many_bytes(max_message: int) -> str:
    return f"a message of more than {max_message} bytes"


def _close_frame(code: int, reason: str) -> bytes:
    try:
        payload = Close(code, reason).serialize()
    except ProtocolError as error:
        raise ValueError(f"{code} is no code for a close frame") from error
    if len(payload) > MAX_CONTROL:
        raise ValueError(f"the reason to close has more than {MAX_CONTROL - 2} bytes")
    return bytes((0x88, len(payload))) + payload
