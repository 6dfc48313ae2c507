"""Loads the configuration of a service and inspects its certificates, in a process that ends (``subprocess_call``).

Neither pydantic nor cryptography stays in the supervisor's memory. What is found of certificates are warnings: a
service that did not start would be no better. It raises nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sidegate.config.load import load, loads_plain
from sidegate.config.loaded import Expiry, Loaded
from sidegate.config.schema import Config


def load_file(path: str, environ: Mapping[str, str]) -> tuple[Loaded, Expiry]:
    """As ``load``, with the warnings about certificates."""
    return _inspected(load(path, environ))


def load_plain(value: Any, filename: str, environ: Mapping[str, str]) -> tuple[Loaded, Expiry]:
    """As ``loads_plain``, with the warnings about certificates."""
    return _inspected(loads_plain(value, filename, environ))


def _inspected(loaded: Loaded) -> tuple[Loaded, Expiry]:
    config = loaded.config
    if config is None or not _names_files(config):
        return loaded, {}
    from sidegate.config.certificates import inspect  # noqa: PLC0415 - most of its time is cryptography's import

    found = inspect(loaded.listeners, loaded.backends, config.routes, time.time())
    problems = (loaded.problem(*one) for one in (*found.refused, *found.warnings))
    warnings = (replace(problem, is_warning=True) for problem in problems)
    return replace(loaded, warnings=(*loaded.warnings, *warnings)), found.expiry


def _names_files(config: Config) -> bool:
    """Whether the configuration names a file with certificates."""
    of_listeners = [listener.tls for listener in config.listeners if listener.tls is not None]
    of_backends = [backend.tls for backend in config.backends.values() if backend.tls is not None]
    return bool(of_backends) or any(tls.certificates or tls.client_certificates for tls in of_listeners)
