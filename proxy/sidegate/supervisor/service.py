"""``sidegate serve`` from a valid configuration to the exit code: sockets, certificate, admin server, supervisor.

The command line calls it, and it runs the supervisor's loop. It defines the order of the start (it binds all sockets
first, so that a port in use is found before any process starts) and of the stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sidegate.config.loaded import Expiry
from sidegate.config.schema import Config
from sidegate.observe import process_log
from sidegate.supervisor.sockets import Locate, ServiceSockets
from sidegate.supervisor.subprocess_call import call_in_subprocess
from sidegate.supervisor.summary import Addresses, summary, wants_colour
from sidegate.supervisor.supervisor import Operator, Supervisor
from sidegate.supervisor.systemd import PassedSockets

logger = logging.getLogger("sidegate.supervisor")


def serve(config: Config, locate: Locate, warnings: Sequence[str] = (), expiry: Expiry | None = None) -> int:
    """Serve ``config`` until the service ends and return the exit code.

    ``locate`` adds the position in the file to the messages of problems that are found later. ``warnings`` are logged.
    ``expiry``: when the certificates of listeners expire, for the metric.
    :raises StartError: an address cannot be bound, or the development certificate cannot be made.
    """
    process_log.set_up(config.logging)
    for warning in warnings:
        logger.warning("%s", warning)
    sockets = ServiceSockets(config, PassedSockets.from_environment(os.environ), locate)
    try:
        _make_certificate(config)
        return asyncio.run(_Service(config, sockets, locate, expiry or {}).run())
    finally:
        sockets.close()


def _make_certificate(config: Config) -> None:
    """Make the development certificate here; fronts only read it, because several would make it at the same time."""
    if any(listener.tls and listener.tls.self_signed for listener in config.listeners):
        call_in_subprocess("sidegate.server.tls.self_signed:ensure_self_signed")


@dataclass(frozen=True, slots=True)
class _Service:
    """One service whose sockets are bound."""

    config: Config
    sockets: ServiceSockets
    locate: Locate
    expiry: Expiry

    async def run(self) -> int:
        addresses = Addresses.of(self.config, self.sockets)
        supervisor = Supervisor(
            self.config, self.sockets, Operator(self.locate, _report, lambda: self._announce(supervisor, addresses))
        )
        try:
            async with self._admin_server(supervisor, addresses):
                return await supervisor.run()
        finally:
            supervisor.pools.close()  # again, if a signal came before the supervisor ran

    @contextlib.asynccontextmanager
    async def _admin_server(self, supervisor: Supervisor, addresses: Addresses) -> AsyncIterator[None]:
        """Run the admin server. It starts before the fronts, to answer probes during imports, and stops after them."""
        if self.config.admin is None:
            yield
            return
        from aiohttp import web  # noqa: PLC0415 - some 20 MB that a service without an admin server saves

        from sidegate.admin.app import bounded, make_app  # noqa: PLC0415 - ditto
        from sidegate.supervisor.view import SupervisorView  # noqa: PLC0415 - ditto

        view = SupervisorView(supervisor, addresses, self.expiry)
        supervisor.counts = view.counts
        self.sockets.listen_admin()
        # Its own logger has no handler, so `logging` would write to standard error and wait for its reader.
        options: dict[str, Any] = {"logger": logging.getLogger("sidegate.admin"), "access_log": None}
        runner = web.AppRunner(make_app(view), handle_signals=False, shutdown_timeout=0.5, **options)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(runner.cleanup)
            await runner.setup()
            make = bounded(cast("web.Server", runner.server))
            for sock in self.sockets.admin():
                stack.callback((await asyncio.get_running_loop().create_server(make, sock=sock)).close)
            yield

    def _announce(self, supervisor: Supervisor, addresses: Addresses) -> None:
        """Report that the service serves: to people by a summary, to log collectors by one JSON record."""
        config = self.config
        if config.logging.format == "json":
            fields = {"engines": supervisor.engines, "listeners": addresses.listeners, "admin": addresses.admin}
            logger.info("serving", extra={"fields": fields})
        else:
            _report(summary(config, addresses, supervisor.engines, wants_colour(sys.stderr, os.environ)))


def _report(text: str) -> None:
    """Print ``text`` on standard error, because standard output may be the access log."""
    process_log.stderr.write(f"{text}\n")
