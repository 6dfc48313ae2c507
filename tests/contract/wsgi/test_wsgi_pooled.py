"""The WSGI contract once more, for an application in a worker behind a front: the tests of ``test_wsgi*.py``.

What follows the fixture is true of a pool in another way than of a front's own threads; where it has the name of a test
of theirs, it takes its place.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sidegate.observe import metrics
from tests.contract.wsgi.test_wsgi import *  # noqa: F403 - the same tests
from tests.contract.wsgi.test_wsgi_clients import *  # noqa: F403
from tests.contract.wsgi.test_wsgi_early_hints import *  # noqa: F403
from tests.contract.wsgi.test_wsgi_environ import *  # noqa: F403
from tests.contract.wsgi.test_wsgi_environ import Keeping
from tests.contract.wsgi.test_wsgi_failures import *  # noqa: F403
from tests.contract.wsgi.test_wsgi_files import *  # noqa: F403
from tests.contract.wsgi.test_wsgi_input import *  # noqa: F403
from tests.contract.wsgi.test_wsgi_response import *  # noqa: F403
from tests.contract.wsgi.test_wsgi_threads import *  # noqa: F403
from tests.support.relaying import Both, pooled, take_place_of_running
from tests.support.running import wait_for
from tests.support.wsgi import Gate, begin, hello, line_up


@contextlib.contextmanager
def behind_a_front(
    app: Callable[..., Any],
    folder: Path,
    codec: str,
    *,
    threads: int | None = None,
    pool: dict[str, Any] | None = None,
    backend: dict[str, Any] | None = None,
    tls: dict[str, Any] | None = None,
    **settings: Any,
) -> Iterator[Both]:
    """``running`` for a pool: its threads are the worker's, its queue is the front's."""
    own = {**({} if threads is None else {"threads": threads}), **(pool or {})}
    settings.pop("loop_factory", None)
    listener = {**settings.pop("listener", {}), **({} if tls is None else {"tls": tls})}
    backend = {"interface": "wsgi", **(backend or {})}
    with pooled(app, folder, codec, own, backend=backend, listener=listener, **settings) as (front, worker):
        wait_for(lambda: front.connections()[0]["ready"])  # else the first request may need the queue
        yield Both(front, worker)


@pytest.fixture(autouse=True)
def running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    return take_place_of_running(monkeypatch, globals(), behind_a_front, tmp_path)


@pytest.mark.parametrize(
    ("pool", "several"),
    [({}, False), ({"workers": 2}, True), ({"workers": {"min": 1, "max": 2}}, True), ({"maxRequests": 10}, True)],
    ids=str,
)
def test_multiprocess_is_true_to_the_set_up(
    codec: str, pool: dict[str, Any], several: bool, running: Callable[..., Any]
) -> None:
    """A worker that is replaced and its successor run at the same time, too."""
    app = Keeping()
    with running(app, codec, pool=pool, processes=2) as server:
        assert app.of(server, codec)["wsgi.multiprocess"] is several


@pytest.mark.parametrize(("threads", "places"), [(None, 4), (3, 3)])
def test_a_worker_announces_as_many_streams_as_threads(
    codec: str, threads: int | None, places: int, running: Callable[..., Any]
) -> None:
    with running(hello, codec, threads=threads) as server:
        assert server.connections()[0]["capacity"] == places


def test_what_no_thread_has_time_for_waits_in_the_front(codec: str, running: Callable[..., Any]) -> None:
    gate = Gate()
    with running(gate, codec, threads=1) as server, gate:
        held = begin(server, codec, "/wait")
        wait_for(lambda: gate.inside == 1)
        waiting = line_up(server, codec, "/1", "/2")
        assert server.connections()[0]["requests"] == 1
        gate.open()
        for client, stream in [*held, *waiting]:
            assert client.finish(stream).status == 200


def test_what_waits_for_a_stuck_worker_goes_back_to_the_front(codec: str, running: Callable[..., Any]) -> None:
    """Before it has begun, so a POST as well; here the worker recovers, in a pool a successor would take it."""
    gate = Gate()
    routes = [
        {"path": "/wait", "backend": "app", "timeouts": {"request": "300ms"}},
        {"path": "/", "backend": "app", "timeouts": {"request": "2s"}},  # a thread is stuck after the longest
        {"path": "/patient", "backend": "app"},
    ]
    with running(gate, codec, threads=1, routes=routes) as server, gate:
        ((client, stream),) = begin(server, codec, "/wait")
        assert client.finish(stream).status == 504
        other = server.client(codec)
        posted = other.begin("POST", "/patient", [(b"content-length", b"4")], end=False)
        other.body(posted, b"body", end=True)
        wait_for(lambda: server.told("exhausted"))
        wait_for(lambda: server.count(metrics.BACKEND_RETRIES, "app", "refused") > 0)
        gate.open()
        assert other.finish(posted).status == 200
        assert gate.paths == ["/wait", "/patient"]
