"""What ``send`` returns when there is nothing to wait for can be used like any coroutine."""

from __future__ import annotations

import asyncio

import pytest

from sidegate.aio.done import DONE


def test_it_can_be_awaited_gathered_and_made_a_task_of() -> None:
    async def main() -> None:
        assert await DONE is None  # type: ignore[func-returns-value]  # which is asserted
        assert list(await asyncio.gather(DONE, asyncio.create_task(DONE))) == [None, None]
        assert await asyncio.wait_for(DONE, 1) is None  # type: ignore[func-returns-value]  # which is asserted
        DONE.close()

    asyncio.run(main())


def test_an_error_thrown_into_it_comes_out() -> None:
    with pytest.raises(ValueError, match="here"):
        DONE.throw(ValueError("here"))
    with pytest.raises(ValueError, match="there"):
        DONE.throw(ValueError, "there")
