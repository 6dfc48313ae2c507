"""``sidegate serve`` from a valid configuration to the exit code: sockets, certificate, admin server, supervisor.

Where it stands: between the command line and the supervisor's loop. It owns the order of the start (bind everything
first, so that a port in use is known before any process starts) and of the end. The error that leaves it is
``StartError``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

from sidegate.config.schema import Config
from sidegate.observe import process_log
from sidegate.supervisor.sockets import Locate, ServiceSockets
from sidegate.supervisor.subprocess_call import call_in_subprocess
from sidegate.supervisor.summary import Addresses, summary, wants_colour
from sidegate.supervisor.supervisor import Operator, Supervisor
from sidegate.supervisor.systemd import PassedSockets

logger = logging.getLogger("sidegate.supervisor")


def serve(config: Config, locate: Locate) -> int:
    """Serve ``config`` until it ends; the exit code. ``locate`` gives problems found later their position in the file.

    :raises StartError: an address is not to be had, or the development certificate cannot be made.
    """
    process_log.set_up(config.logging)
    sockets = ServiceSockets(config, PassedSockets.from_environment(os.environ), locate)
    try:
        _make_certificate(config)
        return asyncio.run(_Service(config, sockets, locate).run())
    finally:
        sockets.close()


def _make_certificate(config: Config) -> None:
    """Make the development certificate, which fronts only read: several would make it at once."""
    if any(listener.tls and listener.tls.self_signed for listener in config.listeners):
        call_in_subprocess("sidegate.server.tls.self_signed:ensure_self_signed")


@dataclass(frozen=True, slots=True)
class _Service:
    """One service from its bound sockets on."""

    config: Config
    sockets: ServiceSockets
    locate: Locate

    async def run(self) -> int:
        addresses = Addresses.of(self.config, self.sockets)
        supervisor = Supervisor(
            self.config, self.sockets, Operator(self.locate, _report, lambda: self._announce(supervisor, addresses))
        )
        async with self._admin_server(supervisor, addresses):
            return await supervisor.run()

    @contextlib.asynccontextmanager
    async def _admin_server(self, supervisor: Supervisor, addresses: Addresses) -> AsyncIterator[None]:
        """Up before the fronts, so that probes are answered while applications are imported; the last to go."""
        if self.config.admin is None:
            yield
            return
        from aiohttp import web  # noqa: PLC0415 - some 20 MB that a service without it need not hold

        from sidegate.admin.app import make_app  # noqa: PLC0415 - ditto
        from sidegate.supervisor.view import SupervisorView  # noqa: PLC0415 - ditto

        view = SupervisorView(supervisor, addresses)
        supervisor.counts = view.counts
        self.sockets.listen_admin()
        runner = web.AppRunner(make_app(view), access_log=None, handle_signals=False, shutdown_timeout=0.5)
        await runner.setup()
        try:
            for sock in self.sockets.admin():
                await web.SockSite(runner, sock).start()
            yield
        finally:
            await runner.cleanup()

    def _announce(self, supervisor: Supervisor, addresses: Addresses) -> None:
        """Tell people by a summary, and log collectors by one record."""
        config = self.config
        if config.logging.format == "json":
            fields = {"engines": supervisor.engines, "listeners": addresses.listeners, "admin": addresses.admin}
            logger.info("serving", extra={"fields": fields})
        else:
            _report(summary(config, addresses, supervisor.engines, wants_colour(sys.stderr, os.environ)))


def _report(text: str) -> None:
    """To the operator: standard error, because standard output may be the access log."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
