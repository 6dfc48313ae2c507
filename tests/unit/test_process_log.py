"""The process log's two formats and its distance from the application's logging."""

from __future__ import annotations

import json
import logging
import logging.config
import os
import re
import sys
from collections.abc import Iterator

import pytest

from sidegate.config.schema import Logging
from sidegate.observe import process_log

logger = logging.getLogger("sidegate.test")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Our loggers as they were, so that other tests can capture them."""
    before = {
        name: (log.handlers, log.level, log.propagate) for name in process_log.OURS for log in [logging.getLogger(name)]
    }
    yield
    for name, (handlers, level, propagate) in before.items():
        log = logging.getLogger(name)
        log.handlers, log.propagate = handlers, propagate
        log.setLevel(level)


def failing() -> None:
    try:
        raise ValueError("bad\x1b[31m value")
    except ValueError:
        logger.exception("it failed")


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    process_log.set_up(Logging(level="info", format="text"))
    logger.debug("hidden")
    logger.info("path %s", "/a\r\nb\x00")
    failing()
    first, second, third, *more = capsys.readouterr().err.splitlines()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(rf"{stamp} \[{os.getpid()}\] info sidegate\.test: path /a\\u000d", first)
    assert second == "  b\\u0000"
    assert re.fullmatch(rf"{stamp} \[{os.getpid()}\] error sidegate\.test: it failed", third)
    assert all(line.startswith("  ") for line in more)
    assert more[-1] == "  ValueError: bad\\u001b[31m value"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    process_log.set_up(Logging(level="warning", format="json"))
    logger.info("hidden")
    logger.warning("one\ntwo", extra={"fields": {"listeners": {"a": []}}})
    failing()
    one, two = map(json.loads, capsys.readouterr().err.splitlines())
    assert (one["level"], one["logger"], one["message"]) == ("warning", "sidegate.test", "one\ntwo")
    assert (one["pid"], one["listeners"]) == (os.getpid(), {"a": []})
    assert "traceback" not in one
    assert two["traceback"].endswith("ValueError: bad\x1b[31m value")


def test_the_applications_logging_configuration_does_not_silence_us(capsys: pytest.CaptureFixture[str]) -> None:
    process_log.set_up(Logging())
    handlers = logging.root.handlers[:]
    logging.config.dictConfig({"version": 1})  # disable_existing_loggers is its default
    logging.root.handlers[:] = handlers
    assert logger.disabled
    process_log.set_up(Logging())
    logger.info("still here")
    assert "still here" in capsys.readouterr().err


def test_the_root_logger_is_the_applications(capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.root.handlers[:], logging.root.level
    process_log.set_up(Logging())
    assert (logging.root.handlers, logging.root.level) == before
    handler = logging.getLogger("sidegate").handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    assert handler.stream is sys.stderr
