"""Durations, sizes and modes: the forms in files and in Python."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sidegate.config.plain import dump
from sidegate.config.quantities import format_duration, format_size, parse_duration, parse_size
from sidegate.config.schema import ConnectionLimits, ConnectionTimeouts, Limits, ListenerConfig
from sidegate.config.validation import validate


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("1m30s", 90),
        ("500ms", 0.5),
        ("1h2m3s4ms", 3723.004),
        ("0s", 0),
        ("10s10s", 20),
        ("99999h", 359996400),
    ],
)
def test_durations_are_those_of_the_gateway_api(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "s", "1.5s", "-1s", "1d", "1 s", "123456s", "1s1s1s1s1s", "٣s", "1s\n"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a duration such as 30s"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=86_400_000))
def test_a_written_duration_is_read_back(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("1024", 1024), ("8Ki", 8192), ("16Mi", 2**24), ("1Gi", 2**30)])
def test_sizes_are_bytes_or_powers_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "Ki", "8K", "8KB", "8 Ki", "-1", "1.5Mi", "1Ti", "1" * 16, "٣"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a size such as 8Ki"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=2**40))
def test_a_written_size_is_read_back(size: int) -> None:
    assert parse_size(str(format_size(size))) == size


def test_sizes_are_written_with_the_largest_unit_that_divides_them() -> None:
    assert [format_size(size) for size in (0, 1, 1024, 1536, 2**20, 3 * 2**30)] == [0, 1, "1Ki", 1536, "1Mi", "3Gi"]


def test_python_code_gives_plain_numbers_rounded_to_milliseconds() -> None:
    values = {"keep_alive": 0.0505, "request_head": 2, "request_body": 5, "header_block": "8Ki"}
    limits = validate(ConnectionLimits, values)
    assert (limits.keep_alive, limits.request_head, limits.request_body, limits.header_block) == (0.05, 2.0, 5, 8192)


@pytest.mark.parametrize("value", [True, None, math.nan, math.inf, -1.0])
def test_python_code_may_not_give_other_things_for_a_duration(value: object) -> None:
    with pytest.raises(ValidationError):
        validate(ConnectionTimeouts, {"keep_alive": value})


@pytest.mark.parametrize("value", [True, None, 1.0, -1])
def test_python_code_may_not_give_other_things_for_a_size(value: object) -> None:
    with pytest.raises(ValidationError):
        validate(Limits, {"request_body": value})


@pytest.mark.parametrize("mode", [0o660, "0660", "660"])
def test_python_code_may_give_a_mode_as_a_number(mode: object) -> None:
    listener = validate(ListenerConfig, {"name": "a", "address": "unix:/a", "mode": mode})
    assert listener.mode == 0o660
    assert dump(listener)["mode"] == "0660"


@pytest.mark.parametrize("mode", [True, 6.0, "8", "06600"])
def test_other_modes_are_refused(mode: object) -> None:
    with pytest.raises(ValidationError):
        validate(ListenerConfig, {"name": "a", "address": "unix:/a", "mode": mode})
