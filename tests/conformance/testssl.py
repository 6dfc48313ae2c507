"""``make testssl``: testssl.sh against the TLS of a running Sidegate, with certificates of a test authority.

One server with a listener for each case of ``CASES``; testssl.sh examines protocols, cipher suites, forward secrecy,
the server's preferences and defaults, and known vulnerabilities. Findings of MEDIUM or above are listed. It ends with 1
if one of them is not in ``EXCLUDED``, or if a part of the examination is missing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.certificates import Authority
from tests.support.server import Sidegate, listener

CASES: dict[str, dict[str, Any]] = {"ecdsa": {}, "rsa": {}, "tls13": {"minVersion": "1.3"}}
"""What each listener has in ``tls`` beside a certificate. The key of ``rsa``'s certificate is an RSA key."""

CHECKS = ("--protocols", "--std", "--pfs", "--server-preference", "--server-defaults", "--vulnerable")

SEVERE = ("MEDIUM", "HIGH", "CRITICAL")
UNFINISHED = ("WARN", "FATAL")
"""testssl.sh could not examine something."""

EXCLUDED: dict[str, str] = {
    "engine_problem": "about the OpenSSL that testssl.sh itself uses",
    "cert_revocation": "the test authority has neither a CRL nor OCSP",
    "sessionresumption_ticket": "it ends its connection before the tickets of TLS 1.3 arrive; tests/contract resume",
}
"""Findings that say nothing about Sidegate, by testssl.sh's ids, with the reason."""

EXPECTED = ("TLS1_2", "TLS1_3", "cipherlist_STRONG", "PFS", "heartbleed", "ROBOT", "secure_renego", "LUCKY13")
"""Ids of findings without which the examination was incomplete."""

PATIENCE = 1800.0
"""Seconds for one listener; it takes one to some minutes."""


@dataclass(frozen=True)
class Finding:
    """One line of testssl.sh's report."""

    id: str
    severity: str
    text: str

    def __str__(self) -> str:
        return f"{self.severity:<9} {self.id}: {self.text}"


def config(authority: Authority) -> dict[str, Any]:
    """One listener for each case."""
    pairs = {name: authority.server("localhost", days=90) for name in CASES}
    pairs["rsa"] = authority.server("localhost", days=90, key=rsa.generate_private_key(65537, 2048))
    return {
        "listeners": [
            listener(name=name, tls={"certificates": [pairs[name].as_yaml()], **tls}) for name, tls in CASES.items()
        ],
        "backends": {"hello": {"respond": {"body": "hello\n"}}},
        "routes": [{"name": "all", "path": "/", "backend": "hello"}],
    }


def examine(program: str, port: int, authority: Authority, folder: Path) -> list[Finding]:
    """Run testssl.sh (``program``). What it prints, and its report in JSON, are kept in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    command = [
        *(program, "--quiet", "--warnings", "off", "--nodns", "none", "--color", "0", "--wide"),
        *("--ip", "127.0.0.1", "--add-ca", str(authority.ca), "--jsonfile", str(report.absolute())),
        *(*CHECKS, f"localhost:{port}"),
    ]
    with (folder / "log").open("wb") as log:
        subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, check=False, timeout=PATIENCE
        )
    entries: list[Mapping[str, str]] = json.loads(report.read_text()) if report.exists() else []
    return [Finding(entry["id"], entry["severity"], entry["finding"]) for entry in entries]


def judge(name: str, findings: Sequence[Finding]) -> tuple[list[str], bool]:
    """The lines of the summary for one listener, and whether it passed."""
    severe = [one for one in findings if one.severity in (*SEVERE, *UNFINISHED)]
    failures = [one for one in severe if one.id not in EXCLUDED]
    known = {one.id for one in findings}
    missing = [id_ for id_ in EXPECTED if id_ not in known]
    lines = [f"{name}: {len(findings)} findings, {len(severe)} of {SEVERE[0]} or above, {len(failures)} not excluded"]
    lines += [f"  {one}" for one in failures]
    lines += [f"  excluded: {one} ({EXCLUDED[one.id]})" for one in severe if one.id in EXCLUDED]
    lines += [f"  not examined: {id_}" for id_ in missing]
    return lines, not failures and not missing


def run(arguments: argparse.Namespace) -> int:
    """Examine each listener in turn; the process's exit code."""
    program = shutil.which("testssl.sh") or shutil.which("testssl")  # Debian's name is the second
    if program is None:
        print("==> skipped: testssl.sh is not installed")
        return 0
    lines: list[str] = []
    passed = True
    with tempfile.TemporaryDirectory() as name:
        authority = Authority(Path(name))
        server = Sidegate(Path(name), config(authority))
        try:
            server.wait_ready()
            for case in arguments.cases:
                findings = examine(program, server.port(case), authority, arguments.output / case)
                found, good = judge(case, findings)
                lines += found
                passed &= good
        finally:
            server.close()
            (arguments.output / "server.log").write_text(server.log())
    lines.append("passed" if passed else "FAILED")
    summary = arguments.output / "summary.txt"
    summary.write_text("\n".join(lines) + "\n")
    print(summary.read_text(), end="")
    print(f"kept in {summary}; every finding in {arguments.output}/*/log")
    return 0 if passed else 1


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make testssl", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("build/testssl"), help="folder for reports (%(default)s)")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), help="only these listeners")
    arguments = parser.parse_args(argv)
    arguments.output.mkdir(parents=True, exist_ok=True)
    return arguments


if __name__ == "__main__":
    # It ends by way of the block that stops the server.
    signal.signal(signal.SIGTERM, lambda received, _frame: sys.exit(128 + received))
    sys.exit(run(parse(sys.argv[1:])))
