"""Why a user may not use a path."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidegate.ipc import permissions
from tests.support.accounts import as_nobody, needs_root, public_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with public_folder() as path:
        yield path


@needs_root
def test_the_first_folder_that_a_user_may_not_enter_is_named(folder: Path) -> None:
    (folder / "closed" / "inside").mkdir(parents=True)
    (folder / "closed").chmod(0o700)
    text = as_nobody(lambda: permissions.denied(f"{folder}/closed/inside/file"))
    assert text == f"the user nobody may not enter the folder {folder}/closed (drwx------ root:root)"


@needs_root
@pytest.mark.parametrize(("mode", "verb"), [(os.R_OK, "read"), (os.W_OK, "write to"), (os.R_OK | os.W_OK, "use")])
def test_a_file_is_described_as_ls_does(folder: Path, mode: int, verb: str) -> None:
    file = folder / "file"
    file.touch(0o640)
    file.chmod(0o640)
    os.chown(file, 54321, 54322)
    text = as_nobody(lambda: permissions.denied(str(file), mode))
    assert text == f"the user nobody may not {verb} {file} (-rw-r----- 54321:54322)"
    file.chmod(0o666)
    assert as_nobody(lambda: permissions.denied(str(file), mode)) == ""


@pytest.mark.parametrize("name", ["missing", "missing/below"])
def test_what_does_not_exist_is_named(folder: Path, name: str) -> None:
    assert permissions.denied(f"{folder}/{name}") == f"{folder}/{name}: No such file or directory"


def test_what_is_allowed_is_not_denied(folder: Path) -> None:
    assert permissions.denied(str(folder), os.R_OK | os.X_OK) == ""


@needs_root
def test_the_first_folder_of_several_that_cannot_be_read(folder: Path) -> None:
    for name, mode in (("open", 0o755), ("listed", 0o711), ("closed", 0o700)):
        (folder / name).mkdir()
        (folder / name).chmod(mode)
    (folder / "closed" / "inside").mkdir()
    (folder / "file").touch(0o600)
    names = ["missing", "file", "open", "listed", "closed/inside"]
    paths = [f"{folder}/{name}" for name in names]
    text = as_nobody(lambda: permissions.denied_folder(paths))
    assert text == f"the user nobody may not read {folder}/listed (drwx--x--x root:root)"
    text = as_nobody(lambda: permissions.denied_folder([*paths[:3], paths[4]]))
    assert text == f"the user nobody may not enter the folder {folder}/closed (drwx------ root:root)"
    assert as_nobody(lambda: permissions.denied_folder(paths[:3])) == ""
    assert permissions.denied_folder(paths) == ""


def test_every_user_gets_the_same_words(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a process whose permissions are not asked for: a fork's are, above."""
    closed = {folder}
    monkeypatch.setattr(permissions, "_may", lambda path, mode: path not in closed)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    owner = f"{permissions.user_name(os.getuid())}:{permissions.group_name(folder.stat().st_gid)}"
    described = f"{folder} (drwxr-xr-x {owner})"
    assert permissions.denied(f"{folder}/file") == f"the user 54321 may not enter the folder {described}"
    assert permissions.denied(str(folder)) == f"the user 54321 may not read {described}"
    assert permissions.denied_folder([f"{folder}/file"]) == permissions.denied(f"{folder}/file")
    closed.add(folder / "gone")
    monkeypatch.setattr(os, "lstat", lambda _: None)
    closed.remove(folder)
    assert permissions.denied(f"{folder}/gone") == f"the user 54321 may not read {folder}/gone"


def test_groups_by_name_and_number() -> None:
    name = permissions.group_name(os.getgid())
    assert permissions.group_id(name) == permissions.group_id(str(os.getgid())) == os.getgid()
    assert permissions.group_name(54321) == "54321"
    with pytest.raises(LookupError, match="there is no group nosuchgroup"):
        permissions.group_id("nosuchgroup")
