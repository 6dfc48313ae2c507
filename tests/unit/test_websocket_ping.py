"""When to ask whether a WebSocket's peer is there, and when to give it up."""

from __future__ import annotations

from sidegate.server.websocket_ping import WebSocketPing


def test_it_asks_once_after_the_interval() -> None:
    alive = WebSocketPing(20.0, 10.0, now=100.0)
    assert alive.due(119.9) is None
    assert alive.due(120.0) is not None
    assert alive.due(160.0) is None  # there is no answer yet


def test_an_answer_begins_the_interval_anew() -> None:
    alive = WebSocketPing(20.0, 10.0, now=0.0)
    first = alive.due(20.0)
    assert first is not None
    assert alive.answered(first, 21.5) == 1.5
    assert alive.due(41.4) is None
    second = alive.due(41.5)
    assert second is not None
    assert second != first
    assert alive.answered(second, 41.5) == 0.0


def test_only_the_ping_that_was_asked_last_can_be_answered() -> None:
    alive = WebSocketPing(20.0, 10.0, now=0.0)
    assert alive.answered(b"1", 1.0) is None  # nothing was asked
    asked = alive.due(20.0)
    assert asked is not None
    assert alive.answered(b"unasked", 21.0) is None
    assert alive.answered(asked, 22.0) == 2.0
    assert alive.answered(asked, 23.0) is None  # twice


def test_who_does_not_answer_is_late() -> None:
    alive = WebSocketPing(20.0, 10.0, now=0.0)
    assert not alive.is_late(1000.0)  # nothing was asked
    asked = alive.due(20.0)
    assert asked is not None
    assert not alive.is_late(30.0)
    assert alive.is_late(30.1)
    alive.answered(asked, 30.1)
    assert not alive.is_late(100.0)


def test_an_excuse_begins_the_wait_anew() -> None:
    alive = WebSocketPing(20.0, 10.0, now=0.0)
    asked = alive.due(20.0)
    assert asked is not None
    alive.restart_timeout(40.0)
    assert not alive.is_late(50.0)
    assert alive.is_late(50.1)
    assert alive.answered(asked, 50.1) == 30.1  # which is how long it really took


def test_an_excuse_before_the_question_is_none() -> None:
    alive = WebSocketPing(20.0, 10.0, now=0.0)
    alive.restart_timeout(5.0)
    assert alive.due(20.0) is not None
    assert alive.is_late(30.1)


def test_zeros_switch_it_off() -> None:
    assert WebSocketPing(0.0, 10.0, now=0.0).due(1000.0) is None
    patient = WebSocketPing(20.0, 0.0, now=0.0)
    assert patient.due(20.0) is not None
    assert not patient.is_late(1000.0)
