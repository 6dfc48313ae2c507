"""Builds the backend of an application in this process: the kind ``app``.

The application was imported before the event loop ran (``loading.py``); ASGI or WSGI is known since then.
"""

from __future__ import annotations

from functools import partial

from sidegate.backends.app.asgi import AsgiBackend
from sidegate.backends.app.loading import LoadedApp
from sidegate.backends.app.wsgi.backend import WsgiBackend
from sidegate.backends.app.wsgi.environ import base_environ
from sidegate.backends.app.wsgi.stuck import StuckThreads
from sidegate.backends.app.wsgi.threads import Threads
from sidegate.backends.backend import Backend
from sidegate.backends.buffering import Buffering
from sidegate.backends.context import BuildContext
from sidegate.backends.wait_queue import WaitQueue
from sidegate.config.backends import THREADS
from sidegate.config.hop import longest_request


def build(context: BuildContext) -> Backend | None:
    """Make the backend; None: its application could not be imported."""
    name, backend, loaded = context.name, context.backend, context.application
    buffering = Buffering(context.config, backend)
    if loaded is None:
        return None
    if loaded.interface == "asgi":
        buffers = buffering.of_body(on_threads=False) or buffering.of_response(on_threads=False)
        return AsgiBackend(name, loaded, backend.root_path, backend.lifespan, buffering if buffers else None)
    return _on_threads(context, loaded, buffering)


def _on_threads(context: BuildContext, loaded: LoadedApp, buffering: Buffering) -> WsgiBackend:
    config, name, backend, observer = context.config, context.name, context.backend, context.observer
    threads = Threads(name, THREADS if backend.threads is None else backend.threads)
    base = base_environ(multithread=threads.capacity > 1, multiprocess=config.processes > 1)
    wait_queue = WaitQueue(observer.pool(name), backend.queue)
    on_exhausted = partial(context.report, "exhausted", backend=name)
    stuck = StuckThreads(name, threads, observer.threads(name), longest_request(config, name), on_exhausted)
    return WsgiBackend(loaded, base, wait_queue, stuck, buffering=buffering, root_path=backend.root_path)
