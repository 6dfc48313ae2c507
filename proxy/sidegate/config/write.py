"""``Config`` to YAML: the values that differ from the defaults, in short forms."""

from __future__ import annotations

import re
from typing import Any

import yaml

from sidegate.config import yaml_tree
from sidegate.config.plain import dump
from sidegate.config.schema import Config


class _Dumper(yaml.SafeDumper):
    """Quotes text that either YAML 1.1 or our reader (YAML 1.2) would not read back as text."""

    def ignore_aliases(self, _data: Any) -> bool:
        """Write equal values out, because a reader would have to search for an anchor."""
        return True


_LINE_BREAK = re.compile("[\n\x85\u2028\u2029]")
"""YAML 1.1's line breaks: the reader folds one to a space or a line feed unless it is escaped in double quotes."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if _LINE_BREAK.search(text) else None)


_Dumper.add_representer(str, _text)
for _pattern in (yaml_tree.INTEGER, yaml_tree.OCTAL, yaml_tree.HEXADECIMAL, yaml_tree.FLOAT):
    # No text has this tag: the emitter then sees that plain style would change the type, and quotes the text.
    _whole = re.compile(rf"(?:{_pattern.pattern})\Z")
    _Dumper.add_implicit_resolver("tag:yaml.org,2002:number", _whole, list("-+.0123456789"))


def to_yaml(config: Config) -> str:
    """The YAML that ``loads`` turns into an equal Config, if the paths in ``config`` are absolute."""
    data = dump(config, defaults=False)
    data["listeners"] = [_renamed(listener, _listener_forms(listener)) for listener in data["listeners"]]
    for backend in data.get("backends", {}).values():
        _shorten_backend(backend)
    for entry in (*data["listeners"], *data["routes"]):
        _shorten_compression(entry.get("websocket", {}))
    data["routes"] = [_renamed(route, _route_forms(route)) for route in data["routes"]]
    return yaml.dump(_escaped(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _renamed(entry: dict[str, Any], forms: dict[str, tuple[str, Any]]) -> dict[str, Any]:
    """``entry`` with the keys of ``forms`` replaced, in the same order."""
    return dict(forms.get(key, (key, value)) for key, value in entry.items())


def _listener_forms(listener: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    addresses = listener["addresses"]
    return {"addresses": ("address", addresses[0])} if len(addresses) == 1 else {}


def _shorten_backend(backend: dict[str, Any]) -> None:
    for key in ("h2c", "h2"):
        if len(backend.get(key, ())) == 1:
            (backend[key],) = backend[key]
    if "workers" in backend.get("pool", {}):
        workers = {"min": 1, **backend["pool"]["workers"]}
        if workers == {"min": workers["max"], "max": workers["max"]}:
            backend["pool"]["workers"] = workers["max"]


def _shorten_compression(websocket: dict[str, Any]) -> None:
    compression = websocket.get("compression", {})
    if compression.keys() == {"mode"}:
        websocket["compression"] = compression["mode"]


def _route_forms(route: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    forms: dict[str, tuple[str, Any]] = {}
    matches = [_match(match) for match in route.get("matches", [])]
    if len(matches) == 1 and matches[0].keys() == {"path"} and isinstance(matches[0]["path"], str):
        forms["matches"] = ("path", matches[0]["path"])
    else:
        forms["matches"] = ("matches", matches)
    refs = route["backendRefs"]
    if len(refs) == 1 and refs[0].keys() == {"name"}:
        forms["backendRefs"] = ("backend", refs[0]["name"])
    return forms


def _match(match: dict[str, Any]) -> dict[str, Any]:
    path = match.get("path", {})
    return {**match, "path": path["value"]} if path.keys() == {"value"} else match


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return yaml_tree.escape(value) if isinstance(value, str) else value
