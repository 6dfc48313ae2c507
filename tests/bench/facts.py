"""What a reader needs to judge or repeat a run: machine, versions, how much was measured."""

from __future__ import annotations

import importlib.machinery
import os
import re
import ssl
import sys
from pathlib import Path

import sidegate
import sidegate.server.exchange
from tests.bench.programs import Peers, Program
from tests.bench.running import Cores
from tests.bench.servers.sidegate import best_engine

PACKAGES = (
    *("uvicorn", "gunicorn", "uvicorn-worker", "hypercorn", "daphne", "granian"),
    *("asgiref", "fastapi", "pydantic", "uvloop"),
)
ASK = "import sys, importlib.metadata as m; print(*(f'{n} {m.version(n)}' for n in sys.argv[1:]), sep=', ')"
VERSION_OPTIONS = {"nginx": "-v", "caddy": "version", "haproxy": "-v", "h2load": "--version"}


def facts(peers: Peers, measured: str, cores: Cores) -> dict[str, str]:
    """By their names; ``measured`` says how much."""
    python = peers.python()
    own = Program(sys.executable).says("-c", ASK, "fastapi", "pydantic", "uvloop").strip()
    return {
        "machine": f"{_processor()}, {os.cpu_count()} CPUs, Linux {os.uname().release}",
        "measured": f"{measured}; {_where(cores)}",
        "Sidegate": f"{sidegate.__version__}, engine {best_engine()}, hot modules {modules()}, with {own}",
        "Python": f"{sys.version.split()[0]}, {ssl.OPENSSL_VERSION}",
        "peers": python.says("-c", ASK, *PACKAGES).strip() if python else "not installed",
        "programs": ", ".join(_version(peers, name) for name in VERSION_OPTIONS),
    }


def modules() -> str:
    """Whether the modules of the request path are compiled in this tree, or plain Python."""
    name = str(sidegate.server.exchange.__file__)
    return "compiled" if name.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES)) else "plain Python"


def _where(cores: Cores) -> str:
    if cores.server is None or cores.client is None:
        return "servers and client share the cores: compare the CPU times only"
    return f"servers on core {cores.server[0]}, client on core {cores.client[0]}"


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.*)$", path.read_text(), re.MULTILINE) if path.exists() else None
    return found[1] if found else os.uname().machine


def _version(peers: Peers, name: str) -> str:
    program = peers.find(name)
    number = re.search(r"\d+\.\d+\.\d+", program.says(VERSION_OPTIONS[name])) if program else None
    return f"{name} {number[0] if number else 'not installed'}"
