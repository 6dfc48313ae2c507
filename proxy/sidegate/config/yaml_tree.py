"""YAML as plain values, with the position of every key and value, and with ``${VARIABLES}`` substituted.

``load.py`` calls it, and it calls PyYAML's parser. It owns the reading of YAML and does not depend on the models of the
configuration. It never constructs Python objects from tags and never recurses deeper than ``MAX_DEPTH``.

Theory of operation. PyYAML gives events (libyaml's if it is built in); from these this module builds its own small tree
of nodes, because PyYAML's composer recurses without a bound and drops duplicate keys and the styles of scalars, which
are needed here. A second pass turns nodes into values: it follows aliases and merge keys, counts every step
(``MAX_VALUES``) so that an alias bomb ends early, substitutes variables, and notes positions by path.

Plain scalars resolve by the core schema of YAML 1.2 (10.3.2), as in editors, not by PyYAML's 1.1: ``off``, ``no`` and
``0:30`` are text here, and ``0660`` is a decimal number. A scalar with a variable resolves after substitution.

It raises ``YamlError`` for text that cannot be read as one YAML document. Mistakes after which reading can continue are
collected in ``Document.mistakes``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from sidegate.config.checks import Path
from sidegate.config.loaded import Position

MAX_DEPTH = 64
MAX_VALUES = 100_000  # or as many as the file has without aliases: those of 10 000 routes are more

# YAML 1.2, 5.1: the characters that a document may contain. PyYAML's two parsers report others differently.
_NOT_PRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_VARIABLE = re.compile(r"(?P<escape>\$\$\{)|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|\$\{")

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(["", "~", "null", "Null", "NULL"], None),
    **dict.fromkeys(["true", "True", "TRUE"], True),
    **dict.fromkeys(["false", "False", "FALSE"], False),
}
_FIRST_OF_NUMBERS = frozenset("0123456789+-.")
# A number too long for any use stays text: its conversion takes quadratic time (CVE-2020-10735).
INTEGER = re.compile(r"[-+]?[0-9]{1,100}")
OCTAL = re.compile(r"0o[0-7]{1,100}")
HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,100}")
FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,100}|[0-9]{1,100}(?:\.[0-9]{0,100})?)(?:[eE][-+]?[0-9]{1,5})?")

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlError(Exception):
    """The text is no YAML document; ``position`` is where the parser noticed it."""

    def __init__(self, position: Position, message: str) -> None:
        super().__init__(message)
        self.position = position
        self.message = message


@dataclass(frozen=True, slots=True)
class Scalar:
    """``plain``: written without quotes and not as a block, so that it may be a number or a word such as ``true``."""

    position: Position
    text: str
    plain: bool


@dataclass(slots=True)
class Sequence:
    """Items in order."""

    position: Position
    items: list[Node]


@dataclass(slots=True)
class Table:
    """Keys and values in order, duplicates and merge keys included."""

    position: Position
    entries: list[tuple[Node, Node]]


Node = Scalar | Sequence | Table


@dataclass(slots=True)
class Document:
    """The result of reading. ``values`` and ``keys`` give positions by path; ``mistakes``: (position, path, message).

    ``unresolved``: scalars whose variables could not be substituted, so that their values cannot be checked.
    """

    value: Any = None
    values: dict[Path, Position] = field(default_factory=dict)
    keys: dict[Path, Position] = field(default_factory=dict)
    mistakes: list[tuple[Position, Path, str]] = field(default_factory=list)
    unresolved: set[Path] = field(default_factory=set)


def read_document(text: str, environ: Mapping[str, str]) -> Document:
    """Read one YAML document; ``environ`` has the variables. Raises YamlError."""
    text = text.removeprefix("\ufeff")
    bad = _NOT_PRINTABLE.search(text)
    if bad:
        before = text[: bad.start()]
        position = (before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise YamlError(position, f"not valid YAML: the character {bad[0]!r} is not allowed")
    root, count = _compose(text)
    document = Document()
    if root is not None:
        document.value = _Constructor(document, environ, max(count, MAX_VALUES)).value(root, ())
    return document


def resolve(text: str) -> str | int | float | bool | None:
    """The value of a plain scalar in YAML 1.2's core schema, but infinities and not-a-number stay text."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _FIRST_OF_NUMBERS:
        return text
    if INTEGER.fullmatch(text):
        return int(text)
    if OCTAL.fullmatch(text) or HEXADECIMAL.fullmatch(text):
        return int(text, 0)
    if FLOAT.fullmatch(text):
        return float(text)
    return text


def escape(text: str) -> str:
    """The text that substitution turns back into ``text``."""
    return text.replace("${", "$${")


def _compose(text: str) -> tuple[Node | None, int]:
    """The root, and the number of nodes in the file."""
    composer = _Composer(yaml.parse(text, Loader=_LOADER))
    try:
        return composer.document(), composer.count
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark
        context = f" ({error.context})" if error.context else ""
        hint = _hint(text.splitlines()[mark.line : mark.line + 1])
        raise YamlError(_position(mark), f"not valid YAML: {error.problem}{context}{hint}") from None


def _hint(lines: list[str]) -> str:
    line = lines[0] if lines else ""
    if "${" in line:
        return "; inside {} and [] a ${VARIABLE} must be in quotes"
    return "; indent with spaces, not with tabs" if re.match(" *\t", line) else ""


def _position(mark: Any) -> Position:
    return mark.line + 1, mark.column + 1


class _Composer:
    """Turns events into nodes. Aliases share the node of their anchor."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._anchors: dict[str, Node | None] = {}
        self.count = 0

    def document(self) -> Node | None:
        """The root of the only document; None if there is none."""
        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        root = self._node(next(self._events), 1)
        next(self._events)
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise YamlError(
                _position(after.start_mark), "a second YAML document starts here; a file may contain only one"
            )
        return root

    def _node(self, event: Any, depth: int) -> Node:
        position = _position(event.start_mark)
        self.count += 1
        if depth > MAX_DEPTH:
            raise YamlError(position, f"not valid here: nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, position)
        if event.anchor:
            self._anchors[event.anchor] = None
        if event.tag not in (None, "!", "tag:yaml.org,2002:str") or (
            event.tag and not isinstance(event, yaml.ScalarEvent)
        ):
            raise YamlError(position, f"YAML tags such as {event.tag!r} are not supported; leave the tag out")
        node = self._content(event, position, depth)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _content(self, event: Any, position: Position, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return Scalar(position, event.value, plain=event.implicit[0])
        if isinstance(event, yaml.SequenceStartEvent):
            return Sequence(position, [self._node(item, depth + 1) for item in self._until(yaml.SequenceEndEvent)])
        entries: list[tuple[Node, Node]] = []
        for event_of_key in self._until(yaml.MappingEndEvent):
            key = self._node(event_of_key, depth + 1)
            entries.append((key, self._node(next(self._events), depth + 1)))
        return Table(position, entries)

    def _until(self, end: type) -> Iterator[Any]:
        while not isinstance(event := next(self._events), end):
            yield event

    def _alias(self, event: Any, position: Position) -> Node:
        if event.anchor not in self._anchors:
            raise YamlError(position, f"the alias *{event.anchor} has no anchor &{event.anchor} before it")
        node = self._anchors[event.anchor]
        if node is None:
            raise YamlError(position, f"the alias *{event.anchor} stands inside the value it stands for")
        return node


class _Constructor:
    """Turns nodes into values, and notes positions and mistakes in ``document``."""

    def __init__(self, document: Document, environ: Mapping[str, str], most: int) -> None:
        """``most``: number of values, those of aliases included."""
        self._document = document
        self._environ = environ
        self._most = most
        self._steps = 0

    def value(self, node: Node, path: Path) -> Any:
        """The value of ``node``, whose path is ``path``."""
        self._step(node, len(path))
        self._document.values[path] = node.position
        if isinstance(node, Scalar):
            return self._scalar(node, path)
        if isinstance(node, Sequence):
            return [self.value(item, (*path, place)) for place, item in enumerate(node.items)]
        result = {}
        for name, (key, value) in self._entries(node, path, len(path)).items():
            self._document.keys[(*path, name)] = key.position
            result[name] = self.value(value, (*path, name))
        return result

    def _step(self, node: Node, depth: int) -> None:
        self._steps += 1
        if self._steps > self._most:
            raise YamlError(node.position, f"aliases included, the file contains more than {self._most} values")
        if depth > MAX_DEPTH:
            raise YamlError(node.position, f"aliases included, nested deeper than {MAX_DEPTH} levels")

    def _entries(self, node: Table, path: Path, depth: int) -> dict[str, tuple[Scalar, Node]]:
        own: dict[str, tuple[Scalar, Node]] = {}
        merged: dict[str, tuple[Scalar, Node]] = {}
        for key, value in node.entries:
            self._step(key, depth)
            if not isinstance(key, Scalar):
                self._mistake(key.position, path, "a key must be text, not a list or mapping")
            elif key.plain and key.text == "<<":
                for source in self._sources(value, path, depth):
                    for name, entry in self._entries(source, path, depth + 1).items():
                        merged.setdefault(name, entry)
            elif key.plain and not isinstance(resolve(key.text), str):
                self._mistake(key.position, path, f"a key must be text: put {key.text or 'it'} in quotes")
            elif key.text in own:
                line = own[key.text][0].position[0]
                self._mistake(key.position, (*path, key.text), f"the key {key.text!r} is already in line {line}")
            else:
                own[key.text] = (key, value)
        return {**merged, **own}

    def _sources(self, node: Node, path: Path, depth: int) -> Iterator[Table]:
        for source in node.items if isinstance(node, Sequence) else [node]:
            self._step(source, depth)  # an empty mapping has no key that would count
            if isinstance(source, Table):
                yield source
            else:
                self._mistake(source.position, path, "'<<' merges mappings only, such as *alias or [*one, *two]")

    def _scalar(self, node: Scalar, path: Path) -> Any:
        text = node.text
        if "$" in text:
            text = _VARIABLE.sub(lambda match: self._variable(match, node, path), text)
        if not text.isascii() and _SURROGATE.search(text):
            self._document.unresolved.add(path)
            self._mistake(node.position, path, "must be valid Unicode after its variables were replaced")
            return None
        return resolve(text) if node.plain else text

    def _variable(self, match: re.Match[str], node: Scalar, path: Path) -> str:
        if match["escape"]:
            return "${"
        name = match["name"]
        if name is None:
            message = "'${' starts a variable such as ${PORT} or ${PORT:-8080}; write '$${' for the characters '${'"
        elif match["default"] is not None:
            return self._environ.get(name) or match["default"]  # as in a shell: an empty variable counts as unset
        elif name in self._environ:
            return self._environ[name]
        else:
            message = f"the environment variable {name} is not set; set it or write ${{{name}:-default}}"
        self._document.unresolved.add(path)
        self._mistake(node.position, path, message)
        return match[0]

    def _mistake(self, position: Position, path: Path, message: str) -> None:
        self._document.mistakes.append((position, path, message))
