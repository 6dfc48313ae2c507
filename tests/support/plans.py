"""Carrying out plans, as the supervisor's loop does, for the state machines that drive them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sidegate.supervisor.plan import Exit, Wait


def carry_out(ask: Callable[[], Sequence[Any]], act: Callable[[Any], None], now: float) -> Exit | Wait:
    """Ask and act until only a wait, or the end, is left: that."""
    for _ in range(50):
        *orders, last = ask()
        for order in orders:
            act(order)
        if isinstance(last, Exit):
            return last
        assert isinstance(last, Wait)
        if not orders:
            assert last.until is None or last.until > now, "a wait for the past is a tight loop"
            return last
    raise AssertionError("the plan does not come to rest")
