"""One setup measured: a protocol and an engine, each layer's least cost over some rounds."""

from __future__ import annotations

import asyncio
import gc
import math
from typing import NamedTuple

import uvloop

from tests.bench.micro.layers import Times, split, timings, whole
from tests.bench.micro.stage import SECONDS, Clocks, make_stage


class Effort(NamedTuple):
    """``requests`` of each connection in a round, and in every round so many ``timings`` of each function."""

    requests: int
    rounds: int
    timings: int


class Setup(NamedTuple):
    """What is measured, and the title of its columns."""

    protocol: str
    engine: str
    title: str


SETUPS = {
    "h1": Setup("http/1.1", "auto", "HTTP/1.1"),
    "h2-nghttp2": Setup("h2", "nghttp2", "HTTP/2, engine nghttp2"),
    "h2-h2": Setup("h2", "h2", "HTTP/2, engine h2"),
}


def least(setup: Setup, effort: Effort, clocks: Clocks = SECONDS) -> Times:
    """The cost of a request by layer, made of the least cost of each function."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stage = runner.run(make_stage(setup.protocol, setup.engine, effort.requests, clocks))
        gc.collect()
        gc.freeze()  # as a front does when it starts to serve
        slices: list[Times] = []
        total = math.inf
        for _ in range(effort.rounds):
            total = min(total, *runner.run(whole(stage)))
            slices += [runner.run(timings(stage)) for _ in range(effort.timings)]
    return split({name: min(times[name] for times in slices) for name in slices[0]}, total)
