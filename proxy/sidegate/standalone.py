"""``sidegate worker``: a worker without a supervisor, for the application's own container or another host.

It binds its sockets with the supervisor's ``ServiceSockets`` and serves what a pool's worker serves. Options say which
peers may send facts about a client, because anybody may connect to this worker. On a unix socket the permissions of the
socket decide who that is; to a port on loopback every user of the machine can connect, so loopback is not trusted.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from sidegate import __version__
from sidegate.aio.event_loops import ProcessLoop
from sidegate.aio.tasks import internal_task
from sidegate.backends.app.loading import Applications
from sidegate.config.address import parse_address
from sidegate.config.hop import hop_limits
from sidegate.config.schema import Config, ListenerConfig
from sidegate.errors import StartError
from sidegate.ipc import signals
from sidegate.observe import process_log
from sidegate.observe.cells import Area
from sidegate.observe.metrics import CellLayout
from sidegate.observe.observer import Observer
from sidegate.process import child
from sidegate.process.runtime import Runtime, import_applications
from sidegate.server.forwarded import TrustedProxies
from sidegate.supervisor.plan import REACTION_TIME
from sidegate.supervisor.sockets import ServiceSockets
from sidegate.supervisor.stop_report import report_stop
from sidegate.supervisor.systemd import PassedSockets
from sidegate.versions import engines

logger = logging.getLogger("sidegate.worker")

TRUSTED = ("unix",)
"""Peers that are always trusted; ``--trust`` adds others."""

LOOPBACK = {"127.0.0.1": ("127.0.0.1",), "::1": ("::1",), "localhost": ("127.0.0.1", "::1")}
"""The peers' addresses, by the address that they can connect to."""

SOCKET_MODE = "0660"
"""Permissions of the unix socket: its fronts are processes of the same user or group. Others may not connect, because
a peer on a unix socket is trusted."""

NAME = "worker"

ARGUMENTS = {
    "listeners[0].address": "--bind",
    "listeners[0].mode": "--mode",
    "listeners[0].group": "--group",
    "listeners[0].tls": "--tls-cert",
    "listeners[0].tls.certificates[0].key": "--tls-key",
    "listeners[0].tls.clientCertificates": "--client-ca",
    "backends.worker": "",
    "backends.worker.app": "module:attr",
    "backends.worker.interface": "--interface",
    "backends.worker.threads": "--threads",
    "backends.worker.directory": "--directory",
    "backends.worker.rootPath": "--root-path",
    "backends.worker.lifespan": "--lifespan",
    "limits.concurrentStreams": "--concurrency",
    "trustedProxies": "--trust",
    "gracePeriod": "--grace-period",
    "http2Engine": "--http2-engine",
    "tlsEngine": "--tls-engine",
    "eventLoop": "--event-loop",
}
"""Arguments by their paths in ``document``."""


def document(arguments: argparse.Namespace) -> dict[str, Any]:
    """The YAML document that is equivalent to the arguments; its limits are still those for clients."""
    listener: dict[str, Any] = {"name": NAME, "address": arguments.bind.removeprefix("tcp://"), "protocols": ["h2"]}
    if arguments.bind.startswith("unix:"):
        listener["mode"] = arguments.mode or SOCKET_MODE
        listener["group"] = arguments.group or _folder_group(arguments.bind.removeprefix("unix:"))
    else:
        listener |= {"mode": arguments.mode, "group": arguments.group}
    if arguments.tls_cert is not None:
        pair = {"cert": arguments.tls_cert, "key": arguments.tls_key or arguments.tls_cert}
        listener["tls"] = {"certificates": [pair]}
        if arguments.client_ca is not None:
            listener["tls"]["clientCertificates"] = {"ca": arguments.client_ca}
    backend = {
        "app": arguments.app,
        "interface": arguments.interface,
        "threads": arguments.threads,
        "directory": arguments.directory,
        "rootPath": arguments.root_path,
        "lifespan": arguments.lifespan,
    }
    return {
        "listeners": [listener],
        "backends": {NAME: backend},
        "routes": [{"name": NAME, "path": "/", "backend": NAME}],
        "admin": False,
        "limits": {"concurrentStreams": arguments.concurrency},
        "trustedProxies": list(dict.fromkeys([*TRUSTED, *arguments.trust])),
        "gracePeriod": arguments.grace_period,
        "http2Engine": arguments.http2_engine or "auto",
        "tlsEngine": arguments.tls_engine or "auto",
        "eventLoop": arguments.event_loop or "auto",
    }


def _folder_group(path: str) -> str | None:
    """The group of the socket's folder, in which its fronts may be; None if this process may not use it."""
    try:
        group = Path(path).absolute().parent.stat().st_gid
    except OSError:
        return None
    return str(group) if os.geteuid() == 0 or group in {os.getegid(), *os.getgroups()} else None


def serve(config: Config, warnings: Sequence[str] = ()) -> int:
    """Serve until one of ``STOP_SIGNALS``, finish the requests in flight, and return the exit code.

    ``warnings`` are logged.

    :raises StartError: the address cannot be bound, or the application does not start.
    :raises BuildError: the application cannot be imported, or a certificate cannot be used.
    """
    process_log.set_up(config.logging)
    for warning in warnings:
        logger.warning("%s", warning)
    if _is_guarded(config.listeners[0], TrustedProxies(config.trusted_proxies)):
        limits, timeouts = hop_limits(config)
        config = replace(config, limits=limits, timeouts=timeouts)
    sockets = ServiceSockets(config, PassedSockets.from_environment(os.environ), lambda _, message: message)

    def leave(number: int, _: object = None) -> None:
        sockets.close()
        os._exit(128 + number)

    try:
        for number in signals.STOP_SIGNALS:  # no exception: an application's import might catch it
            signals.on_signal(number, leave)
        for sock in chain(*sockets.by_listener().values()):
            signals.close_in_children(sock)
        with ProcessLoop(config.event_loop) as loop:
            applications = import_applications(config, loop)
            process_log.set_up(config.logging)  # again: an import may have changed the loggers
            loop.run(_serve(config, sockets, applications, leave))
    finally:
        sockets.close()
    return 0


def _is_guarded(listener: ListenerConfig, trusted: TrustedProxies) -> bool:
    """Whether only trusted peers can connect; if anybody can connect, the limits for clients apply."""
    if _asks_for_certificates(listener):
        return True
    addresses = [parse_address(address) for address in listener.addresses]
    peers = [("unix",) if address.kind == "unix" else LOOPBACK.get(address.host, ()) for address in addresses]
    return all(hosts and all(host == "unix" or host in trusted for host in hosts) for hosts in peers)


def _asks_for_certificates(listener: ListenerConfig) -> bool:
    return listener.tls is not None and listener.tls.client_certificates is not None


async def _serve(
    config: Config, sockets: ServiceSockets, applications: Applications, leave: Callable[[int], None]
) -> None:
    """``leave`` ends the process at once, by the number of a signal."""
    loop = asyncio.get_running_loop()
    layout = CellLayout(config)
    area = Area.create(layout.size)
    runtime = _build(config, sockets, applications, area)
    asked = asyncio.Event()
    for number in signals.STOP_SIGNALS:
        signals.handle(loop, number, _on_signal, number, asked)
        signals.also(number, partial(_leave_later, number, asked, leave))
    signals.handle(loop, signal.SIGHUP, logger.warning, "SIGHUP: a worker cannot reload; restart it instead")
    start = internal_task(runtime.start())
    if not await child.first_of(start, asked):
        return  # no request was accepted yet, so there is nothing to finish
    start.result()
    for number in signals.STOP_SIGNALS:
        signals.handle(loop, number, _on_signal, number, asked)
    try:
        sockets.listen()
    except StartError:
        await runtime.drain(0.0, config.grace_period)  # the application has started
        raise
    runtime.serve()
    _announce(config, sockets)
    await asked.wait()
    began = loop.time()
    logger.info("stopping")
    sockets.close_listeners()  # these copies; through the runtime's, connections in the kernel's backlog are accepted
    await runtime.drain(0.0, config.grace_period)
    report_stop(logger, loop.time() - began, layout.cut(area))


def _build(config: Config, sockets: ServiceSockets, applications: Applications, area: Area) -> Runtime:
    observer = Observer(config, area.cells)
    fronts = TrustedProxies(config.trusted_proxies, any_peer=_asks_for_certificates(config.listeners[0]))
    own = {name: [sock.dup() for sock in group] for name, group in sockets.by_listener().items()}
    for sock in chain(*own.values()):
        signals.close_in_children(sock)
    return Runtime.build(config, own, observer, applications, fronts=fronts)


def _announce(config: Config, sockets: ServiceSockets) -> None:
    parts = engines(config, child.loop_package(), http1=False)
    where = ", ".join(sockets.urls(NAME, "h2" if config.listeners[0].tls else "h2c"))
    app = config.backends[NAME].app
    unix = all(address.startswith("unix:") for address in config.listeners[0].addresses)
    if not (unix or _asks_for_certificates(config.listeners[0]) or set(config.trusted_proxies) - set(TRUSTED)):
        logger.warning("no peer is trusted: what fronts say about their clients is dropped; name the fronts by --trust")
    logger.info("Sidegate %s worker (%s, %s): %s at %s", __version__, parts["loop"], parts["http2"], app, where)


def _leave_later(number: int, asked: asyncio.Event, leave: Callable[[int], None]) -> None:
    """Leave if the event loop does not learn of the signal, because the application's startup blocks it."""

    def check() -> None:
        if not asked.is_set():
            leave(number)

    timer = threading.Timer(REACTION_TIME, check)
    timer.daemon = True
    timer.start()


def _on_signal(number: signal.Signals, asked: asyncio.Event) -> None:
    """The first signal starts the drain, the second one exits immediately."""
    if asked.is_set():
        sys.stderr.flush()
        os._exit(128 + number)
    asked.set()
