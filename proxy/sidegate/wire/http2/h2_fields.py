"""Header blocks of the h2 engine: hpack's encoder and decoder, with caches for what repeats.

``h2.py`` and ``h2_sending.py`` use it. It owns both HPACK tables of a connection and three small caches, each with a
bound. In pure Python a field costs microseconds to encode or decode, and nearly all fields of a connection repeat those
of the request or response before; so in both directions only new fields cost that time.

Decoding raises ``ConnectionFailure``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sidegate.caches import remember
from sidegate.wire import codes
from sidegate.wire.hop import REQUEST_ID
from sidegate.wire.http2 import engine as wire
from sidegate.wire.http2.engine import EngineSettings, Fields
from sidegate.wire.http2.h2_library import Decoder, Encoder, HeaderTuple, HPACKError, OversizedHeaderListError

REMEMBERED = 16
REMEMBERED_SIZE = 2048
"""Bounds of the cache of decoded blocks: at most 16 lists of at most 2 KiB a connection."""

_OVERHEAD = 32  # of a field, as RFC 7541 4.1 counts
_INDEXED = 0x80
_INSERTED = 0x40
_INDEXED_BYTES = bytes(range(0x81, 0xFF))

Field = tuple[bytes, bytes]
Block = tuple[Fields, Fields, int]
"""Pseudo-header pairs, field pairs, size of the list."""


class ConnectionFailure(Exception):
    """The connection cannot go on."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class FieldEncoder(Encoder):
    """Encodes heads field by field.

    A field enters the table when it is sent for the second time: a value that is new with each response (a length, a
    request id) then displaces nothing and moves no index. So the index of a field in a table stays the same until the
    next field is inserted, and it is cached until then; there are never more of them than table entries. A field that
    is sent for the first time is a literal never indexed, because hpack has no other literal that leaves the table
    unchanged. ``most``: bytes of the table, whatever the peer allows, because it is our memory; nghttp2 does the same.
    The fields seen once have the same bound.
    """

    def __init__(self, most: int = wire.FIRST_TABLE) -> None:
        super().__init__()
        self._most = most
        self._known: dict[Field, bytes] = {}
        self._once: set[Field] = set()
        self._once_size = 0

    def _resize(self, value: int) -> None:
        value = min(value, self._most)
        # If a size was set twice, hpack would forget to announce it.
        if value != self.header_table_size:
            Encoder.header_table_size.__set__(self, value)  # type: ignore[attr-defined]
            self._known.clear()

    header_table_size = property(Encoder.header_table_size.fget, _resize)  # type: ignore[attr-defined]

    def encode(self, headers: Iterable[Any], huffman: bool = True) -> bytes:
        """As in hpack, except for the empty list with which h2 opens a stream: that returns a byte, which is dropped.

        hpack would announce a change of the table's size in this block and consider it sent.
        """
        return super().encode(headers, huffman) if headers else b"\0"

    def block(self, fields: Iterable[Field]) -> bytes:
        """The header block of ``fields``."""
        known = self._known
        fields = list(fields)
        try:
            return b"".join([known[field] for field in fields])
        except KeyError:
            return b"".join([known.get(field) or self._make(field) for field in fields])

    def _make(self, field: Field) -> bytes:
        again = field in self._once
        # Huffman coding is worth its time only if the table keeps the result.
        made = self.encode([field if again else (*field, True)], huffman=again)
        # A change of the table's size may precede the field; the cache is empty then, and this field is not added.
        if made[0] & _INDEXED:
            self._known[field] = made
        elif again:
            self._once.discard(field)
            self._once_size -= _size(field)
            self._known.clear()
        else:
            self._note(field)
        return made

    def _note(self, field: Field) -> None:
        size = _size(field)
        if size > self._most // 2 or field[0] == REQUEST_ID:
            return
        if self._once_size + size > self._most:
            self._once.clear()
            self._once_size = 0
        self._once.add(field)
        self._once_size += size


def _size(field: Field) -> int:
    return len(field[0]) + len(field[1]) + _OVERHEAD


class BlockDecoder(Decoder):
    """Keeps what it decoded in ``block``, the pairs only up to the limits; the caller h2 gets an empty list.

    A block that contains only indexed fields neither changes the table nor depends on anything else (RFC 7541 2.3 and
    6.1). So until a block of another kind comes, the same bytes mean the same list, and the same tuples are returned.
    """

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(max_header_list_size=settings.largest_block * wire.BOMB)
        self.block: Block = ((), (), 0)
        self._most_bytes = settings.largest_block
        self._most = settings.most_fields
        self._known: dict[bytes, Block] = {}

    def decode(self, data: bytes, raw: bool = False) -> Iterable[HeaderTuple]:
        """Decode one whole header block. Raises ``ConnectionFailure``."""
        block = self._known.get(data)
        self.block = self._decode(data) if block is None else block
        return ()

    def _decode(self, data: bytes) -> Block:
        try:
            pairs = super().decode(data, raw=True)
        except OversizedHeaderListError as error:
            raise ConnectionFailure(codes.ENHANCE_YOUR_CALM, "header list far beyond the limit") from error
        except (HPACKError, IndexError) as error:
            raise ConnectionFailure(codes.COMPRESSION_ERROR, str(error)) from error
        block = self._within_limits(pairs)
        if data.translate(None, _INDEXED_BYTES):
            self._known.clear()
        elif block[2] <= REMEMBERED_SIZE:
            remember(self._known, data, block, REMEMBERED)
        return block

    def _within_limits(self, pairs: Iterable[HeaderTuple]) -> Block:
        size = 0
        pseudo: list[Field] = []
        fields: list[Field] = []
        for name, value in pairs:
            size += len(name) + len(value) + _OVERHEAD
            if size > self._most_bytes or len(fields) > self._most or len(pseudo) > self._most:
                continue
            (fields if fields or name[:1] != b":" else pseudo).append((name, value))
        return tuple(pseudo), tuple(fields), size
