"""A function called in a Python process of its own, so that the memory its imports take goes with that process.

Where it stands: the bottom of the supervisor; the start uses it to validate the configuration (pydantic, PyYAML) and
to make the development certificate (cryptography), some 25 MiB that the service would hold for ever. A fork would not
do: it copies whatever threads and locks an embedding program has. The error that leaves it is ``StartError``.
"""

from __future__ import annotations

import os
import pickle
import pkgutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from sidegate.errors import StartError

ROOT = Path(__file__).parent.parent.parent


def call_in_subprocess(name: str, *arguments: Any) -> Any:
    """What the function ``module:name`` returns. Everything that crosses must be known to ``pickle``.

    :raises StartError: the function's own, or the process ended without an answer (it has printed why).
    """
    command = [sys.executable, "-P", "-m", "sidegate.supervisor.subprocess_call"]
    call = pickle.dumps((name, arguments))
    done = subprocess.run(  # noqa: S603 - our own interpreter and module
        command, input=call, stdout=subprocess.PIPE, env=environment(), check=False
    )
    if done.returncode != 0:
        raise StartError(f"the process for {name} exited with status {done.returncode}")
    error, result = pickle.loads(done.stdout)  # noqa: S301 - from our own process, over a pipe that nobody else has
    if error is not None:
        raise error
    return result


def environment() -> dict[str, str]:
    """Ours; ``python -m sidegate`` in a checkout found the package in its working directory, so the child is told."""
    environment = dict(os.environ)
    if not sys.flags.safe_path and Path(sys.path[0]).absolute() == ROOT:
        known = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{known}{os.pathsep}{ROOT}" if known else str(ROOT)
    return environment


def main() -> None:
    """The child's side."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ^C reaches both; the parent has a word to say, one is enough
    name, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own process, over a pipe that nobody else has
    error, result = None, None
    try:
        result = pkgutil.resolve_name(name)(*arguments)
    except StartError as raised:
        error = raised
    pickle.dump((error, result), sys.stdout.buffer)


if __name__ == "__main__":
    main()
