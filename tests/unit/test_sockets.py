"""Binding TCP addresses, on real sockets; what is refused; the admin server's socket."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from sidegate.errors import StartError
from sidegate.supervisor import sockets as sockets_module
from sidegate.supervisor.sockets import ServiceSockets
from sidegate.supervisor.systemd import PassedSockets
from tests.support.binding import Bind, a_config, connect, locate, the_sockets

HAS_IPV6 = socket.has_dualstack_ipv6()
needs_ipv6 = pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6")


# ---- TCP --------------------------------------------------------------------------------------------------


def test_a_bound_socket_refuses_until_it_listens(bind: Bind) -> None:
    sockets = bind("127.0.0.1:0")
    (sock,) = the_sockets(sockets)
    with pytest.raises(ConnectionRefusedError):
        connect(sock)
    sockets.listen()
    connect(sock)
    assert not sock.getblocking()
    assert not sock.get_inheritable()
    assert sockets.urls("http", "http") == [f"http://127.0.0.1:{sock.getsockname()[1]}"]


@needs_ipv6
def test_ipv6_is_ipv6_only(bind: Bind) -> None:
    sockets = bind("[::]:0")
    (sock,) = the_sockets(sockets)
    assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
    assert sockets.urls("http", "https") == [f"https://[::1]:{sock.getsockname()[1]}"]


@needs_ipv6
@pytest.mark.parametrize(("only", "host"), [(0, "localhost"), (1, "[::1]")])
def test_the_url_of_an_inherited_ipv6_socket_reaches_it(bind: Bind, only: int, host: str) -> None:
    with socket.socket(socket.AF_INET6) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        sock.bind(("::", 0))
        port = sock.getsockname()[1]
        assert bind(f"fd:{os.dup(sock.fileno())}").urls("http", "http") == [f"http://{host}:{port}"]


@needs_ipv6
def test_no_host_is_every_address_with_one_port(bind: Bind) -> None:
    sockets = bind(":0")
    v4, v6 = the_sockets(sockets)
    assert (v4.family, v6.family) == (socket.AF_INET, socket.AF_INET6)
    assert v4.getsockname()[1] == v6.getsockname()[1]
    assert sockets.urls("http", "http") == [f"http://localhost:{v4.getsockname()[1]}"]
    sockets.listen()
    connect(v4)
    connect(v6)


@needs_ipv6
def test_ipv6_literals_keep_their_brackets(bind: Bind) -> None:
    sockets = bind("[::1]:0")
    assert sockets.urls("http", "http") == [f"http://[::1]:{the_sockets(sockets)[0].getsockname()[1]}"]


def test_a_name_is_every_address_it_resolves_to_with_one_port(bind: Bind, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = ["127.0.0.1", "127.0.0.2", "127.0.0.1"]
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in resolved]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: answer)
    sockets = bind("some.name:0")
    first, second = the_sockets(sockets)
    assert first.getsockname()[0] == "127.0.0.1"
    assert second.getsockname() == ("127.0.0.2", first.getsockname()[1])
    assert sockets.urls("http", "http") == [f"http://some.name:{first.getsockname()[1]}"]


def test_localhost_skips_the_family_that_the_machine_lacks(bind: Bind, monkeypatch: pytest.MonkeyPatch) -> None:
    # No machine has an address of class E (RFC 1112): it plays the part of a missing ::1.
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in ("240.0.0.1", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: answer)
    (sock,) = the_sockets(bind("localhost:0"))
    assert sock.getsockname()[0] == "127.0.0.1"


def test_another_free_port_is_tried_until_all_addresses_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "127.0.0.2")]
    monkeypatch.setattr(sockets_module, "_resolve", lambda _: targets)
    real = sockets_module._bind_one
    taken: list[socket.socket] = []

    def somebody_is_faster(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
        if host == "127.0.0.2" and len(taken) < 3:
            taken.append(socket.create_server((host, port)))
        return real(family, host, port)

    monkeypatch.setattr(sockets_module, "_bind_one", somebody_is_faster)
    sockets = ServiceSockets(a_config("some.name:0"), PassedSockets([]), locate)
    ports = {sock.getsockname()[1] for sock in the_sockets(sockets)}
    assert len(taken) == 3
    assert len(ports) == 1
    assert not ports & {server.getsockname()[1] for server in taken}
    sockets.close()
    for server in taken:
        server.close()


def test_when_no_port_is_free_on_all_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> socket.socket:
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(sockets_module, "_resolve", lambda _: [(socket.AF_INET, "127.0.0.1")] * 2)
    monkeypatch.setattr(sockets_module, "_bind_one", refuse)
    with pytest.raises(StartError, match=r"no port is free on all of 127\.0\.0\.1, 127\.0\.0\.1"):
        ServiceSockets(a_config("some.name:0"), PassedSockets([]), locate)


def test_a_name_that_cannot_be_encoded_does_not_resolve() -> None:
    with pytest.raises(sockets_module.AddressError, match=r"the name a\.\.b does not resolve: .+"):
        sockets_module._resolve("a..b")


def test_a_restart_does_not_wait_for_time_wait(bind: Bind) -> None:
    (sock,) = the_sockets(bind("127.0.0.1:0"))
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1


# ---- refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("240.0.0.1:0", "no network interface of this machine has this address"),
        ("no-such-host.invalid:0", "the name no-such-host.invalid does not resolve"),
        ("unix:/no/such/folder/socket", "the folder /no/such/folder must exist and be writable"),
        ("fd:1", "descriptors 0 to 2 are standard input, output and error"),
        ("fd:987654", "descriptor 987654 is not open"),
        ("systemd:web", "no socket named 'web' was passed; start Sidegate with a systemd socket unit"),
        ("systemd:", "no socket was passed"),
    ],
)
def test_an_address_that_is_not_to_be_had(bind: Bind, address: str, reason: str) -> None:
    with pytest.raises(StartError) as caught:
        bind(address)
    assert str(caught.value).startswith(f"listeners.0.addresses.0: cannot listen on {address}: ")
    assert reason in str(caught.value)


def test_all_problems_come_at_once_and_nothing_stays_bound(bind: Bind, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with pytest.raises(StartError) as caught:
        bind(f"unix:{path}", "240.0.0.1:0", "fd:1", admin="240.0.0.1:1")
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "listeners.0.addresses.1",
        "listeners.0.addresses.2",
        "admin.address",
    ]
    assert not path.exists()


def test_a_port_in_use(bind: Bind) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(StartError, match=rf"the address is in use; .*sport = :{port}.* or choose another address"):
            bind(f"127.0.0.1:{port}")


def test_a_port_that_is_taken_between_bind_and_listen(bind: Bind) -> None:
    first = bind("127.0.0.1:0")
    port = the_sockets(first)[0].getsockname()[1]
    second = bind(f"127.0.0.1:{port}")  # Linux lets two sockets with SO_REUSEADDR bind until one listens
    second.listen()
    with pytest.raises(StartError, match=r"listeners\.0\.addresses\.0: .* the address is in use"):
        first.listen()


def test_a_low_port_without_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> socket.socket:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sockets_module, "_bind_one", refuse)
    with pytest.raises(StartError, match="port below 1024; choose a higher one, grant the capability CAP_NET_BIND"):
        ServiceSockets(a_config("127.0.0.1:443"), PassedSockets([]), locate)
    with pytest.raises(StartError, match="Permission denied"):
        ServiceSockets(a_config("127.0.0.1:8443"), PassedSockets([]), locate)


# ---- the admin server -------------------------------------------------------------------------------------


def test_the_admin_socket_listens_first_and_outlives_the_listeners(bind: Bind) -> None:
    sockets = bind("127.0.0.1:0", admin="127.0.0.1:0")
    (admin,) = sockets.admin()
    (web,) = the_sockets(sockets)
    sockets.listen_admin()
    connect(admin)
    with pytest.raises(ConnectionRefusedError):
        connect(web)
    sockets.close_listeners()
    assert web.fileno() == -1
    assert sockets.by_listener() == {}
    connect(admin)
    assert sockets.urls("", "http") == [f"http://127.0.0.1:{admin.getsockname()[1]}"]
