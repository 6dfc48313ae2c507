"""Files that cannot be read, what survives of files with mistakes, and problems that callers add."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from sidegate.config.load import MAX_BYTES, load, loads, loads_plain
from sidegate.config.loaded import Loaded
from sidegate.config.messages import MAX_LENGTH

EXAMPLES = Path(__file__).parents[2] / "config"

GOOD = """\
listeners: [{name: http, address: ":8080"}]
backends: {hello: {respond: {}}}
routes: [{path: /, backend: hello}]
"""


def only(loaded: Loaded) -> str:
    (problem,) = loaded.problems
    assert loaded.config is None
    return str(problem)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_is_valid(path: Path) -> None:
    loaded = load(path, {})
    assert [str(problem) for problem in loaded.problems] == []
    assert loaded.config is not None
    assert loaded.listeners == dict(enumerate(loaded.config.listeners))
    assert loaded.backends == loaded.config.backends


def test_there_are_examples() -> None:
    assert len(list(EXAMPLES.glob("*.yaml"))) >= 4


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "no.yaml"
    assert only(load(path, {})) == f"{path}: cannot be read: No such file or directory"


def test_a_folder(tmp_path: Path) -> None:
    assert only(load(tmp_path, {})) == f"{tmp_path}: cannot be read: Is a directory"


def test_a_path_that_no_file_can_have() -> None:
    assert only(load("a\0b", {})) == "a\0b: cannot be read: embedded null byte"


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"# one\n# caf\xe9\n")
    assert only(load(path, {})) == f"{path}:2:1: is not UTF-8: byte 0xe9; save the file as UTF-8"


def test_a_file_that_never_ends() -> None:
    assert (
        only(load("/dev/zero", {}))
        == f"/dev/zero: is larger than {MAX_BYTES} bytes, the largest size of a configuration"
    )


def test_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.yaml"
    path.write_text(GOOD, encoding="utf-8")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root reads every file")
    assert only(load(path, {})) == f"{path}: cannot be read: Permission denied"


def test_relative_paths_start_in_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = GOOD + "admin: {address: 'unix:run/../admin.sock'}\nlogging: {accessLog: json, accessLogFile: /var/log/a}\n"
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    config = load("sub/a.yaml", {}).config
    assert config is not None
    assert config.admin is not None
    assert config.admin.address == f"unix:{tmp_path}/sub/admin.sock"
    assert config.logging.access_log_file == "/var/log/a"


def test_what_is_valid_by_itself_survives_the_mistakes_of_others() -> None:
    loaded = loads(
        """\
listeners:
  - {name: a, address: ":8080"}
  - {name: b}
  - {name: c, name: d, address: ":8081"}
backends:
  good: {app: "a:b"}
  bad: {app: a}
routes: [{backend: nowhere}]
processes: ${NONE}
""",
        "a.yaml",
        {},
    )
    assert [str(problem) for problem in loaded.problems] == [
        "a.yaml:3:5: listeners[1]: 'address' (or 'addresses') is missing",
        "a.yaml:4:15: listeners[2].name: the key 'name' is already in line 4",
        "a.yaml:7:14: backends.bad.app: must be module:attribute, such as shop.asgi:app or shop:create_app(), not 'a'",
        "a.yaml:8:20: routes[0].backend: there is no backend 'nowhere'",
        "a.yaml:9:12: processes: the environment variable NONE is not set; set it or write ${NONE:-default}",
    ]
    assert loaded.config is None
    assert list(loaded.listeners) == [0]
    assert loaded.listeners[0].addresses == (":8080",)
    assert list(loaded.backends) == ["good"]


def test_callers_add_problems_in_the_words_of_the_file() -> None:
    loaded = loads(GOOD + "admin: {}\n", "a.yaml", {})
    assert loaded.config is not None
    for path, expected in [
        (("listeners", 0, "addresses", 0), "a.yaml:1:35: listeners[0].address: x"),
        (("routes", 0, "matches", 0, "path", "value"), "a.yaml:3:17: routes[0].path: x"),
        (("backends", "hello", "respond", "body"), "a.yaml:2:29: backends.hello.respond.body: x"),
        (("admin", "address"), "a.yaml:4:8: admin.address: x"),
        (("routes", 5), "a.yaml:3:9: routes[5]: x"),
        ((), "a.yaml:1:1: x"),
    ]:
        assert str(loaded.problem(path, "x")) == expected


def test_a_problem_of_a_file_without_content_stands_at_its_start() -> None:
    assert str(loads("", "a.yaml", {}).problem(("listeners",), "x")) == "a.yaml:1:1: listeners: x"


def test_names_of_python_are_no_keys_of_a_file() -> None:
    assert only(loads(GOOD + "grace_period: 5s\n", "a.yaml", {})) == (
        "a.yaml:4:1: grace_period: unknown key 'grace_period'; did you mean 'gracePeriod'?"
    )


def test_long_values_are_cut_in_messages() -> None:
    assert len(only(loads(GOOD + f"trustedProxies: [{'x' * 100_000}]\n", "a.yaml", {}))) < MAX_LENGTH + 100


def test_processes_auto_is_a_number() -> None:
    config = loads(GOOD + "processes: auto\n", "a.yaml", {}).config
    assert config is not None
    assert config.processes >= 1


def test_a_file_is_read_anew_each_time(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(GOOD, encoding="utf-8")
    first = load(path, {})
    shutil.copy(EXAMPLES / "hosts.yaml", path)
    assert first.config != load(path, {}).config


def test_plain_values_are_taken_as_they_are() -> None:
    document = {
        "listeners": [{"name": "a", "address": ":0"}],
        "backends": {"b": {"respond": {"body": "${HOME} ä"}}},
        "routes": [{"backend": "b"}],
    }
    loaded = loads_plain(document, "<command line>", {"HOME": "/root"})
    assert loaded.config is not None
    answer = loaded.config.backends["b"].respond
    assert answer is not None
    assert answer.body == "${HOME} ä"


def test_matches_that_an_earlier_one_hides() -> None:
    loaded = loads(
        """\
listeners: [{name: http, address: ":8080"}]
backends: {b: {respond: {}}}
routes:
  - {path: /a, backend: b}
  - {backend: b}
  - matches:
      - {path: {type: Exact, value: /a}}
      - {path: /a}
      - {method: GET, path: /a, headers: [{name: a, value: b}, {name: C, value: d}]}
      - {method: GET, path: /a, headers: [{name: c, value: d}, {name: a, value: b}]}
      - {method: GET, path: /a, headers: [{name: c, value: d}]}
      - {}
    backend: b
  - {path: /, backend: b, hostnames: [a.example, b.example]}
  - {path: /, backend: b, hostnames: [b.example, A.example, c.example]}
  - {path: /, backend: b, hostnames: [c.example, d.example, "*.example"]}
  - {matches: [{queryParams: [{name: q, value: x}]}], backend: b}
  - {matches: [{queryParams: [{name: q, value: x}]}], backend: b}
""",
        "a.yaml",
        {},
    )
    assert loaded.problems == ()
    assert [str(warning) for warning in loaded.warnings] == [
        f"a.yaml:{at}: warning: {message} the same conditions"
        for at, message in [
            ("8:9", "routes[2].matches[1]: never matches: routes[0].path in line 4 has"),
            ("10:9", "routes[2].matches[3]: never matches: routes[2].matches[2] in line 9 has"),
            ("12:9", "routes[2].matches[5]: never matches: routes[1] in line 5 has"),
            ("15:12", "routes[4].path: never matches for b.example, a.example: routes[3].path in line 14 has"),
            ("16:12", "routes[5].path: never matches for c.example: routes[4].path in line 15 has"),
            ("18:16", "routes[7].matches[0]: never matches: routes[6].matches[0] in line 17 has"),
        ]
    ]
