"""``Config`` to YAML: what differs from the defaults, in short forms."""

from __future__ import annotations

from typing import Any

import yaml

from proxy.config import yaml_tree
from proxy.config.schema import Config


class _Dumper(yaml.SafeDumper):
    """Quotes what either YAML 1.1 or our reader (YAML 1.2) would not read back as text."""

    def ignore_aliases(self, _data: Any) -> bool:
        """Write equal values out: anchors would make a reader search."""
        return True


for _pattern in (yaml_tree.INTEGER, yaml_tree.OCTAL, yaml_tree.HEXADECIMAL, yaml_tree.FLOAT):
    # A tag of its own: the representer then sees that plain style would change the type, and quotes.
    _Dumper.add_implicit_resolver("tag:yaml.org,2002:number", _pattern, list("-+.0123456789"))


def to_yaml(config: Config) -> str:
    """The YAML that ``loads`` turns into an equal Config, if the paths in ``config`` are absolute."""
    data = config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    for listener in data["listeners"]:
        _shorten_listener(listener)
    for route in data["routes"]:
        _shorten_route(route)
    return yaml.dump(_escaped(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _shorten_listener(listener: dict[str, Any]) -> None:
    if len(listener["addresses"]) == 1:
        listener["address"] = listener.pop("addresses")[0]


def _shorten_route(route: dict[str, Any]) -> None:
    for match in route.get("matches", ()):
        if match.get("path", {}).keys() == {"value"}:
            match["path"] = match["path"]["value"]
    matches = route.get("matches", [])
    if len(matches) == 1 and matches[0].keys() == {"path"} and isinstance(matches[0]["path"], str):
        route["path"] = route.pop("matches")[0]["path"]
    if len(route["backendRefs"]) == 1 and route["backendRefs"][0].keys() == {"name"}:
        route["backend"] = route.pop("backendRefs")[0]["name"]


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return yaml_tree.escape(value) if isinstance(value, str) else value
