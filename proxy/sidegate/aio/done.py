"""An awaitable that is done already.

Where it stands: what the exchange's ``send`` returns when there is nothing to wait for. It is a coroutine by interface,
because applications pass what ``send`` returns to ``create_task`` and ``gather``, and one object serves all of them.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any


class _Done(Coroutine[Any, Any, None]):
    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        return iter(())  # type: ignore[return-value]  # an iterator is enough, and this one runs in C

    def send(self, value: Any) -> Any:
        raise StopIteration

    def throw(self, *error: Any) -> Any:
        if isinstance(error[0], BaseException):
            raise error[0]
        raise error[0](*error[1:2])

    def close(self) -> None:
        pass


DONE = _Done()


async def failed(error: Exception) -> None:
    """The same for what ends in an error: it belongs to whoever awaits."""
    try:
        raise error
    finally:
        del error  # it holds this frame by its traceback: a cycle would keep the application's generators alive
