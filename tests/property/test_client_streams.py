"""An upstream connection of HTTP/2 against a scripted peer, as a state machine: places and credit are exact.

The machine holds the relay's part (open, send, read, close), the peer's (answers, resets, windows, GOAWAY, breaches)
and the transport's. A peer learns late what the client has reset, so its frames cross resets. After every step, the
streams that the codec counts as open are those that have not ended, each of them belongs to a relay, ``in_use`` is the
number of relays, nothing is said to be unsent that left, and no window was exceeded or lost.

``SIDEGATE_STREAM_STEPS``: number of steps of both engines together. For long runs, as 200000 with ``--timeout 0``.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sidegate.backends.upstream.client_stream import HIGH_WATER, LOW_WATER, ClientStream
from sidegate.wire import events as e
from sidegate.wire.client_codec import CONNECTION_LOST
from sidegate.wire.codes import CANCEL, NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM
from sidegate.wire.http2 import EngineSettings, Http2ClientCodec, load_engine
from sidegate.wire.http2.engine import FIRST_WINDOW, WINDOW_MAX
from tests.support import http2 as c
from tests.support.http2_client import heads
from tests.support.scripted_link import Link, frames

STEPS = int(os.environ.get("SIDEGATE_STREAM_STEPS", "4000"))
STEPS_OF_A_RUN = 50
WINDOW = 2000
"""Of a stream, from the peer to the client. The connection's is the smallest possible one."""

SETTINGS = EngineSettings(
    concurrent_streams=4, stream_window=WINDOW, header_fields=8, header_block=4_096, continuation_frames=4
)
CODES = st.sampled_from([NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, CANCEL])
ANY = st.integers(0, 11)
"""Which of the streams that a rule can use: modulo their number."""

LUCK = st.integers(0, 15)
"""What ends a connection or holds it up happens seldom, at large numbers; else nothing else would happen."""

MAX_CONCURRENT_STREAMS, INITIAL_WINDOW = 0x3, 0x4
LIVENESS = 30.0


@dataclass
class Stream:
    """One stream, as the test knows it."""

    stream: ClientStream
    whole: bool
    up: int
    """Bytes that the client may send."""
    number: int = 0
    down: int = WINDOW
    """Bytes that the peer may send."""
    # The relay.
    given_up: bool = False
    finished: bool = False
    queued: int = 0
    held: int = 0
    waiter: Any = None
    told: list[type[e.Event]] = field(default_factory=list)
    # The client's codec.
    open: bool = True
    local_ended: bool = False
    remote_ended: bool = False
    was_reset: bool = False
    acknowledged: int = 0
    # The wire.
    head_left: bool = False
    end_left: bool = False
    reset_left: bool = False
    sent: int = 0
    credited: int = 0
    # The peer.
    hinted: bool = False
    begun: bool = False
    answered: bool = False
    knows_reset: bool = False

    @property
    def unread(self) -> int:
        """Bytes of body that the relay has not acknowledged."""
        if self.given_up or self.was_reset:
            return 0
        return self.held + sum(len(event.data) for event in self.stream.events if isinstance(event, e.Body))

    def settle(self) -> None:
        """Close the stream if both sides have ended."""
        self.open = self.open and not (self.local_ended and self.remote_ended)

    def lose(self) -> None:
        """Close the stream: either side has reset it."""
        self.was_reset = self.was_reset or self.open
        self.open = False


class ClientStreams(RuleBasedStateMachine):
    """The machine; ``engine`` is set by its two subclasses."""

    engine: c.EngineName
    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.connect()

    def connect(self) -> None:
        self.codec = Http2ClientCodec(load_engine(self.engine), SETTINGS)
        self.link = Link(self.codec)
        self.connection, self.transport = self.link.connection, self.link.transport
        self.streams: dict[int, Stream] = {}
        self.initial, self.max_streams = 1000, 4
        self.up = self.down = FIRST_WINDOW
        self.delivered = self.credited = self.ignored = 0
        self.last = WINDOW_MAX
        self.dead = self.draining = False
        self.pings: list[bytes] = []
        first = c.settings((MAX_CONCURRENT_STREAMS, self.max_streams), (INITIAL_WINDOW, self.initial))
        self.connection.data_received(first + c.frame(c.SETTINGS, c.ACK, 0))
        self.link.loop.settle()
        assert self.link.take_written().startswith(c.PREFACE)
        for whole in (False, False, True):  # else most steps would find nothing to do
            self.open_one(whole)
        self.turn()

    # What the machine knows.

    @property
    def relays(self) -> list[Stream]:
        return [stream for stream in self.streams.values() if not stream.given_up]

    def pick(self, found: list[Stream], which: int) -> Stream | None:
        return found[which % len(found)] if found else None

    def answerable(self, which: int) -> Stream | None:
        """A stream on which the peer may send: it has seen the request, and no end of it."""
        if self.dead:
            return None
        able = [one for one in self.streams.values() if one.head_left and not one.answered and not one.knows_reset]
        return self.pick([one for one in able if one.number <= self.last], which)

    def deliver(self, *sent: bytes) -> None:
        self.connection.data_received(b"".join(sent))

    def watch(self) -> None:
        """Read what left for the socket."""
        for kind, flags, number, payload in frames(self.link.take_written()):
            stream = self.streams.get(number)
            if kind == c.WINDOW_UPDATE:
                self.credit(stream, int.from_bytes(payload))
            elif kind == c.PING and not flags & c.ACK:
                self.pings.append(payload)
            elif stream is not None:
                self.watch_stream(stream, kind, bool(flags & c.END_STREAM), len(payload))

    def credit(self, stream: Stream | None, size: int) -> None:
        if stream is None:
            self.credited += size
            self.down += size
            assert self.down <= FIRST_WINDOW
        else:
            stream.credited += size
            stream.down += size
            assert stream.down <= WINDOW

    def watch_stream(self, stream: Stream, kind: int, end: bool, size: int) -> None:
        assert not stream.reset_left, "a frame after RST_STREAM"
        if kind == c.HEADERS:
            assert not stream.head_left
            stream.head_left = True
            assert end is stream.whole
        elif kind == c.DATA:
            # nghttp2 may have begun this frame when the stream was reset; RST_STREAM follows it.
            assert stream.head_left
            assert not stream.end_left
            stream.sent += size
            stream.up -= size
            self.up -= size
            assert not size or (stream.up >= 0 and self.up >= 0), "a window was exceeded"
            stream.end_left = stream.local_ended = end
            stream.settle()
        elif kind == c.RST_STREAM:
            assert not stream.open
            stream.reset_left = True

    # The relay.

    @rule(whole=st.booleans(), at_once=st.booleans())
    def open(self, whole: bool, at_once: bool) -> None:
        self.open_one(whole)
        if at_once:
            self.turn()

    def open_one(self, whole: bool) -> None:
        if self.link.owner.load_balancer.take() is None:
            assert self.dead or self.draining or len(self.relays) >= self.max_streams
            return
        opened = self.connection.open(list(c.GET if whole else c.POST), whole)
        assert opened is not None, "a place that cannot be used"
        stream = Stream(opened, whole, self.initial, opened.stream_id, finished=whole, local_ended=whole)
        self.streams[stream.number] = stream

    @rule(which=ANY, size=st.sampled_from([0, 1, 500, 1000, 3000, 40_000]), end=st.booleans(), at_once=st.booleans())
    def send(self, which: int, size: int, end: bool, at_once: bool) -> None:
        self.send_piece(which, size, end)
        if at_once:
            self.turn()

    def send_piece(self, which: int, size: int, end: bool) -> None:
        able = [one for one in self.relays if not one.finished and one.waiter is None]
        stream = self.pick(able, which)
        if stream is None or not (size or end):
            return
        stream.stream.send_data(bytes(size), end)
        stream.finished = end
        stream.queued += size
        waiting = stream.stream.drained()
        try:
            future: asyncio.Future[None] = waiting.send(None)
        except StopIteration:
            return
        assert self.codec.pending(stream.number) > HIGH_WATER
        stream.waiter = (waiting, future)

    @rule(which=ANY)
    def read(self, which: int) -> None:
        stream = self.pick([one for one in self.relays if one.stream.events], which)
        if stream is None:
            return
        event = stream.stream.events.popleft()
        if isinstance(event, e.Body) and not stream.was_reset:
            stream.held += len(event.data)
        self.check_order(stream.told, type(event))
        stream.told.append(type(event))

    @staticmethod
    def check_order(before: list[type[e.Event]], kind: type[e.Event]) -> None:
        assert e.Reset not in before
        if kind in (e.Informational, e.ResponseHead):
            assert e.ResponseHead not in before
        elif kind is not e.Reset:
            assert e.ResponseHead in before
            assert e.End not in before

    @rule(which=ANY, part=st.sampled_from([1, 300, WINDOW]), last=st.booleans())
    def acknowledge(self, which: int, part: int, last: bool) -> None:
        stream = self.pick([one for one in self.relays if one.held], which)
        if stream is None:
            return
        size = min(part, stream.held)
        stream.held -= size
        stream.stream.acknowledge(size, last and not stream.held)
        stream.acknowledged += size * stream.open * (not stream.remote_ended)

    @rule(which=ANY)
    def close(self, which: int) -> None:
        """The response is complete, or the relay gives up."""
        stream = self.pick(self.relays, which)
        if stream is not None:
            self.give_up(stream)
            self.open_one(which % 4 == 0)
            self.turn()

    def give_up(self, stream: Stream) -> None:
        if stream.waiter is not None:
            waiting, future = stream.waiter
            waiting.close()
            future.cancel()
        self.link.close(stream.stream)
        stream.given_up = True
        stream.lose()

    @rule(luck=LUCK)
    def leave(self, luck: int) -> None:
        if not self.dead and luck == 15:
            self.connection.leave()
            self.draining = True

    # The loop and the transport.

    @rule()
    def turn(self) -> None:
        self.connection.schedule_flush()
        self.link.loop.settle()
        self.watch()
        if self.dead or self.transport.full:
            return
        for stream in self.relays:
            pending = self.codec.pending(stream.number)
            if stream.open and pending:
                assert stream.up <= 0 or self.up <= 0, "a window was lost"
            if stream.waiter is not None and (pending <= LOW_WATER or not stream.open):
                assert stream.waiter[1].done()
                stream.waiter = None
            if stream.open and not stream.remote_ended:
                assert stream.acknowledged - stream.credited < WINDOW // 2
        assert self.owed() < FIRST_WINDOW // 2 + self.ignored
        if self.draining and not self.relays:
            assert self.transport.state == "closed"
            self.dead = True

    @rule(luck=LUCK)
    def stall(self, luck: int) -> None:
        self.transport.stalled = self.transport.stalled or luck > 12

    @rule()
    def unstall(self) -> None:
        self.transport.unstall()

    @rule(luck=LUCK)
    def tick(self, luck: int) -> None:
        """The balancer's check for silence; an answer ends it."""
        if luck < 12:
            return
        self.link.loop.now += LIVENESS / 3
        if self.connection.silent_for(self.link.loop.now) >= LIVENESS:
            self.connection.abort()
            self.lost()

    # The peer.

    @rule()
    def catch_up(self) -> None:
        """The peer reads everything, and answers PINGs."""
        self.watch()
        if self.dead:
            return
        for stream in self.streams.values():
            stream.knows_reset = stream.reset_left
        pings, self.pings = self.pings, []
        for payload in pings:
            self.deliver(c.frame(c.PING, c.ACK, 0, payload))
            assert self.connection.silent_for(self.link.loop.now) == 0.0

    @rule(which=ANY, kind=st.sampled_from(["whole", "head", "end", "informational", "malformed"]))
    def answer(self, which: int, kind: str) -> None:
        stream = self.answerable(which)
        if stream is None or stream.begun:
            return
        fields = {"informational": [(b":status", b"103")], "malformed": [(b"no", b"status")]}
        self.deliver(heads(stream.number, fields.get(kind, [(b":status", b"200")]), end=kind == "end"))
        stream.hinted = stream.hinted or kind == "informational"
        stream.begun = kind in ("whole", "head", "end")
        if kind == "whole":
            self.deliver(c.data(stream.number, b"", end=True))
        if kind in ("whole", "end"):
            self.end(stream)
        elif kind == "malformed":
            stream.lose()

    def end(self, stream: Stream) -> None:
        stream.answered = True
        stream.remote_ended = stream.open
        stream.settle()

    @rule(which=ANY, size=st.sampled_from([1, 300, 900, WINDOW]), padding=st.sampled_from([0, 0, 9]), end=st.booleans())
    def body(self, which: int, size: int, padding: int, end: bool) -> None:
        """DATA within the windows; after an informational response alone, it is malformed."""
        stream = self.answerable(which)
        room = 0 if stream is None else min(stream.down, self.down)
        flow = size + padding + (padding > 0)
        if stream is None or flow > room or not (stream.begun or stream.hinted):
            return
        flags = (c.PADDED if padding else 0) | (c.END_STREAM if end else 0)
        payload = bytes([padding]) + bytes(size + padding) if padding else bytes(size)
        if not stream.open:
            self.ignore(flow)
        elif padding:
            stream.acknowledged += flow - size
        stream.down -= flow
        self.down -= flow
        self.delivered += flow
        self.deliver(c.frame(c.DATA, flags, stream.number, payload))
        if not stream.begun:
            stream.lose()
        if end:
            self.end(stream)

    def ignore(self, size: int) -> None:
        """Count DATA of a closed stream, which h2 credits apart from the rest."""
        if self.engine == "h2":
            self.ignored += size
            self.ignored *= self.ignored < FIRST_WINDOW // 2

    @rule(which=ANY, trailers=st.booleans())
    def finish(self, which: int, trailers: bool) -> None:
        stream = self.answerable(which)
        if stream is None or not stream.begun:
            return
        if trailers:
            self.deliver(heads(stream.number, [(b"sum", b"1")], end=True))
        else:
            self.deliver(c.data(stream.number, b"", end=True))
        self.end(stream)

    @rule(which=ANY, code=CODES)
    def reset(self, which: int, code: int) -> None:
        """The peer resets a stream, perhaps after its answer, if it has not seen the end of the request."""
        able = [one for one in self.streams.values() if one.head_left and not one.knows_reset]
        stream = self.pick([one for one in able if one.open or not one.answered], which)
        if stream is None or self.dead or stream.number > self.last:
            return
        self.deliver(c.rst_stream(stream.number, code))
        stream.answered = True
        stream.lose()

    @rule(which=ANY, size=st.sampled_from([1, 700, 5000, 70_000]), overflow=st.integers(0, 9))
    def window(self, which: int, size: int, overflow: int) -> None:
        """More credit for a stream, once in a while more than there can be; every third time for the connection."""
        able = [one for one in self.streams.values() if one.head_left and not one.answered]
        stream = self.pick(able, which)
        if self.dead:
            return
        if stream is None or which % 3 == 0:
            self.up += size
            self.deliver(c.window_update(0, size))
        elif overflow or stream.up <= 0:
            stream.up += size
            self.deliver(c.window_update(stream.number, size))
        else:
            self.deliver(c.window_update(stream.number, WINDOW_MAX))
            stream.lose()

    @rule(initial=st.sampled_from([1000, 3000, 10, 0]), places=st.sampled_from([4, 5, 2, 0]))
    def change_settings(self, initial: int, places: int) -> None:
        if self.dead:
            return
        for stream in self.streams.values():
            stream.up += initial - self.initial
        self.initial, self.max_streams = initial, places
        self.deliver(c.settings((MAX_CONCURRENT_STREAMS, places), (INITIAL_WINDOW, initial)))

    @rule(which=ANY, code=st.sampled_from([NO_ERROR, PROTOCOL_ERROR]), luck=LUCK)
    def goaway(self, which: int, code: int, luck: int) -> None:
        if self.dead or luck < 15:
            return
        seen = [one.number for one in self.streams.values() if one.head_left]
        self.last = min(self.last, [WINDOW_MAX, *seen][which % (len(seen) + 1)])
        self.draining = True
        self.deliver(c.goaway(self.last, code))
        for stream in self.streams.values():
            if stream.number > self.last:
                stream.lose()

    @rule(how=st.sampled_from(["breach", "eof", "failure", "close", "abort"]), luck=LUCK)
    def break_off(self, how: str, luck: int) -> None:
        if self.dead or luck < 14:
            return
        self.open_one(False)  # in the same turn of the loop
        if how == "breach":
            self.deliver(c.data(0, b"no stream"))
        elif how == "eof":
            if not self.connection.eof_received():
                self.transport.close()
        elif how == "failure":
            self.transport.abort()
            self.link.loop.settle()
        else:
            getattr(self.connection, how)()
        self.lost()

    def lost(self) -> None:
        """Every request that was under way is told, and can be given up; then a new connection follows."""
        self.watch()
        self.dead = True
        for stream in self.streams.values():
            if stream.open and not stream.remote_ended:  # else its end may be in output that went nowhere
                last = stream.stream.events[-1]
                assert isinstance(last, e.Reset)
                assert last.code == CONNECTION_LOST
            stream.lose()

    @precondition(lambda self: self.dead)
    @rule()
    def connect_again(self) -> None:
        for stream in self.relays:
            assert stream.stream.sent == stream.head_left or self.transport.discarded
            self.give_up(stream)
        self.transport.unstall()
        self.link.loop.settle()
        assert self.connection.in_use == 0
        assert self.transport.state == "closed"
        assert self.link.owner.closed == self.link.owner.unavailable == 1
        self.connect()

    # What holds after every step.

    def owed(self) -> int:
        """Bytes for which the connection's credit should have gone back, and has not."""
        return self.delivered - sum(stream.unread for stream in self.streams.values()) - self.credited

    @invariant()
    def places_and_credit_are_exact(self) -> None:
        type(self).steps += 1
        self.watch()
        relays = self.relays
        assert self.connection.in_use == len(relays)
        assert set(self.connection.streams) == {stream.number for stream in relays}
        open_now = [stream for stream in self.streams.values() if stream.open]
        assert not [stream for stream in open_now if stream.given_up], "an open stream without a relay"
        over = self.dead or self.draining
        assert self.codec.capacity == (0 if over else max(self.max_streams - len(open_now), 0))
        for stream in relays:
            assert stream.stream.sent == stream.head_left or self.transport.discarded
        for stream in open_now:
            assert self.codec.pending(stream.number) == stream.queued - stream.sent
            assert stream.remote_ended or stream.acknowledged >= stream.credited
        assert self.dead or self.owed() >= 0

    def teardown(self) -> None:
        """Give everything up. What is owed to the peer is less than is worth a frame, to the byte."""
        for stream in self.relays:
            self.give_up(stream)
        self.transport.unstall()
        self.link.loop.settle()
        self.watch()
        assert self.connection.in_use == 0
        assert not self.connection.streams
        if self.dead or self.draining:
            return
        self.change_settings(1000, 4)
        assert self.codec.capacity == 4
        self.open_one(True)
        self.turn()
        probe = list(self.streams.values())[-1]
        self.deliver(heads(probe.number))
        before = self.credited
        owed = self.owed() - self.ignored
        while self.credited == before:
            owed += 500
            probe.down -= 500
            self.down -= 500
            self.delivered += 500
            self.deliver(c.data(probe.number, bytes(500)))
            probe.stream.acknowledge(500, False)
            probe.stream.events.clear()
            self.link.loop.settle()
            self.watch()
        assert self.credited - before == owed


class Nghttp2Streams(ClientStreams):
    engine = "nghttp2"


class H2Streams(ClientStreams):
    engine = "h2"


RUN = settings(
    max_examples=max(STEPS // STEPS_OF_A_RUN // len(c.ENGINES), 1), stateful_step_count=STEPS_OF_A_RUN, deadline=None
)
if "nghttp2" in c.ENGINES:
    TestNghttp2Streams = Nghttp2Streams.TestCase
    TestNghttp2Streams.settings = RUN
TestH2Streams = H2Streams.TestCase
TestH2Streams.settings = RUN
