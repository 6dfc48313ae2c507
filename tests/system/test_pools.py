"""Applications in worker processes: what they see, what clients see when a worker goes, how workers are replaced."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import Serve
from tests.support.certificates import Authority
from tests.support.lifecycle import get_in_background, held_open, status, wait_until
from tests.support.pools import (
    Load,
    about,
    all_succeeded,
    answered_by,
    pool_config,
    serving_workers,
    wait_workers,
    workers,
)
from tests.support.ports import reserve_port
from tests.support.programs import works
from tests.support.server import APPS, Sidegate, http_get, listener

MIB = 1 << 20

# ---- what the application sees ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(serve_module: Serve, authority: Authority) -> Sidegate:
    """Two workers; a third listener asks for a client's certificate."""
    config = pool_config({"workers": 2}, trustedProxies=["127.0.0.0/8"])
    pair = authority.server("localhost")
    tls = {
        "certificates": [{"cert": str(pair.cert), "key": str(pair.key)}],
        "clientCertificates": {"ca": str(authority.ca), "mode": "optional"},
    }
    config["listeners"].append(listener(name="mtls", tls=tls))
    server = serve_module(config)
    wait_workers(server, 2)
    return server


WAYS = [("http", False), ("http", True), ("https", False), ("https", True), ("mtls", True)]


@pytest.mark.parametrize(("name", "http2"), WAYS)
def test_the_scope_is_that_of_an_application_in_the_front(
    shared: Sidegate, authority: Authority, name: str, http2: bool
) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if name == "mtls":
        pair = authority.client("someone")
        context.load_cert_chain(pair.cert, pair.key)
    headers = [(b"x-two", b"1"), (b"x-two", b"2"), (b"cookie", b"a=b"), (b"x-odd", b"\xff")]
    headers.append((b"x-forwarded-for", b"203.0.113.9"))
    seen = []
    with httpx.Client(verify=context, http1=not http2, http2=http2, trust_env=False) as client:
        for to in (b"front", b"pool"):
            url = shared.url("/a%20b/%C3%A9//c?x=%201&y", name)
            response = client.post(url, headers=[*headers, (b"x-to", to)], content=b"some body")
            scope = response.json()
            assert scope.pop("pid") in (serving_workers(shared) if to == b"pool" else front_pids(shared))
            scope["headers"] = [pair for pair in scope["headers"] if pair[0] != "x-to"]
            assert scope.pop("state")["started_in"] > 0
            seen.append(scope)
    assert seen[0] == seen[1]
    assert seen[1]["client"][0] == "203.0.113.9"
    assert seen[1]["path"] == "/a b/é//c"
    assert ("tls" in seen[1]["extensions"]) is (name != "http")


def front_pids(server: Sidegate) -> list[int]:
    return [process.pid for process in server.fronts]


def test_a_client_cannot_claim_the_facts_of_the_hop(shared: Sidegate) -> None:
    names = ("x-sidegate-peer", "x-sidegate-tls", "x-sidegate-request-id")
    scope = json.loads(http_get(shared.url("/"), headers=dict.fromkeys(names, '["203.0.113.1",1]'))[1])
    assert scope["client"][0] == "127.0.0.1"
    assert not [pair for pair in scope["headers"] if pair[0].startswith("x-sidegate")]


def test_bodies_pass_whole_in_both_directions(shared: Sidegate) -> None:
    body = os.urandom(3 * MIB)
    with httpx.Client(trust_env=False) as client:
        told = client.post(shared.url("/digest"), content=body).json()
        assert told["size"] == len(body)
        assert len(client.get(shared.url(f"/body?size={3 * MIB}&piece=1000")).content) == 3 * MIB
        assert len(client.get(shared.url(f"/body?size={3 * MIB}&chunked=1")).content) == 3 * MIB


def test_the_application_learns_that_its_client_left(shared: Sidegate) -> None:
    before = happened(shared, "disconnected")
    with held_open(shared, "/disconnect") as client:
        assert b"waiting" in received_until(client, b"waiting")
    wait_until(lambda: happened(shared, "disconnected") > before, "the application is told")


def received_until(client: socket.socket, text: bytes) -> bytes:
    data = b""
    while text not in data:
        piece = client.recv(65536)
        assert piece, data
        data += piece
    return data


def happened(server: Sidegate, what: str) -> int:
    """Over both workers: each is asked until both have answered."""
    told: dict[int, int] = {}
    for _ in range(100):
        state = json.loads(http_get(server.url("/state"))[1])
        told[state["pid"]] = state.get(what, 0)
        if len(told) == 2:
            break
    return sum(told.values())


def test_metrics_and_status_tell_of_the_pool(shared: Sidegate) -> None:
    for _ in range(5):
        answered_by(shared)
    text = shared.admin("/metrics")[1]
    assert 'sidegate_pool_workers{backend="pooled",state="serving"} 2.0' in text
    assert 'sidegate_backend_queue_length{backend="pooled"} 0.0' in text
    assert 'sidegate_backend_queue_wait_seconds_bucket{backend="pooled"' in text
    assert 'sidegate_pool_resident_memory_bytes{backend="pooled"}' in text
    assert 'sidegate_pool_worker_requests_total{backend="pooled"' in text
    assert {worker["state"] for worker in workers(shared)} == {"serving"}


# ---- the process ------------------------------------------------------------------------------------------


def test_a_worker_settles_in_as_configured(serve: Serve, tmp_path: Path) -> None:
    env_file = tmp_path / "pool.env"
    env_file.write_text("# of the operator\nPOOLED_FILE='from the file'\nPOOLED_BOTH=file\n")
    pool = {
        "env": {"POOLED_SET": "from the config", "POOLED_BOTH": "config"},
        "envFile": str(env_file),
        "directory": str(tmp_path),
        "nice": 5,
        "umask": "0027",
        "limits": {"openFiles": 512, "memory": "2Gi"},
    }
    server = serve(pool_config(pool))
    (pid,) = wait_workers(server, 1)
    told = about(server)
    assert told["directory"] == str(tmp_path)
    assert told["environment"] == {
        "POOLED_FILE": "from the file",
        "POOLED_SET": "from the config",
        "POOLED_BOTH": "config",
    }
    assert told["nice"] == 5
    process = psutil.Process(pid)
    assert process.rlimit(psutil.RLIMIT_NOFILE)[0] == 512
    assert process.rlimit(psutil.RLIMIT_DATA)[0] == 2 << 30
    assert "Umask:\t0027" in Path(f"/proc/{pid}/status").read_text()


AS_NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "env", "--unset=COVERAGE_PROCESS_CONFIG"]


@pytest.mark.skipif(
    not works(AS_NOBODY, sys.executable, "-c", "import sidegate"),
    reason="needs root, setpriv(1) and an interpreter that everybody may run",
)
def test_a_worker_runs_as_another_user(serve: Serve) -> None:
    server = serve(pool_config({"user": "nobody", "group": "nogroup"}))
    (pid,) = wait_workers(server, 1)
    assert psutil.Process(pid).username() == "nobody"
    assert answered_by(server) == pid


def test_a_preloaded_application_is_imported_once(serve: Serve) -> None:
    server = serve(pool_config({"workers": 2, "preload": True}))
    pids = wait_workers(server, 2)
    seen: dict[int, int] = {}
    wait_until(lambda: seen.update({(told := about(server))["pid"]: told["loadedIn"]}) or len(seen) == 2, "both")
    assert set(seen) == set(pids)
    (preloader,) = set(seen.values())
    assert preloader not in pids
    os.kill(pids[0], signal.SIGKILL)
    wait_until(lambda: len(set(serving_workers(server)) - {pids[0]}) == 2, "a successor")
    os.kill(preloader, signal.SIGKILL)
    os.kill(pids[1], signal.SIGKILL)
    new = wait_until(lambda: len(found := set(serving_workers(server)) - set(pids)) == 2 and found, "successors")
    assert answered_by(server) in new


# ---- going wrong ------------------------------------------------------------------------------------------


def test_a_worker_that_cannot_start_leaves_the_rest_serving(serve: Serve) -> None:
    config = pool_config()
    config["backends"]["broken"] = {"app": "no_such_module:app", "directory": str(APPS), "pool": {}}
    config["backends"]["broken"]["queue"] = {"timeout": "1s"}
    config["routes"].append({"name": "broken", "path": "/broken", "backend": "broken"})
    config["admin"] = {"address": f"127.0.0.1:{reserve_port()}", "ready": "any"}
    server = serve(config)
    server.wait_log("no module 'no_such_module'")
    assert answered_by(server) in wait_workers(server, 1)
    code, _ = http_get(server.url("/broken"))
    assert code == 503


def test_a_pool_that_was_never_ready_keeps_the_service_unready(tmp_path: Path) -> None:
    config = pool_config()
    config["backends"]["broken"] = {"app": "no_such_module:app", "directory": str(APPS), "pool": {}}
    with contextlib.closing(Sidegate(tmp_path, config)) as server:
        server.wait_serving()
        assert server.admin("/readyz") == (503, "backend broken: no worker was ready yet\n")


def test_a_killed_worker_is_replaced_and_its_request_told(serve: Serve) -> None:
    server = serve(pool_config({"workers": 2}))
    old = wait_workers(server, 2)
    with httpx.Client(trust_env=False) as client:
        response = client.post(server.url("/crash"), content=b"x")
    assert response.status_code == 502, "a POST is never sent twice"
    new = wait_until(lambda: len(pids := serving_workers(server)) == 2 and pids != old and pids, "a successor")
    assert len(set(old) & set(new)) == 1
    assert 'sidegate_pool_worker_restarts_total{backend="pooled",cause="SIGKILL"} 1.0' in server.admin("/metrics")[1]


def test_a_response_that_a_dying_worker_began_is_not_completed(serve: Serve) -> None:
    server = serve(pool_config())
    wait_workers(server, 1)
    with httpx.Client(trust_env=False) as client, pytest.raises(httpx.RemoteProtocolError):
        client.get(server.url("/crash?after=head"))


def test_a_stuck_worker_is_shown_and_replaced(serve: Serve) -> None:
    server = serve(pool_config({"workers": 2, "livenessTimeout": "1s"}))
    old = wait_workers(server, 2)
    with httpx.Client(trust_env=False) as client:  # a GET would be tried on the other worker, too
        assert client.post(server.url("/stuck"), content=b"x", timeout=30).status_code == 502
    assert "pooled.py" in server.wait_log("in stuck", 30)
    assert answered_by(server) > 0
    new = wait_until(
        lambda: len(pids := serving_workers(server)) == 2 and set(pids) != set(old) and pids, "a successor"
    )
    assert len(set(old) & set(new)) == 1


def test_a_full_queue_and_a_long_wait_are_refused(serve: Serve) -> None:
    config = pool_config({"workers": 1, "concurrency": 1})
    config["backends"]["pooled"]["queue"] = {"size": 1, "timeout": "1s"}
    server = serve(config)
    wait_workers(server, 1)
    with contextlib.ExitStack() as stack:
        first, first_answers = get_in_background(server.url("/slow?seconds=4"))
        stack.callback(first.join, 30)
        wait_metric(server, 'requests_in_flight{backend="pooled"} 1.0')
        second, second_answers = get_in_background(server.url("/pid"))
        stack.callback(second.join, 30)
        wait_metric(server, 'queue_length{backend="pooled"} 1.0')
        with httpx.Client(trust_env=False) as client:
            third = client.get(server.url("/pid"))
        assert (third.status_code, "retry-after" in third.headers) == (503, True)
        second.join(30)
        assert second_answers[0][0] == 503
        first.join(30)
        assert first_answers[0][0] == 200
    text = server.admin("/metrics")[1]
    assert 'reason="queue_full"' in text
    assert 'reason="queue_timeout"' in text


def wait_metric(server: Sidegate, text: str) -> None:
    wait_until(lambda: text in server.admin("/metrics")[1], text)


# ---- replacing --------------------------------------------------------------------------------------------


def test_no_get_fails_while_workers_are_killed(serve: Serve) -> None:
    server = serve(pool_config({"workers": 2}))
    wait_workers(server, 2)
    with Load(server, "/pid", "-D", "7") as load:
        for number in range(3):
            time.sleep(2)  # so that the last successor serves: what two workers in turn die with is given up
            os.kill(wait_until(lambda: serving_workers(server), "a worker")[number % 2 - 1], signal.SIGKILL)
        counts = load.counts()
    all_succeeded(counts)


def test_no_request_fails_while_workers_are_recycled_by_count(serve: Serve) -> None:
    server = serve(pool_config({"workers": 2, "maxRequests": 500}))
    wait_workers(server, 2)
    with Load(server, "/pid", "-n", "15000") as load:
        all_succeeded(load.counts())
    wait_until(lambda: restarts(server, "max_requests") >= 2, "both workers that began are replaced")


def test_no_request_fails_while_workers_are_recycled_by_memory(serve: Serve) -> None:
    server = serve(pool_config({"workers": 2, "maxMemory": "150Mi"}))
    old = wait_workers(server, 2)
    with Load(server, "/grow", "-D", "6") as load:
        all_succeeded(load.counts())
    wait_until(lambda: restarts(server, "max_memory") >= 1, "a recycled worker")
    assert set(serving_workers(server)) != set(old)


def test_an_old_worker_is_recycled(serve: Serve) -> None:
    server = serve(pool_config({"workers": 1, "maxAge": "1s"}))
    (old,) = wait_workers(server, 1)
    wait_until(lambda: restarts(server, "max_age") >= 1, "a recycled worker")
    assert answered_by(server) != old


def restarts(server: Sidegate, cause: str) -> int:
    return int(status(server)["pools"]["pooled"]["restarts"].get(cause, 0))


def test_a_pool_grows_with_its_queue_and_shrinks_again(serve: Serve, tmp_path: Path) -> None:
    pool = {"workers": {"min": 1, "max": 3, "idleTimeout": "1s"}, "concurrency": 1}
    config = pool_config(pool)
    config["backends"]["pooled"]["queue"] = {"timeout": "1m"}
    server = serve(config)
    grown = tmp_path / "grown"
    wait_workers(server, 1)
    with contextlib.ExitStack() as stack:
        answers = []
        for _ in range(6):
            thread, answer = get_in_background(server.url(f"/slow?until={grown}"))
            stack.callback(thread.join, 60)
            answers.append(answer)
        stack.callback(grown.touch)
        wait_workers(server, 3)
    assert [answer[0][0] for answer in answers] == [200] * 6
    wait_workers(server, 1)


def test_a_changed_source_replaces_the_workers(serve: Serve, tmp_path: Path) -> None:
    source = tmp_path / "edited.py"
    source.write_text(SOURCE % "first")
    config = pool_config({"reload": {"watch": [str(tmp_path)]}}, app="edited:app")
    for backend in config["backends"].values():
        backend["directory"] = str(tmp_path)
    server = serve(config)
    wait_workers(server, 1)
    assert http_get(server.url("/"))[1] == "first"
    source.write_text(SOURCE % "second edition")
    wait_until(lambda: http_get(server.url("/")) == (200, "second edition"), "the new edition")


SOURCE = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%s"})
"""


def test_a_stop_finishes_what_workers_have_begun(serve: Serve) -> None:
    server = serve(pool_config({"workers": 2}, gracePeriod="20s"))
    wait_workers(server, 2)
    thread, answers = get_in_background(server.url("/slow?seconds=2"))
    wait_metric(server, 'requests_in_flight{backend="pooled"} 1.0')
    assert server.stop() == 0
    thread.join(30)
    assert answers == [(200, "slow\n")]
    assert server.log().count("plain: shut down") == 3, "two workers and the application in the front"
