"""An ASGI application in this process, a front or a worker.

Step 7 of the request line. It adds to the scope the values that only the backend has (``state`` of the lifespan,
``root_path``) and calls the application with the unchanged ``receive`` and ``send``, if nothing is buffered.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable

from sidegate.asgi import RECORD_KEY, App, Receive, Scope, Send
from sidegate.backends.app.lifespan import Lifespan
from sidegate.backends.app.loading import LoadedApp
from sidegate.backends.app.mount import mount
from sidegate.backends.backend import Backend
from sidegate.backends.body_buffer import BodyBuffer
from sidegate.backends.buffering import Buffering
from sidegate.backends.response_buffer import BufferedSend
from sidegate.config.backends import Choice
from sidegate.observe.record import Record


class AsgiBackend(Backend):
    """An App around an application, with its lifespan."""

    def __init__(
        self, name: str, loaded: LoadedApp, root_path: str, lifespan: Choice, buffering: Buffering | None = None
    ) -> None:
        """``buffering``: None if nothing is buffered."""
        super().__init__(name, loaded.kind)
        self._app: App = loaded.app
        self._buffering = buffering
        self._root_path = root_path
        self._lifespan = Lifespan(name, loaded.app, lifespan)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        self._take(scope)
        if self._root_path:  # if it is empty, a worker keeps the root_path that the front sent
            mount(scope, self._root_path)
        scope["state"] = self._lifespan.state.copy()
        if self._buffering is not None and scope["type"] == "http":
            return self._buffered(self._buffering, scope, receive, send)
        return self._app(scope, receive, send)

    async def _buffered(self, buffering: Buffering, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application when the request's body is complete, or keep what a slow client has not taken."""
        body = BodyBuffer(receive, scope[RECORD_KEY], buffering.files)
        response = BufferedSend(send, buffering.files)
        try:
            if buffering.of_body(on_threads=False) and scope[RECORD_KEY].has_body:
                await body.fill()
                scope["headers"] = body.headers(scope["headers"])
                receive = body.receive
            try:
                await self._app(scope, receive, response.send if buffering.of_response(on_threads=False) else send)
            except Exception:
                with contextlib.suppress(Exception):
                    await response.finish()  # it may be complete
                raise
            await response.finish()
        finally:
            body.close()
            response.close()

    def _take(self, scope: Scope) -> None:
        record: Record = scope[RECORD_KEY]
        record.backend = self.name

    async def start(self) -> None:
        """Run the lifespan startup.

        :raises StartError: the application's startup failed.
        """
        await self._lifespan.startup()

    async def stop(self) -> None:
        """Run the lifespan shutdown."""
        await self._lifespan.shutdown()
        if self._buffering is not None:
            self._buffering.files.stop()
