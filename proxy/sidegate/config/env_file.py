r"""Files of environment variables, by the rules of systemd's ``EnvironmentFile`` (systemd.exec(5)).

Each line has one ``KEY=VALUE``; ``#`` or ``;`` begins a comment, but only at the start of a line. Spaces around a value
are removed. In ``'…'`` every character is literal; in ``"…"`` a backslash makes a quote, a dollar sign, a backtick and
a backslash literal; both may span lines. Elsewhere a backslash makes any character literal. At the end of a line it
joins the next one. Nothing is expanded. A mistake is an error here; systemd ignores what it cannot parse.

This module has its own parser, because the file must mean to a worker what it means to systemd's services:
python-dotenv expands variables, removes comments from the ends of values and ``export`` from their start, and only
warns of mistakes.
"""

from __future__ import annotations

import re
from pathlib import Path

from sidegate.config import values

_IGNORED = re.compile(r"[ \t]*(?:[#;][^\n]*)?\n")
_SINGLE, _DOUBLE = r"'([^']*)'", r'"((?:[^"\\]|\\[\s\S])*)"'
_QUOTED = re.compile(rf"(?:{_SINGLE}|{_DOUBLE})[ \t]*")
_ASSIGNMENT = re.compile(rf"([^=\n]*)=[ \t]*((?:{_QUOTED.pattern})*)(?P<plain>(?:[^\\\n]|\\[\s\S])*)\n")
_CHARACTER = re.compile(r"\\[\s\S]|[^\\]")


def read_env_file(path: str) -> dict[str, str]:
    """The variables in ``path``; of two with one name the last. Raises ValueError with ``path:line: `` before it."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}:{line}: is not UTF-8: byte 0x{content[error.start]:02x}") from error
    return _parse(text.replace("\r\n", "\n") + "\n\n", path)  # two, because the text may end with a backslash


def _parse(text: str, path: str) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _IGNORED.match(text, at) or _ASSIGNMENT.match(text, at)
        line = text.count("\n", 0, at) + 1
        if match is None:
            raise ValueError(f"{path}:{line}: has no '='; write KEY=VALUE, or '#' before a comment")
        if match.re is _ASSIGNMENT:
            try:
                name, value = _variable(match)
            except ValueError as error:
                raise ValueError(f"{path}:{line}: {error}") from None
            found[name] = value
        at = match.end()
    return found


def _variable(match: re.Match[str]) -> tuple[str, str]:
    """Name and value of an assignment. Errors do not show the value, because it may be a secret."""
    key = match[1].strip()
    if key.startswith("export "):
        raise ValueError("'export' is for shells; leave it out")
    name = values.variable_name(key)
    if match["plain"].startswith(("'", '"')):
        raise ValueError(f"the value of {name} has a quote that is never closed")
    quoted = [single or _CHARACTER.sub(_in_quotes, double) for single, double in _QUOTED.findall(match[2])]
    return name, values.variable_value("".join(quoted) + _plain(match["plain"]))


def _in_quotes(character: re.Match[str]) -> str:
    text = character[0]
    if text == "\\\n":
        return ""
    return text[1] if text[0] == "\\" and text[1] in '"\\`$' else text


def _plain(text: str) -> str:
    characters = _CHARACTER.findall(text)
    while characters and characters[-1] in (" ", "\t"):
        characters.pop()
    return "".join("" if character == "\\\n" else character[-1] for character in characters)
