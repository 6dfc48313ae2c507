"""``wsgi.input``: the request's body as a binary file.

Where it stands: made on a request's thread. Reading blocks until bytes come and ends with the body, whether it was
announced or not (``wsgi.input_terminated``). ``io`` does the rest: lines, iteration, exact sizes.

Errors: ``ClientDisconnected`` (an OSError) from any read of a body that will not come.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO, cast

from sidegate.backends.app.wsgi.job import HIGH_WATER, Job

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class WsgiInput(io.RawIOBase):
    """What arrives while it is read."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """As many bytes as there are, at least one; 0 at the end."""
        if not self._piece:
            self._piece = memoryview(self._job.next_piece())
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._piece))
        target[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count


def open_body(job: Job) -> BinaryIO:
    """The body of a job, which may have all of it."""
    whole = job.whole
    return io.BytesIO(whole) if whole is not None else cast(BinaryIO, io.BufferedReader(WsgiInput(job), HIGH_WATER))
