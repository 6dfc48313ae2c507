"""An application whose life the tests direct, by the environment and by requests.

``LIFECYCLE_FOLDER`` is a folder of switches: while a file of that name is in it,

==============  ==================================================================
``crash``       importing ends the process with exit code 9
``hang``        importing takes for ever
``sabotage``    importing breaks the front from within, as a defect of ours would
``raise``       the lifespan startup raises
``wait``        the lifespan startup does not end
``sleep``       the lifespan startup does not end and blocks the event loop
==============  ==================================================================

and the lifespan shutdown leaves a file ``shutdown-PID`` there.

==============  ==================================================================
GET /pid        the process that answers
GET /hold       begins its answer, ends it when the file ``release`` is there
GET /block      blocks the event loop for ever
GET /pause      blocks the event loop until the file ``release`` is there
GET /exit       ends the process with exit code 7
==============  ==================================================================
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sidegate.process import runtime

if TYPE_CHECKING:
    from sidegate.asgi import Receive, Scope, Send

FOLDER = Path(os.environ["LIFECYCLE_FOLDER"])


def switched(name: str) -> bool:
    return (FOLDER / name).exists()


if switched("crash"):
    os._exit(9)
while switched("hang"):
    (FOLDER / "hanging").touch()
    time.sleep(0.02)
if switched("sabotage"):
    runtime.Router = None  # type: ignore[assignment,attr-defined]  # broken on purpose


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode(), "more_body": True})
    match scope["path"]:
        case "/hold":
            (FOLDER / "holding").touch()
            while not switched("release"):
                await asyncio.sleep(0.02)
        case "/block":
            (FOLDER / "blocking").touch()
            while True:
                time.sleep(1)
        case "/pause":
            (FOLDER / "blocking").touch()
            while not switched("release"):
                time.sleep(0.02)
        case "/exit":
            os._exit(7)
    await send({"type": "http.response.body", "body": b""})


async def lifespan(receive: Receive, send: Send) -> None:
    await receive()
    while switched("wait"):
        (FOLDER / "waiting").touch()
        await asyncio.sleep(0.02)
    while switched("sleep"):
        (FOLDER / "sleeping").touch()
        time.sleep(3600)
    if switched("raise"):
        raise RuntimeError("the database is down")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    (FOLDER / f"shutdown-{os.getpid()}").touch()
    await send({"type": "lifespan.shutdown.complete"})
