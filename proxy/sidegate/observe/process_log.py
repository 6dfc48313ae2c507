"""The process log: Sidegate's own log messages on standard error, as text or JSON.

Every process, supervisor and children, sets it up. It owns only the loggers ``sidegate`` and ``asyncio``: the root
logger belongs to the application, whose ``logging.basicConfig`` would do nothing if the root logger already had a
handler.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import re
import tempfile
import time
import traceback
from typing import TYPE_CHECKING

from sidegate.observe.standard_error import StandardError

if TYPE_CHECKING:
    from sidegate.config.schema import Logging

logger = logging.getLogger("sidegate.log")

stderr = StandardError()
"""Standard error of this process, for all that Sidegate itself writes to it while it serves."""

OURS = ("sidegate", "asyncio")

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


class LastingLogger(logging.Logger):
    """A logger that an application cannot switch off.

    ``logging.config`` by default disables every logger that its argument does not contain (Alembic's ``env.py`` does
    it at a migration), and ``logging.disable`` disables all. Tracebacks of the application itself would be lost.
    """

    @property
    def disabled(self) -> bool:
        """False; what is set is ignored."""
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None:
        pass

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the name of `logging`
        """Whether a message of ``level`` is logged; ``logging.disable`` is ignored."""
        return level >= self.getEffectiveLevel()


def set_up(settings: Logging) -> None:
    """Send the messages of our loggers to standard error, and let nobody disable these loggers.

    It may be called again: for loggers that were made since, and because an application's configuration may name ours.
    """
    handler = ProcessLogHandler(JsonFormatter() if settings.format == "json" else TextFormatter())
    stderr.notice = handler.notice
    stderr.prepare()
    for name in OURS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(settings.level.upper())
        logger.propagate = False
    for name, known in logging.root.manager.loggerDict.items():
        if name.partition(".")[0] in OURS and isinstance(known, logging.Logger):
            known.__class__ = LastingLogger


def write_stacks() -> None:
    """Write the stacks of all threads of this process to ``stderr``, as `faulthandler` prints them."""
    try:
        with tempfile.TemporaryFile() as file:  # faulthandler writes to a descriptor only, and would wait for a reader
            faulthandler.dump_traceback(file)
            file.seek(0)
            stderr.write(file.read().decode("utf-8", "replace"))
    except OSError as error:
        logger.error("the stacks cannot be written: %s", error)


class ProcessLogHandler(logging.Handler):
    """Writes records to ``stderr``, which never waits for its reader."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001 - an application may pass anything, and the parent class does the same
            self.handleError(record)
        else:
            stderr.write(f"{text}\n")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name of `logging`
        """Tell of a message that cannot be formatted; the parent's method would wait for the reader."""
        stderr.write(f"{record.pathname}:{record.lineno}: a log message cannot be formatted\n{traceback.format_exc()}")

    def flush(self) -> None:
        """Wait a moment for the reader. `logging` calls it when the process ends."""
        stderr.flush()

    def notice(self, dropped: int) -> str:
        """The line that says how many lines were dropped."""
        message = "%d lines of this log were dropped, because standard error was not read"
        return f"{self.format(logger.makeRecord(logger.name, logging.WARNING, '', 0, message, (dropped,), None))}\n"


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.123Z [pid] level logger: message``; further lines (tracebacks) are indented.

    Control characters are escaped: a message may quote what a client sent.
    """

    def format(self, record: logging.LogRecord) -> str:
        text = _escaped(super().format(record)).replace("\n", "\n  ")
        return f"{_stamp(record)} [{record.process}] {record.levelname.lower()} {record.name}: {text}"


class JsonFormatter(logging.Formatter):
    """One object per line: ``time``, ``pid``, ``level``, ``logger``, ``message``, ``traceback`` if there is one.

    The members of ``extra={"fields": {...}}`` of a logging call are added.
    """

    def format(self, record: logging.LogRecord) -> str:
        members = {
            "time": _stamp(record),
            "pid": record.process,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            members["traceback"] = self.formatException(record.exc_info)
        return json.dumps(members)


def _stamp(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"


def _escaped(text: str) -> str:
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
