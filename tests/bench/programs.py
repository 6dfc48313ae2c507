"""Programs from outside that the harness starts: where they are, and in which environment they run."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin")  # Debian keeps nginx and haproxy there; a user's PATH may not


@dataclass(frozen=True)
class Program:
    """An executable, with what its environment needs beside ours."""

    path: str
    environment: dict[str, str] = field(default_factory=dict)

    def says(self, *arguments: str) -> str:
        """What it prints, to either stream; for asking its version."""
        result = subprocess.run(
            [self.path, *arguments],
            env=os.environ | self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return result.stdout + result.stderr


@dataclass(frozen=True)
class Peers:
    """The folder that ``.ci/peers`` fills: a virtual environment, and Debian packages unpacked under ``debian``."""

    folder: Path

    def python(self) -> Program | None:
        path = self.folder / "bin" / "python"
        return Program(str(path)) if path.exists() else None

    def find(self, name: str) -> Program | None:
        """A program of Debian's: installed here, or unpacked with the libraries it needs; else None."""
        installed = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *SYSTEM_FOLDERS]))
        if installed is not None:
            return Program(installed)
        unpacked = self.folder / "debian" / "usr"
        for folder in (unpacked / "sbin", unpacked / "bin"):
            if (folder / name).exists():
                libraries = os.pathsep.join(str(path) for path in sorted((unpacked / "lib").glob("*-linux-*")))
                return Program(str(folder / name), {"LD_LIBRARY_PATH": libraries})
        return None
