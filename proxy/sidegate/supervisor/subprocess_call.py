"""Calls a function in a new Python process, so that the memory for its imports is freed when that process exits.

The start uses it to validate the configuration (pydantic, PyYAML) and to make the development certificate
(cryptography): otherwise the service would keep some 25 MiB. A fork is not suitable, because it copies the locks of a
program that embeds Sidegate, but not its threads.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import pkgutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, cast

from sidegate.errors import StartError

ROOT = Path(__file__).parent.parent.parent


def call_in_subprocess(name: str, *arguments: Any) -> Any:
    """Call the function ``module:name`` and return its result. ``pickle`` must support the arguments and the result.

    :raises StartError: the function raised it, or the process exited without a result (it has printed the reason).
    """
    with SubprocessCall(name, *arguments) as call:
        return call.result()


class SubprocessCall:
    """As ``call_in_subprocess``, but the function runs meanwhile. A context whose end, as by ^C, ends the process."""

    def __init__(self, name: str, *arguments: Any) -> None:
        self._name = name
        command = [sys.executable, "-P", "-m", "sidegate.supervisor.subprocess_call"]
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
        )
        try:
            with contextlib.suppress(BrokenPipeError), cast(IO[bytes], self._process.stdin) as pipe:
                pickle.dump((name, arguments), pipe)
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> SubprocessCall:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def result(self) -> Any:
        """Wait for the function's result. Errors: see ``call_in_subprocess``."""
        output = cast(IO[bytes], self._process.stdout).read()
        if self._process.wait() != 0:
            raise StartError(f"the process for {self._name} exited with status {self._process.returncode}")
        gc.disable()  # there is no garbage among objects that are all new: with thousands of routes it takes long
        try:
            error, result = pickle.loads(output)  # noqa: S301 - from our own process, over a pipe that no other has
        finally:
            gc.enable()
        if error is not None:
            raise error
        return result

    def _end(self) -> None:
        self._process.kill()  # if it has not exited
        cast(IO[bytes], self._process.stdout).close()
        self._process.wait()


def environment() -> dict[str, str]:
    """Our environment, with the package's folder in PYTHONPATH if a child needs it.

    It needs it if ``python -m sidegate`` found the package in its working directory, because ``-P`` excludes that.
    """
    environment = dict(os.environ)
    if not sys.flags.safe_path and Path(sys.path[0]).absolute() == ROOT:
        known = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{known}{os.pathsep}{ROOT}" if known else str(ROOT)
    return environment


def main() -> None:
    """The child's side. It ends before its garbage would matter."""
    gc.disable()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ^C reaches both processes: only the parent handles it
    name, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own process, over a pipe that no other has
    error, result = None, None
    try:
        result = pkgutil.resolve_name(name)(*arguments)
    except StartError as raised:
        error = raised
    try:
        pickle.dump((error, result), sys.stdout.buffer)
        sys.stdout.flush()
    except BrokenPipeError:  # the caller was killed
        os._exit(1)


if __name__ == "__main__":
    main()
