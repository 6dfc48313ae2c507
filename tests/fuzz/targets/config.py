"""The configuration loader: a Config or problems with positions for every text; a Config survives being written."""

from __future__ import annotations

import re

from sidegate.config.load import loads
from sidegate.config.loaded import Problem
from sidegate.config.write import to_yaml

ENVIRON = {"PORT": "8443", "EMPTY": "", "TEXT": "a: [b", "SURROGATE": "\udcff", "NUMBER": "1e3"}
FILE = "/etc/sidegate/sidegate.yaml"
_FOREIGN = re.compile(r"pydantic|Input should|https://errors|<class|Traceback|object at 0x")


def check_problem(problem: Problem, text: str) -> None:
    assert problem.file == FILE
    assert 1 <= problem.line <= text.count("\n") + len(re.findall("[\r\x85\u2028\u2029]", text)) + 2
    assert 1 <= problem.column <= len(text) + 1
    assert problem.message
    assert not _FOREIGN.search(problem.message)


def check(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    loaded = loads(text, FILE, ENVIRON)
    assert (loaded.config is None) == bool(loaded.problems)
    for problem in (*loaded.problems, *loaded.warnings):
        check_problem(problem, text)
    if loaded.config is not None:
        again = loads(to_yaml(loaded.config), FILE, {})
        assert again.problems == ()
        assert again.config == loaded.config
