"""A redirect to https that clients follow to the TLS listener of the same service."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import httpx
import pytest

from tests.support.certificates import Authority
from tests.support.lifecycle import Start, wait_until
from tests.support.server import app_config, listener


@pytest.mark.parametrize("http2", [False, True], ids=["http/1.1", "h2"])
def test_a_post_is_followed_to_the_tls_listener(
    start: Start, authority: Authority, tmp_path: Path, http2: bool
) -> None:
    config = app_config("plain:app", tls={"certificates": [authority.server("localhost").as_yaml()]})
    config["listeners"][0] = listener(httpsRedirect=True)
    log = tmp_path / "access.log"
    server = start(config=config | {"logging": {"accessLog": "json", "accessLogFile": str(log)}})
    context = ssl.create_default_context(cafile=str(authority.ca))
    with httpx.Client(verify=context, http1=not http2, http2=http2, follow_redirects=True, timeout=60) as client:
        response = client.post(f"http://localhost:{server.port()}/echo?a=b", content=b"body " * 1000)
    (first,) = response.history
    assert first.status_code == 308
    assert first.headers["location"] == f"https://localhost:{server.port('https')}/echo?a=b"
    assert response.status_code == 200
    assert str(response.url) == first.headers["location"]
    assert response.request.method == "POST"
    lines = wait_until(lambda: len(found := log.read_text().splitlines()) == 2 and found, "two lines in the log")
    entries = [json.loads(line) for line in lines]
    assert [(entry["status"], entry.get("route"), entry["method"]) for entry in entries] == [
        (308, None, "POST"),
        (200, "all", "POST"),
    ]
