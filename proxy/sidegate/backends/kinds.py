"""The kinds of backend: the module that builds and runs each, and the walk over a Config's backends.

A module is imported only if the configuration uses its kind. It has a function ``build``, which makes the backend from
a ``BuildContext``, or adds a problem to it and returns None. ``config/backends.py`` has the rest of a kind under the
same name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module

from sidegate.backends.app.loading import LoadedApp
from sidegate.backends.backend import Backend
from sidegate.backends.context import BuildContext, Report
from sidegate.config.schema import BackendConfig, Config
from sidegate.errors import Problems
from sidegate.observe.observer import Observer

MODULES = {
    "pool": "sidegate.backends.upstream.pool",
    "app": "sidegate.backends.app.build",
    "respond": "sidegate.backends.respond",
    "h2c": "sidegate.backends.upstream.remote",
    "h2": "sidegate.backends.upstream.remote",
}
"""The module of each kind."""

Builder = Callable[[BuildContext], Backend | None]


def import_builders(backends: Iterable[BackendConfig]) -> dict[str, Builder]:
    """Import the modules of the kinds that ``backends`` have. Returns the builder of each kind.

    All are imported before the first application, whose folder comes first on the import path.
    """
    return {kind: import_module(MODULES[kind]).build for kind in {backend.kind for backend in backends}}


def build_backends(
    config: Config, observer: Observer, report: Report, applications: Mapping[str, LoadedApp], problems: Problems
) -> dict[str, Backend]:
    """Make the backends, by name. A backend that cannot be built is added to ``problems``.

    It must be called within a running event loop.
    """
    builders = import_builders(config.backends.values())
    built = {
        name: builders[backend.kind](BuildContext(config, name, observer, report, problems, applications.get(name)))
        for name, backend in config.backends.items()
    }
    return {name: backend for name, backend in built.items() if backend is not None}
