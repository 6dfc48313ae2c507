"""Files of environment variables, by systemd's rules; mistakes with their lines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidegate.config.env_file import read_env_file

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=20)
# The folder of a test is the same for all of its examples; each writes its file anew.
FILE_BY_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def read(folder: Path, content: str | bytes) -> dict[str, str]:
    path = folder / "a.env"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_env_file(str(path))


def mistake(folder: Path, content: str | bytes) -> str:
    with pytest.raises(ValueError, match=r"a\.env:") as caught:
        read(folder, content)
    return str(caught.value).removeprefix(str(folder / "a.env"))


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=", ""),
        ("A=word", "word"),
        ("  A =  two words \t", "two words"),
        ("A=a=b", "a=b"),
        ("A=no # comment", "no # comment"),
        ("A=${HOME} $HOME ~ `id`", "${HOME} $HOME ~ `id`"),
        ("A=it's", "it's"),
        ('A=a"b"', 'a"b"'),
        ("A='single \\ \" $' ", 'single \\ " $'),
        ("A=''", ""),
        ('A="double \' \\" \\$ \\` \\\\ \\n"', "double ' \" $ ` \\ \\n"),
        ('A=""', ""),
        ("A='one' \"two\" 'three'", "onetwothree"),
        ("A='quoted' and not", "quotedand not"),
        ("A='two\nlines'", "two\nlines"),
        ('A="two\nlines"', "two\nlines"),
        ('A="joi\\\nned"', "joined"),
        ("A=joi\\\nned", "joined"),
        ("A=\\'\\a\\ ", "'a "),
        ("A=a \\\n", "a "),
        ("A=end\\", "end"),
        ("A=ä", "ä"),
    ],
)
def test_values(tmp_path: Path, line: str, value: str) -> None:
    assert read(tmp_path, line) == {"A": value}
    assert read(tmp_path, f"{line}\n\nB=next\n") == {"A": value, "B": "next"}
    assert read(tmp_path, line.replace("\n", "\r\n")) == {"A": value}


def test_what_is_no_variable_is_passed_over(tmp_path: Path) -> None:
    assert read(tmp_path, "") == {}
    assert read(tmp_path, "\n \t\n# A=1\n  ; B=2 \\\nC=3\n#") == {"C": "3"}


def test_the_last_of_two_with_one_name_counts(tmp_path: Path) -> None:
    assert read(tmp_path, "A=1\nB=2\nA=3\n") == {"A": "3", "B": "2"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("A=1\nsecret\n", ":2: has no '='; write KEY=VALUE, or '#' before a comment"),
        ("# a\n\nexport A=1\n", ":3: 'export' is for shells; leave it out"),
        ("A-B=1", ":1: must be the name of a variable: letters, digits and '_', no digit first, not 'A-B'"),
        ("=1", ":1: must be the name of a variable: letters, digits and '_', no digit first, not ''"),
        ("A='1\n2'\nB='secret\nC=2\n", ":3: the value of B has a quote that is never closed"),
        ('A=1\nB="secret\\"', ":2: the value of B has a quote that is never closed"),
        ("A='a'\"b", ":1: the value of A has a quote that is never closed"),
        ("A=a\0b", ":1: must not contain a NUL character"),
        (b"A=1\nB=caf\xe9\n", ":2: is not UTF-8: byte 0xe9"),
    ],
)
def test_mistakes_are_told_with_their_line_and_without_values(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    assert mistake(tmp_path, content) == message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no\.env: cannot be read: No such file or directory"):
        read_env_file(str(tmp_path / "no.env"))


@FILE_BY_FILE
@given(values=st.dictionaries(NAMES, TEXTS, max_size=4))
def test_any_value_can_be_written_in_quotes(tmp_path: Path, values: dict[str, str]) -> None:
    double = str.maketrans({character: f"\\{character}" for character in '"\\`$'})
    assert read(tmp_path, "".join(f'{name}="{value.translate(double)}"\n' for name, value in values.items())) == values
    parts = {name: value.replace("'", "'\"'\"'") for name, value in values.items()}
    assert read(tmp_path, "".join(f"{name}='{value}'\n" for name, value in parts.items())) == values


@FILE_BY_FILE
@given(content=st.text(alphabet="AB=#;'\"\\ \t\n\r\0$`é", max_size=40))
def test_any_text_is_read_or_refused_with_a_line(tmp_path: Path, content: str) -> None:
    try:
        values = read(tmp_path, content)
    except ValueError as error:
        line = int(str(error).removeprefix(str(tmp_path / "a.env")).split(":")[1])
        assert 1 <= line <= content.count("\n") + 1
    else:
        assert os.fsencode("".join([*values, *values.values()])).count(b"\0") == 0
