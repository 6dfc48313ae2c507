"""The inputs that are kept of each target: one zip file, because they are many and tiny."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"
TARGETS = sorted(path.stem for path in (Path(__file__).parent / "targets").glob("*.py"))

MOST_BYTES = 64 << 20
"""Of all corpora together."""


def read(target: str) -> list[bytes]:
    """The inputs of ``target``."""
    path = FOLDER / f"{target}.zip"
    if not path.exists():
        return []
    with zipfile.ZipFile(path) as archive:
        return [archive.read(name) for name in archive.namelist()]


def write(target: str, inputs: Iterable[bytes]) -> None:
    """Replace the inputs of ``target``. Equal inputs make an equal file."""
    with zipfile.ZipFile(FOLDER / f"{target}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for data in sorted(set(inputs), key=lambda one: (len(one), one)):
            name = hashlib.sha1(data).hexdigest()
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
