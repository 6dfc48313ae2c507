"""The process log's two formats and its distance from the application's logging."""

from __future__ import annotations

import json
import logging
import logging.config
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


def test_text(capfd: pytest.CaptureFixture[str]) -> None:
    process_log.set_up(Logging(level="info", format="text"))
    logger.debug("hidden")
    logger.info("path %s", "/a\r\nb\x00")
    failing()
    first, second, third, *more = capfd.readouterr().err.splitlines()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(rf"{stamp} \[{os.getpid()}\] info sidegate\.test: path /a\\u000d", first)
    assert second == "  b\\u0000"
    assert re.fullmatch(rf"{stamp} \[{os.getpid()}\] error sidegate\.test: it failed", third)
    assert all(line.startswith("  ") for line in more)
    assert more[-1] == "  ValueError: bad\\u001b[31m value"


def test_json(capfd: pytest.CaptureFixture[str]) -> None:
    process_log.set_up(Logging(level="warning", format="json"))
    logger.info("hidden")
    logger.warning("one\ntwo", extra={"fields": {"listeners": {"a": []}}})
    failing()
    one, two = map(json.loads, capfd.readouterr().err.splitlines())
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
    capfd: pytest.CaptureFixture[str], tmp_path: Path, silence: Callable[[Path], None]
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
    written = capfd.readouterr().err
    assert "still here" in written
    assert "below the level" not in written
    assert "ValueError" in written


def test_the_root_logger_is_the_applications() -> None:
    before = logging.root.handlers[:], logging.root.level
    process_log.set_up(Logging())
    assert (logging.root.handlers, logging.root.level) == before
    assert [type(handler) for handler in logging.getLogger("sidegate").handlers] == [process_log.ProcessLogHandler]


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_notice_of_dropped_lines_is_a_line_of_the_log(form: Any) -> None:
    process_log.set_up(Logging(format=form))
    line = process_log.stderr.notice(7)
    assert line.endswith("\n")
    message = "7 lines of this log were dropped, because standard error was not read"
    if form == "json":
        assert (json.loads(line)["message"], json.loads(line)["level"]) == (message, "warning")
    else:
        assert line.endswith(f" warning sidegate.log: {message}\n")


def test_a_message_that_cannot_be_formatted(capfd: pytest.CaptureFixture[str]) -> None:
    process_log.set_up(Logging())
    logger.warning("%d", "no number")
    written = capfd.readouterr().err
    assert f"{__file__}:" in written
    assert "TypeError: %d format" in written


def test_the_stacks_of_all_threads(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    process_log.set_up(Logging())
    process_log.write_stacks()
    assert "test_the_stacks_of_all_threads" in capfd.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", "/nowhere")
        process_log.write_stacks()
    assert "the stacks cannot be written: " in capfd.readouterr().err


def test_the_end_of_a_process_waits_for_the_reader() -> None:
    """More than a pipe holds is logged, then the process ends: the log is complete nevertheless."""
    code = "from tests.unit.test_process_log import log_much; log_much()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.count("much to say") == 2000
    assert done.stderr.splitlines()[-1].endswith("2000 much to say")


def log_much() -> None:
    process_log.set_up(Logging(level="info"))
    for number in range(1, 2001):
        logger.info("%d much to say", number)
