from __future__ import annotations

import asyncio

import pytest

from tests.bench.micro.layers import REST, split, timings, whole
from tests.bench.micro.stage import CONNECTIONS, STREAMS, make_stage


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_layers_make_up_the_whole(protocol: str) -> None:
    async def measured() -> tuple[dict[str, float], list[float]]:
        stage = await make_stage(protocol, "h2", CONNECTIONS * STREAMS)
        return await timings(stage), await whole(stage)

    times, slices = asyncio.run(measured())
    layers = split(times, min(slices))
    assert len(slices) == CONNECTIONS
    assert sum(spent for name, spent in layers.items() if name != "whole") == pytest.approx(layers["whole"])
    assert REST in layers
    assert all(times[name] > 0 for name in ("received", "sent", "taken", "ran", "flushed"))
