"""The process log: what Sidegate says about itself on standard error, as text or JSON.

Where it stands: set up once in every process, supervisor and children alike. It owns the loggers ``sidegate`` and
``asyncio`` and nothing else: the root logger belongs to the application, whose ``logging.basicConfig`` would do
nothing if a handler were already there.
"""

from __future__ import annotations

import json
import logging
import re
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidegate.config.schema import Logging

OURS = ("sidegate", "asyncio")

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def set_up(settings: Logging) -> None:
    """Send our loggers to standard error. Calling it again is harmless.

    Call it again after applications were imported: ``logging.config.dictConfig`` disables every logger that it does
    not know, unless told otherwise.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter())
    for name in OURS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(settings.level.upper())
        logger.propagate = False
    for name, known in logging.root.manager.loggerDict.items():
        if name.partition(".")[0] in OURS and isinstance(known, logging.Logger):
            known.disabled = False


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.123Z [pid] level logger: message``; further lines (tracebacks) are indented.

    Control characters are escaped: a message may quote what a client sent.
    """

    def format(self, record: logging.LogRecord) -> str:
        text = _escaped(super().format(record)).replace("\n", "\n  ")
        return f"{_stamp(record)} [{record.process}] {record.levelname.lower()} {record.name}: {text}"


class JsonFormatter(logging.Formatter):
    """One object a line: ``time``, ``pid``, ``level``, ``logger``, ``message``, ``traceback`` if there is one.

    What a call gives as ``extra={"fields": {...}}`` is added.
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
