"""Environments with a ``sidegate`` command: that of this tree, and those of other revisions for ``--against``."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.running import ROOT

DIGITS = 12  # of a commit's hash, in titles and in the name of its folder


class Unavailable(Exception):
    """There is no such revision, or it cannot be installed; the message says which."""


@dataclass(frozen=True)
class Installation:
    """``commit``: the abbreviated hash of what is installed in ``folder``, empty for this tree.

    Sidegate is driven by its command alone, because the package and its modules have other names in other revisions.
    """

    folder: Path
    commit: str = ""

    @property
    def command(self) -> Path:
        return self.folder / "bin" / "sidegate"

    @property
    def suffix(self) -> str:
        """What the titles of its rows end with."""
        return f" @{self.commit}" if self.commit else ""

    def bounds(self, values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Limits and timeouts as the top level of its configuration has them: older revisions have all in ``limits``.

        What its schema has in neither stays in ``limits``: the server will then say what is wrong.
        """
        timeouts = _keys_of_timeouts(self.command)
        placed: dict[str, dict[str, Any]] = {}
        for key, value in values.items():
            placed.setdefault("timeouts" if key in timeouts else "limits", {})[key] = value
        return placed


@functools.cache
def _keys_of_timeouts(command: Path) -> frozenset[str]:
    """The keys of the section ``timeouts``, by what the command itself prints; none if there is no such section."""
    printed = subprocess.run([command, "schema"], capture_output=True, text=True, check=False)
    return keys_of(json.loads(printed.stdout), "timeouts") if printed.returncode == 0 else frozenset()


def keys_of(schema: Mapping[str, Any], section: str) -> frozenset[str]:
    """The keys of a section of the top level, by the JSON Schema of the configuration."""
    described = schema["properties"].get(section, {})
    name = described.get("$ref", "").rpartition("/")[2]
    return frozenset(schema.get("$defs", {}).get(name, described).get("properties", {}))


THIS_TREE = Installation(Path(sys.prefix))


def installed(revision: str) -> Installation:
    """The revision in an environment beside ours, installed if it is not there. Raises ``Unavailable``."""
    found = _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if not found:
        raise Unavailable(f"git knows no revision {revision!r}")
    commit = found[:DIGITS]
    folder = Path(f"{sys.prefix}-against") / commit
    made = subprocess.run(
        [ROOT / ".ci" / "against", commit, folder], env=os.environ | {"VENV": sys.prefix}, check=False
    )
    if made.returncode:
        raise Unavailable(f"revision {commit} could not be installed")
    return Installation(folder, commit)


def described(revision: str, installation: Installation) -> str:
    """What a reader of the report needs to know of the other revision."""
    compiled = len(list((installation.folder / "source").rglob("*.so")))
    subject = _git("show", "--no-patch", "--format=%s", installation.commit)
    return f"{revision} is {installation.commit} ({subject}), {compiled or 'no'} compiled modules"


def this_commit() -> str:
    """The commit of this tree, marked if the tree differs from it."""
    return _git("describe", "--always", "--dirty", f"--abbrev={DIGITS}", "--exclude=*") or "unknown"


def _git(*arguments: str) -> str:
    """What git prints, empty if it fails or is not there."""
    try:
        result = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
