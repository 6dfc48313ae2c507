"""What Sidegate's own metrics say of an attack."""

from __future__ import annotations

import urllib.request
from dataclasses import dataclass

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.bench.running import Server

LABELS = ("reason", "code")
"""Of a sample that tells why something happened; the codes are those of WebSockets and of responses."""

ALWAYS = ("200", "101")
PREFIX, SUFFIX = "sidegate_", "_total"
PATIENCE = 30.0


@dataclass
class Counts:
    """The counters of one server when the row began; none if it is not ours."""

    url: str
    before: dict[str, float]

    @classmethod
    def of(cls, server: Server) -> Counts:
        if not server.kind.ours:
            return cls("", {})
        config = yaml.safe_load((server.site.folder / "sidegate.yaml").read_text())
        url = f"http://{config['admin']['address']}/metrics"
        return cls(url, _read(url))

    def risen(self) -> dict[str, float]:
        """By how much, by the metric and its reason: ``connection_errors control_flood``."""
        if not self.url:
            return {}
        by = {words: value - self.before.get(words, 0) for words, value in _read(self.url).items()}
        return {words: risen for words, risen in by.items() if risen > 0}


def _read(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url, timeout=PATIENCE) as response:
        text = response.read().decode()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            why = next((sample.labels[label] for label in LABELS if sample.labels.get(label)), "")
            if sample.name.endswith(SUFFIX) and why and why not in ALWAYS:
                words = f"{sample.name.removeprefix(PREFIX).removesuffix(SUFFIX)} {why}"
                found[words] = found.get(words, 0) + sample.value
    return found
