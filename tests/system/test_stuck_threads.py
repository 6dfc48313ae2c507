"""What an operator is shown of WSGI applications: what was found, threads at work, threads that are stuck."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.conftest import Serve
from tests.support.lifecycle import status, wait_until
from tests.support.pools import pool_config, wait_workers
from tests.support.server import APPS, Sidegate, http_get

APP = "wsgi_plain:app"


def in_both_places() -> dict[str, Any]:
    """The application on two threads in a pool, and in the front for who asks for it; half a second a request."""
    config = pool_config({"workers": 1, "threads": 2}, app=APP, processes=1)
    config["backends"]["inside"]["threads"] = 2
    config["backends"]["asgi"] = {"app": "plain:app", "directory": str(APPS)}
    config["routes"].insert(0, {"path": "/asgi", "backend": "asgi"})
    for route in config["routes"]:
        route["timeouts"] = {"request": "500ms"}
    return config


def threads(server: Sidegate, backend: str) -> dict[str, float]:
    """Threads by state, as Prometheus gets to see them."""
    pattern = rf'^sidegate_wsgi_threads\{{backend="{backend}",state="(\w+)"\}} (\S+)$'
    found = re.findall(pattern, server.admin("/metrics")[1], re.MULTILINE)
    return {state: float(count) for state, count in found}


def test_what_was_found_is_in_the_status_and_once_in_the_log(serve: Serve) -> None:
    server = serve({**in_both_places(), "processes": 2})
    wait_workers(server, 1)
    wsgi = "WSGI application, 2 threads"
    assert status(server)["interfaces"] == {"asgi": "ASGI 3 application", "inside": wsgi, "pooled": wsgi}
    for name in ("inside", "pooled"):
        assert server.log().count(f"backend {name}: {APP} is a {wsgi}") == 1
    assert server.log().count("backend asgi: plain:app is an ASGI 3 application") == 1


def test_an_asgi_application_has_no_series_of_threads_or_a_queue(serve: Serve) -> None:
    server = serve(in_both_places())
    for path in ("/asgi", "/pid"):
        assert http_get(server.url(path))[0] == 200
    text = server.admin("/metrics")[1]
    assert 'sidegate_backend_queue_length{backend="pooled"} 0.0' in text
    assert not re.search(r'sidegate_(backend|pool|wsgi)_\w+\{backend="asgi"', text)
    assert threads(server, "pooled") == {"busy": 0, "stuck": 0}


def test_threads_that_are_all_stuck_in_a_front_are_an_error_in_the_log(serve: Serve) -> None:
    server = serve(in_both_places())
    inside = {"x-to": "front"}
    with ThreadPoolExecutor(2) as together:
        answers = list(together.map(lambda _: http_get(server.url("/stuck"), headers=inside)[0], range(2)))
    assert answers == [504, 504]
    wait_until(lambda: threads(server, "inside") == {"busy": 0, "stuck": 2}, "both threads count as stuck")
    (front,) = status(server)["processes"]
    complaint = (
        f"backend inside: all of its WSGI threads in front {front['pid']} are stuck; a pool's worker would be replaced"
    )
    assert complaint in server.wait_log("are stuck; a pool's worker")
    assert status(server)["restarts"] == {}
    assert http_get(server.url("/pid"))[0] == 200, "the pool goes on"


def test_a_worker_is_replaced_and_its_threads_are_forgotten(serve: Serve) -> None:
    server = serve(in_both_places())
    (old,) = wait_workers(server, 1)
    assert http_get(server.url("/stuck"))[0] == 504
    wait_until(lambda: threads(server, "pooled") == {"busy": 0, "stuck": 1}, "one thread is stuck")
    assert status(server)["pools"]["pooled"]["workers"][0]["threads"] == {"busy": 0, "stuck": 1}
    assert http_get(server.url("/stuck"))[0] == 504
    assert "wsgi_plain.py" in server.wait_log("in stuck", 30)
    wait_until(lambda: wait_workers(server, 1) != [old], "a successor")
    assert http_get(server.url("/pid"))[0] == 200
    assert status(server)["pools"]["pooled"]["restarts"] == {"stuck_threads": 1}
    assert threads(server, "pooled") == {"busy": 0, "stuck": 0}
    assert 'worker_restarts_total{backend="pooled",cause="stuck_threads"} 1.0' in server.admin("/metrics")[1]
