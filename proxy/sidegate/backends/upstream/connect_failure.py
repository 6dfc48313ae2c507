"""Why an attempt to connect to a server failed, and whether requests should wait for another attempt.

A reconnector makes one for each failed attempt. A server that restarts refuses connections for a moment, so requests
wait in the queue. A forbidden socket, a server that speaks another protocol and a certificate that does not verify
will be the same in ten seconds: requests are answered at once (``UnusableUpstream``), while the attempts go on. So are
they if a socket is missing, unless its server was there a moment ago: a restart removes the file and makes it again.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass

from sidegate.errors import UnusableUpstream
from sidegate.ipc import permissions

RESTART_TIME = 30.0
"""Seconds that a server may take to make its socket again."""


class WrongProtocolError(ConnectionError):
    """The server does not speak the protocol of the backend."""


@dataclass(frozen=True, slots=True)
class ConnectFailure:
    """``problem``: for the log. ``status``: of the answer to requests; 0 if they wait. ``reason``: of that answer.

    ``may_restart``: requests wait nevertheless for ``RESTART_TIME`` after the last connection.
    """

    problem: str
    status: int = 0
    reason: str = ""
    may_restart: bool = False

    def lasts(self, since_connected: float) -> bool:
        """Whether another attempt will fail for the same reason, until somebody changes something.

        ``since_connected``: seconds since there was a connection; infinity if there was none.
        """
        return self.status != 0 and not (self.may_restart and since_connected < RESTART_TIME)

    def error(self) -> UnusableUpstream:
        """The error of a request that would have to wait."""
        return UnusableUpstream(self.status, self.reason)


def connect_failure(error: OSError, path: str = "") -> ConnectFailure:
    """``path``: of the unix socket, if it is one. ``ssl.SSLError`` is an OSError, TimeoutError too."""
    if isinstance(error, PermissionError) and path:
        reason = permissions.denied(path, os.W_OK) or str(error)
        return ConnectFailure(f"cannot connect: {reason}", 503, "upstream_unreachable")
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ConnectFailure(f"cannot connect: {error.strerror}", 503, "upstream_unreachable", may_restart=True)
    if isinstance(error, WrongProtocolError):
        return ConnectFailure(f"{error}; HTTP/1.1 upstreams are not available yet", 502, "upstream_protocol")
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return ConnectFailure(_tls_problem(error), 502, "upstream_tls")
    return ConnectFailure(str(error) or "timeout")


def _tls_problem(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"):
        return f"the server does not speak TLS ({error.reason}); cleartext HTTP/2 is 'h2c' of a backend"
    return f"TLS failed: {error.reason or error}"
