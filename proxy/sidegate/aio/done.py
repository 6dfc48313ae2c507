"""An awaitable that is already done.

The exchange's ``send`` returns it when there is nothing to wait for. It has the interface of a coroutine, because
applications pass the value that ``send`` returns to ``create_task`` and ``gather``. One object serves all of them.
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
    """Raise ``error`` when it is awaited: the counterpart of ``DONE`` for a ``send`` that failed."""
    try:
        raise error
    finally:
        del error  # its traceback refers to this frame: the cycle would keep the application's generators alive
