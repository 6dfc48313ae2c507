"""The cost of each layer of one request, by calling the layer's own functions on the input that it gets.

The stage's clocks say what a cost is: seconds of CPU, or instructions. Nothing is patched, wrapped or traced, so it
works on compiled modules, too. The exchange's own time is that of ``run`` less that of the layers below it. What the
whole takes beyond all layers is the connection's dispatch of events, the loop, and that in a whole request no layer
finds the processor's caches as full of itself as it does alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from sidegate.asgi import Message
from sidegate.config.schema import BackendRef, RouteConfig
from sidegate.observe.record import Record
from sidegate.route import Route
from sidegate.server.codecs import make_codec
from sidegate.server.connection import Connection
from sidegate.server.exchange import Exchange
from sidegate.server.scope import request_scope
from sidegate.wire.events import Codec, RequestHead
from tests.bench.applications import plain
from tests.bench.micro.stage import CONNECTIONS, Stage
from tests.bench.servers.kind import HOST

# More than an exchange takes from its start to its response, each an iteration of the loop.
ITERATIONS = 3
# Calls of one function that are measured together: what happens once in a while then hardly counts.
LEAST_CALLS = 256
REST = "connection, loop (the rest)"

T = TypeVar("T")
Times = dict[str, float]


async def whole(stage: Stage) -> list[float]:
    """The cost of a request from ``data_received`` to the transport's ``write``.

    In slices of as many requests as a layer is timed with, because the least of many short times is less than that of
    a few long ones, and layers and whole have to be comparable.
    """
    connections = [stage.connection() for _ in range(CONNECTIONS)]
    await _turn(ITERATIONS)
    slices = []
    for batches in _sliced(stage):
        begun = stage.clocks.cpu()
        for batch in batches:
            await _as_callback(partial(_read, connections, batch))
            await _turn(ITERATIONS)
        slices.append((stage.clocks.cpu() - begun) / (len(batches) * CONNECTIONS * stage.in_batch))
    return slices


async def timings(stage: Stage) -> Times:
    """The cost of a request in each function that ``split`` makes layers of."""
    heads = _heads(stage)
    received, sent, taken = _wire(stage)
    ran, flushed = _exchanges(stage)
    opened, closed = _records(stage, heads)
    return {
        "received": received,
        "sent": sent,
        "taken": taken,
        "ran": ran,
        "flushed": flushed,
        "opened": opened,
        "closed": closed,
        "task": await _tasks(stage),
        "scope": _scopes(stage, heads),
        "application": await _finished(stage, heads, plain.app),
        "routed": await _finished(stage, heads, stage.service.app),
    }


def split(times: Times, whole: float) -> Times:
    """Layers in the order of the request line, so that they make up the whole."""
    found = {
        "wire in": times["received"],
        "record, metrics": times["opened"] + times["closed"],
        "task": times["task"],
        "scope": times["scope"],
        "routing, backend": times["routed"] - times["application"],
        "application": times["application"],
        "exchange": times["ran"] - times["scope"] - times["routed"] - times["sent"],
        "wire out": times["sent"] + times["taken"],
        "flush, settle": times["flushed"] - times["taken"] - times["closed"],
    }
    return {**found, REST: whole - sum(found.values()), "whole": whole}


def _wire(stage: Stage) -> Sequence[float]:
    """Bytes to events; responses into the codec; their bytes out of it."""
    codec = stage.connection().codec

    def answer(heads: Sequence[RequestHead]) -> None:
        for head in heads:
            headers = [*plain.HEADERS["/"], stage.service.clock.date_field]
            codec.send_head(head.stream_id, 200, headers, False)
            codec.send_data(head.stream_id, plain.BODIES["/"], True)

    def take(heads: Sequence[RequestHead]) -> None:
        codec.take_output()
        for head in heads:
            codec.release(head.stream_id)

    return _driven(stage, codec, list, answer, take)


def _exchanges(stage: Stage) -> Sequence[float]:
    """An exchange from its making to the end of ``run``, without a task; the flush that ends it.

    On a connection of its own, whose codec is fed past it.
    """
    connection = stage.connection()

    def opened(heads: Sequence[RequestHead]) -> list[tuple[RequestHead, Record]]:
        return [(head, _opened(stage, head)) for head in heads]

    def run(requests: Sequence[tuple[RequestHead, Record]]) -> None:
        for head, record in requests:
            exchange = Exchange(connection, head, record)
            connection.exchanges[head.stream_id] = exchange
            _finish(exchange.run(stage.service.app))

    def flush(_requests: Sequence[tuple[RequestHead, Record]]) -> None:
        connection.flush()

    return _driven(stage, connection.codec, opened, run, flush)[1:]


def _driven(
    stage: Stage,
    codec: Codec,
    prepare: Callable[[list[RequestHead]], T],
    answer: Callable[[T], None],
    take: Callable[[T], None],
) -> Sequence[float]:
    """The cost of a request in ``codec.receive``, ``answer`` and ``take``, each the least of the slices."""
    slices = []
    for batches in _sliced(stage):
        times = [0.0, 0.0, 0.0]
        for batch in batches:
            begun = stage.clocks.wall()
            events = codec.receive(batch, stage.service.loop.time())
            received = stage.clocks.wall()
            heads = [event for event in events if isinstance(event, RequestHead)]
            if len(heads) != stage.in_batch:
                raise RuntimeError(f"of {stage.in_batch} requests the codec took {len(heads)}: this measures nothing")
            requests = prepare(heads)
            ready = stage.clocks.wall()
            answer(requests)
            answered = stage.clocks.wall()
            take(requests)
            taken = stage.clocks.wall()
            times = [times[0] + received - begun, times[1] + answered - ready, times[2] + taken - answered]
        slices.append([spent / (len(batches) * stage.in_batch) for spent in times])
    return [min(spent) for spent in zip(*slices, strict=True)]


def _sliced(stage: Stage) -> list[Sequence[bytes]]:
    """The batches of one connection in as many slices as there are connections."""
    size = len(stage.batches) // CONNECTIONS
    return [stage.batches[first : first + size] for first in range(0, size * CONNECTIONS, size)]


def _heads(stage: Stage) -> list[RequestHead]:
    """As many heads as there are requests, or more: one, as the codec makes it, again and again."""
    now = stage.service.loop.time()
    codec = make_codec(stage.service, stage.protocol, False, "", now)
    codec.receive(stage.opening, now)
    head = next(event for event in codec.receive(stage.batches[0], now) if isinstance(event, RequestHead))
    return [head] * max(stage.requests, LEAST_CALLS)


def _opened(stage: Stage, head: RequestHead) -> Record:
    record = Record(stage.service.meter, HOST, head, time.perf_counter())
    stage.service.observer.started(record)
    return record


def _records(stage: Stage, heads: list[RequestHead]) -> tuple[float, float]:
    """Opened; closed."""
    begun = stage.clocks.wall()
    records = [_opened(stage, head) for head in heads]
    opened = stage.clocks.wall() - begun
    route = Route(0, RouteConfig(name="all", backend_refs=(BackendRef(name="app"),)), plain.app)
    for record in records:
        record.status, record.route, record.backend = 200, route, "app"
    begun = stage.clocks.wall()
    for record in records:
        stage.service.observer.finished(record)
    return opened / len(heads), (stage.clocks.wall() - begun) / len(heads)


def _scopes(stage: Stage, heads: list[RequestHead]) -> float:
    peer = stage.connection().peer
    record = _opened(stage, heads[0])
    begun = stage.clocks.cpu()
    for head in heads:
        request_scope(peer, head, record)
    return (stage.clocks.cpu() - begun) / len(heads)


async def _finished(stage: Stage, heads: list[RequestHead], app: Callable[..., Awaitable[None]]) -> float:
    """An App called and run to its end, which it reaches without waiting."""
    peer, record = stage.connection().peer, _opened(stage, heads[0])
    scopes = [request_scope(peer, head, record) for head in heads]
    begun = stage.clocks.cpu()
    for scope in scopes:
        await app(scope, _receive, _send)
    return (stage.clocks.cpu() - begun) / len(heads)


async def _tasks(stage: Stage) -> float:
    """What starts an exchange's coroutine in a context and a task of its own."""
    batch = stage.in_batch * CONNECTIONS
    rounds = max(1, max(stage.requests, LEAST_CALLS) // batch)
    eager_starter = stage.service.eager_starter
    begun = stage.clocks.cpu()
    for _ in range(rounds):
        await _as_callback(lambda: [eager_starter.start(_nothing(), at_once=True) for _ in range(batch)])
    return (stage.clocks.cpu() - begun) / (rounds * batch)


def _read(connections: Sequence[Connection], batch: bytes) -> None:
    for connection in connections:
        connection.data_received(batch)


async def _as_callback(function: Callable[[], Any]) -> None:
    """Call it as the loop calls a protocol: outside of any task."""
    loop = asyncio.get_running_loop()
    called = loop.create_future()
    loop.call_soon(lambda: called.set_result(function()))
    await called


async def _turn(times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


def _finish(running: Awaitable[None]) -> None:
    """Run to its end what has nothing to wait for."""
    try:
        running.__await__().send(None)
    except StopIteration:
        return
    raise RuntimeError("it waits for something")


def _nothing() -> Coroutine[Any, Any, None]:
    return _turn(0)


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(_message: Message) -> None:
    pass
