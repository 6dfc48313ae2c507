"""``make bench-micro``: where the time of one small request goes, layer by layer, without sockets and TLS.

It drives the real codec, exchange, router and record with the bytes that h2load sends, over HTTP/1.1 and over HTTP/2
with each engine, and prints microseconds of CPU for a request: the least of some rounds, because whatever disturbs a
round makes it longer. It judges nothing and fails nothing; read proportions, and compare runs on one machine.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
import sys
from collections.abc import Callable

import uvloop

from tests.bench.facts import modules
from tests.bench.micro.layers import Times, split, timings, whole
from tests.bench.micro.stage import make_stage
from tests.bench.servers.sidegate import nghttp2_built

TIMINGS = 8  # of every function in a round
SETUPS = {
    "h1": ("http/1.1", "auto", "HTTP/1.1"),
    "h2-nghttp2": ("h2", "nghttp2", "HTTP/2, engine nghttp2"),
    "h2-h2": ("h2", "h2", "HTTP/2, engine h2"),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-micro", description=__doc__)
    parser.add_argument(
        "--setups", nargs="+", choices=SETUPS, default=list(SETUPS), metavar="SETUP", help=", ".join(SETUPS)
    )
    parser.add_argument("--rounds", type=int, default=3, help="of which the least counts (default 3)")
    parser.add_argument(
        "--requests", type=int, default=1024, help="of each of 16 connections in a round (default 1024)"
    )
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, request path: {modules()}\n")
    results = {}
    for name in options.setups:
        protocol, engine, title = SETUPS[name]
        if engine == "nghttp2" and not nghttp2_built():
            print(f"{title}: nghttp2 binding not built")
            continue
        results[title] = least(uvloop.new_event_loop, protocol, engine, options)
    print(table(results))


def least(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], protocol: str, engine: str, options: argparse.Namespace
) -> Times:
    """Seconds for a request by layer, made of the least time of each function."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        stage = runner.run(make_stage(protocol, engine, options.requests))
        gc.collect()
        gc.freeze()  # as a front does when it starts to serve
        slices: list[Times] = []
        total = math.inf
        for _ in range(options.rounds):
            total = min(total, *runner.run(whole(stage)))
            slices += [runner.run(timings(stage)) for _ in range(TIMINGS)]
    return split({name: min(times[name] for times in slices) for name in slices[0]}, total)


def table(results: dict[str, Times]) -> str:
    """Layers by setup, in microseconds, aligned."""
    if not results:
        return ""
    names = list(next(iter(results.values())))
    width = max(len(name) for name in names)
    lines = ["  ".join([f"{'µs CPU/request':<{width}}", *results])]
    for name in names:
        cells = [f"{times[name] * 1e6:>{len(title)}.2f}" for title, times in results.items()]
        lines.append("  ".join([f"{name:<{width}}", *cells]))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
