"""What is true of a WSGI application in a pool only, or in another way than on a front's own threads."""

from __future__ import annotations

from typing import Any

import pytest

from sidegate.observe import metrics
from tests.contract.wsgi.test_wsgi_environ import Keeping
from tests.support.relaying import RunPool
from tests.support.running import wait_for
from tests.support.wsgi import Gate, begin, hello, line_up

pytestmark = pytest.mark.pool_only("the subject is the pool: its workers, their places and the front's queue")


@pytest.mark.parametrize(
    ("pool", "several"),
    [({}, False), ({"workers": 2}, True), ({"workers": {"min": 1, "max": 2}}, True), ({"maxRequests": 10}, True)],
    ids=str,
)
def test_multiprocess_is_true_to_the_set_up(codec: str, pool: dict[str, Any], several: bool, running: RunPool) -> None:
    """A worker that is replaced and its successor run at the same time, too."""
    app = Keeping()
    with running(app, codec, pool=pool, processes=2) as server:
        assert app.of(server, codec)["wsgi.multiprocess"] is several


@pytest.mark.parametrize(("threads", "places"), [(None, 4), (3, 3)])
def test_a_worker_announces_as_many_streams_as_threads(
    codec: str, threads: int | None, places: int, running: RunPool
) -> None:
    with running(hello, codec, threads=threads) as server:
        assert server.upstream_connections()[0]["capacity"] == places


def test_what_no_thread_has_time_for_waits_in_the_front(codec: str, running: RunPool) -> None:
    gate = Gate()
    with running(gate, codec, threads=1) as server, gate:
        held = begin(server, codec, "/wait")
        wait_for(lambda: gate.inside == 1)
        waiting = line_up(server, codec, "/1", "/2")
        assert server.upstream_connections()[0]["requests"] == 1
        gate.open()
        for client, stream in [*held, *waiting]:
            assert client.finish(stream).status == 200


def test_what_waits_for_a_stuck_worker_goes_back_to_the_front(codec: str, running: RunPool) -> None:
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
