"""Finding an application: ``module:attribute`` to an ASGI 3 callable.

Where it stands: used when a runtime is built and by ``sidegate check``. Errors: ``LoadError`` with words for the
operator, and the traceback of a module that fails while it is imported.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import inspect
import sys
import traceback
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

from proxy.asgi import App, Receive, Scope, Send
from proxy.errors import SidegateError


class LoadError(SidegateError):
    """An application cannot be found or is not one that can be run."""


def load_app(reference: str, directory: str | None) -> App:
    """Import ``module:attribute``, or ``module:factory()``, with ``directory`` (by default ``.``) first on sys.path."""
    target = find_app(reference, directory)
    if reference.endswith("()"):
        target = _call_factory(target, reference)
    return as_asgi3(target, reference)


def find_app(reference: str, directory: str | None) -> Any:
    """Import what ``load_app`` would, but call no factory: what one makes may belong to one process."""
    folder = str(Path(directory or ".").resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module_name, _, attribute = reference.partition(":")
    return _attribute(_import(module_name, folder), module_name, attribute.removesuffix("()"))


def _import(module_name: str, folder: str) -> Any:
    _refuse_shadowed(module_name.partition(".")[0], folder)
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise LoadError(f"there is no module {error.name!r} in {folder} or in this Python's packages") from error
        raise LoadError(f"module {module_name!r} fails while it is imported: {_own_traceback(error)}") from error
    except BaseException as error:  # whatever a module raises, SystemExit too, is its failure
        raise LoadError(f"module {module_name!r} fails while it is imported: {_own_traceback(error)}") from error


def _refuse_shadowed(name: str, folder: str) -> None:
    """One process has one module of a name: another folder's would be served in its place, without a word."""
    loaded = getattr(sys.modules.get(name), "__file__", None)
    wanted = importlib.machinery.PathFinder.find_spec(name, [folder])
    if loaded and wanted and wanted.origin and Path(loaded).resolve() != Path(wanted.origin).resolve():
        raise LoadError(
            f"a module {name!r} is already loaded from {loaded}, so the one in {folder} cannot be; rename one of them"
        )


def _attribute(module: Any, module_name: str, path: str) -> Any:
    try:
        return reduce(getattr, path.split("."), module)
    except AttributeError as error:
        raise LoadError(f"module {module_name!r} has no attribute {path!r}") from error


def _call_factory(factory: Any, reference: str) -> Any:
    try:
        return factory()
    except BaseException as error:  # as above
        raise LoadError(f"the factory {reference} fails: {_own_traceback(error)}") from error


def _own_traceback(error: BaseException) -> str:
    """The error with its traceback, without the frames of this file and of the import system."""
    ours = (__file__, importlib.__file__, "<frozen importlib")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(ours)]
    lines = "".join([*traceback.format_list(frames), *traceback.format_exception_only(error)])
    return f"{type(error).__name__}: {error}\n{lines}".rstrip()


def as_asgi3(target: Any, reference: str) -> App:
    """``target`` as an ASGI 3 application; an ASGI 2 double callable is wrapped.

    Told apart by how many positional arguments the call takes: three (ASGI 3), one (ASGI 2).
    """
    if not callable(target):
        raise LoadError(f"{reference} is {_a_kind(target)}, not an ASGI application")
    count = _positional(target)
    if count == 1:
        return _wrap_asgi2(target)
    if count == 2:
        raise LoadError(f"{reference} takes two arguments, like a WSGI application; only ASGI applications are run")
    if count != 3:
        raise LoadError(f"{reference} takes {count} arguments; an ASGI application takes scope, receive and send")
    app: App = target
    return app


def _a_kind(target: Any) -> str:
    return "a module; name its attribute" if inspect.ismodule(target) else f"of type {type(target).__name__}"


def _positional(target: Callable[..., Any]) -> int:
    """How many positional arguments must be given; 3 where nothing can be known or any number goes."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return 3
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return 3
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = sum(p.default is p.empty for p in positional)
    return 3 if required < 3 <= len(positional) else required


def _wrap_asgi2(target: Callable[[Scope], Callable[[Receive, Send], Any]]) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await target(scope)(receive, send)

    return app
