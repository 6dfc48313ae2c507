"""A request starts with the context variables as the application's import has left them."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.support.places import PLACES, everywhere

APPS = {"asgi": "import_contexts:asgi", "wsgi": "import_contexts:wsgi"}


def test_what_an_import_sets_is_what_every_request_sees(tmp_path: Path) -> None:
    with everywhere(tmp_path, APPS) as server:
        for http2 in (False, True):
            with httpx.Client(http2=http2, verify=False, base_url=server.url("", "https"), timeout=60) as client:
                found = {
                    (place, interface): {client.get(f"/{place}/{interface}/{path}").text for path in ("a", "wait", "b")}
                    for place in PLACES
                    for interface in APPS
                }
            assert found == {key: {"50 import unset"} for key in found}
