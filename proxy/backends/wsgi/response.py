"""One run of a WSGI application (PEP 3333): ``start_response``, ``write``, and what it returns, as ASGI messages.

Where it stands: on a request's thread, from the environ to the call of ``close``. It owns the state of the response:
nothing said, head said, head out. Each block leaves before the next one is asked for; the job blocks when the client
is slow. Errors: whatever the application raises, ``ExchangeError`` for what PEP 3333 forbids, ``ClientDisconnected``.
"""

from __future__ import annotations

import io
import logging
import stat
from collections.abc import Callable, Iterable
from os import fstat
from types import TracebackType
from typing import Any

from proxy.asgi import Headers, Message
from proxy.backends.wsgi.environ import Environ
from proxy.backends.wsgi.job import HIGH_WATER, Job
from proxy.errors import ExchangeError, Fault, stems_from_disconnect

logger = logging.getLogger("sidegate.wsgi")

ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType]

REMEMBERED = 1024
"""Response fields whose bytes are remembered, at most; and none that is longer than ``REMEMBERED_SIZE``."""
REMEMBERED_SIZE = 128

LAST: Message = {"type": "http.response.body", "body": b"", "more_body": False}
"""The end of a response whose blocks came one by one."""

_fields: dict[tuple[str, str], tuple[bytes, bytes]] = {}


class FileWrapper:
    """``wsgi.file_wrapper``: returned as the response's body, a regular file is sent without being read here."""

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


class Response:
    """Made for one request; ``run`` is its life."""

    __slots__ = ("_headers", "_job", "_started", "_status")

    def __init__(self, job: Job) -> None:
        self._job = job
        self._status = 0
        self._headers: Headers = []
        self._started = False
        """Whether the head is out."""

    def run(self, application: Callable[..., Iterable[bytes]], environ: Environ) -> None:
        """Call it, pass on what it returns, and close that in any case."""
        environ["wsgi.early_hints"] = self.early_hints
        result = application(environ, self.start_response)
        try:
            self._pass_on(result)
        except BaseException:
            self._close_after_failure(result)
            raise
        if hasattr(result, "close"):
            result.close()

    # What the application calls.

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExceptionInfo | None = None
    ) -> Callable[[bytes], None]:
        """What the response begins with. With ``exc_info`` it may be said again, until the head is out."""
        if exc_info is not None:
            try:
                if self._started:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # else the traceback holds this frame, which holds the traceback
        elif self._status:
            raise _forbidden("start_response was called twice, without exc_info")
        self._status = _code(status)
        self._headers = [_field(pair) for pair in headers]
        return self.write

    def write(self, data: bytes) -> None:
        """The old way to send a block."""
        if data:
            self._emit(data, more=True)

    def early_hints(self, headers: Iterable[tuple[str, str]]) -> None:
        """Send a 103 response with the ``Link`` fields (RFC 8297); nothing once the head is out."""
        links = [_bytes(value, "a Link field") for name, value in headers if name.lower() == "link"]
        if links and not self._started:
            self._job.emit({"type": "http.response.early_hint", "links": links})

    # The body.

    def _pass_on(self, result: Iterable[bytes]) -> None:
        if isinstance(result, FileWrapper) and self._send_file(result.filelike):
            return
        if isinstance(result, list | tuple) and not self._started:
            result = _joined(result)
            if len(result) < 2:  # all there is
                self._emit(result[0] if result else b"", more=False)
                return
        for block in result:
            if block:
                self._emit(block, more=True)
            else:
                self._job.check_present()
        if self._started:
            self._job.emit_last(LAST)
        else:
            self._emit(b"", more=False)

    def _emit(self, block: bytes, more: bool) -> None:
        if type(block) is not bytes:
            raise _forbidden(f"a block of the body must be bytes, not {type(block).__name__}")
        self._start()
        message = {"type": "http.response.body", "body": block, "more_body": more}
        if more:
            self._job.emit(message, len(block))
        else:
            self._job.emit_last(message)

    def _start(self) -> None:
        if self._started:
            return
        if not self._status:
            raise _forbidden("start_response was not called before the first block of the body")
        self._started = True
        self._job.emit({"type": "http.response.start", "status": self._status, "headers": self._headers})

    def _send_file(self, file: Any) -> bool:
        """Whether ``file`` is one whose bytes the system can send; then they were sent."""
        raw = getattr(file, "raw", file)  # of what open() returns; gzip and zip files are no such thing
        if not (isinstance(file, io.BufferedReader | io.FileIO) and isinstance(raw, io.FileIO)):
            return False
        number, offset = raw.fileno(), file.tell()
        facts = fstat(number)
        if not stat.S_ISREG(facts.st_mode):
            return False
        count = max(0, facts.st_size - offset)
        for name, value in self._headers:
            if name.lower() == b"content-length" and value.isdigit():
                count = min(count, int(value))
        self._start()
        message = {"type": "http.response.zerocopysend", "file": number, "offset": offset, "count": count}
        self._job.emit(message)
        self._job.emit_all()
        return True

    def _close_after_failure(self, result: Any) -> None:
        """What failed first is what counts."""
        try:
            if hasattr(result, "close"):
                result.close()
        except BaseException as error:
            if not stems_from_disconnect(error):
                logger.error("the application's close() failed, after another error", exc_info=error)


def _joined(blocks: list[bytes] | tuple[bytes, ...]) -> list[bytes] | tuple[bytes, ...]:
    """All blocks of a small body as one: they are there already, so none is held back."""
    if len(blocks) < 2 or any(type(block) is not bytes for block in blocks) or sum(map(len, blocks)) > HIGH_WATER:
        return blocks
    return [b"".join(blocks)]


def _code(status: str) -> int:
    """PEP 3333: "a status string of the form '999 Message here'". The code is judged later, as for ASGI."""
    if type(status) is not str or not (status[:3].isascii() and status[:3].isdigit()) or status[3:4] not in ("", " "):
        raise _forbidden(f"a status must be a str such as '200 OK', not {status!r}")
    return int(status[:3])


def _field(pair: tuple[str, str]) -> tuple[bytes, bytes]:
    known = _fields.get(pair) if type(pair) is tuple else None
    return _new_field(pair) if known is None else known


def _new_field(pair: Any) -> tuple[bytes, bytes]:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise _forbidden(f"a header field must be a tuple of name and value, not {pair!r}")
    name, value = pair
    field = (_bytes(name, "a header's name"), _bytes(value, f"the header {name!r}"))
    if type(pair) is tuple and len(name) + len(value) <= REMEMBERED_SIZE:
        if len(_fields) >= REMEMBERED:
            _fields.clear()
        _fields[pair] = field
    return field


def _bytes(text: Any, what: str) -> bytes:
    if not isinstance(text, str):
        raise _forbidden(f"{what} must be a str, not {text!r}")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise _forbidden(f"{what} has characters that stand for no byte (PEP 3333: latin-1 only): {text!r}") from error


def _forbidden(detail: str) -> ExchangeError:
    """The application broke PEP 3333."""
    return ExchangeError(Fault.APPLICATION, 500, "bad_message", detail)
