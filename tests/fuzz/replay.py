"""Checks inputs without atheris: ``python -m tests.fuzz.replay TARGET FILE…``; a failure shows its traceback."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main() -> None:
    name, *files = sys.argv[1:]
    target = importlib.import_module(f"tests.fuzz.targets.{name}")
    for file in files:
        target.check(Path(file).read_bytes())
        print(f"{file}: passes")


if __name__ == "__main__":
    main()
