"""Unix sockets, stale files of dead servers, and sockets that somebody else has bound."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from sidegate.errors import StartError
from sidegate.ipc import permissions
from sidegate.supervisor import sockets as sockets_module
from sidegate.supervisor.sockets import ServiceSockets
from sidegate.supervisor.systemd import PassedSockets
from sidegate.supervisor.unix_socket import PathTakenError, UnixSocket
from tests.support.accounts import as_nobody, needs_root, public_folder
from tests.support.binding import Bind, a_config, connect, locate, the_sockets

# ---- unix sockets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_unix_socket_has_its_mode_from_the_start(bind: Bind, tmp_path: Path, mode: int) -> None:
    path = tmp_path / "s"
    sockets = bind(f"unix:{path}", mode=f"{mode:04o}")
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert sockets.urls("http", "http") == [f"unix:{path}"]
    sockets.listen()
    connect(the_sockets(sockets)[0])
    sockets.close()
    assert not path.exists()


def test_without_a_mode_the_umask_decides(bind: Bind, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        bind(f"unix:{tmp_path / 's'}")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o750


def test_a_stale_file_is_replaced(bind: Bind, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    sockets = bind(f"unix:{path}")
    sockets.listen()
    connect(the_sockets(sockets)[0])
    assert [entry.name for entry in tmp_path.iterdir()] == ["s"]


def test_a_file_whose_server_lives_is_left_alone(bind: Bind, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(StartError, match="another server listens on this path"):
            bind(f"unix:{path}")
        connect(other)


def test_a_server_of_another_socket_type_is_left_alone(bind: Bind, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(tmp_path / "s"))
        with pytest.raises(StartError, match="another server listens on this path"):
            bind(f"unix:{tmp_path / 's'}")


@needs_root
def test_a_socket_that_this_user_may_not_connect_to_is_left_alone() -> None:
    """Nobody can tell whether its server lives."""
    with public_folder() as folder, socket.socket(socket.AF_UNIX) as other:
        folder.chmod(0o777)
        other.bind(f"{folder}/s")
        Path(f"{folder}/s").chmod(0o600)
        words = (
            "the socket there belongs to the user root, and the user nobody may not connect to it to find out whether "
            "a server listens; remove it or choose another path"
        )
        assert as_nobody(lambda: taken(f"{folder}/s")) == words
        other.listen()
        assert as_nobody(lambda: taken(f"{folder}/s")) == words
        connect(other)


@needs_root
def test_a_stale_socket_of_another_user_is_told_from_a_server() -> None:
    with public_folder() as folder, socket.socket(socket.AF_UNIX) as other:
        folder.chmod(0o1777)
        other.bind(f"{folder}/s")
        Path(f"{folder}/s").chmod(0o666)
        words = "the user nobody may not remove the socket that the user root has left"
        assert as_nobody(lambda: taken(f"{folder}/s")).startswith(f"no server listens on this path, but {words}; ")
        other.listen()
        assert as_nobody(lambda: taken(f"{folder}/s")).startswith("another server listens on this path")


@needs_root
def test_a_folder_that_this_user_may_not_write_is_named() -> None:
    with public_folder() as folder:

        def refused() -> str:
            with pytest.raises(StartError) as caught:
                ServiceSockets(a_config(f"unix:{folder}/s"), PassedSockets([]), locate)
            return str(caught.value)

        reason = f"the user nobody may not create files in {folder} (drwxr-xr-x root:root)"
        assert as_nobody(refused).endswith(f"cannot listen on unix:{folder}/s: {reason}")


def test_the_words_for_what_the_system_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As above, in a process that is not a fork."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    path = str(tmp_path / "s")
    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(PathTakenError, match="is not in the group 54322"):
        UnixSocket(path, None, 54322)
    assert not Path(path).exists()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        assert "may not remove the socket" in taken(path)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert "to find out whether a server listens" in taken(path)
    assert Path(path).is_socket()


def test_the_words_for_a_folder_without_permission(bind: Bind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(sockets_module, "UnixSocket", refuse)
    monkeypatch.setattr(permissions, "denied", lambda path, mode: f"not in {path}")
    with pytest.raises(StartError, match=f"cannot listen on unix:{tmp_path}/s: not in {tmp_path}$"):
        bind(f"unix:{tmp_path}/s")


def taken(path: str) -> str:
    """Why the path cannot be bound."""
    with pytest.raises(PathTakenError) as caught:
        UnixSocket(path, None)
    return str(caught.value)


@needs_root
def test_a_unix_socket_has_its_group(bind: Bind, tmp_path: Path) -> None:
    bind(f"unix:{tmp_path / 's'}", mode="0660", group="54322")
    status = (tmp_path / "s").stat()
    assert (status.st_gid, stat.S_IMODE(status.st_mode)) == (54322, 0o660)


@needs_root
def test_a_group_that_this_user_is_not_in() -> None:
    with public_folder() as folder:
        folder.chmod(0o777)

        def refused() -> str:
            with pytest.raises(PathTakenError) as caught:
                UnixSocket(f"{folder}/s", 0o660, 54322)
            return str(caught.value)

        assert as_nobody(refused) == "the user nobody is not in the group 54322, which 'group' names"
        assert not list(folder.iterdir())


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), SystemExit(1)])
def test_a_start_that_fails_leaves_no_file(
    bind: Bind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Also if a signal ends the start."""

    def fail(path: str, *_: object, **__: object) -> None:
        if path.endswith("/second"):
            raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, "chown", fail)
        before = os.listdir("/dev/fd")
        with pytest.raises((StartError, SystemExit)):
            bind(f"unix:{tmp_path}/first", f"unix:{tmp_path}/second", group=str(os.getgid()))
    assert os.listdir(tmp_path) == []
    assert len(os.listdir("/dev/fd")) == len(before)


def test_a_group_that_there_is_not(bind: Bind, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="there is no group nosuchgroup"):
        bind(f"unix:{tmp_path / 's'}", group="nosuchgroup")


def test_a_file_that_is_no_socket_is_left_alone(bind: Bind, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(StartError, match="exists and is not a socket"):
        bind(f"unix:{path}")
    assert path.read_text() == "data"


def test_a_server_that_begins_to_listen_while_its_file_is_judged_gets_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        rename = Path.rename

        def rename_and_listen(self: Path, target: str) -> Path:
            other.listen()
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", rename_and_listen)
        with pytest.raises(PathTakenError, match="another server is starting on this path"):
            UnixSocket(str(path), None)
        connect(other)
        assert [entry.name for entry in tmp_path.iterdir()] == ["s"]


def test_the_loser_of_two_simultaneous_starts_says_so(bind: Bind, tmp_path: Path) -> None:
    first, second = (bind(f"unix:{tmp_path / 's'}") for _ in range(2))
    second.listen()
    with pytest.raises(StartError, match="another server has taken the path"):
        first.listen()
    first.close()
    connect(the_sockets(second)[0])


def test_a_removed_file_is_noticed(bind: Bind, tmp_path: Path) -> None:
    sockets = bind(f"unix:{tmp_path / 's'}")
    (tmp_path / "s").unlink()
    with pytest.raises(StartError, match="another server has taken the path"):
        sockets.listen()


def test_a_failed_bind_leaves_no_descriptor(tmp_path: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        with pytest.raises(FileNotFoundError):
            UnixSocket(str(tmp_path / "missing" / "s"), None)
    assert len(os.listdir("/dev/fd")) == before


# ---- inherited sockets ------------------------------------------------------------------------------------


def test_an_inherited_socket_is_taken_and_kept_from_other_children(bind: Bind) -> None:
    given = socket.create_server(("127.0.0.1", 0))
    os.set_inheritable(given.fileno(), True)
    port = given.getsockname()[1]
    sockets = bind(f"fd:{given.detach()}")
    (sock,) = the_sockets(sockets)
    assert sock.getsockname() == ("127.0.0.1", port)
    assert not sock.get_inheritable()
    assert sockets.urls("http", "https") == [f"https://127.0.0.1:{port}"]


def test_an_inherited_unix_socket_keeps_its_file(bind: Bind, tmp_path: Path) -> None:
    given = socket.socket(socket.AF_UNIX)
    given.bind(str(tmp_path / "s"))
    bind(f"fd:{given.detach()}").close()
    assert (tmp_path / "s").exists()


def test_a_descriptor_that_is_no_stream_socket(bind: Bind, tmp_path: Path) -> None:
    with (tmp_path / "f").open("wb") as file, pytest.raises(StartError, match="is not a socket"):
        bind(f"fd:{file.fileno()}")
    with socket.socket(type=socket.SOCK_DGRAM) as datagram:
        with pytest.raises(StartError, match="is not a TCP or unix stream socket"):
            bind(f"fd:{datagram.fileno()}")
        assert datagram.getsockname()


def passed(names: str, count: int, pid: int | None = None) -> PassedSockets:
    environ = {
        "LISTEN_PID": str(os.getpid() if pid is None else pid),
        "LISTEN_FDS": str(count),
        "LISTEN_FDNAMES": names,
        "OTHER": "kept",
    }
    result = PassedSockets.from_environment(environ)
    assert environ == {"OTHER": "kept"}
    return result


def test_systemd_sockets_by_name() -> None:
    sockets = passed("web:admin:web", 3)
    assert sockets.take("web") == [3, 5]
    with pytest.raises(LookupError, match="no socket named 'web' was passed; remaining: admin"):
        sockets.take("web")
    assert sockets.take("") == [4]


def test_systemd_sockets_without_names() -> None:
    assert passed("", 2).take("unknown") == [3, 4]
    assert PassedSockets.from_environment({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}).take("") == [3]


def test_systemd_sockets_for_somebody_else() -> None:
    with pytest.raises(LookupError, match=rf"LISTEN_PID is 1, this process is {os.getpid()}; start it with `exec`"):
        passed("web", 1, pid=1).take("web")


def test_a_systemd_socket_is_bound_to_its_listener(bind: Bind) -> None:
    given = socket.create_server(("127.0.0.1", 0))
    names = PassedSockets(["other"] * (given.fileno() - 3) + ["web"])
    port = given.getsockname()[1]
    given.detach()
    (sock,) = the_sockets(bind("systemd:web", passed=names))
    assert sock.getsockname()[1] == port
