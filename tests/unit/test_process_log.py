"""The process log's two formats and its distance from the application's logging."""

from __future__ import annotations

import json
import logging
import logging.config
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

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


FILE_CONFIG = """
[loggers]
keys=root
[handlers]
keys=
[formatters]
keys=
[logger_root]
level=WARNING
handlers=
"""


def by_dict(folder: Path) -> None:
    logging.config.dictConfig({"version": 1})  # disable_existing_loggers is its default


def by_file(folder: Path) -> None:
    (folder / "alembic.ini").write_text(FILE_CONFIG)
    logging.config.fileConfig(folder / "alembic.ini")


def by_attribute(folder: Path) -> None:
    logger.disabled = True


def for_all(folder: Path) -> None:
    logging.disable(logging.CRITICAL)


@pytest.mark.parametrize("silence", [by_dict, by_file, by_attribute, for_all])
def test_an_application_cannot_silence_us(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, silence: Callable[[Path], None]
) -> None:
    process_log.set_up(Logging(level="info"))
    kept = logging.root.handlers[:], logging.root.level
    try:
        silence(tmp_path)
        assert not logger.disabled
        logger.info("still here")
        logger.debug("below the level")
        failing()
    finally:
        logging.disable(logging.NOTSET)
        logging.root.handlers[:], logging.root.level = kept
    written = capsys.readouterr().err
    assert "still here" in written
    assert "below the level" not in written
    assert "ValueError" in written


def test_the_root_logger_is_the_applications(capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.root.handlers[:], logging.root.level
    process_log.set_up(Logging())
    assert (logging.root.handlers, logging.root.level) == before
    handler = logging.getLogger("sidegate").handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    assert handler.stream is sys.stderr
