"""YAML to ``Config``, with every mistake at once as ``file:line:column: path: message``.

The command line and the supervisor call it. It owns the order of the steps (read, substitute variables, validate,
compare the parts, sort the problems) and the base of relative file names: the folder of the config file. It never
imports an application, opens a certificate or binds a socket; callers that do so report through ``Loaded.problem``. It
raises nothing: whatever the file contains, ``load`` returns a ``Loaded``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any, TypeVar

from pydantic import ValidationError

from sidegate.config import checks
from sidegate.config.backends import BackendConfig
from sidegate.config.checks import Path, path_text
from sidegate.config.listeners import ListenerConfig
from sidegate.config.loaded import Loaded, Problem, as_written, nearest
from sidegate.config.messages import Finding, counts, explain
from sidegate.config.model import Model, camel
from sidegate.config.routes import RouteConfig
from sidegate.config.schema import Config, Settings
from sidegate.config.structure import fields
from sidegate.config.validation import validate_file
from sidegate.config.yaml_tree import Document, YamlError, escape, read_document

MAX_BYTES = 4 * 1024 * 1024
"""A Kubernetes ConfigMap has at most 1 MiB; four times as much is enough for generated files."""

_START = "start with 'listeners:', 'backends:' and 'routes:' (`sidegate run --print-config` prints an example)"

M = TypeVar("M", bound=Model)


def load(path: str | os.PathLike[str], environ: Mapping[str, str]) -> Loaded:
    """Read the file at ``path``; ``environ`` has the variables."""
    file = os.fspath(path)
    try:
        with FilePath(path).open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        return _unreadable(file, 0, f"cannot be read: {reason}")
    if len(content) > MAX_BYTES:
        return _unreadable(file, 0, f"is larger than {MAX_BYTES} bytes, the largest size of a configuration")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return _unreadable(file, line, f"is not UTF-8: byte 0x{content[error.start]:02x}; save the file as UTF-8")
    return loads(text, file, environ)


def loads(text: str, filename: str, environ: Mapping[str, str]) -> Loaded:
    """Read ``text``. ``filename`` is its name in messages; relative paths start in its folder."""
    try:
        document = read_document(text, environ)
    except YamlError as error:
        return Loaded(filename, problems=(Problem(filename, *error.position, "", error.message),))
    if document.value is None and not document.mistakes:
        return _unreadable(filename, 1, f"the file is empty; {_START}")
    if not isinstance(document.value, dict):
        return _unreadable(filename, 1, f"must be a mapping of keys to values; {_START}")
    return _Validation(document, filename).result()


def loads_plain(value: Any, filename: str, environ: Mapping[str, str]) -> Loaded:
    """As ``loads``, for plain values: JSON is YAML. A dollar sign in them does not begin a variable."""
    return loads(escape(json.dumps(value, ensure_ascii=False)), filename, environ)


def _unreadable(file: str, line: int, message: str) -> Loaded:
    return Loaded(file, problems=(Problem(file, line, 1, "", message),))


class _Validation:
    """The validation of one document against the models."""

    def __init__(self, document: Document, file: str) -> None:
        self._document = document
        self._root: dict[str, Any] = document.value
        self._file = file
        self._mistaken = {path[:2] for _, path, _ in document.mistakes}
        self._folder = str(FilePath(file).absolute().parent)

    def result(self) -> Loaded:
        config, findings = self._parsed()
        listeners = dict(self._entries("listeners", ListenerConfig))
        backends = dict(self._entries("backends", BackendConfig))
        # Of a valid configuration the routes, of which there may be thousands, are not validated again one by one.
        valid = config.routes if config is not None and not self._mistaken else None
        routes = dict(self._entries("routes", RouteConfig) if valid is None else enumerate(valid))
        parts = self._parts(listeners, routes, {finding.path[0] for finding in findings if finding.path})
        findings += [Finding(path, message) for path, message in checks.problems(parts)]
        problems = {self._problem(*finding) for finding in findings} - {None}
        for (line, column), path, message in self._document.mistakes:
            problems.add(Problem(self._file, line, column, path_text(path), message))
        ordered = sorted(filter(None, problems), key=lambda one: (one.line, one.column, one.path, one.message))
        valid_config = None if problems else config
        warnings = tuple(self._warnings(routes))
        return Loaded(self._file, valid_config, tuple(ordered), self._document.values, listeners, backends, warnings)

    def _parsed(self) -> tuple[Config | None, list[Finding]]:
        try:
            return self._parse(Config, self._root), []
        except ValidationError as error:
            errors = error.errors(include_url=False)
            return None, [explain(one, self._root) for one in errors if counts(one, self._root)]

    def _parse(self, model: type[M], value: Any) -> M:
        return validate_file(model, value, self._folder)

    def _entries(self, key: str, model: type[M]) -> Iterator[tuple[Any, M]]:
        """The entries of a list or mapping that are valid by themselves, by index or name."""
        found = self._root.get(key)
        children = enumerate(found) if isinstance(found, list) else found.items() if isinstance(found, dict) else ()
        for place, value in children:
            if (key, place) not in self._mistaken:
                with contextlib.suppress(ValidationError):
                    yield place, self._parse(model, value)

    def _parts(
        self, listeners: dict[int, ListenerConfig], routes: dict[int, RouteConfig], bad: set[str | int]
    ) -> checks.Parts:
        """The valid parts, to be compared; ``bad`` has the top-level keys that are not valid."""
        keys = fields(Settings).keys() & self._root.keys() - bad
        settings = self._parse(Settings, {key: self._root[key] for key in keys})
        backends = self._root.get("backends", {})
        delays = checks.Delays(settings.shutdown_delay, settings.websocket_drain, settings.grace_period)
        return checks.Parts(
            listeners=listeners,
            routes=routes if isinstance(backends, dict) else {},
            backends=backends,
            admin=settings.admin.address if settings.admin else None,
            trusts=bool(settings.trusted_proxies) or "trustedProxies" in bad,
            delays=None if bad & {camel(field.name) for field in dataclasses.fields(delays)} else delays,
        )

    def _warnings(self, routes: dict[int, RouteConfig]) -> Iterator[Problem]:
        known = self._document.values
        for late, first, hosts in checks.shadowed(routes):
            path, earlier = self._written_match(late), self._written_match(first)
            line, _ = nearest(earlier, known)
            where = f" for {hosts}" if hosts else ""
            message = f"never matches{where}: {path_text(earlier)} in line {line} has the same conditions"
            yield Problem(self._file, *nearest(path, known), path_text(path), message, is_warning=True)

    def _written_match(self, path: Path) -> Path:
        """The path of a match as it is written; the route's, if it is written without conditions."""
        path = as_written((*path, "path"), self._document.values)
        while path not in self._document.values:
            path = path[:-1]
        return path[:4]

    def _problem(self, path: Path, message: str, at_key: bool) -> Problem | None:
        document = self._document
        path = as_written(path, document.values)
        if path in document.unresolved:
            return None  # the value is unknown, and the reason has been reported
        known = document.keys if at_key and path in document.keys else document.values
        return Problem(self._file, *nearest(path, known), path_text(path), message)
