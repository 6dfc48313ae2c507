"""``wsgi.input``: the request's body as a binary file.

It is made in a request's thread. The file ends with the body, with or without a content-length
(``wsgi.input_terminated``). ``io`` implements lines, iteration and exact sizes. A body that was not read before the
request took its thread streams in: a read blocks until bytes arrive.

Every such read raises ``ClientDisconnected`` (an OSError) once the request was cancelled, if the body is not complete.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO, cast

from sidegate.backends.app.wsgi.job import HIGH_WATER, Job

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class WsgiInput(io.RawIOBase):
    """A body that arrives while the application reads it."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill ``buffer`` with the bytes that are available, at least one. Return how many; 0 at the body's end."""
        if not self._piece:
            self._piece = memoryview(self._job.next_piece())
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._piece))
        target[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count


def open_body(job: Job) -> BinaryIO:
    """The body of a job as a file; a body that was read before is complete, in memory or in a temporary file."""
    whole = job.whole
    if whole is None:
        return cast(BinaryIO, io.BufferedReader(WsgiInput(job), HIGH_WATER))
    return io.BytesIO(whole) if isinstance(whole, bytes) else whole.open()
