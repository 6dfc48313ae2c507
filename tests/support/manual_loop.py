"""An event loop that runs, and whose time passes, only when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class ManualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.unhandled: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.unhandled.append(context))

    def time(self) -> float:
        return self.now

    def do(self, function: Callable[..., object], *args: Any) -> None:
        """Call ``function`` in the loop, and let the loop run until nothing is due."""
        self.call_soon(function, *args)
        for _ in range(200):
            self.call_soon(self.stop)
            self.run_forever()
            if not self._ready:  # type: ignore[attr-defined]
                return
        raise AssertionError("the loop does not come to rest")
