"""Names of upstream servers: look-ups that fail at the start and later, and answers that change.

A scripted resolver is in the place of the machine's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from sidegate.backends.upstream import name_lookup
from sidegate.backends.upstream.name_lookup import LOOKUP_PERIOD, next_lookup
from tests.support.apps import hello
from tests.support.clients import request
from tests.support.relaying import RunningFront, remote_front
from tests.support.running import running, wait_for

LONG = {"timeout": "1h"}


class Resolver:
    """Answers with ``answer``, or raises it, and counts the look-ups of each name."""

    def __init__(self) -> None:
        self.answer: dict[str, list[str] | Exception] = {}
        self.asked: dict[str, int] = {}

    async def resolve(self, host: str, port: int) -> list[str]:
        self.asked[host] = self.asked.get(host, 0) + 1
        answer = self.answer[host]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait_asked(self, host: str, times: int) -> None:
        """Wait until so many more look-ups have begun."""
        wanted = self.asked.get(host, 0) + times
        wait_for(lambda: self.asked.get(host, 0) >= wanted)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    made = Resolver()
    monkeypatch.setattr(name_lookup, "resolve", made.resolve)
    monkeypatch.setattr(name_lookup, "LOOKUP_PERIOD", 3600.0)
    monkeypatch.setattr(name_lookup, "LOOKUP_PAUSE", 0.01)
    monkeypatch.setattr(name_lookup, "FIRST_RETRY", 0.01)
    return made


@contextlib.contextmanager
def before(*addresses: str) -> Iterator[RunningFront]:
    with remote_front("http2-h2", h2c=list(addresses), queue=LONG) as front:
        yield front


def endpoints(front: RunningFront) -> list[str]:
    return [connection["endpoint"] for connection in front.upstream_connections()]


def test_a_failed_look_up_is_repeated_soon_then_less_often() -> None:
    assert [next_lookup(failures) for failures in range(1, 9)] == [0.25, 0.5, 1, 2, 4, 8, 16, LOOKUP_PERIOD]
    assert next_lookup(10_000) == LOOKUP_PERIOD
    assert next_lookup(0) == LOOKUP_PERIOD


@pytest.mark.parametrize("error", [OSError(-3, "Temporary failure in name resolution"), UnicodeError("label too long")])
def test_a_name_that_is_not_known_at_the_start(
    resolver: Resolver, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The request that waits for it is answered soon after the first answer."""
    caplog.set_level("INFO")
    resolver.answer["app.test"] = error
    with running(hello, "http2-h2") as server, before(f"tcp://app.test:{server.address[1]}") as front:
        client = front.client("http1")
        stream = client.begin("GET", "/x", [], end=True)
        resolver.wait_asked("app.test", 3)
        resolver.answer["app.test"] = ["127.0.0.1"]
        assert client.finish(stream).body == b"/x"
        assert caplog.text.count("cannot resolve tcp://app.test:") == 1
        assert caplog.text.count("resolved tcp://app.test:") == 1


def test_an_earlier_answer_is_kept(resolver: Resolver, caplog: pytest.LogCaptureFixture) -> None:
    resolver.answer["app.test"] = ["127.0.0.1"]
    with running(hello, "http2-h2") as server, before(f"tcp://app.test:{server.address[1]}") as front:
        known = [f"127.0.0.1:{server.address[1]}"]
        resolver.answer["app.test"] = OSError(-3, "Temporary failure in name resolution")
        asked = resolver.asked["app.test"]
        front.lose_connections()  # so the name is looked up
        wait_for(lambda: resolver.asked["app.test"] >= asked + 3)
        assert endpoints(front) == known
        client = front.client("http1")
        assert request(client, "GET", "/x").body == b"/x"
        resolver.answer["app.test"] = ["127.0.0.1", "127.0.0.2"]
        wait_for(lambda: endpoints(front) == [*known, f"127.0.0.2:{server.address[1]}"])
    assert caplog.text.count("cannot resolve") == 1


def test_a_row_of_failures_ends_with_an_answer(resolver: Resolver, caplog: pytest.LogCaptureFixture) -> None:
    resolver.answer["app.test"] = OSError(-2, "Name or service not known")
    with running(hello, "http2-h2") as server, before(f"tcp://app.test:{server.address[1]}") as front:
        resolver.answer["app.test"] = ["127.0.0.1"]
        wait_for(lambda: front.upstream_connections() and front.upstream_connections()[0]["ready"])
        resolver.answer["app.test"] = OSError(-2, "Name or service not known")
        front.lose_connections()
        wait_for(lambda: caplog.text.count("cannot resolve") == 2)


def test_names_do_not_wait_for_each_other(resolver: Resolver) -> None:
    resolver.answer |= {"one.test": ["127.0.0.1"], "other.test": OSError(-2, "Name or service not known")}
    with running(hello, "http2-h2") as server:
        port = server.address[1]
        with before(f"tcp://one.test:{port}", f"tcp://other.test:{port}") as front:
            resolver.wait_asked("other.test", 3)
            assert resolver.asked["one.test"] == 1
            client = front.client("http1")
            assert request(client, "GET", "/x").body == b"/x"
            resolver.answer["other.test"] = ["127.0.0.2"]
            wait_for(lambda: len(endpoints(front)) == 2)
            assert endpoints(front)[-1] == f"127.0.0.2:{port}"
