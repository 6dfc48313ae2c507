"""The first file that a worker's Python runs: ``PYTHON worker_boot.py DESCRIPTOR LENT [preload]``.

Where it stands: started by the supervisor only, by its path, because the Python of a pool may be one that Sidegate is
not installed in. It makes this package importable there, without the packages beside it, and hands over to
``sidegate.process.worker`` or ``sidegate.process.preload``. ``DESCRIPTOR`` is the control socket. ``LENT`` is a JSON
object: the packages that the supervisor's Python lends to this one, with the folders that contain them
(``ipc/borrowed_packages.py``).

A Python that is too old must still be able to read this file and say so: no import but what every Python 3 has, and no
newer syntax, which is why nothing here looks quite like the rest of the tree.
"""

import os
import sys

OLDEST = (3, 11)
FAILED_START = 3


def main(argv: "list[str]") -> int:
    """Become a worker or a preloader; the exit code."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib knows less on old Pythons
    package = os.path.dirname(here)  # noqa: PTH120 - as above
    leave_path(here)
    complaint = too_old(sys.version_info[:2])
    if complaint:
        refuse(int(argv[1]), complaint)
        return FAILED_START
    add_package(package)
    borrow(argv[2])
    if argv[3:] == ["preload"]:
        from sidegate.process.preload import main as become  # noqa: PLC0415 - there was no such package before
    else:
        from sidegate.process.worker import main as become  # noqa: PLC0415 - ditto
    return become(int(argv[1]))


def borrow(lent: str) -> None:
    """Before anything is imported that may need them."""
    import json  # noqa: PLC0415 - for this one line

    from sidegate.ipc import borrowed_packages  # noqa: PLC0415 - there was no such package before

    borrowed_packages.borrow(json.loads(lent))


def leave_path(here: str) -> None:
    """Python puts a script's folder first on the import path; in this one ``control`` would be ours for everybody.

    It is not there with ``-P`` or PYTHONSAFEPATH.
    """
    sys.path[:] = [folder for folder in sys.path if os.path.realpath(folder or ".") != os.path.realpath(here)]


def too_old(version: "tuple[int, ...]") -> str:
    """What to tell the operator if Sidegate does not run on this version; else nothing."""
    if version >= OLDEST:
        return ""
    return "Sidegate needs Python {} or later, and {} is Python {}".format(  # noqa: UP032 - an old Python reads it
        dotted(OLDEST), sys.executable, dotted(version)
    )


def dotted(version: "tuple[int, ...]") -> str:
    """``3.11`` of ``(3, 11)``."""
    return ".".join(str(part) for part in version)


def refuse(control: int, complaint: str) -> None:
    """Tell the supervisor, by a message as in ``sidegate.ipc.control``, that there will be no worker."""
    import json  # noqa: PLC0415 - for this one line

    os.write(control, json.dumps({"type": "failed", "message": complaint}).encode() + b"\n")


def add_package(package: str) -> None:
    """Make exactly this package importable, before another Sidegate that may be installed in this environment."""
    from importlib.util import spec_from_file_location  # noqa: PLC0415 - an old Python has no such thing

    class OwnPackage:
        """A finder (``importlib.abc.MetaPathFinder``) that knows one name."""

        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> object:
            if name != "sidegate":
                return None
            file = os.path.join(package, "__init__.py")  # noqa: PTH118 - as above
            return spec_from_file_location(name, file, submodule_search_locations=[package])

    sys.meta_path.insert(0, OwnPackage)  # type: ignore[arg-type]  # typed so that an old Python can read it


if __name__ == "__main__":
    sys.exit(main(sys.argv))
