"""A checkout whose sources changed since they were compiled runs what they say now."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from sidegate import compiled
from tests.conftest import Serve
from tests.support.pools import wait_workers
from tests.support.server import listener

SUFFIX = EXTENSION_SUFFIXES[0]
PACKAGE = Path(compiled.__file__).parent

APPLICATION = """
import json, sys

async def app(scope, receive, send):
    body = json.dumps(sys.modules["sidegate.wire.events"].__file__).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""

# Where a compiled module and the binding come from, and the engine that serves.
PROBE = """
import sidegate.wire.fields, sys
from sidegate.wire.http2 import load_engine
print("source" if sidegate.wire.fields.__file__.endswith(".py") else "compiled", load_engine("auto").name,
      "checked" if "sidegate.compiled" in sys.modules else "unchecked")
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of this package with its compiled modules, as if these were made from the sources beside them."""
    copy = tmp_path / "checkout" / "proxy" / "sidegate"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    modules = compiled.sources(copy)
    digests = {path: compiled.digest(copy / path) for paths in modules.values() for path in paths}
    built = [path for module, paths in modules.items() for path in paths if (copy / f"{module}{SUFFIX}").exists()]
    if "wire/fields.py" not in built:
        pytest.skip("nothing is compiled here")
    compiled.write_record(copy, digests, built)
    return copy


def edit(path: Path, old: str = "", new: str = "") -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1) if old else text + "\n# edited\n")


def environment(package: Path, setting: str = "") -> dict[str, str]:
    return {"PYTHONPATH": str(package.parent), compiled.SETTING: setting}


def probe(package: Path, setting: str = "") -> tuple[str, str]:
    """What ``PROBE`` prints, and the error output."""
    result = subprocess.run(
        [sys.executable, "-c", PROBE],
        env={**os.environ, **environment(package, setting)},
        cwd=package.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip(), result.stderr


def message(how: str, path: str) -> str:
    return f'sidegate: {how}: proxy/sidegate/{path} changed since the last compilation; run "make compile"\n'


def test_a_whole_service_runs_an_edit_and_says_so_once(package: Path, serve: Serve, tmp_path: Path) -> None:
    edit(package / "wire" / "http1" / "response.py", "phrase.encode()", 'b"Edited"')
    (tmp_path / "application.py").write_text(APPLICATION)
    config = {
        "listeners": [listener()],
        "backends": {"pooled": {"app": "application:app", "directory": str(tmp_path), "pool": {}}},
        "routes": [{"name": "all", "path": "/", "backend": "pooled"}],
    }
    server = serve(config, env=environment(package))
    wait_workers(server, 1)
    with urllib.request.urlopen(server.url("/")) as response:
        assert response.reason == "Edited"
        assert json.loads(response.read()) == str(package / "wire" / "events.py")
    assert server.log().count(message("running from the sources", "wire/http1/response.py")) == 1
    assert server.log().count("running from the sources") == 1


def test_without_an_edit_the_compiled_modules_run(package: Path) -> None:
    for path in package.rglob("*.p*"):
        os.utime(path)
    out, err = probe(package)
    assert out.startswith("compiled ")
    assert out.endswith(" checked")
    assert err == ""


def test_an_edit_of_a_declaration_counts(package: Path) -> None:
    edit(package / "wire" / "fields.pxd")
    before = "nghttp2" if (package / f"{compiled.BINDING}{SUFFIX}").exists() else "h2"
    assert probe(package) == (f"source {before} checked", message("running from the sources", "wire/fields.pxd"))


def test_an_edit_of_what_is_not_compiled_does_not(package: Path) -> None:
    edit(package / "errors.py")
    assert probe(package)[1] == ""


def test_an_edited_binding_does_not_serve(package: Path) -> None:
    if not (package / f"{compiled.BINDING}{SUFFIX}").exists():
        pytest.skip("the nghttp2 binding is not compiled here")
    path = "wire/http2/nghttp2_output.pxi"
    edit(package / path)
    sources = message("running from the sources, without the bindings of C libraries", path)
    assert probe(package) == ("source h2 checked", sources)
    assert probe(package, "1") == ("source h2 checked", message("running without the bindings of C libraries", path))
    assert probe(package, "all") == ("source h2 unchecked", "")


def test_by_request_the_sources_run_without_a_message(package: Path) -> None:
    edit(package / "wire" / "fields.py")
    out, err = probe(package, "1")
    assert out.startswith("source ")
    assert err == ""


def test_without_a_record_nothing_is_compared(package: Path) -> None:
    """As in an installed wheel."""
    compiled.record_path(package).unlink()
    edit(package / "wire" / "fields.py")
    out, err = probe(package)
    assert out.startswith("compiled ")
    assert out.endswith(" unchecked")
    assert err == ""
