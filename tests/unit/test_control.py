"""Messages over the control socket, on real socket pairs and event loops."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from sidegate.ipc.control import INVALID, Channel, Decoder, Message, encode, receive_first, send_last

Pair = tuple[socket.socket, socket.socket]
LARGE = "x" * 3_000_000  # more than any socket buffer holds


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_messages_survive_any_split() -> None:
    data = encode("ready", engines={"loop": "é\n"}) + encode("drained")
    for size in (1, 2, 7, len(data)):
        decoder = Decoder()
        messages: list[Message] = []
        for start in range(0, len(data), size):
            messages += decoder.feed(data[start : start + size])
        assert messages == [{"type": "ready", "engines": {"loop": "é\n"}}, {"type": "drained"}]


def test_the_first_message_of_a_blocking_socket(pair: Pair) -> None:
    ours, theirs = pair
    writer = threading.Thread(target=theirs.sendall, args=(encode("config", config=LARGE),))
    writer.start()
    assert receive_first(ours) == {"type": "config", "config": LARGE}
    writer.join()


def test_there_is_no_first_message_when_the_other_side_is_gone(pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(b'{"type": "con')
    theirs.close()
    assert receive_first(ours) is None


def test_a_last_message_is_sent_whole_even_after_non_blocking_use(pair: Pair) -> None:
    ours, theirs = pair
    ours.setblocking(False)
    writer = threading.Thread(target=send_last, args=(ours, "failed"), kwargs={"message": LARGE})
    writer.start()
    assert receive_first(theirs) == {"type": "failed", "message": LARGE}
    writer.join()
    theirs.close()
    send_last(ours, "failed")


class Side:
    """One end in the running loop, with what it heard."""

    def __init__(self, sock: socket.socket) -> None:
        self.heard: list[Message] = []
        self.gone = asyncio.Event()
        self.changed = asyncio.Event()
        self.channel = Channel(sock, self._hear, self.gone.set)

    def _hear(self, message: Message) -> None:
        self.heard.append(message)
        self.changed.set()


@in_a_loop
async def test_both_ways(pair: Pair) -> None:
    ours, theirs = map(Side, pair)
    ours.channel.send("serve")
    theirs.channel.send("statistics", statistics={"a": 1})
    await asyncio.wait_for(ours.changed.wait(), 10)
    await asyncio.wait_for(theirs.changed.wait(), 10)
    assert theirs.heard == [{"type": "serve"}]
    assert ours.heard == [{"type": "statistics", "statistics": {"a": 1}}]
    ours.channel.close()
    theirs.channel.close()


@in_a_loop
async def test_what_the_socket_does_not_take_waits(pair: Pair) -> None:
    ours = Side(pair[0])
    ours.channel.send("config", config=LARGE)
    ours.channel.send("serve")
    theirs = Side(pair[1])
    while len(theirs.heard) < 2:
        theirs.changed.clear()
        await asyncio.wait_for(theirs.changed.wait(), 10)
    assert theirs.heard == [{"type": "config", "config": LARGE}, {"type": "serve"}]
    ours.channel.close()
    theirs.channel.close()


@in_a_loop
async def test_the_end_comes_after_the_last_words_and_once(pair: Pair) -> None:
    ours = Side(pair[0])
    pair[1].sendall(encode("failed", message="why"))
    pair[1].close()
    ours.channel.read_available()  # what the supervisor does when it learns of the death first
    assert ours.heard == [{"type": "failed", "message": "why"}]
    assert ours.gone.is_set()
    ours.channel.read_available()
    ours.channel.send("serve")
    ours.channel.close()


@in_a_loop
async def test_sending_to_a_side_that_is_gone_is_no_error(pair: Pair) -> None:
    ours = Side(pair[0])
    pair[1].sendall(encode("ready"))
    ours.channel.send("config")  # unread when the other side goes: the next read is a connection reset
    pair[1].close()
    ours.channel.send("serve")
    await asyncio.wait_for(ours.gone.wait(), 10)
    assert ours.heard == [{"type": "ready"}]


@in_a_loop
async def test_a_broken_socket_is_an_end() -> None:
    left, right = socket.socketpair()
    with left, right:
        side = Side(left)
        right.close()
        left.shutdown(socket.SHUT_RDWR)
        side.channel.read_available()
        assert side.gone.is_set()


@in_a_loop
async def test_descriptors_go_beside_a_message(pair: Pair) -> None:
    ours = Side(pair[0])
    reading, writing = os.pipe()
    ours.channel.pass_on([writing], "fork", number=7)
    os.close(writing)
    data, descriptors, _, _ = socket.recv_fds(pair[1], 65536, 3)
    assert Decoder().feed(data) == [{"type": "fork", "number": 7}]
    os.write(descriptors[0], b"the same pipe")
    assert os.read(reading, 100) == b"the same pipe"
    for fd in (reading, *descriptors):
        os.close(fd)
    ours.channel.close()
    with pytest.raises(BrokenPipeError):
        ours.channel.pass_on([], "fork", number=8)


# ---- lines that are no message ----------------------------------------------------------------------------

INVALID_LINES = [
    b"a print of the application",
    b"\xff\xfe\x00",
    b'{"type": "ready"',
    b"[" * 100_000,
    b"9" * 10_000,
    b"",
    b"null",
    b'["type"]',
    b"{}",
    b'{"type": 1}',
]


@pytest.mark.parametrize("line", INVALID_LINES)
def test_a_line_that_is_no_message_is_left_out(line: bytes) -> None:
    decoder = Decoder()
    assert decoder.feed(encode("ready")) == [{"type": "ready"}]
    assert not decoder.invalid
    assert decoder.feed(line + b"\n" + encode("drained")) == [{"type": "drained"}]
    assert decoder.invalid


@in_a_loop
async def test_lines_that_are_no_message_are_reported_once(pair: Pair) -> None:
    ours = Side(pair[0])
    pair[1].sendall(b"one\n" + encode("ready") + b"two\n")
    ours.channel.read_available()
    pair[1].sendall(b"three\n" + encode("drained"))
    ours.channel.read_available()
    assert ours.heard == [{"type": "ready"}, {"type": INVALID}, {"type": "drained"}]
    ours.channel.close()


# ---- the rest of a message --------------------------------------------------------------------------------


@in_a_loop
async def test_last_words_follow_whole_messages(pair: Pair) -> None:
    ours = Side(pair[0])
    ours.channel.send("statistics", statistics=LARGE)  # the socket takes only a part of it
    ours.channel.send("draining")

    def finish() -> None:
        ours.channel.finish()
        send_last(pair[0], "failed", message="why")
        pair[0].shutdown(socket.SHUT_WR)

    decoder, heard = Decoder(), []
    ours.channel.close()  # in the loop's thread
    writer = threading.Thread(target=finish)
    writer.start()
    while data := pair[1].recv(1 << 20):
        heard += decoder.feed(data)
    writer.join()
    assert heard == [
        {"type": "statistics", "statistics": LARGE},
        {"type": "draining"},
        {"type": "failed", "message": "why"},
    ]
    assert not decoder.invalid


@in_a_loop
async def test_there_is_nobody_for_the_rest(pair: Pair) -> None:
    ours = Side(pair[0])
    ours.channel.send("statistics", statistics=LARGE)
    pair[1].close()
    ours.channel.finish()


# ---- a side that does not read ----------------------------------------------------------------------------


@in_a_loop
async def test_of_a_state_only_the_last_report_waits(pair: Pair) -> None:
    ours = Side(pair[0])
    ours.channel.send("config", config=LARGE)
    for number in range(1000):
        for backend in ("shop", "blog"):
            ours.channel.send("workers", backend=backend, workers=[[number, "x" * 10_000]])
        ours.channel.send("reopen")
    with pytest.raises(BrokenPipeError):
        ours.channel.pass_on([], "fork", number=1)
    ours.channel.send("drain", grace=1.0)
    ours.channel.send("workers", backend="shop", workers=[])
    theirs = Side(pair[1])
    while not theirs.heard or theirs.heard[-1]["type"] != "drain":
        theirs.changed.clear()
        await asyncio.wait_for(theirs.changed.wait(), 60)
    assert theirs.heard == [
        {"type": "config", "config": LARGE},
        {"type": "workers", "backend": "shop", "workers": []},
        {"type": "workers", "backend": "blog", "workers": [[999, "x" * 10_000]]},
        {"type": "reopen"},
        {"type": "drain", "grace": 1.0},
    ]
    ours.channel.close()
    theirs.channel.close()


@in_a_loop
async def test_reports_that_need_not_wait_are_all_sent(pair: Pair) -> None:
    ours, theirs = map(Side, pair)
    for number in range(3):
        ours.channel.send("pressure", backend="shop", queued=number)
    theirs.channel.read_available()
    assert [message["queued"] for message in theirs.heard] == [0, 1, 2]
    ours.channel.close()
    theirs.channel.close()
