"""Why a user may not use a path."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidegate.ipc import permissions
from tests.support.accounts import as_nobody, needs_root


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter, which pytest's own temporary folders forbid."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
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
