"""Folders of services that were killed."""

from __future__ import annotations

import os
from pathlib import Path

from sidegate.supervisor.folder_lock import lock_folder, remove_abandoned


def test_only_a_folder_whose_lock_nobody_holds_is_removed(tmp_path: Path) -> None:
    used, abandoned, without, other = (tmp_path / name for name in ("x-used", "x-abandoned", "x-without", "y-other"))
    for folder in (used, abandoned, without, other):
        folder.mkdir()
        (folder / "0").mkdir()
    lock = lock_folder(used)
    os.close(lock_folder(abandoned))
    os.close(lock_folder(other))
    (tmp_path / "x-link").symlink_to(other)
    (tmp_path / "x-file").write_text("")
    remove_abandoned(tmp_path, "x-")
    assert {path.name for path in tmp_path.iterdir()} == {"x-used", "x-without", "y-other", "x-link", "x-file"}
    os.close(lock)
    remove_abandoned(tmp_path, "x-")
    assert not used.exists()


def test_an_unnamed_lock_is_no_lock(tmp_path: Path) -> None:
    """A start that is between creating its folder and locking it must not lose it."""
    folder = tmp_path / "x-starting"
    folder.mkdir()
    (folder / "lock.new").touch()
    remove_abandoned(tmp_path, "x-")
    assert folder.exists()
