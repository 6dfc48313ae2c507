"""Replacing and stopping real fronts."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import socket
import ssl
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from cryptography import x509

from tests.support.certificates import Authority
from tests.support.lifecycle import PATIENCE, Start, get_in_background, held_open, serving, status, wait_until
from tests.support.processes import tree
from tests.support.server import APPS, Sidegate, app_config, http_get

# ---- the start --------------------------------------------------------------------------------------------


def test_an_expired_certificate_is_served_and_reported(start: Start, authority: Authority) -> None:
    pair = authority.server("localhost", days=-1)
    tls = {"certificates": [pair.as_yaml()]}
    server = start(config=app_config("lifecycle:app", tls=tls))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(socket.create_connection(("127.0.0.1", server.port("https")))) as client:
        assert client.version()
    path = "listeners[1].tls.certificates[0].cert"
    assert len(re.findall(rf"warning .*{re.escape(path)}: the certificate {pair.cert} expired at ", server.log())) == 1
    expiry = x509.load_pem_x509_certificate(pair.cert.read_bytes()).not_valid_after_utc.timestamp()
    name = "sidegate_tls_certificate_expiry_timestamp_seconds"
    sample = re.search(rf'{name}{{certificate="{pair.cert}",listener="https"}} (\S+)', server.admin("/metrics")[1])
    assert sample
    assert float(sample[1]) == expiry


# ---- replacing fronts -------------------------------------------------------------------------------------


def test_a_killed_front_is_replaced_and_its_counts_are_kept(start: Start) -> None:
    server = start()
    (victim,) = serving(server)
    for _ in range(3):
        assert http_get(server.url("/pid")) == (200, str(victim))
    wait_until(lambda: requests_counted(server) == 3, "three requests")
    os.kill(victim, signal.SIGKILL)
    (successor,) = wait_until(lambda: [pid for pid in serving(server) if pid != victim], "a successor")
    assert http_get(server.url("/pid")) == (200, str(successor))
    assert 'sidegate_process_restarts_total{cause="SIGKILL",kind="front"} 1.0' in server.admin("/metrics")[1]
    wait_until(lambda: requests_counted(server) == 4, "three requests of the dead front and one of its successor")
    assert f"front {victim} exited (SIGKILL)" in server.log()


def states(server: Sidegate) -> list[str]:
    return sorted(process["state"] for process in status(server)["processes"])


def requests_counted(server: Sidegate) -> float:
    counts = re.findall(r'sidegate_requests_total\{.*code="200".*\} (\S+)', server.admin("/metrics")[1])
    return sum(map(float, counts))


def test_one_front_dies_the_others_go_on(start: Start) -> None:
    server = start(config={"processes": 3})
    pids = wait_until(lambda: len(serving(server)) == 3 and serving(server), "three fronts")
    os.kill(pids[0], signal.SIGSEGV)
    for _ in range(20):
        assert int(http_get(server.url("/pid"))[1]) != pids[0]
    wait_until(lambda: len(serving(server)) == 3, "three fronts again")
    assert set(pids[1:]) < set(serving(server))


def test_an_exit_of_the_application_is_a_cause(start: Start) -> None:
    server = start()
    with contextlib.suppress(OSError):
        http_get(server.url("/exit"))
    wait_until(lambda: status(server)["restarts"] == {"exit_7": 1}, "the cause")
    wait_until(lambda: serving(server), "a successor")


def test_a_crash_loop_backs_off_and_recovers(start: Start, switches: Path) -> None:
    server = start()
    (switches / "crash").touch()
    os.kill(serving(server)[0], signal.SIGKILL)
    wait_until(lambda: status(server)["restarts"].get("exit_9", 0) >= 3, "three failed attempts")
    assert server.admin("/readyz") == (503, "no front process is serving yet\n")
    assert server.admin("/livez")[0] == 200
    (switches / "crash").unlink()
    server.wait_ready()
    stamps = re.findall(r"^(\S+) .*front \d+ exited", server.log(), re.MULTILINE)
    times = [datetime.fromisoformat(stamp) for stamp in stamps[:4]]
    gaps = [(after - before).total_seconds() for before, after in itertools.pairwise(times)]
    assert all(gap >= 0.5 * 2**number for number, gap in enumerate(gaps)), gaps


def test_a_later_failure_to_start_is_logged_and_tried_again(start: Start, switches: Path) -> None:
    server = start()
    (switches / "raise").touch()
    os.kill(serving(server)[0], signal.SIGKILL)
    log = server.wait_log("the database is down", PATIENCE)
    assert "RuntimeError" in log
    (switches / "raise").unlink()
    server.wait_ready()
    assert status(server)["restarts"]["failed_start"] >= 1


def test_sigterm_to_a_front_drains_it_beside_its_successor(start: Start, switches: Path) -> None:
    server = start(config={"gracePeriod": "60s"})  # more than a successor needs on a busy machine
    (old,) = serving(server)
    thread, answers = get_in_background(server.url("/hold"))
    wait_until((switches / "holding").exists, "a request in flight")
    os.kill(old, signal.SIGTERM)
    (new,) = wait_until(lambda: [pid for pid in serving(server) if pid != old], "a successor")
    assert http_get(server.url("/pid")) == (200, str(new))
    states = {process["pid"]: process["state"] for process in status(server)["processes"]}
    assert states == {old: "draining", new: "serving"}
    (switches / "release").touch()
    thread.join(PATIENCE)
    assert answers == [(200, str(old))]
    wait_until(lambda: status(server)["restarts"] == {"drained": 1}, "the cause")


def test_a_front_that_never_becomes_ready_is_ended(start: Start, switches: Path) -> None:
    (switches / "hang").touch()
    server = start(ready=False, config={"startTimeout": "1s"})
    assert server.wait() == 3
    assert "is killed: not ready within 1 s" in server.log()


# ---- stopping ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_graceful_stop_finishes_what_is_in_flight(start: Start, switches: Path, number: signal.Signals) -> None:
    server = start(config={"gracePeriod": "20s"})
    (front,) = serving(server)
    thread, answers = get_in_background(server.url("/hold"))
    wait_until((switches / "holding").exists, "a request in flight")
    server.send_signal(number)
    wait_until(lambda: refused(server.port()), "closed listeners")
    assert server.admin("/readyz") == (503, "stopping\n")
    (switches / "release").touch()
    assert server.wait() == 0
    thread.join(PATIENCE)
    assert answers == [(200, str(front))]
    assert (switches / f"shutdown-{front}").exists()
    assert server.log().endswith(" s: no request was aborted\n")


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass
    return False


def test_requests_are_served_during_the_shutdown_delay(start: Start) -> None:
    server = start(config={"shutdownDelay": "3s", "gracePeriod": "20s"})
    server.send_signal(signal.SIGTERM)
    wait_until(lambda: server.admin("/readyz")[0] == 503, "not ready any more")
    assert http_get(server.url("/pid"))[0] == 200
    assert server.wait() == 0


def test_a_second_signal_ends_at_once(start: Start, switches: Path) -> None:
    server = start(config={"gracePeriod": "1h", "shutdownDelay": "30m"})
    with held_open(server, "/hold"):
        wait_until((switches / "holding").exists, "a request in flight")
        server.send_signal(signal.SIGTERM)
        server.wait_log("SIGTERM: stopping")
        assert server.stop(signal.SIGTERM) == 128 + signal.SIGTERM


def test_what_is_left_at_the_end_of_the_grace_period_is_cut(start: Start, switches: Path) -> None:
    server = start(config={"gracePeriod": "2s"})
    with held_open(server, "/hold") as client:
        wait_until((switches / "holding").exists, "a request in flight")
        assert server.stop() == 0
        with contextlib.suppress(ConnectionResetError):
            while client.recv(4096):
                pass
    assert server.log().endswith(" s: 1 request was aborted\n")


def test_a_front_that_is_stuck_is_killed_at_the_end(start: Start, switches: Path) -> None:
    server = start(config={"gracePeriod": "1s"})
    with held_open(server, "/block"):
        wait_until((switches / "blocking").exists, "a blocked event loop")
        assert server.stop() == 0
    assert server.log().endswith(" s: 1 request was aborted\n")
    assert "is killed: it did not exit after it had drained" in server.log()


POOLED = {"backends": {"app": {"app": "lifecycle:app", "directory": str(APPS), "pool": {"workers": 1}}}}


@pytest.mark.parametrize("backends", [{}, POOLED], ids=["front", "pool"])
def test_a_stop_while_applications_are_imported(start: Start, switches: Path, backends: dict[str, Any]) -> None:
    (switches / "hang").touch()
    server = start(ready=False, config={"gracePeriod": "1h", **backends})
    wait_until(lambda: len(tree(server.pid)) > 1 and (switches / "hanging").exists(), "an import under way")
    assert server.stop() == 0
    assert "Traceback" not in server.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
@pytest.mark.parametrize("backends", [{}, POOLED], ids=["front", "pool"])
def test_a_stop_while_a_startup_blocks_the_event_loop(
    start: Start, switches: Path, backends: dict[str, Any], number: signal.Signals
) -> None:
    (switches / "sleep").touch()
    server = start(ready=False, config={"gracePeriod": "1h", **backends})
    wait_until((switches / "sleeping").exists, "a startup that blocks")
    assert server.stop(number) == 0
    assert "its start did not react to SIGTERM" in server.log()
    assert not [word for word in ("Traceback", " error ", " warning ") if word in server.log()]


def test_a_stop_while_an_application_starts_up(start: Start, switches: Path) -> None:
    (switches / "wait").touch()
    server = start(ready=False)
    wait_until((switches / "waiting").exists, "a startup under way")
    assert server.admin("/readyz") == (503, "no front process is serving yet\n")
    assert server.stop() == 0


def test_sigusr2_does_not_end_the_service(start: Start) -> None:
    server = start()
    (front,) = serving(server)
    os.killpg(server.pid, signal.SIGUSR2)
    server.wait_log("SIGUSR2: this version cannot be upgraded while it runs")
    assert http_get(server.url("/pid")) == (200, str(front))


def test_sighup_does_not_end_the_service(start: Start) -> None:
    server = start()
    (front,) = serving(server)
    os.killpg(server.pid, signal.SIGHUP)  # as a closing terminal does
    server.wait_log("SIGHUP: this version cannot reload")
    assert http_get(server.url("/pid")) == (200, str(front))


def test_ctrl_c_reaches_every_process_and_stops_gracefully(start: Start, switches: Path) -> None:
    server = start()
    (front,) = serving(server)
    os.killpg(server.pid, signal.SIGINT)
    assert server.wait() == 0
    assert (switches / f"shutdown-{front}").exists()


def test_no_front_survives_the_supervisor(start: Start, switches: Path) -> None:
    server = start(config={"processes": 2})
    (switches / "hang").touch()
    os.kill(wait_until(lambda: serving(server), "a front")[0], signal.SIGKILL)
    # One serves, one is stuck in an import and reads no control socket.
    wait_until(lambda: states(server) == ["serving", "starting"], "two fronts")
    fronts = server.fronts
    os.kill(server.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(fronts, timeout=PATIENCE)
    assert not [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


# ---- logs -------------------------------------------------------------------------------------------------


def test_sigusr1_opens_the_access_log_again(start: Start, tmp_path: Path) -> None:
    log, rotated = tmp_path / "access.log", tmp_path / "access.log.1"
    server = start(config={"logging": {"accessLog": "combined", "accessLogFile": str(log)}})
    http_get(server.url("/pid?before"))
    wait_until(lambda: "GET /pid?before" in log.read_text(), "the first line")
    log.rename(rotated)
    server.send_signal(signal.SIGUSR1)
    wait_until(log.exists, "the new file")
    http_get(server.url("/pid?after"))
    wait_until(lambda: "GET /pid?after" in log.read_text(), "the second line")
    assert "after" not in rotated.read_text()


def test_sigusr1_to_a_front_does_nothing(start: Start) -> None:
    server = start()
    (pid,) = serving(server)
    os.kill(pid, signal.SIGUSR1)
    assert http_get(server.url("/pid")) == (200, str(pid))
