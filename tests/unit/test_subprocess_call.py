"""Functions called in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sidegate.config.loaded import Loaded
from sidegate.errors import StartError
from sidegate.supervisor.subprocess_call import call_in_subprocess


def test_the_result_comes_back_and_the_process_was_another() -> None:
    assert call_in_subprocess("os:getpid") != os.getpid()
    assert call_in_subprocess("posixpath:join", "a", "b") == "a/b"


def test_a_loaded_file_comes_back_with_its_positions() -> None:
    text = "listeners: [{name: a, address: ':0'}]\nbackends: {b: {respond: {}}}\nroutes: [{backend: b}]\n"
    loaded = call_in_subprocess("sidegate.config.load:loads", text, "/etc/x.yaml", {})
    assert isinstance(loaded, Loaded)
    assert loaded.config is not None
    assert loaded.config.listeners[0].addresses == (":0",)
    assert str(loaded.problem(("backends", "b"), "is wrong")) == "/etc/x.yaml:2:15: backends.b: is wrong"


def test_a_start_error_comes_back_as_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/nothing")
    with pytest.raises(StartError, match="cannot keep the self-signed certificate"):
        call_in_subprocess("sidegate.server.tls.self_signed:ensure_self_signed")


def test_a_process_that_dies_is_a_start_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StartError, match="the process for posixpath:join exited with status 1"):
        call_in_subprocess("posixpath:join", 1)
    assert "TypeError" in capfd.readouterr().err


def test_calling_imports_nothing_of_what_is_called() -> None:
    code = (
        "import sys; from sidegate.supervisor.subprocess_call import call_in_subprocess\n"
        "call_in_subprocess('sidegate.config.load:loads', '{}', 'x', {})\n"
        "sys.exit(bool({'pydantic', 'pydantic_core', 'yaml'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
