"""A WSGI application as an App: its requests run in threads beside the event loop.

Step 7 of the request line, in a front or in a worker. It owns the threads and their wait queue. For each request, the
event loop's side waits for a thread, sends the messages that the thread produces, and reads the client's body when the
thread needs it. It raises the application's errors, ``ExchangeError`` (503) from the queue, and ``ClientDisconnected``.

Theory of operation. Like a relayed request, a WSGI request has no task unless it waits for something other than its
thread. When the client disconnects or ``timeouts.request`` has passed, the exchange cancels the request
(``Record.runner``). Then the application gets an error at its next read or write, and the thread counts as in use until
it is free again. A thread is *stuck* if its cancelled request runs longer than any request may. Once all threads are
stuck, a worker refuses the waiting requests; a front keeps them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable
from typing import Any

from sidegate.aio.done import DONE
from sidegate.aio.tasks import internal_task
from sidegate.aio.temporary_files import TemporaryFile
from sidegate.asgi import RECORD_KEY, Headers, Message, Receive, Scope, Send
from sidegate.backends.app.loading import LoadedApp
from sidegate.backends.app.mount import mount
from sidegate.backends.app.wsgi.environ import Environ, make_environ
from sidegate.backends.app.wsgi.error_stream import ErrorLog
from sidegate.backends.app.wsgi.input import open_body
from sidegate.backends.app.wsgi.job import HIGH_WATER, Abandonment, Incoming, Job, Mailbox
from sidegate.backends.app.wsgi.response import LAST, FileWrapper, WsgiResponse
from sidegate.backends.app.wsgi.stuck import StuckThreads
from sidegate.backends.backend import Backend
from sidegate.backends.body_buffer import BodyBuffer, is_small
from sidegate.backends.buffering import Buffering
from sidegate.backends.no_websocket import refuse_websocket
from sidegate.backends.response_buffer import ALL_KEPT, SMALL_PIECE, ResponseBuffer, may_be_buffered
from sidegate.backends.wait_queue import WaitQueue
from sidegate.errors import ExchangeError, Unprocessed, raise_kept, stems_from_disconnect
from sidegate.observe.record import THREAD, Record

NOTICE = 0.5
"""Shortest time in seconds from the cancellation of a request until its thread is stuck: the thread notices the
cancellation at its next read or write."""

logger = logging.getLogger("sidegate.wsgi")


class WsgiBackend(Backend):
    """An App around a WSGI application."""

    def __init__(
        self,
        loaded: LoadedApp,
        base: Environ,
        wait_queue: WaitQueue,
        stuck: StuckThreads,
        *,
        buffering: Buffering,
        root_path: str,
    ) -> None:
        threads = stuck.threads
        interface = f"{loaded.kind}, {threads.capacity} thread{'s' if threads.capacity > 1 else ''}"
        super().__init__(wait_queue.meter.name, interface)
        self.behind_front = False
        """Whether waiting requests are refused when all threads are stuck: their front can send them to another
        worker."""
        self.wait_queue = wait_queue
        self.threads = threads
        self.thread_meter = stuck.meter
        self.buffering = buffering
        self.mailbox = Mailbox(wait_queue.loop, self.release)
        self._app = loaded.app
        self._base = {**base, "wsgi.file_wrapper": FileWrapper}
        self._root_path = root_path
        self._stuck = stuck

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        scope[RECORD_KEY].backend = self.name
        refuse_websocket(scope)
        if self._root_path:  # if it is empty, a worker keeps the root_path that the front sent
            mount(scope, self._root_path)
        return WsgiRequest(self, scope, receive, send).run()

    async def start(self) -> None:
        """Let requests use the threads. Threads are created when requests need them."""
        self.wait_queue.load_balancer.add(self.threads)

    async def stop(self) -> None:
        """Stop the queue's timer; let idle threads end."""
        self.wait_queue.stop()
        self.threads.stop()
        self.buffering.files.stop()

    def put_behind_front(self) -> int:
        """See ``Backend``. Each request that it takes has a thread."""
        self.behind_front = True
        return self.threads.capacity

    def statistics(self) -> dict[str, int]:
        """For ``/status``."""
        waiting, stuck = len(self.wait_queue.load_balancer.queue), self._stuck.count
        return {"threads": self.threads.capacity, "busy": self.threads.in_use, "stuck": stuck, "queued": waiting}

    def act(self, job: Job) -> None:
        """Run the application for one request. Called in the request's thread."""
        environ = make_environ(job.scope, self._base)
        environ["wsgi.input"] = body = open_body(job)
        environ["wsgi.errors"] = errors = ErrorLog(job.scope[RECORD_KEY])
        try:
            WsgiResponse(job, self.buffering).run(self._app, environ)
        finally:
            errors.flush()
            if isinstance(job.whole, TemporaryFile):
                body.close()

    def begin(self, job: Job) -> None:
        """A thread has taken ``job``, or will take it."""
        job.began = self.wait_queue.loop.time()
        if not job.released:  # else the job ended before the loop learned that it had begun
            job.counted = True
            self.thread_meter.began()

    def abandon(self, job: Job) -> None:
        """The request was cancelled. The thread becomes stuck if it does not end the request in time."""
        job.abandon()
        timer = None
        stuck_after = self._stuck.stuck_after
        if stuck_after and not job.ended:
            earliest = job.loop.time() + NOTICE
            timer = job.loop.call_at(max(job.began + stuck_after, earliest), self._check_stuck, job)
        job.abandonment = Abandonment(timer)

    def _check_stuck(self, job: Job) -> None:
        if job.ended:
            return
        abandonment: Any = job.abandonment
        abandonment.stuck = True
        if self._stuck.add() and self.behind_front:
            self.wait_queue.refuse_all(_no_thread)

    def release(self, job: Job) -> None:
        """The thread that ran ``job`` is free again."""
        abandonment = job.abandonment
        if abandonment is not None:
            if abandonment.timer is not None:
                abandonment.timer.cancel()
            if abandonment.stuck:
                self._stuck.remove()
                self.wait_queue.refusal = None
            if job.file is not None:  # `WsgiRequest` may have ended before the thread made it
                job.file.close()
        if job.counted:
            self.thread_meter.ended()
        self.wait_queue.meter.ended()
        self.wait_queue.give_back(self.threads)
        if abandonment is not None and job.error is not None and not stems_from_disconnect(job.error, job.record):
            text = "application failed after the client had disconnected (request id %s)"
            logger.error(text, job.record.request_id, exc_info=job.error)
        if abandonment is not None:
            _drop_error(job)


def _drop_error(job: Job) -> None:
    """Drop the error of a job that nobody will raise: it refers to the frames of the thread, and these to the job."""
    if job.released:
        job.error = None


def _no_thread() -> Unprocessed:
    return Unprocessed("no_thread")


class WsgiRequest:
    """One for each request; ``run`` is called once."""

    __slots__ = ("_backend", "_buffer", "_fetching", "_headers", "_receive", "_record", "_scope", "_send")

    def __init__(self, backend: WsgiBackend, scope: Scope, receive: Receive, send: Send) -> None:
        self._backend = backend
        self._scope = scope
        self._receive = receive
        self._send = send
        self._record: Record = scope[RECORD_KEY]
        self._record.runner = THREAD
        self._fetching: asyncio.Task[None] | None = None
        self._buffer: ResponseBuffer | None = None
        self._headers: Headers = []

    def run(self) -> Awaitable[None]:
        """Run the application in a thread and send its response.

        :raises ExchangeError: 503, see ``WaitQueue.wait``; 500, the application broke PEP 3333.
        :raises ClientDisconnected: the client disconnected.
        """
        return self._run_with_body() if self._record.has_body else self._run(b"")

    async def _run_with_body(self) -> None:
        """``run`` for a request with a body: read it to its end first, unless it is neither small nor buffered."""
        headers, buffering = self._scope["headers"], self._backend.buffering
        small = is_small(headers) and not any(name == b"expect" for name, _ in headers)
        if not small and not buffering.of_body(not self._record.relayed):
            await self._run(None)
            return
        body = BodyBuffer(self._receive, self._record, buffering.files)
        try:
            await body.fill()
            self._receive = body.receive
            self._scope["headers"] = body.headers(headers)
            await self._run(body.content)
        finally:
            body.close()

    async def _run(self, whole: bytes | TemporaryFile | None) -> None:
        backend = self._backend
        job = Job(backend.wait_queue.loop, backend.mailbox, backend.act, self._scope, whole)
        self._backend.wait_queue.meter.begun()  # by attributes, which have C types when compiled
        at_once = self._backend.wait_queue.load_balancer.take() is not None
        if at_once:
            self._backend.wait_queue.meter.placed_at_once()
        else:
            await self._wait_in_queue(job)
        self._backend.begin(job)
        try:
            try:
                self._backend.threads.start(job, not at_once)
                await self._pass_on(job)
            except BaseException:
                with contextlib.suppress(asyncio.CancelledError):  # the first error counts
                    await self._abandon(job)
                raise
            finally:
                if self._fetching is not None:
                    self._fetching.cancel()
                    self._fetching = None  # once it is cancelled, it refers to the frames of this request
            if self._buffer is not None:  # the thread is free
                await self._finish(job, self._buffer)
            raise_kept(job)
        finally:
            _drop_error(job)
            if self._buffer is not None:
                self._buffer.close()
            if job.file is not None:
                job.file.close()

    async def _finish(self, job: Job, buffer: ResponseBuffer) -> None:
        """Wait until the client has taken the response. An error of the application is raised after it."""
        try:
            await buffer.finish()
        except BaseException:
            if job.error is None:
                raise

    async def _wait_in_queue(self, job: Job) -> None:
        """Wait until a thread has taken ``job``, or will take it."""
        wait_queue, threads = self._backend.wait_queue, self._backend.threads
        threads.offer(job)
        try:
            await wait_queue.wait(wait_queue.loop.time(), False, job)
        except BaseException as error:
            if threads.withdraw(job):
                wait_queue.meter.ended()
                raise
            threads.in_use += 1  # a thread took the job before the queue gave it up
            if not isinstance(error, ExchangeError):
                self._backend.begin(job)
                await self._abandon(job)
                raise

    async def _pass_on(self, job: Job) -> None:
        """Send the messages that the thread produces and read the body that it needs, until the request has ended."""
        while not job.ended or job.out:
            if job.out:
                await self._pass_message(job, job.out.popleft())
            elif job.body is not None and job.body.wanted and not job.body.ended and self._fetching is None:
                self._fetching = internal_task(self._fetch(job, job.body), loop=job.loop)
            else:
                await job.wakeup()
                if self._fetching is not None and self._fetching.done():
                    self._fetching.result()

    async def _pass_message(self, job: Job, message: Message) -> None:
        size = len(message["body"]) if "body" in message else self._note_headers(message)
        if size and job.out and job.out[0] is LAST:  # send one message, so that the response has a content-length
            job.out.popleft()
            message["more_body"] = False
        if size > SMALL_PIECE and ALL_KEPT.is_full() and self._may_buffer():
            await self._pass_in_pieces(message, size)
        else:
            sent = self._send(message)
            if sent is not DONE:
                await self._buffered(sent, size)
        job.passed(size)

    async def _pass_in_pieces(self, message: Message, size: int) -> None:
        """Send a large message piece by piece, so that what the client does not take at once goes into a file."""
        for at in range(0, size, SMALL_PIECE):
            data = message["body"][at : at + SMALL_PIECE]
            more = message["more_body"] or at + len(data) < size
            sent = self._send({**message, "body": data, "more_body": more})
            if sent is not DONE:
                await self._buffered(sent, len(data))

    def _buffered(self, sent: Awaitable[None], size: int) -> Awaitable[None]:
        """What to wait for after a message with ``size`` bytes of body: nothing, if the response is buffered now."""
        if not size or self._buffer is not None or not self._may_buffer():
            return sent
        self._buffer = buffer = ResponseBuffer(self._send, sent, self._backend.buffering.files, size)
        self._send = buffer.send
        return DONE

    def _note_headers(self, message: Message) -> int:
        if "headers" in message:
            self._headers = message["headers"]
        return 0

    def _may_buffer(self) -> bool:
        return self._backend.buffering.of_response(not self._record.relayed) and may_be_buffered(self._headers)

    async def _fetch(self, job: Job, body: Incoming) -> None:
        """Read the client's body until ``HIGH_WATER`` bytes of it wait for the application."""
        body.wanted = False
        try:
            while not body.ended and body.unread < HIGH_WATER:
                message = await self._receive()
                if message["type"] != "http.request":
                    job.abandon()
                    return
                job.feed(message["body"], message["more_body"])
            self._fetching = None
        finally:
            job.wake()  # the thread may need more of the body by now, or the body cannot be read

    async def _abandon(self, job: Job) -> None:
        """The request was cancelled: wait until its thread has ended it, unless this is cancelled once more."""
        self._backend.abandon(job)
        while not job.ended:
            await job.wakeup()
