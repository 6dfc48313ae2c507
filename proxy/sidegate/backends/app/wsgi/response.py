"""Runs a WSGI application once (PEP 3333) and turns ``start_response``, ``write`` and the result into ASGI messages.

It runs in a request's thread, from the call of the application to the call of ``close``. It owns the state of the
response: no head, head set, head sent. Each block is passed to the event loop before the next one is requested; the job
blocks if the client is slow. It raises the application's errors, ``ExchangeError`` (500) for a breach of PEP 3333, and
``ClientDisconnected``.
"""

from __future__ import annotations

import io
import logging
import os
import re
import stat
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from sidegate.asgi import Headers, Message
from sidegate.backends.app.wsgi.environ import Environ
from sidegate.backends.app.wsgi.job import HIGH_WATER, Job
from sidegate.backends.buffering import Buffering
from sidegate.backends.response_buffer import may_be_buffered
from sidegate.caches import remember
from sidegate.errors import ExchangeError, Fault, stems_from_disconnect
from sidegate.wire.fields import ResponseTooLarge, response_fields

logger = logging.getLogger("sidegate.wsgi")

ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType]

LARGE = 1024 * 1024
"""Bytes of a body in one piece, above which its thread waits until the event loop has passed it on."""

REMEMBERED = 1024
"""Largest number of status lines and of response fields whose encoding is cached."""
REMEMBERED_SIZE = 128
"""Characters: longer ones are not cached."""

LAST: Message = {"type": "http.response.body", "body": b"", "more_body": False}
"""The end of a response whose blocks were sent one by one."""

_PLAIN = (list, tuple)
"""Types of results that have no ``close``."""

_ANY = -1  # no content-length, or one that does not limit this body

_STATUS = re.compile(r"[0-9]{3}(?: [^\x00-\x1f\x7f]*)?")

_codes: dict[str, int] = {}
_fields: dict[tuple[str, str], tuple[bytes, bytes]] = {}


class FileWrapper:
    """``wsgi.file_wrapper``: if it is the application's result and wraps a regular file, sendfile may send the file."""

    def __init__(self, filelike: Any, block_size: int = HIGH_WATER) -> None:
        self.filelike = filelike
        self._block_size = block_size
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> FileWrapper:
        return self

    def __next__(self) -> bytes:
        data: bytes = self.filelike.read(self._block_size)
        if not data:
            raise StopIteration
        return data


class WsgiResponse:
    """One for each request; ``run`` is called once."""

    __slots__ = ("_buffering", "_headers", "_job", "_remaining", "_started", "_status")

    def __init__(self, job: Job, buffering: Buffering) -> None:
        self._job = job
        self._buffering = buffering
        self._status = 0
        self._headers: Headers = []
        self._started = False
        """Whether the head was passed to the event loop."""
        self._remaining = _ANY
        """Bytes of body that are still to come according to content-length."""

    def run(self, application: Callable[..., Iterable[bytes]], environ: Environ) -> None:
        """Call the application, pass its result on, and close the result in any case."""
        environ["wsgi.early_hints"] = self.early_hints
        result = application(environ, self.start_response)
        if type(result) in _PLAIN and not self._started and self._put_whole(result):
            return
        try:
            self._pass_on(result)
        except BaseException:
            self._close_after_failure(result)
            raise
        if hasattr(result, "close"):
            result.close()

    # For the application.

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExceptionInfo | None = None
    ) -> Callable[[bytes], None]:
        """Set the response's head. With ``exc_info`` it may be set again until the head is sent.

        :raises ExchangeError: 500; a second call without ``exc_info``, or a status or field that PEP 3333 forbids.
        """
        if exc_info is not None:
            try:
                if self._started:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # else the traceback holds this frame, which holds the traceback
        elif self._status:
            raise _forbidden("start_response was called twice, without exc_info")
        code = _codes.get(status) or _new_code(status)
        fields = [_field(pair) for pair in headers]
        try:
            length = response_fields(fields)[1]
        except ResponseTooLarge as error:  # raise it here, where the application can catch it
            raise ExchangeError(Fault.APPLICATION, 500, "response_head_too_large", f"headers: {error}") from error
        except ValueError as error:
            raise _forbidden(f"headers: {error}") from error
        self._status, self._headers = code, fields
        self._remaining = _ANY if length is None or self._is_bodiless() else length
        return self.write

    def write(self, data: bytes) -> None:
        """Send a block; PEP 3333 keeps this callable for old applications.

        :raises ExchangeError: 500; the block exceeds content-length. The part that fits was sent.
        """
        size = len(_checked(data))
        if data and self._emit(data) < size:
            raise _forbidden("write() beyond content-length")

    def early_hints(self, headers: Iterable[tuple[str, str]]) -> None:
        """Send a 103 response with the ``Link`` fields (RFC 8297); do nothing after the head was sent."""
        links = [_bytes(value, "a Link field") for name, value in headers if name.lower() == "link"]
        if links and not self._started:
            self._job.emit({"type": "http.response.early_hint", "links": links})

    # The body.

    def _put_whole(self, blocks: Any) -> bool:
        """If the result is a small body, queue the complete response, which is sent when the job ends. Else False."""
        if not blocks:
            body = b""
        elif len(blocks) == 1:
            body = blocks[0]
        elif any(type(block) is not bytes for block in blocks) or sum(map(len, blocks)) > HIGH_WATER:
            return False
        else:
            body = b"".join(blocks)
        if len(_checked(body)) > HIGH_WATER:
            self._announce(len(body))
        self._start()
        body = self._fitting(body)
        message = {"type": "http.response.body", "body": body, "more_body": False}
        if len(body) > LARGE:
            self._job.emit(message, len(body))  # the thread waits, so that few such bodies are in memory
        else:
            self._job.put(message)
        return True

    def _announce(self, size: int) -> None:
        """Set the content-length of a body that the event loop may send in pieces."""
        if self._remaining == _ANY and not self._is_bodiless():
            self._headers.append((b"content-length", b"%d" % size))
            self._remaining = size

    def _is_bodiless(self) -> bool:
        return self._status in (204, 205, 304) or self._job.scope["method"] == "HEAD"

    def _pass_on(self, result: Iterable[bytes]) -> None:
        if isinstance(result, FileWrapper) and self._send_file(result.filelike):
            return
        for block in result:
            if _checked(block):
                self._emit(block)
                if not self._remaining:
                    break  # PEP 3333: content-length is reached
            else:
                self._job.check_present()
        self._start()
        self._job.emit_last(LAST)

    def _emit(self, block: bytes) -> int:
        """Send a block that is not empty, as far as content-length allows. Return how many bytes of it were sent."""
        self._start()
        block = self._fitting(block)
        if block:
            self._job.emit({"type": "http.response.body", "body": block, "more_body": True}, len(block))
        return len(block)

    def _fitting(self, block: bytes) -> bytes:
        """The part of ``block`` that content-length allows. PEP 3333: no more may be sent."""
        if self._remaining == _ANY:
            return block
        if len(block) > self._remaining:
            block = block[: self._remaining]
        self._remaining -= len(block)
        return block

    def _start(self) -> None:
        if self._started:
            return
        if not self._status:
            raise _forbidden("start_response was not called before the first block of the body")
        self._started = True
        self._job.put({"type": "http.response.start", "status": self._status, "headers": self._headers})

    def _send_file(self, file: Any) -> bool:
        """Let the event loop send ``file`` by sendfile. False if it is not a regular file.

        The application closes its file afterwards. So the thread waits until it is sent, or keeps it open as its own.
        """
        raw = getattr(file, "raw", file)  # open() returns a file with `raw`; gzip and zip files are of other types
        if not (isinstance(file, io.BufferedReader | io.FileIO) and isinstance(raw, io.FileIO)):
            return False
        facts = os.fstat(raw.fileno())
        if not stat.S_ISREG(facts.st_mode):
            return False
        self._start()
        offset = file.tell()
        count = max(0, facts.st_size - offset)
        if self._remaining != _ANY:
            count = min(count, self._remaining)
        job = self._job
        buffered = self._buffering.of_response(not job.record.relayed) and may_be_buffered(self._headers)
        if buffered:
            raw = job.file = io.FileIO(os.dup(raw.fileno()))
        # The file and not its number, which belongs to another file if this one was closed meanwhile.
        job.emit({"type": "http.response.zerocopysend", "file": raw, "offset": offset, "count": count})
        if not buffered:
            job.emit_all()
        return True

    def _close_after_failure(self, result: Any) -> None:
        """Close the result. An error of ``close`` is only logged, because the first error is raised."""
        try:
            if hasattr(result, "close"):
                result.close()
        except BaseException as error:
            if not stems_from_disconnect(error, self._job.record):
                logger.error("the application's close() failed, after another error", exc_info=error)


def _new_code(status: Any) -> int:
    """PEP 3333: "a status string of the form '999 Message here'". The code is checked later, as for ASGI."""
    if type(status) is not str or not _STATUS.fullmatch(status):
        raise _forbidden(f"a status must be a str such as '200 OK', not {status!r}")
    code = int(status[:3])
    if len(status) <= REMEMBERED_SIZE:
        remember(_codes, status, code, REMEMBERED)
    return code


def _field(pair: tuple[str, str]) -> tuple[bytes, bytes]:
    known = _fields.get(pair) if type(pair) is tuple else None
    return _new_field(pair) if known is None else known


def _new_field(pair: Any) -> tuple[bytes, bytes]:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise _forbidden(f"a header field must be a tuple of name and value, not {pair!r}")
    name, value = pair
    field = (_bytes(name, "a header's name"), _bytes(value, f"the header {name!r}"))
    if type(pair) is tuple and len(name) + len(value) <= REMEMBERED_SIZE:
        remember(_fields, pair, field, REMEMBERED)
    return field


def _bytes(text: Any, what: str) -> bytes:
    if not isinstance(text, str):
        raise _forbidden(f"{what} must be a str, not {text!r}")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise _forbidden(f"{what} has characters outside latin-1 (PEP 3333): {text!r}") from error


def _checked(block: Any) -> bytes:
    if type(block) is not bytes:
        raise _forbidden(f"a block of the body must be bytes, not {type(block).__name__}")
    return block


def _forbidden(detail: str) -> ExchangeError:
    """Make the error for a breach of PEP 3333."""
    return ExchangeError(Fault.APPLICATION, 500, "bad_message", detail)
