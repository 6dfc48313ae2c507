"""The first file that a worker's Python runs: ``PYTHON boot.py DESCRIPTOR BORROWED [preload]``.

Only the supervisor starts it, by its path, because Sidegate may not be installed in the Python of a pool. It makes this
package importable there, without the other packages of the same folder, and calls ``sidegate.process.worker`` or
``sidegate.process.preload``. ``DESCRIPTOR`` is the control socket. ``BORROWED`` is a JSON object: the packages that the
worker borrows from the supervisor's installation, with the folders that contain them (``ipc/borrowed_packages.py``).

A Python that is too old must still be able to run this file and report its version. So the file imports only what every
Python 3 has and uses no newer syntax; its style therefore differs from the rest of the tree.
"""

import os
import sys

OLDEST = (3, 11)
FAILED_START = 3


def main(argv: "list[str]") -> int:
    """Run a worker or a preloader and return its exit code."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib can do less on old Pythons
    package = os.path.dirname(here)  # noqa: PTH120 - as above
    leave_path(here)
    complaint = too_old(sys.version_info[:2])
    if complaint:
        refuse(int(argv[1]), complaint)
        return FAILED_START
    add_package(package)
    borrow(argv[2])
    if argv[3:] == ["preload"]:
        from sidegate.process.preload import main as become  # noqa: PLC0415 - importable only since ``add_package``
    else:
        from sidegate.process.worker import main as become  # noqa: PLC0415 - ditto
    return become(int(argv[1]))


def borrow(borrowed: str) -> None:
    """Make the borrowed packages importable, before a module is imported that may need them."""
    import json  # noqa: PLC0415 - for this one line

    from sidegate.ipc import borrowed_packages  # noqa: PLC0415 - importable only since ``add_package``

    borrowed_packages.borrow(json.loads(borrowed))


def leave_path(here: str) -> None:
    """Remove this script's folder from the import path, where Python puts it first.

    Otherwise an application's ``import worker`` would find our module. With ``-P`` or PYTHONSAFEPATH the folder is not
    on the path.
    """
    sys.path[:] = [folder for folder in sys.path if os.path.realpath(folder or ".") != os.path.realpath(here)]


def too_old(version: "tuple[int, ...]") -> str:
    """The message for the operator if Sidegate does not run on this version; else an empty string."""
    if version >= OLDEST:
        return ""
    return "Sidegate needs Python {} or later, and {} is Python {}".format(  # noqa: UP032 - an old Python runs it
        dotted(OLDEST), sys.executable, dotted(version)
    )


def dotted(version: "tuple[int, ...]") -> str:
    """``3.11`` for ``(3, 11)``."""
    return ".".join(str(part) for part in version)


def refuse(control: int, complaint: str) -> None:
    """Tell the supervisor, by a message as in ``sidegate.ipc.control``, that the worker cannot start."""
    import json  # noqa: PLC0415 - for this one line

    os.write(control, json.dumps({"type": "failed", "message": complaint}).encode() + b"\n")


def add_package(package: str) -> None:
    """Make exactly this package importable; it takes precedence over a Sidegate installed in this environment."""
    from importlib.util import spec_from_file_location  # noqa: PLC0415 - an old Python does not have it

    class OwnPackage:
        """A finder (``importlib.abc.MetaPathFinder``) that finds one name."""

        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> object:
            if name != "sidegate":
                return None
            file = os.path.join(package, "__init__.py")  # noqa: PTH118 - as above
            return spec_from_file_location(name, file, submodule_search_locations=[package])

    sys.meta_path.insert(0, OwnPackage)  # type: ignore[arg-type]  # typed so that an old Python can run it


if __name__ == "__main__":
    sys.exit(main(sys.argv))
