"""The order in which a worker gives up privileges; what the system then does is tested with real processes."""

from __future__ import annotations

import grp
import os
import pwd
import resource
import sys
from typing import Any

import pytest

from sidegate.config.schema import PoolConfig
from sidegate.config.validation import validate
from sidegate.errors import StartError
from sidegate.ipc import borrowed_packages
from sidegate.process.privileges import PoolKeyError, apply_privileges

Calls = list[tuple[Any, ...]]

NOBODY = pwd.getpwnam("nobody")
GROUP = grp.getgrgid(NOBODY.pw_gid).gr_name


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The system calls, in order, that would change this process; it is not changed."""
    made: Calls = []
    for module, name in (
        (os, "nice"), (os, "setgroups"), (os, "initgroups"), (os, "setresgid"), (os, "setresuid"), (os, "umask"),
        (os, "chdir"), (resource, "setrlimit"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, lambda *arguments, name=name: made.append((name, *arguments)))
    monkeypatch.setattr("sidegate.process.privileges.print_stacks", lambda: made.append(("print_stacks",)))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("LOGNAME", "")  # put back afterwards, whatever a test leaves there
    monkeypatch.setenv("USER", "")
    monkeypatch.setenv("HOME", "/none")
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(os, "getgid", lambda: 0)
    return made


def pool(**settings: Any) -> PoolConfig:
    return validate(PoolConfig, {"workers": 1, **settings})


def names(calls: Calls) -> list[str]:
    return [call[0] for call in calls]


def test_what_needs_root_comes_before_the_user_and_the_folder_last(calls: Calls) -> None:
    limits = {"openFiles": 100, "memory": "64Mi"}
    apply_privileges(pool(nice=-5, limits=limits, user="nobody", umask="0077", directory="/"))
    assert names(calls) == [
        "print_stacks", "nice", "setrlimit", "setrlimit", "initgroups", "setresgid", "setresuid", "umask", "chdir",
    ]  # fmt: skip
    gid, uid = NOBODY.pw_gid, NOBODY.pw_uid
    assert calls[4:7] == [("initgroups", "nobody", gid), ("setresgid", gid, gid, gid), ("setresuid", uid, uid, uid)]


def test_a_group_of_its_own(calls: Calls) -> None:
    apply_privileges(pool(group=GROUP))
    assert calls[2:] == [("setgroups", [NOBODY.pw_gid]), ("setresgid", *[NOBODY.pw_gid] * 3)]


def test_a_user_in_another_group(calls: Calls) -> None:
    apply_privileges(pool(user=str(NOBODY.pw_uid), group="54322"))
    assert calls[2] == ("initgroups", "nobody", 54322)


def test_a_number_that_is_nobodys(calls: Calls) -> None:
    apply_privileges(pool(user="54321", group="54322"))
    assert calls[2] == ("setgroups", [54322])
    with pytest.raises(StartError, match="set 'group' too"):
        apply_privileges(pool(user="54321"))


@pytest.mark.parametrize(("settings", "words"), [({"user": "nosuch"}, "no user"), ({"group": "nosuch"}, "no group")])
def test_names_that_there_are_not(calls: Calls, settings: dict[str, str], words: str) -> None:
    with pytest.raises(StartError, match=f"{words} nosuch"):
        apply_privileges(pool(**settings))


def test_who_is_that_user_already_needs_no_root(calls: Calls) -> None:
    apply_privileges(pool(user="0", group="0"))
    apply_privileges(pool(group="0"))
    assert "setresuid" not in names(calls)
    assert "setresgid" not in names(calls)


def test_who_may_not_is_told_what_needs_root(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "initgroups", refuse)
    with pytest.raises(PoolKeyError, match="'user': needs root") as caught:
        apply_privileges(pool(user="nobody"))
    assert caught.value.key == ("user",)


def test_the_new_user_has_to_be_able_to_read_the_installation(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def denied_everywhere(path: str) -> str:
        asked.append(path)
        return "closed"

    monkeypatch.setattr("sidegate.process.privileges.permissions.denied", denied_everywhere)
    apply_privileges(pool(group="0"))
    assert not asked
    with pytest.raises(PoolKeyError, match=r"'user': closed, but has to read Sidegate's installation in .*/sidegate$"):
        apply_privileges(pool(user="nobody"))
    monkeypatch.setitem(borrowed_packages.borrowed_from, "h2", "/packages")
    denied = {"/packages/h2/__init__.py": "hidden"}
    monkeypatch.setattr("sidegate.process.privileges.permissions.denied", lambda path: denied.get(path, ""))
    with pytest.raises(PoolKeyError, match=r"'user': hidden, but has to read Sidegate's installation in /packages/h2$"):
        apply_privileges(pool(user="nobody"))
    denied.clear()
    apply_privileges(pool(user="nobody"))
    denied[os.path.realpath(sys.executable)] = "secret"
    apply_privileges(pool(user="nobody"))
    with pytest.raises(PoolKeyError, match="'python': secret, but has to read the interpreter"):
        apply_privileges(pool(user="nobody", python=sys.executable))


def test_only_inherited_names_move_home(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    root = pwd.getpwuid(0)
    monkeypatch.setenv("HOME", root.pw_dir)
    monkeypatch.setenv("USER", "somebody-set-it")
    monkeypatch.delenv("LOGNAME", raising=False)
    apply_privileges(pool(user="nobody"))
    assert os.environ["HOME"] == NOBODY.pw_dir
    assert os.environ["USER"] == "somebody-set-it"
    assert os.environ["LOGNAME"] == "nobody"


def test_who_has_no_entry_leaves_the_names_alone(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    monkeypatch.setenv("HOME", "/kept")
    apply_privileges(pool(user="nobody"))
    assert os.environ["HOME"] == "/kept"


def test_the_folder_is_on_the_import_path_once(calls: Calls) -> None:
    apply_privileges(pool(directory="/"))
    apply_privileges(pool(directory="/"))
    assert sys.path.count("/") == 1
