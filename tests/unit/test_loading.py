"""``module:attribute`` to an application, and the words for an operator whose reference leads nowhere."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidegate.asgi import Scope
from sidegate.backends.app.loading import LoadError, find_kind, load_app

_numbers = itertools.count()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path, modules = sys.path[:], set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(folder: Path, text: str) -> str:
    """A module with that text; its name."""
    name = f"written_for_test_loading_{next(_numbers)}"
    (folder / f"{name}.py").write_text(text)
    return name


def load(folder: Path, text: str, attribute: str = "app") -> Any:
    return load_app(f"{write(folder, text)}:{attribute}", str(folder)).app


def message(folder: Path, text: str, attribute: str = "app") -> str:
    with pytest.raises(LoadError) as caught:
        load(folder, text, attribute)
    return str(caught.value)


# References.

APP = "async def app(scope, receive, send): pass\n"


def test_module_and_attribute(folder: Path) -> None:
    assert load(folder, APP).__name__ == "app"


def test_dotted_attribute(folder: Path) -> None:
    text = "class outer:\n    class inner:\n        @staticmethod\n        async def app(scope, receive, send): pass\n"
    assert load(folder, text, "outer.inner.app").__name__ == "app"


def test_module_in_a_package(folder: Path) -> None:
    name = f"package_for_test_loading_{next(_numbers)}"
    (folder / name).mkdir()
    (folder / name / "asgi.py").write_text(APP)
    assert load_app(f"{name}.asgi:app", str(folder)).app.__name__ == "app"


def test_a_factory_is_called(folder: Path) -> None:
    assert load(folder, f"{APP}def create(): return app\n", "create()").__name__ == "app"


def test_the_folder_comes_first_on_the_import_path_and_once(folder: Path) -> None:
    for _ in range(2):
        load(folder, APP)
    assert sys.path[0] == str(folder)
    assert sys.path.count(str(folder)) == 1


def test_the_folder_is_the_current_one_by_default(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert load_app(f"{write(folder, APP)}:app", None).app.__name__ == "app"
    assert sys.path[0] == str(folder)


# What leads nowhere.


def test_no_such_module(folder: Path) -> None:
    for reference in ("no_such_module_anywhere:app", "no_such_module_anywhere.asgi:app"):
        with pytest.raises(LoadError) as caught:
            load_app(reference, str(folder))
        assert str(caught.value) == (
            f"there is no module 'no_such_module_anywhere' in {folder} or in this Python's packages"
        )


def test_no_such_module_in_a_package(folder: Path) -> None:
    name = write(folder, APP)
    with pytest.raises(LoadError, match=f"there is no module '{name}.asgi'"):
        load_app(f"{name}.asgi:app", str(folder))


def test_a_module_whose_own_import_is_missing(folder: Path) -> None:
    text = message(folder, "import no_such_module_anywhere\n")
    assert "failed: ModuleNotFoundError: No module named 'no_such_module_anywhere'" in text
    assert "line 1, in <module>\n    import no_such_module_anywhere" in text


@pytest.mark.parametrize(
    ("text", "first_line"),
    [
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit('no configuration')\n", "SystemExit: no configuration"),
        ("def f(:\n", "SyntaxError: "),
        ("raise KeyboardInterrupt\n", "KeyboardInterrupt: "),
    ],
)
def test_a_module_that_fails_has_its_traceback_and_not_ours(folder: Path, text: str, first_line: str) -> None:
    shown = message(folder, text)
    assert f"failed: {first_line}" in shown
    assert "written_for_test_loading" in shown
    assert "loading.py" not in shown.replace("test_loading.py", "")
    assert "importlib" not in shown


def test_no_such_attribute(folder: Path) -> None:
    assert message(folder, "x = 1\n").endswith(" has no attribute 'app'")
    assert message(folder, APP, "app.inner").endswith(" has no attribute 'app.inner'")


def test_a_factory_that_fails(folder: Path) -> None:
    shown = message(folder, "def create():\n    raise SystemExit('no settings')\n", "create()")
    assert ":create() failed: SystemExit: no settings\n" in shown
    assert "line 2, in create" in shown
    assert "/backends/loading.py" not in shown


def test_a_factory_that_takes_arguments(folder: Path) -> None:
    assert "missing 1 required positional argument: 'settings'" in message(
        folder, "def create(settings): pass\n", "create()"
    )


def test_a_factory_that_is_none(folder: Path) -> None:
    assert "'int' object is not callable" in message(folder, "create = 1\n", "create()")


# What was found; how it is told is in test_interface.py.


@pytest.mark.parametrize(
    ("text", "attribute", "words"),
    [
        ("app = 1\n", "app", ":app is of type int, neither an ASGI nor a WSGI application"),
        ("import os\n", "os", ":os is a module; name its attribute, neither an ASGI nor a WSGI application"),
        ("def make(): return 1\n", "make()", ":make() is of type int, neither "),
    ],
)
def test_what_is_no_application(folder: Path, text: str, attribute: str, words: str) -> None:
    assert words in message(folder, text, attribute)


WSGI = "def app(environ, start_response): return []\n"
ASGI2 = """\
class app:
    def __init__(self, scope): self.scope = scope
    async def __call__(self, receive, send): await send((self.scope, await receive()))
"""


@pytest.mark.parametrize(
    ("text", "interface", "found"),
    [
        (APP, "auto", ("asgi", "ASGI 3 application")),
        (APP, "asgi", ("asgi", "ASGI 3 application")),
        (WSGI, "auto", ("wsgi", "WSGI application")),
        (WSGI, "wsgi", ("wsgi", "WSGI application")),
        (ASGI2, "auto", ("asgi", "ASGI 2 application")),
    ],
)
def test_what_an_application_is(folder: Path, text: str, interface: str, found: tuple[str, str]) -> None:
    name = write(folder, f"{text}def make(): return app\n")
    for attribute in ("app", "make()"):
        loaded = load_app(f"{name}:{attribute}", str(folder), interface)
        assert (loaded.interface, loaded.kind) == found
        assert (loaded.app is sys.modules[name].app) is (text != ASGI2)
    assert find_kind(f"{name}:app", str(folder), interface) == found[1]


@pytest.mark.parametrize(("text", "interface"), [(APP, "wsgi"), (WSGI, "asgi")])
def test_an_application_of_the_other_interface(folder: Path, text: str, interface: str) -> None:
    reference = f"{write(folder, text)}:app"
    for load_or_look in (load_app, find_kind):
        with pytest.raises(LoadError, match=f"^{reference} .* 'interface' is {interface}"):
            load_or_look(reference, str(folder), interface)


def test_looking_calls_no_factory(folder: Path) -> None:
    assert find_kind(f"{write(folder, 'def make(): 1 / 0')}:make()", str(folder)) == ""


def test_asgi2_is_wrapped(folder: Path) -> None:
    sent: list[tuple[Scope, str]] = []

    async def receive() -> str:
        return "message"

    async def send(message: tuple[Scope, str]) -> None:
        sent.append(message)

    asyncio.run(load(folder, ASGI2)({"type": "http"}, receive, send))
    assert sent == [({"type": "http"}, "message")]


def test_two_folders_cannot_have_one_module_name(folder: Path) -> None:
    name = write(folder, APP)
    other = folder / "other"
    other.mkdir()
    (other / f"{name}.py").write_text(APP)
    load_app(f"{name}:app", str(folder))
    load_app(f"{name}:app", str(folder))  # the same one again is fine
    with pytest.raises(LoadError, match=f"a module '{name}' is already loaded from .*; rename one of them"):
        load_app(f"{name}:app", str(other))
