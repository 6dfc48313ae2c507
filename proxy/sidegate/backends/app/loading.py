"""Imports an application: from ``module:attribute`` to an ASGI 3 or a WSGI callable.

A process does it before its event loop runs, and so do a preloader and ``sidegate check``. It raises only
``LoadError``. The message is for the operator; if an import fails, it has the traceback. ``import_applications``
collects the messages as problems of the configuration instead.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sidegate.asgi import App, Receive, Scope, Send
from sidegate.backends.app.interface import Kind, recognise
from sidegate.config.backends import BackendConfig, lacks_lifespan
from sidegate.errors import Problems, SidegateError
from sidegate.ipc import permissions


class LoadError(SidegateError):
    """An application cannot be found, or cannot be run."""


class LoadedApp(NamedTuple):
    """An application with its interface.

    ``app`` is an ASGI 3 application (one of ASGI 2 is wrapped) or a WSGI one. ``kind`` is a description such as
    ``ASGI 2 application``.
    """

    app: Callable[..., Any]
    interface: Literal["asgi", "wsgi"]
    kind: str


class Applications(NamedTuple):
    """The applications that a process has imported, by the backend's name, and what is wrong with the others."""

    loaded: Mapping[str, LoadedApp]
    problems: Problems


Prepare = Callable[[], None]
"""Called before a module is imported and before a factory is called: it sets the thread's event loop."""

NO_LOOP = "no running event loop"
"""Message of the ``RuntimeError`` of ``asyncio.get_running_loop``, and so of ``create_task``."""

LATER = """
Applications are imported, and their factories called, before the event loop runs. What needs a running loop
(create_task, get_running_loop, some clients' constructors) belongs into the lifespan startup."""


def _no_preparation() -> None:
    pass


def load_app(
    reference: str, directory: str | None, interface: str = "auto", prepare: Prepare = _no_preparation
) -> LoadedApp:
    """Import ``module:attribute``, or ``module:factory()``, with ``directory`` (by default ``.``) first on sys.path.

    ``interface`` is asgi, wsgi, or auto: then the application's signature decides.

    :raises LoadError: it cannot be imported, or does not fit ``interface``.
    """
    target = _find_app(reference, directory, prepare)
    if reference.endswith("()"):
        prepare()
        target = _call_factory(target, reference)
    kind = _recognise(target, reference, interface)
    app = _wrap_asgi2(target) if kind == "ASGI 2" else target
    return LoadedApp(app, "wsgi" if kind == "WSGI" else "asgi", _description(kind))


def import_applications(configs: Mapping[str, BackendConfig], prepare: Prepare = _no_preparation) -> Applications:
    """Import the application of each backend that runs one in this process. No event loop may run."""
    problems: Problems = []
    loaded = {
        name: _load_of_backend(name, backend, prepare, problems)
        for name, backend in configs.items()
        if backend.kind == "app"
    }
    return Applications({name: app for name, app in loaded.items() if app is not None}, problems)


def _load_of_backend(name: str, backend: BackendConfig, prepare: Prepare, problems: Problems) -> LoadedApp | None:
    try:
        loaded = load_app(str(backend.app), backend.directory, backend.interface, prepare)
    except LoadError as error:
        problems.append((("backends", name, "app"), str(error)))
        return None
    if lacks_lifespan(loaded.interface, backend.lifespan):
        problems.append((("backends", name, "lifespan"), f"{backend.app} is a WSGI application, which has no lifespan"))
    return loaded


def find_kind(
    reference: str, directory: str | None, interface: str = "auto", prepare: Prepare = _no_preparation
) -> str:
    """Import the same object as ``load_app``. Return a description of its kind; empty for a factory.

    No factory is called: the application that it makes may be usable in one process only.

    :raises LoadError: as ``load_app``.
    """
    target = _find_app(reference, directory, prepare)
    return "" if reference.endswith("()") else _description(_recognise(target, reference, interface))


def _find_app(reference: str, directory: str | None, prepare: Prepare) -> Any:
    folder = str(Path(directory or ".").resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module_name, _, attribute = reference.partition(":")
    prepare()
    return _attribute(_import(module_name, folder), module_name, attribute.removesuffix("()"))


def _import(module_name: str, folder: str) -> Any:
    _refuse_shadowed(module_name.partition(".")[0], folder)
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            text = f"there is no module {error.name!r} in {folder} or in this Python's packages"
            raise LoadError(f"{text}{_denied()}") from error
        raise LoadError(f"importing the module {module_name!r} failed{_denied()}: {_described(error)}") from error
    except BaseException as error:  # any error of a module, SystemExit too, is its failure
        raise LoadError(f"importing the module {module_name!r} failed: {_described(error)}") from error


def _denied() -> str:
    """A folder of the import path that this user may not read: its modules seem not to exist."""
    reason = permissions.denied_folder(filter(None, sys.path))
    return reason and f"; {reason}"


def _refuse_shadowed(name: str, folder: str) -> None:
    """Raise if another folder's module of this name is loaded: a process has one module of a name, and would serve it.

    :raises LoadError: the message has both paths.
    """
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
        raise LoadError(f"calling the factory {reference} failed: {_described(error)}") from error


def _described(error: BaseException) -> str:
    """The error with its traceback, and with advice if it asked for a running event loop."""
    return f"{_own_traceback(error)}{LATER if _wants_loop(error) else ''}"


def _wants_loop(error: BaseException | None) -> bool:
    if error is None:
        return False
    wanted = isinstance(error, RuntimeError) and NO_LOOP in str(error)
    return wanted or _wants_loop(error.__cause__ or error.__context__)


def _own_traceback(error: BaseException) -> str:
    """The error with its traceback, without the frames of this file and of the import system."""
    ours = (__file__, importlib.__file__, "<frozen importlib")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(ours)]
    lines = "".join([*traceback.format_list(frames), *traceback.format_exception_only(error)])
    return f"{type(error).__name__}: {error}\n{lines}".rstrip()


def _recognise(target: Any, reference: str, interface: str) -> Kind:
    try:
        return recognise(target, interface)
    except ValueError as error:
        raise LoadError(f"{reference} {error}") from error


def _description(kind: Kind) -> str:
    return f"{kind} application"


def _wrap_asgi2(target: Callable[[Scope], Callable[[Receive, Send], Any]]) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await target(scope)(receive, send)

    return app
