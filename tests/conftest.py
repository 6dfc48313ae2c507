"""Fixtures that every test may use, and the check that a test run leaves no process behind."""

from __future__ import annotations

import contextlib
import itertools
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.support import forms, processes
from tests.support.certificates import Authority
from tests.support.server import Sidegate

forms.choose()

# What runs in the background, or by nohup, ignores these signals, and so would all that it starts. A handler does not
# pass on to other programs.
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)

# The machine's load must not fail a test.
hypothesis.settings.register_profile(
    "loaded", hypothesis.settings(), deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("loaded")

Serve = Callable[..., Sidegate]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start real servers: ``serve(config, **options)`` gives one that is ready (see ``Sidegate``)."""
    with _servers(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def serve_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """The same as ``serve`` for servers that all tests of a file share."""
    with _servers(tmp_path_factory.mktemp("sidegate")) as start:
        yield start


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority of this test run."""
    return Authority(tmp_path_factory.mktemp("authority"))


@contextlib.contextmanager
def _servers(folder: Path) -> Iterator[Serve]:
    numbers = itertools.count()
    with contextlib.ExitStack() as stack:

        def start(config: Mapping[str, Any], **options: Any) -> Sidegate:
            server = Sidegate(folder / f"server-{next(numbers)}", config, **options)
            stack.callback(server.close)
            server.wait_ready()
            return server

        yield start


def pytest_sessionstart(session: pytest.Session) -> None:
    processes.mark_descendants()


def pytest_sessionfinish(session: pytest.Session) -> None:
    left = processes.end_descendants()
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        session.config.stash[_LEFT] = left


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(_LEFT, []):
        terminalreporter.write_line(f"FAILED: the tests left a process behind: {line}", red=True)


_LEFT = pytest.StashKey[list[str]]()
