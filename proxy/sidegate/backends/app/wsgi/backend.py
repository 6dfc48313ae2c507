"""A WSGI application as an App: its requests run on threads beside the event loop.

Where it stands: step 7 of the request line, in a front or in a worker. It owns the threads and their wait queue. For
each request the event loop's side waits for a thread, sends what the thread produces and fetches the body that the
thread wants to read. Errors: those of the application, ``ExchangeError`` (503) from the queue, ``ClientDisconnected``.

Theory of operation. Like a relayed request, a WSGI request has no task unless it waits for more than its thread. When
the client disconnects or ``timeouts.request`` has passed, the exchange cancels the request
(``Record.runner``); the application gets an error at its next read or write, and the request's target
stays in use until the thread is free again. A thread that runs longer than any request may is *stuck*. Once all threads
are stuck, a worker refuses the waiting requests; a front keeps them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

from sidegate.asgi import RECORD_KEY, Message, Receive, Scope, Send
from sidegate.backends.app.loading import LoadedApp
from sidegate.backends.app.wsgi.environ import Environ, make_environ
from sidegate.backends.app.wsgi.error_stream import ErrorLog
from sidegate.backends.app.wsgi.input import open_body
from sidegate.backends.app.wsgi.job import HIGH_WATER, Abandonment, Incoming, Job, Mailbox
from sidegate.backends.app.wsgi.response import LAST, FileWrapper, WsgiResponse
from sidegate.backends.app.wsgi.stuck import StuckThreads
from sidegate.backends.app.wsgi.threads import Threads
from sidegate.backends.no_websocket import refuse_websocket
from sidegate.backends.upstream.upload import KEPT, announced_length
from sidegate.backends.wait_queue import WaitQueue
from sidegate.errors import ClientDisconnected, ExchangeError, stems_from_disconnect
from sidegate.observe.record import THREAD, Record

NOTICE = 0.5
"""Seconds in which a thread may notice, by its next write, that nobody waits for its response any more."""

logger = logging.getLogger("sidegate.wsgi")


class WsgiBackend:
    """An App around a WSGI application."""

    def __init__(
        self,
        loaded: LoadedApp,
        base: Environ,
        wait_queue: WaitQueue,
        threads: Threads,
        stuck: StuckThreads,
        *,
        root_path: str,
    ) -> None:
        self.name = wait_queue.meter.name
        self.interface = f"{loaded.kind}, {threads.capacity} thread{'s' if threads.capacity > 1 else ''}"
        self.behind_front = False
        """When all threads are stuck, requests that wait are refused: their front has, or will have, another worker."""
        self.wait_queue = wait_queue
        self.threads = threads
        self.thread_meter = stuck.meter
        self.mailbox = Mailbox(wait_queue.loop, self.release)
        self._app = loaded.app
        self._base = {**base, "wsgi.file_wrapper": FileWrapper}
        self._root_path = root_path
        self._stuck = stuck

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        refuse_websocket(scope)
        if self._root_path:  # else that of the front's backend counts, where this is a worker
            scope["root_path"] = self._root_path
        return WsgiRequest(self, scope, receive, send).run()

    async def start(self) -> None:
        """Threads are made when there is something for them to do."""
        self.wait_queue.load_balancer.add(self.threads)

    async def stop(self) -> None:
        """Let the threads go."""
        self.wait_queue.stop()
        self.threads.stop()

    def statistics(self) -> dict[str, int]:
        """For ``/status``."""
        waiting, stuck = len(self.wait_queue.load_balancer.queue), self._stuck.count
        return {"threads": self.threads.capacity, "busy": self.threads.in_use, "stuck": stuck, "queued": waiting}

    def act(self, job: Job) -> None:
        """Run the application for one request; on its thread."""
        environ = make_environ(job.scope, self._base)
        environ["wsgi.input"] = open_body(job)
        environ["wsgi.errors"] = errors = ErrorLog(job.scope[RECORD_KEY])
        try:
            WsgiResponse(job).run(self._app, environ)
        finally:
            errors.flush()

    def begin(self, job: Job) -> None:
        """A thread has ``job``, or is to have it."""
        job.began = self.wait_queue.loop.time()
        if not job.released:  # else it has ended before the loop knew that it had begun
            job.counted = True
            self.thread_meter.began()

    def abandon(self, job: Job) -> None:
        """Nobody waits for the response any more. The thread is stuck if it does not notice in time."""
        job.abandon()
        timer = None
        patience = self._stuck.patience
        if patience and not job.ended:
            notices = job.loop.time() + NOTICE
            timer = job.loop.call_at(max(job.began + patience, notices), self._on_patience, job)
        job.abandonment = Abandonment(timer)

    def _on_patience(self, job: Job) -> None:
        if job.ended:
            return
        abandonment: Any = job.abandonment
        abandonment.stuck = True
        if self._stuck.add() and self.behind_front:
            self.wait_queue.refuse_all()

    def release(self, job: Job) -> None:
        """A thread is free again."""
        abandonment = job.abandonment
        if abandonment is not None:
            if abandonment.timer is not None:
                abandonment.timer.cancel()
            if abandonment.stuck:
                self._stuck.remove()
                self.wait_queue.refusing = False
        if job.counted:
            self.thread_meter.ended()
        self.wait_queue.meter.ended()
        self.wait_queue.give_back(self.threads)
        if abandonment is not None and job.error is not None and not stems_from_disconnect(job.error):
            text = "application failed after the client had disconnected (request id %s)"
            logger.error(text, job.scope[RECORD_KEY].request_id, exc_info=job.error)


class WsgiRequest:
    """Made for one request; ``run`` is its life."""

    __slots__ = ("_backend", "_fetching", "_receive", "_record", "_scope", "_send")

    def __init__(self, backend: WsgiBackend, scope: Scope, receive: Receive, send: Send) -> None:
        self._backend = backend
        self._scope = scope
        self._receive = receive
        self._send = send
        self._record: Record = scope[RECORD_KEY]
        self._record.runner = THREAD
        self._fetching: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """From the request's head to the moment when all of its response is sent."""
        backend = self._backend
        whole = b"" if not self._record.has_body else await self._small_body()
        job = Job(backend.wait_queue.loop, backend.mailbox, backend.act, self._scope, whole)
        self._backend.wait_queue.meter.begun()  # by the attributes: compiled, they have types
        at_once = self._backend.wait_queue.load_balancer.take() is not None
        if at_once:
            self._backend.wait_queue.meter.placed_at_once()
        else:
            await self._wait_in_line(job)
        self._backend.begin(job)
        try:
            self._backend.threads.start(job, not at_once)
            await self._pass_on(job)
        except BaseException:
            await self._abandon(job)
            raise
        finally:
            if self._fetching is not None:
                self._fetching.cancel()
        if job.error is not None:
            raise job.error

    async def _wait_in_line(self, job: Job) -> None:
        """Until a thread has ``job``, or is to have it."""
        wait_queue, threads = self._backend.wait_queue, self._backend.threads
        threads.offer(job)
        try:
            await wait_queue.wait(wait_queue.loop.time(), False, job)
        except BaseException as error:
            if threads.withdraw(job):
                wait_queue.meter.ended()
                raise
            threads.in_use += 1  # a thread was faster than the line, which has just given it up
            if not isinstance(error, ExchangeError):
                self._backend.begin(job)
                await self._abandon(job)
                raise

    async def _small_body(self) -> bytes | None:
        """The body if it is announced to be small: a client that sends slowly then takes no thread. Else None."""
        headers = self._scope["headers"]
        length = announced_length(headers)
        if length is None or length > KEPT or any(name == b"expect" for name, _ in headers):
            return None
        pieces: list[bytes] = []
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientDisconnected("the client disconnected")
            pieces.append(message["body"])
            if not message["more_body"]:
                return b"".join(pieces)

    async def _pass_on(self, job: Job) -> None:
        """Send what the thread produces, fetch what it wants to read, until it has ended."""
        while not job.ended or job.out:
            if job.out:
                await self._pass_message(job, job.out.popleft())
            elif job.body is not None and job.body.wanted and not job.body.ended and self._fetching is None:
                self._fetching = job.loop.create_task(self._fetch(job, job.body))
            else:
                await job.wakeup()

    async def _pass_message(self, job: Job, message: Message) -> None:
        size = len(message["body"]) if "body" in message else 0
        if size and job.out and job.out[0] is LAST:  # so that a response in one piece is one, and has a content-length
            job.out.popleft()
            message["more_body"] = False
        await self._send(message)
        job.passed(size)

    async def _fetch(self, job: Job, body: Incoming) -> None:
        """Read the client's body until enough of it waits for the application."""
        body.wanted = False
        while not body.ended and body.unread < HIGH_WATER:
            message = await self._receive()
            if message["type"] != "http.request":
                job.abandon()
                return
            job.feed(message["body"], message["more_body"])
        self._fetching = None
        job.wake()  # for what it has come to want meanwhile

    async def _abandon(self, job: Job) -> None:
        """Nobody waits for the response; wait for its thread, unless cancelled once more."""
        self._backend.abandon(job)
        while not job.ended:
            await job.wakeup()
