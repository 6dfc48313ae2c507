"""A headless Chromium, driven by the DevTools protocol."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
from pathlib import Path
from typing import Any, Self

import aiohttp

from tests.support.programs import program

FLAGS = (
    "--headless",
    "--no-sandbox",  # tests also run as root and in containers
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    # Nothing but the pages of the test: no updates, no safe-browsing lists, no search suggestions.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--ignore-certificate-errors",
    "--remote-debugging-port=0",
)
START_PATIENCE = 60.0


class Chromium:
    """One browser with one page. ``async with Chromium(tmp_path) as browser``; skips when there is no Chromium."""

    def __init__(self, folder: Path) -> None:
        self._profile = folder / "chromium"
        self._command = [program("chromium", "chromium-browser", "google-chrome"), *FLAGS]
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> Self:
        self._profile.mkdir()
        with (self._profile / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*self._command, f"--user-data-dir={self._profile}", "about:blank"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._session = aiohttp.ClientSession()
        try:
            self._page = await self._session.ws_connect(await self._page_url(), max_msg_size=0)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._session.close()
        self._process.terminate()
        await asyncio.to_thread(self._process.wait, START_PATIENCE)

    async def open(self, url: str) -> None:
        """Load a page and return once it has loaded; fails when it could not be fetched."""
        answer = await self._command_page("Page.navigate", url=url)
        assert "errorText" not in answer, f"{url}: {answer['errorText']}"
        await self.wait_for("document.readyState == 'complete' && location.href != 'about:blank'")

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited if it is a promise."""
        answer = await self._command_page(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def wait_for(self, expression: str, patience: float = 30.0) -> Any:
        """The expression's value once it is true."""
        async with asyncio.timeout(patience):
            while not (value := await self.evaluate(expression)):
                await asyncio.sleep(0.05)
            return value

    async def _page_url(self) -> str:
        # Chromium writes the port it chose into its profile.
        port_file = self._profile / "DevToolsActivePort"
        async with asyncio.timeout(START_PATIENCE):
            while not port_file.exists() or "\n" not in port_file.read_text():
                assert self._process.poll() is None, (self._profile / "log").read_text(errors="replace")
                await asyncio.sleep(0.05)
            port = int(port_file.read_text().split("\n")[0])
            async with self._session.get(f"http://127.0.0.1:{port}/json/list") as response:
                targets = await response.json()
        return next(str(target["webSocketDebuggerUrl"]) for target in targets if target["type"] == "page")

    async def _command_page(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._page.send_json({"id": number, "method": method, "params": params})
        while True:
            message = await self._page.receive_json()
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                return dict(message["result"])
