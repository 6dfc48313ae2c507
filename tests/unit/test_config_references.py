"""What is generated from the models: JSON Schema for editors, the Markdown reference."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sidegate.config.json_schema import json_schema
from sidegate.config.messages import explain
from sidegate.config.plain import dump
from sidegate.config.reference import reference
from sidegate.config.schema import Config, Limits
from sidegate.config.structure import home_of, keys_at, model_at, short_forms_at, top_level_keys
from sidegate.config.validation import validate_file
from sidegate.config.yaml_tree import read_document

ROOT = Path(__file__).parents[2]
FILES = [*ROOT.glob("config/*.yaml"), *ROOT.glob("tests/config/golden/good-*.yaml")]
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def raw(text: str) -> Any:
    """The file as an editor sees it: variables are text."""
    return read_document(text.replace("${", "$${"), {}).value


def errors(value: object) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(value)]


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_editors_accept_valid_files(path: Path) -> None:
    assert errors(raw(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_editors_accept_files_in_long_form(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    value = read_document(text, {"LEVEL": "debug"}).value
    config = validate_file(Config, value, "/")
    assert errors(dump(config)) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.update(listener=[]),
        lambda file: file.pop("routes"),
        lambda file: file["listeners"][0].update(addresses=[":80"]),
        lambda file: file["listeners"][0].pop("address"),
        lambda file: file["routes"][0].update(matches=[{}]),
        lambda file: file["routes"][0].pop("backend"),
        lambda file: file.update(processes="two"),
        lambda file: file.update(gracePeriod=30),
        lambda file: file.update(gracePeriod="30"),
        lambda file: file.update(limits={"requestBody": "16M"}),
        lambda file: file.update(http2Engine="nghttp"),
        lambda file: file.update(admin=True),
    ],
)
def test_editors_underline_mistakes(change: Callable[[dict[str, Any]], object]) -> None:
    file = copy.deepcopy(raw((ROOT / "config" / "minimal.yaml").read_text(encoding="utf-8")))
    assert errors(file) == []
    change(file)
    assert errors(file) != []


def test_variables_stand_for_any_scalar() -> None:
    file = raw((ROOT / "config" / "minimal.yaml").read_text(encoding="utf-8"))
    file.update(processes="${N}", gracePeriod="${G:-5s}", http2Engine="${E}", limits={"requestBody": "${S}"})
    file["listeners"][0].update(protocols=["${P}"], mode="${M}", tls={"selfSigned": "${T}"})
    assert errors(file) == []


def test_defaults_are_shown_as_they_are_written() -> None:
    limits = json_schema()["$defs"]["Limits"]["properties"]
    timeouts = json_schema()["$defs"]["ConnectionTimeouts"]["properties"]
    assert (timeouts["keepAlive"]["default"], limits["requestBody"]["default"]) == ("1m15s", "16Mi")
    assert limits["headerFields"]["default"] == Limits().header_fields


def test_the_committed_reference_is_current() -> None:
    assert (ROOT / "config" / "REFERENCE.md").read_text(encoding="utf-8") == reference()


def test_the_reference_is_printed() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "sidegate.config.reference"], cwd=ROOT, check=True, capture_output=True
    )
    assert printed.stdout.decode() == reference()


def test_editors_accept_short_forms_of_pools_and_addresses() -> None:
    file = raw((ROOT / "config" / "minimal.yaml").read_text(encoding="utf-8"))
    for workers in (2, "auto", {"max": 2}, "${N:-2}"):
        file["backends"]["a"] = {"app": "a:b", "pool": {"workers": workers}}
        assert errors(file) == []
    for wrong in (0, "many", {"min": 2}, True):
        file["backends"]["a"] = {"app": "a:b", "pool": {"workers": wrong}}
        assert errors(file) != []
    for addresses in ("tcp://a:1", ["tcp://a:1", "unix:/b"]):
        file["backends"]["a"] = {"h2c": addresses}
        assert errors(file) == []
    file["backends"]["a"] = {"h2c": 8000}
    assert errors(file) != []


def test_editors_accept_short_forms_of_compression() -> None:
    file = raw((ROOT / "config" / "minimal.yaml").read_text(encoding="utf-8"))
    for compression in ("off", "deflate", {"mode": "off"}, {"windowBits": 15}, "${C:-off}"):
        file["routes"][0]["websocket"] = file["listeners"][0]["websocket"] = {"compression": compression}
        assert errors(file) == []
    for wrong in ("on", False, 12, {"level": 9}, {"windowBits": 8}):
        file["routes"][0]["websocket"] = {"compression": wrong}
        assert errors(file) != []


def test_the_reference_shows_ranges_in_units() -> None:
    rows = {line.split("|")[1].strip(" `"): line for line in reference().splitlines() if line.startswith("| `")}
    assert "| 64 to 1Gi |" in rows["maxMessage"]
    assert "| 0s to 1h |" in rows["pingInterval"]
    assert "| 1 to 10000 |" in rows["maxQueue"]


def test_keys_are_found_one_level_further_in_or_out() -> None:
    assert home_of("workers", ("backends", "shop")) == "in 'pool'"
    assert home_of("queue", ("backends", "shop", "pool")) == "beside 'pool'"
    assert home_of("accessLog", ()) == "in 'logging'"
    assert home_of("listeners", ()) == ""
    assert home_of("nothing", ("backends", "shop", "pool")) == ""
    assert home_of("workers", ("nowhere",)) == ""
    assert home_of("keepAlive", ("listeners", 0)) == "in 'timeouts'"


def test_keys_are_found_in_the_model_beside() -> None:
    assert home_of("requestBody", ("timeouts",)) == "in 'limits'"
    assert home_of("keepAlive", ("listeners", 0, "limits")) == "in 'timeouts'"
    assert home_of("concurrentRequests", ("listeners", 0, "timeouts")) == ""


def test_what_a_listener_may_not_set_stands_at_the_top_level() -> None:
    assert top_level_keys(("listeners", 0, "limits")) == {
        "concurrentRequests",
        "requestsPerClient",
        "connections",
        "connectionsPerClient",
        "websockets",
        "websocketsPerClient",
        "queueDelay",
    }
    assert top_level_keys(("listeners", 0, "timeouts")) == set()
    assert top_level_keys(("limits",)) == set()
    assert top_level_keys(("nowhere",)) == set()


def test_models_are_found_by_path() -> None:
    assert keys_at(("listeners", 0))[0] == "address"
    assert short_forms_at(("routes", 3)) == {"path": ("matches", 0, "path"), "backend": ("backendRefs", 0, "name")}
    assert model_at(("timeouts", "keepAlive")) is None
    assert model_at(("nothing", 0)) is None
    assert keys_at(("processes",)) == []
    assert short_forms_at(("listeners", "x")) == {}


def test_an_error_of_pydantic_that_we_do_not_know_keeps_its_words() -> None:
    finding = explain({"type": "new_in_pydantic", "loc": ("a",), "msg": "Be kind", "input": 1}, {})
    assert finding == (("a",), "Be kind", False)
