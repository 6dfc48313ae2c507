"""Which compiled modules no longer match their sources, and what follows from it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from sidegate import compiled
from sidegate.compiled import Source
from sidegate.wire import fields

BINDING = "wire/http2/nghttp2.pyx"
FILES = {
    "wire/fields.py": "one", "wire/fields.pxd": "two", "wire/plain.py": "three",
    "aio/step.pyx": "four",
    BINDING: "five", "wire/http2/nghttp2.pxd": "six", "wire/http2/nghttp2_output.pxi": "seven",
}  # fmt: skip
MODULES = {
    "aio/step": ["aio/step.pyx"],
    "wire/fields": ["wire/fields.py", "wire/fields.pxd"],
    "wire/http2/nghttp2": [BINDING, "wire/http2/nghttp2.pxd", "wire/http2/nghttp2_output.pxi"],
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package that was compiled in place, all but ``aio/step``."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    record(tmp_path)
    return tmp_path


def record(package: Path) -> None:
    digests = {path: compiled.digest(package / path) for paths in compiled.sources(package).values() for path in paths}
    compiled.write_record(package, digests, [path for path in digests if path != "aio/step.pyx"])


@pytest.mark.parametrize(
    ("setting", "paths", "decided", "how"),
    [
        ("", [], "", ""),
        ("1", [], "1", ""),
        ("", ["wire/fields.py"], "1", "running from the sources: proxy/sidegate/wire/fields.py changed"),
        ("", ["a.py", "b.pxd", "c.py"], "1", "running from the sources: proxy/sidegate/a.py and 2 more changed"),
        ("", [BINDING], "all", f"the sources, without the bindings of C libraries: proxy/sidegate/{BINDING} ch"),
        (
            "",
            ["a.py", BINDING],
            "all",
            f"without the bindings of C libraries: proxy/sidegate/{BINDING} and 1 more ch",
        ),
        ("1", [BINDING], "all", f"sidegate: running without the bindings of C libraries: proxy/sidegate/{BINDING} ch"),
    ],
)
def test_what_follows(setting: str, paths: list[str], decided: str, how: str) -> None:
    value, message = compiled.decide(setting, paths)
    assert value == decided
    assert how in message
    assert bool(message) == (value != setting)
    assert not message or message.endswith('; run "make compile"')
    assert "\n" not in message


def test_the_modules_and_their_sources(package: Path) -> None:
    assert compiled.sources(package) == MODULES


def test_the_setup_compiles_every_pyx_and_every_py_that_has_a_pxd() -> None:
    modules = compiled.sources(Path(compiled.__file__).parent)
    assert modules["wire/fields"] == ["wire/fields.py", "wire/fields.pxd"]
    assert len(modules[compiled.BINDING]) == 8
    assert "compiled" not in modules


def test_a_record_is_read_as_it_was_written(package: Path) -> None:
    read = compiled.read_record(package)
    assert Source(compiled.digest(package / "wire/fields.py"), True, "wire/fields.py") in read
    assert [source.path for source in read if not source.built] == ["aio/step.pyx"]
    assert len({source.digest for source in read}) == len(read) == 6


@pytest.mark.parametrize("path", ["wire/fields.py", "wire/fields.pxd", BINDING, "wire/http2/nghttp2_output.pxi"])
def test_another_content_is_stale(package: Path, path: str) -> None:
    (package / path).write_text("other")
    assert compiled.stale(package) == [path]
    assert compiled.stale(package, only_bindings=True) == ([path] if "nghttp2" in path else [])
    assert compiled.build_needed(package)


def test_a_source_that_is_gone_is_stale(package: Path) -> None:
    (package / "wire/fields.pxd").unlink()
    assert compiled.stale(package) == ["wire/fields.pxd"]
    assert compiled.build_needed(package)


def test_another_time_is_not(package: Path) -> None:
    for path in FILES:
        os.utime(package / path, (1, 1))
    (package / "wire/plain.py").write_text("is not compiled")
    assert compiled.stale(package) == []
    assert not compiled.build_needed(package)


def test_what_did_not_compile_is_not_stale_but_worth_a_build_once_it_changes(package: Path) -> None:
    (package / "aio/step.pyx").write_text("other")
    assert compiled.stale(package) == []
    assert compiled.build_needed(package)


def test_a_new_module_is_worth_a_build(package: Path) -> None:
    (package / "wire/plain.pxd").write_text("")
    assert compiled.stale(package) == []
    assert compiled.build_needed(package)


def test_nothing_is_stale_where_nothing_was_compiled(package: Path) -> None:
    compiled.record_path(package).unlink()
    assert compiled.stale(package) == []
    assert compiled.build_needed(package)


def test_each_version_of_python_has_its_record(package: Path) -> None:
    assert str(sys.implementation.cache_tag) in compiled.record_path(package).name


def test_the_check_tells_child_processes_and_says_it_once(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(compiled.SETTING, "")
    assert compiled.check(package, "") == ""
    (package / "wire/fields.py").write_text("other")
    assert compiled.check(package, "") == "1"
    assert os.environ[compiled.SETTING] == "1"
    assert capsys.readouterr().err == (
        "sidegate: running from the sources: proxy/sidegate/wire/fields.py changed since the last compilation; "
        'run "make compile"\n'
    )
    assert compiled.check(package, "1") == "1"
    assert capsys.readouterr().err == ""


def test_without_standard_error_the_check_is_silent(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compiled.SETTING, "")
    monkeypatch.setattr(sys, "stderr", None)
    (package / "wire/fields.py").write_text("other")
    assert compiled.check(package, "") == "1"


@pytest.mark.parametrize("cc", ["", "no-such-compiler"])
def test_a_build_can_be_told_to_compile_nothing(monkeypatch: pytest.MonkeyPatch, cc: str) -> None:
    monkeypatch.setenv("CC", f"{sys.executable} -m cc")
    assert compiled.compiler() == sys.executable
    monkeypatch.setenv("CC", cc or sys.executable)
    if not cc:
        monkeypatch.setenv("SIDEGATE_COMPILE", "0")
    assert compiled.compiler() is None


@pytest.mark.skipif(os.environ.get(compiled.SETTING) == "", reason="run on the compiled modules by request")
def test_these_tests_run_from_the_sources() -> None:
    assert (fields.__file__ or "").endswith(".py")
