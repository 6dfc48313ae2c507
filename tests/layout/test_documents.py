"""The documents name what exists: paths, make targets and links."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache

import pytest

from tests.layout.modules import ROOT

DOCUMENTS = ("ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "SECURITY.md", "tests/bench/PERFORMANCE.md")

FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")
MAKE = re.compile(r"(?:^|[;&]\s*)make((?: [A-Z]+=(?:'[^']*'|\"[^\"]*\"|\S+))*(?: [a-z][a-z-]*)*)", re.MULTILINE)
TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)

FOLDERS = re.compile(r"[\w.-]+(?:/[\w.-]+)*/")
FILES = re.compile(r"(?:[\w.-]+/)*[\w.-]+\.(?:py|pxd|pyx|pxi|md|toml|txt|ya?ml)|(?:[\w.-]+/)+[\w-]+")

NOT_OURS = {
    ".venv/": "made by make",
    "h2.py": "a module of somebody's application",
    "r.md": "written by a benchmark",
    "sidegate.yaml": "an operator's file",
}
"""What looks like a path and names nothing in the repository, or how it begins, with the reason."""

every_document = pytest.mark.parametrize("name", DOCUMENTS)


@cache
def tracked() -> frozenset[str]:
    """Every file of the repository and every folder, the latter with a slash at its end."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git clone: what belongs to the repository cannot be told from what was built")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    files = {name for name in listed if (ROOT / name).exists()}
    folders = {f"{parent}/" for name in files for parent in parents(name)}
    return frozenset(files | folders)


def parents(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def exists(path: str) -> bool:
    """A path may begin at the root or at any folder: documents write `config/limits.py` for what is in the package."""
    wanted = {path, f"{path}/"}
    return any(name in wanted or name.endswith((f"/{path}", f"/{path}/")) for name in tracked())


def read(name: str) -> str:
    return (ROOT / name).read_text()


def paths(text: str) -> list[str]:
    """Words of commands and in backticks that look like a path of the repository."""
    words = [word for command in commands(text) for word in command.partition(" #")[0].split()]
    looking = [word for word in words if FOLDERS.fullmatch(word) or FILES.fullmatch(word)]
    return [word for word in looking if not word.startswith(tuple(NOT_OURS))]


def commands(text: str) -> list[str]:
    """What stands in backticks, and the lines of shell blocks."""
    blocks = [line for language, block in FENCE.findall(text) if language == "sh" for line in block.splitlines()]
    return SPAN.findall(FENCE.sub("", text)) + blocks


def targets(text: str) -> set[str]:
    """The make targets that ``text`` names in its commands."""
    calls = [match.group(1) for command in commands(text) for match in MAKE.finditer(command.partition("#")[0])]
    return {word for call in calls for word in call.split() if TARGET.match(f"{word}:")}


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@every_document
def test_paths_exist(name: str) -> None:
    missing = [path for path in paths(read(name)) if not exists(path)]
    assert not missing, f"{name} names {', '.join(sorted(set(missing)))}"


@every_document
def test_make_targets_exist(name: str) -> None:
    missing = targets(read(name)) - set(TARGET.findall(read("Makefile")))
    assert not missing, f"{name} names make {', '.join(sorted(missing))}"


@every_document
def test_links_lead_somewhere(name: str) -> None:
    folder = (ROOT / name).parent
    for place, fragment in LINK.findall(FENCE.sub("", read(name))):
        if "://" in place:
            continue
        linked = folder / place if place else ROOT / name
        assert linked.exists(), f"{name} links {place}"
        if fragment:
            assert fragment in map(anchor, HEADING.findall(linked.read_text())), f"{name} links {place}#{fragment}"


def test_the_patterns_find_something() -> None:
    """Else all of the above would hold for an empty list."""
    found = [path for name in DOCUMENTS for path in paths(read(name))]
    assert {"config/limits.py", "tests/layout/", "setup.py"} <= set(found)
    assert len(set(found)) > 50
    assert {"test", "bench", "bench-micro"} <= targets(read("README.md"))
    assert not exists("server/no_such_file.py")
    assert not exists("limits")
