"""One request, profiled: the modules it enters, in order of first entry, are those that ARCHITECTURE.md names."""

from __future__ import annotations

import re
import sys
from types import FrameType
from typing import Any

from tests.layout.modules import ROOT
from tests.support.apps import hello
from tests.support.clients import Http1Client, request
from tests.support.running import running

# Not those of the request before: the header policy remembers what it has judged.
FIELDS = [(b"user-agent", b"test"), (b"accept", b"*/*")]
BLOCK = re.compile(r"```request-line\n(.*?)```", re.DOTALL)


def documented() -> list[str]:
    match = BLOCK.search((ROOT / "ARCHITECTURE.md").read_text())
    assert match is not None
    return [line.split()[0] for line in match.group(1).splitlines()]


def test_the_request_line_is_as_documented() -> None:
    entered: list[str] = []

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        name = frame.f_globals.get("__name__", "")
        if event == "call" and name.startswith("sidegate.") and name not in entered:
            entered.append(name)

    async def switch(profiler: Any) -> None:
        sys.setprofile(profiler)

    with running(hello) as server:
        client = Http1Client(server.connect())
        assert request(client, "GET", "/warm").status == 200
        server.run(switch(profile))
        assert request(client, "GET", "/x", headers=FIELDS).status == 200
        server.run(switch(None))
    assert entered == documented()
