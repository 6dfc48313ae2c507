"""Runs one target under atheris: ``python -m tests.fuzz.harness TARGET FINDINGS PROGRAM [option or folder…]``.

libFuzzer starts PROGRAM when it has to run this again, with other options. It runs in the environment of
``make fuzz``. Coverage is that of Sidegate and of the pure Python libraries below it. An input that fails does not end
the run: the shortest one for each place of a failure is kept in FINDINGS, with the traceback beside it.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import atheris


class Findings:
    """The inputs that failed, in ``folder``: the shortest for each place."""

    def __init__(self, target: str, folder: Path) -> None:
        self._target = target
        self._folder = folder
        self._sizes: dict[str, int] = {}

    def add(self, data: bytes, error: BaseException) -> None:
        """Keep an input on which the target raised ``error``."""
        place = traceback.extract_tb(error.__traceback__)[-1]
        key = hashlib.sha1(f"{type(error)} {place.filename}:{place.lineno}".encode()).hexdigest()[:10]
        if len(data) < self._sizes.get(key, sys.maxsize):
            self._sizes[key] = len(data)
            path = self._folder / f"{self._target}-{key}"
            path.write_bytes(data)
            path.with_suffix(".txt").write_text("".join(traceback.format_exception(error)))

    def watch(self, check: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """``check`` without its exceptions."""

        def watched(data: bytes) -> None:
            try:
                check(data)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
                self.add(data, error)

        return watched


def main() -> None:
    name, folder, *arguments = sys.argv[1:]
    with atheris.instrument_imports(include=["sidegate", "h2", "hpack", "hyperframe", "websockets"]):
        target = importlib.import_module(f"tests.fuzz.targets.{name}")
    atheris.Setup(arguments, Findings(name, Path(folder)).watch(target.check))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
