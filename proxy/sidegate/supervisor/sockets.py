"""The listening sockets: bound before any process starts, listening when the first fronts are ready.

The start and the supervisor's loop use it; the fronts inherit the descriptors. It owns every socket until ``close``,
and the files of unix sockets. It never accepts a connection. Between ``bind()`` and ``listen()`` the address is
reserved, but connections are refused, so no client connects to a service that fails to start. A ``StartError`` has one
line for each address that cannot be bound, with its position in the configuration file, the reason and a remedy.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import pathlib
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sidegate.config.address import Address, parse_address
from sidegate.config.schema import Config
from sidegate.errors import Problems, SidegateError, StartError
from sidegate.ipc import permissions
from sidegate.supervisor.systemd import PassedSockets
from sidegate.supervisor.unix_socket import PathTakenError, UnixSocket

PORT_ATTEMPTS = 32
"""How many free ports are tried at most until one is free on all addresses of a name."""

ADMIN_BACKLOG = 128

_NO_SUCH_ADDRESS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})

Path = tuple[str | int, ...]
Locate = Callable[[Path, str], str]
"""Puts ``file:line:col: path:`` before a message (``Loaded.problem``)."""

logger = logging.getLogger("sidegate.supervisor")


class AddressError(SidegateError):
    """One address cannot be used; the message is the reason."""


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """One bound socket with its settings. ``listener`` is empty for the admin server's sockets."""

    listener: str
    path: Path
    address: Address
    socket: socket.socket
    backlog: int
    file: UnixSocket | None = None


class ServiceSockets:
    """Every socket of the service, in the order of the configuration; the admin server's comes last."""

    def __init__(self, config: Config, passed: PassedSockets, locate: Locate) -> None:
        """Bind everything.

        :raises StartError: one line for each address that cannot be bound; then no socket stays bound.
        """
        self._locate = locate
        self._bound: list[Bound] = []
        try:
            self._bind(config, passed)
        except BaseException:  # also SystemExit, which a signal raises
            self.close()
            raise

    def _bind(self, config: Config, passed: PassedSockets) -> None:
        problems = []
        for wanted in _wanted(config):
            try:
                self._bound += wanted.bind(passed)
            except AddressError as error:
                problems.append(self._locate(wanted.path, f"cannot listen on {wanted.address}: {error}"))
        if problems:
            raise StartError("\n".join(problems))
        if passed.left:
            names = ", ".join(passed.left)
            logger.warning("systemd passed sockets that no listener uses; their clients are not served: %s", names)

    def by_listener(self) -> Mapping[str, list[socket.socket]]:
        """The sockets of each listener, by its name, without those of the admin server."""
        sockets: dict[str, list[socket.socket]] = {}
        for bound in self._bound:
            if bound.listener:
                sockets.setdefault(bound.listener, []).append(bound.socket)
        return sockets

    def admin(self) -> list[socket.socket]:
        """The admin server's sockets."""
        return [bound.socket for bound in self._bound if not bound.listener]

    def urls(self, listener: str, scheme: str) -> list[str]:
        """URLs of ``listener`` (empty: the admin server), without duplicates; ``unix:PATH`` for a unix socket."""
        return list(dict.fromkeys(_url(bound, scheme) for bound in self._bound if bound.listener == listener))

    def listen(self) -> None:
        """Begin to listen on every listener's sockets.

        :raises StartError: another server took an address between ``bind()`` and now.
        """
        self._listen([bound for bound in self._bound if bound.listener])

    def listen_admin(self) -> None:
        """Begin to listen on the admin server's sockets.

        :raises StartError: as ``listen``.
        """
        self._listen([bound for bound in self._bound if not bound.listener])

    def close_listeners(self) -> None:
        """Close the listeners' sockets; the admin server stays reachable."""
        self._close([bound for bound in self._bound if bound.listener])

    def close(self) -> None:
        """Close all sockets and remove the files of unix sockets. Calling it again does nothing."""
        self._close(self._bound)

    def _listen(self, some: Sequence[Bound]) -> None:
        for bound in some:
            try:
                bound.socket.listen(bound.backlog)
                if bound.file and not bound.file.owns_path():
                    raise AddressError("another server has taken the path")
            except OSError as error:
                raise self._late(bound, _reason(error, bound.address)) from error
            except AddressError as error:
                raise self._late(bound, str(error)) from error

    def _late(self, bound: Bound, reason: str) -> StartError:
        return StartError(self._locate(bound.path, f"cannot listen on {bound.address}: {reason}"))

    def _close(self, some: Sequence[Bound]) -> None:
        self._bound = [bound for bound in self._bound if bound not in some]
        for bound in some:
            if bound.file:
                bound.file.unlink()
            bound.socket.close()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One address of the configuration, not bound yet."""

    listener: str
    path: Path
    address: Address
    backlog: int
    mode: int | None = None
    group: str | None = None

    def bind(self, passed: PassedSockets) -> list[Bound]:
        """The sockets of this address, bound and non-blocking.

        :raises AddressError: there is no such socket, or it cannot be bound.
        """
        try:
            if self.address.kind == "unix":
                group = None if self.group is None else permissions.group_id(self.group)
                file = UnixSocket(self.address.path, self.mode, group)
                bound = [self._bound(file.socket, file)]
            elif self.address.kind == "fd":
                bound = [self._bound(_adopt(self.address.fd, self.backlog))]
            elif self.address.kind == "systemd":
                bound = [self._bound(_adopt(fd, self.backlog)) for fd in passed.take(self.address.name)]
            else:
                bound = [self._bound(sock) for sock in _bind_tcp(self.address)]
        except OSError as error:
            raise AddressError(_reason(error, self.address)) from error
        except (PathTakenError, LookupError) as error:
            raise AddressError(str(error.args[0])) from error
        return bound

    def _bound(self, sock: socket.socket, file: UnixSocket | None = None) -> Bound:
        sock.setblocking(False)
        return Bound(self.listener, self.path, self.address, sock, self.backlog, file)


def _wanted(config: Config) -> Iterator[_Wanted]:
    for i, listener in enumerate(config.listeners):
        for j, text in enumerate(listener.addresses):
            path = ("listeners", i, "addresses", j)
            address = parse_address(text)
            yield _Wanted(listener.name, path, address, listener.backlog, listener.mode, listener.group)
    if config.admin:
        yield _Wanted("", ("admin", "address"), parse_address(config.admin.address), ADMIN_BACKLOG)


def unknown_groups(config: Config) -> Problems:
    """The groups of unix sockets that the system does not have, for ``sidegate check``."""
    problems: Problems = []
    for index, listener in enumerate(config.listeners):
        if listener.group is not None:
            try:
                permissions.group_id(listener.group)
            except LookupError as error:
                problems.append((("listeners", index, "group"), str(error)))
    return problems


def _bind_tcp(address: Address) -> list[socket.socket]:
    """One socket for each address that the host resolves to, all with the same port."""
    targets = _resolve(address.host)
    for _ in range(PORT_ATTEMPTS):
        try:
            return _bind_all(targets, address.port)
        except OSError as error:
            # The port that was free on the first address is in use on another address: try the next free port.
            if address.port or error.errno != errno.EADDRINUSE:
                raise
    raise AddressError(f"no port is free on all of {', '.join(host for _, host in targets)}")


def _resolve(host: str) -> list[tuple[socket.AddressFamily, str]]:
    """Families and numeric hosts. Without a host: all addresses, as two sockets, so that IPv4 peers have IPv4 form."""
    if not host:
        return [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]  # noqa: S104 - the configuration requests it
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise AddressError(f"the name {host} does not resolve: {error.strerror}") from error
    except UnicodeError as error:  # a label that is empty or too long
        raise AddressError(f"the name {host} does not resolve: {error}") from error
    # /etc/hosts often lists a name twice.
    return list(dict.fromkeys((family, str(target[0])) for family, _, _, _, target in found))


def _bind_all(targets: Sequence[tuple[socket.AddressFamily, str]], port: int) -> list[socket.socket]:
    """Bind every target, with the first one's port if ``port`` is 0.

    A target whose address this machine does not have is left out if another target can be bound: hosts without IPv6
    still resolve ``localhost`` to ``::1``.
    """
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, host in targets:
            try:
                sockets.append(_bind_one(family, host, port))
            except OSError as error:
                if error.errno not in _NO_SUCH_ADDRESS:
                    raise
                missing = error
                continue
            port = sockets[-1].getsockname()[1]
        if missing and not sockets:
            raise missing
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bind_one(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A restarted service must be able to bind while earlier connections are in TIME_WAIT.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _adopt(fd: int, backlog: int) -> socket.socket:
    """The inherited descriptor as a socket. It is made non-inheritable: only children that it is passed to get it.

    If it already listens, as systemd's do, the kernel accepts clients during the start. They wait for its end, up to
    ``backlog`` of them: with the shorter backlog of a predecessor the others would have to repeat their SYN, at
    intervals that grow beyond the start.
    """
    if fd < 3:
        raise AddressError("descriptors 0 to 2 are standard input, output and error")
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        what = "is not open" if error.errno == errno.EBADF else "is not a socket"
        raise AddressError(
            f"descriptor {fd} {what}; the process that starts Sidegate must pass a bound socket"
        ) from error
    if sock.type != socket.SOCK_STREAM or sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        sock.detach()
        raise AddressError(f"descriptor {fd} is not a TCP or unix stream socket")
    os.set_inheritable(fd, False)
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.listen(backlog)
    return sock


def _url(bound: Bound, scheme: str) -> str:
    """The URL with the real port; for a socket that is bound to all addresses, an address that reaches it."""
    name = bound.socket.getsockname()
    if bound.socket.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(name)}"
    host, port = name[:2]
    named = bound.address.host if bound.address.kind == "tcp" else ""
    if ipaddress.ip_address(host).is_unspecified:
        host = _loopback(bound)
    elif named and not _is_ip(named):
        host = named
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _loopback(bound: Bound) -> str:
    """``localhost``, but ``::1`` if only IPv6 reaches the socket: ``localhost`` may be an IPv4 address."""
    if bound.socket.family != socket.AF_INET6 or (bound.address.kind == "tcp" and not bound.address.host):
        return "localhost"  # an address without a host has a socket for IPv4 as well
    only = bound.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    return "::1" if only else "localhost"


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _reason(error: OSError, address: Address) -> str:
    """The reason and a remedy."""
    if error.errno == errno.EADDRINUSE:
        shown = f" (`ss -ltnp 'sport = :{address.port}'` shows it)" if address.port else ""
        return f"the address is in use; stop the other server{shown} or choose another address"
    if error.errno == errno.EACCES and 0 < address.port < 1024:
        return (
            "no permission for a port below 1024; choose a higher one, grant the capability CAP_NET_BIND_SERVICE, "
            "or lower the sysctl net.ipv4.ip_unprivileged_port_start"
        )
    if error.errno in _NO_SUCH_ADDRESS:
        return "no network interface of this machine has this address"
    if address.kind == "unix":
        folder = pathlib.Path(address.path).parent
        if error.errno == errno.EACCES and (reason := permissions.denied(str(folder), os.W_OK | os.X_OK)):
            return reason
        return f"{error.strerror or error}: the folder {folder} must exist and be writable"
    return error.strerror or str(error)
