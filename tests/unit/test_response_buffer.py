"""The buffer of a response whose client is slow, with a client that takes each message when the test says so."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from sidegate.aio.done import DONE, failed
from sidegate.aio.temporary_files import TemporaryFiles
from sidegate.asgi import Message
from sidegate.backends import response_buffer
from sidegate.backends.response_buffer import (
    ALL_KEPT,
    ALL_MEMORY,
    MEMORY,
    SMALL_PIECE,
    BufferedSend,
    Kept,
    ResponseBuffer,
    may_be_buffered,
)
from sidegate.errors import ExchangeError


class SlowClient:
    """Takes messages one by one: ``send`` waits until ``take`` is called. ``got`` has those that were sent."""

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.slow = True
        self.error: Exception | None = None
        self._waiting: list[asyncio.Future[None]] = []

    def send(self, message: Message) -> Awaitable[None]:
        self.got.append(message)
        if self.error is not None:
            return failed(self.error)
        return self._wait() if self.slow and message["type"] != "http.response.start" else DONE

    async def _wait(self) -> None:
        if not self.slow:
            return
        self._waiting.append(asyncio.get_running_loop().create_future())
        await self._waiting[-1]

    def read_all(self) -> None:
        """From now on take everything at once."""
        self.slow = False
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.got if message["type"] == "http.response.body")

    @property
    def ends(self) -> list[bool]:
        return [not message["more_body"] for message in self.got if message["type"] == "http.response.body"]


def piece(data: Any, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def run(test: Callable[[SlowClient, ResponseBuffer, TemporaryFiles], Coroutine[Any, Any, None]]) -> None:
    """Run ``test`` with a buffer whose first message ``0`` the client does not take."""

    async def main() -> None:
        client, files = SlowClient(), TemporaryFiles(None)
        buffer = ResponseBuffer(client.send, client.send(piece(b"0")), files, 1)
        await asyncio.sleep(0)
        try:
            await test(client, buffer, files)
        finally:
            buffer.close()
            files.stop()
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert ALL_KEPT.size == 0

    asyncio.run(main())


def test_small_pieces_are_joined() -> None:
    async def test(client: SlowClient, buffer: ResponseBuffer, files: TemporaryFiles) -> None:
        for number in range(1, 10_000):
            assert buffer.send(piece(b"%d" % (number % 10))) is DONE
        assert buffer.send(piece(b"", more=False)) is DONE
        client.read_all()
        await buffer.finish()
        assert client.body == b"0123456789" * 1000
        assert len(client.got) < 10
        assert client.ends[-1]
        assert sum(client.ends) == 1

    run(test)


def test_small_pieces_that_are_about_to_be_written_are_joined() -> None:
    async def test(client: SlowClient, buffer: ResponseBuffer, files: TemporaryFiles) -> None:
        assert buffer.send(piece(bytes(MEMORY))) is DONE
        for _ in range(10_000):
            assert buffer.send(piece(b"1")) is DONE
        client.read_all()
        buffer.send(piece(b"", more=False))
        await buffer.finish()
        assert client.body == b"0" + bytes(MEMORY) + b"1" * 10_000
        assert len(client.got) < 10

    run(test)


@pytest.mark.parametrize("last", [b"", b"last"])
def test_an_end_that_comes_alone_or_with_bytes(last: bytes) -> None:
    async def test(client: SlowClient, buffer: ResponseBuffer, files: TemporaryFiles) -> None:
        assert buffer.send(piece(last, more=False)) is DONE
        client.read_all()
        await buffer.finish()
        assert (client.body, client.ends) == (b"0" + last, [False, True])

    run(test)


def test_trailers_follow_the_body() -> None:
    async def test(client: SlowClient, buffer: ResponseBuffer, files: TemporaryFiles) -> None:
        trailers = {"type": "http.response.trailers", "headers": [(b"x", b"y")]}
        buffer.send(piece(b"1", more=False))
        assert buffer.send(trailers) is DONE
        client.read_all()
        await buffer.finish()
        assert client.got[-1] is trailers
        assert client.body == b"01"

    run(test)


def test_a_file_is_sent_after_what_is_kept_and_awaited() -> None:
    """Its sender may close it as soon as ``send`` has returned."""

    async def test(client: SlowClient, buffer: ResponseBuffer, files: TemporaryFiles) -> None:
        buffer.send(piece(b"1"))
        path = {"type": "http.response.pathsend", "path": "/file"}
        sending = asyncio.ensure_future(buffer.send(path))
        await asyncio.sleep(0)
        assert path not in client.got
        client.read_all()
        await sending
        assert client.got[-1] is path

    run(test)


def test_what_is_no_body_is_the_exchanges_to_refuse() -> None:
    async def test(client: SlowClient, buffer: ResponseBuffer, files: TemporaryFiles) -> None:
        client.read_all()
        await buffer.send(piece("text"))
        assert client.got[-1]["body"] == "text"
        assert buffer.send(piece(memoryview(b"view"))) is DONE

    run(test)


def test_when_the_client_has_caught_up_messages_pass_at_once() -> None:
    async def test(client: SlowClient, buffer: ResponseBuffer, files: TemporaryFiles) -> None:
        buffer.send(piece(b"1"))
        client.read_all()
        await asyncio.sleep(0.01)
        assert buffer.send(piece(b"2")) is DONE
        assert client.body == b"012"
        client.slow = True
        buffer.send(piece(b"3"))  # is taken late, and what follows is kept again
        buffer.send(piece(b"4", more=False))
        await asyncio.sleep(0)
        assert client.body == b"0123"
        client.read_all()
        await buffer.finish()
        assert client.body == b"01234"

    run(test)


def test_an_error_of_the_client_reaches_the_application() -> None:
    async def test(client: SlowClient, buffer: ResponseBuffer, files: TemporaryFiles) -> None:
        client.error = OSError("gone")
        buffer.send(piece(b"1"))
        client.read_all()
        for _ in range(4):
            await asyncio.sleep(0)
        with pytest.raises(OSError, match="gone"):
            await buffer.send(piece(b"2"))
        with pytest.raises(OSError, match="gone"):
            await buffer.finish()

    run(test)


def test_a_sender_that_waits_gets_the_error() -> None:
    async def test(client: SlowClient, buffer: ResponseBuffer, files: TemporaryFiles) -> None:
        files.folder = "/nowhere"
        waiting = asyncio.ensure_future(buffer.send(piece(bytes(2 * MEMORY))))
        other = asyncio.ensure_future(buffer.send({"type": "http.response.pathsend", "path": "/file"}))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        client.error = OSError("gone")
        client.read_all()
        with pytest.raises(OSError, match="gone"):
            await waiting
        with pytest.raises(OSError, match="gone"):
            await other

    run(test)


def test_a_file_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidegate.aio.temporary_files.os.pread", lambda descriptor, size, offset: b"")

    async def test(client: SlowClient, buffer: ResponseBuffer, files: TemporaryFiles) -> None:
        await buffer.send(piece(bytes(2 * MEMORY)))
        client.read_all()
        with pytest.raises(ExchangeError, match="buffer_lost"):
            await buffer.finish()

    run(test)


def test_bytes_that_are_being_written_come_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if several tasks of an application send at once, and the client takes everything meanwhile."""
    monkeypatch.setattr(response_buffer, "PATIENCE", 0.0)
    expected = b"0" + b"".join(bytes([number]) * 300_000 for number in range(20))

    async def test(client: SlowClient, buffer: ResponseBuffer, files: TemporaryFiles) -> None:
        sending = [asyncio.ensure_future(buffer.send(piece(bytes([number]) * 300_000))) for number in range(20)]
        await asyncio.sleep(0)
        client.read_all()
        await asyncio.gather(*sending)
        buffer.send(piece(b"", more=False))
        await buffer.finish()
        assert client.body == expected

    run(test)


def test_what_is_kept_in_memory_is_counted() -> None:
    async def test(client: SlowClient, buffer: ResponseBuffer, files: TemporaryFiles) -> None:
        assert ALL_KEPT.size == 1  # the connection has it
        buffer.send(piece(bytes(1000)))
        assert ALL_KEPT.size == 1001
        client.read_all()
        await asyncio.sleep(0.01)
        assert ALL_KEPT.size == 0
        client.slow = True
        buffer.send(piece(bytes(100)))
        buffer.send(piece(bytes(10)))  # both are still in memory when the buffer is closed
        assert ALL_KEPT.size == 110

    run(test)


def test_nothing_is_counted_after_the_end() -> None:
    kept = Kept(3)
    kept.add(5)
    assert ALL_KEPT.size == 8
    kept.close()
    kept.add(7)
    assert ALL_KEPT.size == 0


def test_beyond_the_memory_of_all_buffers_everything_goes_into_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_buffer, "PATIENCE", 1e9)  # it does not wait for the client

    async def test(client: SlowClient, buffer: ResponseBuffer, files: TemporaryFiles) -> None:
        other = Kept(ALL_MEMORY)
        expected = b"0"
        for number in range(1, 4):
            expected += bytes([number]) * SMALL_PIECE
            await buffer.send(piece(bytes([number]) * SMALL_PIECE))
            assert ALL_KEPT.size == ALL_MEMORY + 1
        assert buffer.send(piece(b"1")) is DONE
        other.close()
        assert buffer.send(piece(b"2", more=False)) is DONE
        client.read_all()
        await buffer.finish()
        assert client.body == expected + b"12"

    run(test)


def test_beyond_it_an_application_waits_with_a_large_message(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        client, files = SlowClient(), TemporaryFiles(None)
        other = Kept(ALL_MEMORY + 1)
        send = BufferedSend(client.send, files)
        await send.send({"type": "http.response.start", "status": 200, "headers": []})
        waiting = asyncio.ensure_future(send.send(piece(bytes(SMALL_PIECE + 1))))
        await asyncio.sleep(0)
        assert not waiting.done()
        assert send.send(piece(bytes(SMALL_PIECE), more=False)) is DONE
        client.read_all()
        await waiting
        await send.finish()
        other.close()
        send.close()
        assert len(client.body) == 2 * SMALL_PIECE + 1
        assert ALL_KEPT.size == 0

    asyncio.run(main())


def test_a_buffer_that_is_closed_before_its_first_step_awaits_nothing(recwarn: pytest.WarningsRecorder) -> None:
    async def main() -> None:
        client, files = SlowClient(), TemporaryFiles(None)
        ResponseBuffer(client.send, client.send(piece(b"0")), files, 1).close()
        await asyncio.sleep(0)

    asyncio.run(main())
    gc.collect()
    assert not recwarn.list


def test_buffering_begins_when_a_client_is_slow() -> None:
    async def main() -> None:
        client, files = SlowClient(), TemporaryFiles(None)
        client.slow = False
        send = BufferedSend(client.send, files)
        await send.send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
        await send.send(piece(b"1"))
        client.slow = True
        assert send.send(piece(b"2")) is DONE
        assert send.send(piece(b"3", more=False)) is DONE
        client.read_all()
        await send.finish()
        send.close()
        assert (client.body, client.ends) == (b"123", [False, False, True])

    asyncio.run(main())


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], True),
        ([(b"x-accel-buffering", b"yes")], True),
        ([(b"x-accel-buffering", b"no")], False),
        ([(b"a", b"no"), (b"X-Accel-Buffering", b" No ")], False),
    ],
)
def test_the_field_that_turns_it_off(headers: list[tuple[bytes, bytes]], expected: bool) -> None:
    assert may_be_buffered(headers) is expected
