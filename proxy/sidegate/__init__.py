"""Sidegate: a front proxy, written in Python, for Python web applications."""

import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader

__version__ = "0.1.0"

_ROOT = os.path.dirname(__file__)  # noqa: PTH120 - pathlib would be imported for this line alone
_BINDINGS = {os.path.join(_ROOT, "wire", "http2"), os.path.join(_ROOT, "server", "tls")}  # noqa: PTH118
_RECORD = f"{_ROOT}/compiled{EXTENSION_SUFFIXES[0].rpartition('.')[0]}.txt"  # as in compiled.py


def _prefer_source(path: str) -> FileFinder:
    """A path hook that finds ``.py`` files where compiled modules stand beside them. The bindings have none.

    So the bindings themselves are found, unless they have to stay out too (``SIDEGATE_NO_EXTENSIONS=all``).
    """
    if path != _ROOT and not path.startswith(_ROOT + os.sep):
        raise ImportError
    loaders: list[tuple[type, list[str]]] = [(SourceFileLoader, SOURCE_SUFFIXES)]
    if path in _BINDINGS and _no_extensions != "all":
        loaders.append((ExtensionFileLoader, EXTENSION_SUFFIXES))
    return FileFinder(path, *loaders)


# The compiled modules and their sources behave alike. Who debugs, profiles or measures coverage wants the sources.
_no_extensions = os.environ.get("SIDEGATE_NO_EXTENSIONS", "")

# Only a checkout has the record. If a source changed since it was compiled, the whole package runs from the sources.
if _no_extensions != "all" and os.path.exists(_RECORD):  # noqa: PTH110
    from pathlib import Path

    from sidegate import compiled

    _no_extensions = compiled.check(Path(_ROOT), _no_extensions)

if _no_extensions:
    sys.path_hooks.insert(0, _prefer_source)
    sys.path_importer_cache.pop(_ROOT, None)
