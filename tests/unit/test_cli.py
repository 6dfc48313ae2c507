"""The command line: arguments, messages and exit codes. Services that really start are in tests/system."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sidegate import __version__, cli, standalone
from sidegate.config.load import loads
from sidegate.config.loaded import Expiry
from sidegate.config.schema import Config
from sidegate.errors import ConfigPath, StartError
from sidegate.supervisor import service
from sidegate.supervisor.sockets import Locate
from sidegate.supervisor.summary import Addresses, summary, wants_colour
from tests.support.accounts import needs_readable_clone, public_folder
from tests.support.certificates import Authority, Pair

Capture = pytest.CaptureFixture[str]

GOOD = """\
listeners:
  - {name: web, address: "127.0.0.1:0", tls: {selfSigned: true}}
  - {name: plain, addresses: [":0", "unix:x.sock"], protocols: [http/1.1]}
backends:
  shop: {app: "apps_for_cli:app"}
  gone: {respond: {status: 410}}
routes:
  - name: shop
    hostnames: [example.com]
    matches:
      - {path: {type: Exact, value: /cart}, method: GET}
      - {path: /s, headers: [{name: x-a, value: "1"}], queryParams: [{name: q, value: v}]}
    backendRefs: [{name: shop, weight: 3}, {name: gone, weight: 1}]
  - {name: rest, path: /, backend: gone}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration that is good, beside its application."""
    monkeypatch.delitem(sys.modules, "apps_for_cli", raising=False)  # another test's: one process has one of a name
    (tmp_path / "apps_for_cli.py").write_text("async def app(scope, receive, send): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "sidegate.yaml"
    path.write_text(GOOD)
    return path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Configurations that would have been served."""
    configs: list[Config] = []

    def serve(config: Config, locate: Locate, warnings: Sequence[str], expiry: Expiry) -> int:
        configs.append(config)
        return 42

    monkeypatch.setattr(service, "serve", serve)
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(signal, "signal", lambda *_: before)
    return configs


# ---- check ------------------------------------------------------------------------------------------------


def test_check_says_what_a_good_file_holds(file: Path, capsys: Capture) -> None:
    assert cli.main(["check", str(file)]) == 0
    shop = "GET example.com/cart | example.com/s* x-a: 1 ?q=v"
    assert capsys.readouterr().out.splitlines() == [
        f"{file}: ok",
        "  listener web: 127.0.0.1:0 (TLS, h2, http/1.1)",
        f"  listener plain: :0, unix:{file.parent}/x.sock (cleartext, http/1.1)",
        "  backend shop: apps_for_cli:app (ASGI 3 application)",
        "  backend gone: responds 410",
        f"  route shop  {shop}  -> shop (apps_for_cli:app) 75 %, gone (responds 410) 25 %",
        f"  route rest  {'/*':{len(shop)}}  -> gone (responds 410)",
    ]


def test_check_says_which_listener_redirects(file: Path, capsys: Capture) -> None:
    file.write_text(GOOD.replace("protocols: [http/1.1]", "httpsRedirect: true"))
    assert cli.main(["check", str(file)]) == 0
    line = f"  listener plain: :0, unix:{file.parent}/x.sock (cleartext, h2, http/1.1, redirects to https)"
    assert line in capsys.readouterr().out.splitlines()


def test_check_reports_everything_at_once_in_the_order_of_the_file(file: Path, capsys: Capture) -> None:
    text = GOOD.replace("tls: {selfSigned: true}", "tls: {certificates: [{cert: c.pem, key: k.pem}]}")
    file.write_text(text.replace("apps_for_cli:app", "apps_for_cli:wrong") + "prozesses: 2\n")
    assert cli.main(["check", str(file)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line.removeprefix(str(file)) for line in captured.err.splitlines()]
    assert len(lines) == 3
    assert lines[0].startswith(":2:")
    assert "c.pem" in lines[0]
    assert lines[1].startswith(":5:")
    assert "no attribute 'wrong'" in lines[1]
    assert lines[2].startswith(":15:1: prozesses: unknown key 'prozesses'; did you mean 'processes'?")


@pytest.mark.parametrize(
    ("app", "more", "words"),
    [
        ("asgi2", "", "apps_for_cli:asgi2 (ASGI 2 application)"),
        ("wsgi", "", "apps_for_cli:wsgi (WSGI application, 4 threads)"),
        ("make()", "interface: wsgi, threads: 1", "apps_for_cli:make() (WSGI application, 1 thread)"),
        ("wsgi", "pool: {workers: 2}", "apps_for_cli:wsgi, 2 workers (WSGI application, 4 threads each)"),
        ("wsgi", "pool: {threads: 8}", "apps_for_cli:wsgi, 1 worker (WSGI application, 8 threads each)"),
        ("make()", "pool: {}", "apps_for_cli:make(), 1 worker (made by a factory, which was not called)"),
    ],
)
def test_check_says_what_it_found(file: Path, capsys: Capture, app: str, more: str, words: str) -> None:
    (file.parent / "apps_for_cli.py").write_text(
        "def asgi2(scope): ...\ndef wsgi(environ, start_response): ...\ndef make(): return wsgi\n"
    )
    file.write_text(GOOD.replace('"apps_for_cli:app"', f"apps_for_cli:{app}, directory: ., {more}"))
    assert cli.main(["check", str(file)]) == 0
    assert f"  backend shop: {words}" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("pool", ["", ", pool: {}"])
def test_check_tells_an_interface_that_is_not_the_applications(file: Path, capsys: Capture, pool: str) -> None:
    file.write_text(GOOD.replace('"apps_for_cli:app"', f"apps_for_cli:app, directory: ., interface: wsgi{pool}"))
    assert cli.main(["check", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    words = "is a coroutine function, as ASGI applications are, but 'interface' is wsgi"
    assert line == f"{file}:5:15: backends.shop.app: apps_for_cli:app {words}"


def pool_problems(file: Path, capsys: Capture, pool: str) -> list[str]:
    """What ``check`` reports of a pool in line 5 of the file."""
    file.write_text(GOOD.replace('{app: "apps_for_cli:app"}', f"{{app: apps_for_cli:app, directory: ., pool: {pool}}}"))
    assert cli.main(["check", str(file)]) == 2
    lines = capsys.readouterr().err.splitlines()
    return [line.partition(": ")[2] for line in lines if line.startswith(f"{file}:5:")]


def test_check_finds_unknown_accounts(file: Path, capsys: Capture) -> None:
    assert pool_problems(file, capsys, "{user: nosuchuser, group: nosuchgroup}") == [
        "backends.shop.pool.user: there is no user nosuchuser",
        "backends.shop.pool.group: there is no group nosuchgroup",
    ]


def test_check_finds_an_unknown_group_of_a_socket(file: Path, capsys: Capture) -> None:
    file.write_text(GOOD.replace("protocols: [http/1.1]", "group: nosuchgroup"))
    assert cli.main(["check", str(file)]) == 2
    assert capsys.readouterr().err == f"{file}:3:60: listeners[1].group: there is no group nosuchgroup\n"


def test_check_finds_an_environment_file_that_cannot_be_read(file: Path, capsys: Capture) -> None:
    (problem,) = pool_problems(file, capsys, "{envFile: missing.env}")
    path = file.parent / "missing.env"
    assert problem == f"backends.shop.pool.envFile: {path}: cannot be read: No such file or directory"


@needs_readable_clone
def test_check_imports_as_the_user_of_the_pool(capsys: Capture) -> None:
    with public_folder() as folder:
        (folder / "apps_for_cli.py").write_text("async def app(scope, receive, send): ...\n")
        file = folder / "sidegate.yaml"
        file.write_text(
            GOOD.replace('{app: "apps_for_cli:app"}', "{app: apps_for_cli:app, directory: ., pool: {user: nobody}}")
        )
        assert cli.main(["check", str(file)]) == 0, capsys.readouterr().err
        closed = folder / "closed"
        closed.mkdir(0o700)
        python = closed / "python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        described = f"{closed} (drwx------ root:root)"
        assert pool_problems(file, capsys, "{user: nobody, directory: closed}") == [
            f"backends.shop.pool.directory: the user nobody may not enter {described}",
        ]
        reason = f"the user nobody may not enter the folder {described}, but has to read the interpreter"
        assert pool_problems(file, capsys, "{user: nobody, python: closed/python}") == [
            f"backends.shop.pool.python: {reason}",
        ]
        (problem,) = pool_problems(file, capsys, "{user: '54321'}")
        assert problem.startswith("backends.shop.pool.user: 54321 is not in the system's user database")
        (folder / "apps_for_cli.py").chmod(0o600)
        (problem,) = pool_problems(file, capsys, "{user: nobody}")
        assert "PermissionError" in problem


def test_check_as_an_ordinary_user_imports_as_that_user(
    file: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    pool = "pool: {user: nobody, group: '54321'}"
    file.write_text(GOOD.replace('{app: "apps_for_cli:app"}', f"{{app: apps_for_cli:app, directory: ., {pool}}}"))
    assert cli.main(["check", str(file)]) == 0, capsys.readouterr().err


def test_check_without_imports(file: Path, capsys: Capture) -> None:
    file.write_text(GOOD.replace("apps_for_cli:app", "nothing_here:app"))
    assert cli.main(["check", "--no-import", str(file)]) == 0
    assert "  backend shop: nothing_here:app\n" in capsys.readouterr().out
    assert cli.main(["check", str(file)]) == 2


def test_check_misses_an_engine(file: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sidegate.wire.http2.nghttp2", None)
    file.write_text(GOOD + "http2Engine: nghttp2\n")
    assert cli.main(["check", str(file)]) == 2
    assert ":15:14: http2Engine: HTTP/2 engine nghttp2 cannot be used" in capsys.readouterr().err


def test_check_warns_of_what_never_matches(file: Path, capsys: Capture) -> None:
    file.write_text(GOOD + "  - {name: late, path: /, backend: shop}\n")
    assert cli.main(["check", str(file)]) == 0
    captured = capsys.readouterr()
    words = "routes[2].path: never matches: routes[1].path in line 14 has the same conditions"
    assert captured.err == f"{file}:15:24: warning: {words}\n"
    assert captured.out.startswith(f"{file}: ok\n")
    file.write_text(GOOD + "  - {name: late, path: /, backend: shop}\nprozesses: 2\n")
    assert cli.main(["check", str(file)]) == 2
    assert [line.split(":")[1] for line in capsys.readouterr().err.splitlines()] == ["15", "16"]


def test_check_of_a_tls_engine_that_was_not_built(file: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sidegate.server.tls.openssl_engine", raising=False)
    monkeypatch.delattr("sidegate.server.tls.openssl", raising=False)
    monkeypatch.setitem(sys.modules, "sidegate.server.tls.openssl", None)
    file.write_text(GOOD + "tlsEngine: openssl\n")
    assert cli.main(["check", str(file)]) == 2
    assert ":15:12: tlsEngine: TLS engine openssl cannot be used" in capsys.readouterr().err


def test_check_of_what_the_tls_engine_cannot_do(file: Path, capsys: Capture, authority: Authority) -> None:
    text, _ = certified(authority, "localhost")
    file.write_text(text.replace("tls: {", "tls: {curves: [x25519], ") + "tlsEngine: ssl\n")
    assert cli.main(["check", str(file)]) == 2
    assert "listeners[0].tls.curves: only the TLS engine openssl can do that" in capsys.readouterr().err


TLS = "tls: {selfSigned: true}"


def certified(authority: Authority, *names: str, days: int = 1) -> tuple[str, Pair]:
    """The configuration with a certificate, and the certificate."""
    pair = authority.server(*names, days=days)
    return GOOD.replace(TLS, f"tls: {{certificates: [{{cert: {pair.cert}, key: {pair.key}}}]}}"), pair


def test_check_refuses_an_expired_certificate(file: Path, capsys: Capture, authority: Authority) -> None:
    text, pair = certified(authority, "example.com", days=-1)
    file.write_text(text)
    assert cli.main(["check", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    path = "listeners[0].tls.certificates[0].cert"
    assert line.startswith(f"{file}:2:69: {path}: the certificate {pair.cert} expired at ")


def test_check_warns_of_names_that_no_certificate_has(file: Path, capsys: Capture, authority: Authority) -> None:
    file.write_text(certified(authority, "www.example.com")[0])
    assert cli.main(["check", str(file)]) == 0
    captured = capsys.readouterr()
    words = "routes[0].hostnames[0]: no certificate of a listener has the name example.com"
    assert captured.err == f"{file}:9:17: warning: {words}\n"
    assert captured.out.startswith(f"{file}: ok\n")
    file.write_text(certified(authority, "www.example.com")[0] + "  - {name: late, path: /, backend: shop}\n")
    assert cli.main(["check", str(file)]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1] for line in lines] == ["9", "15"]


def test_check_inspects_certificates_of_a_file_with_other_mistakes(
    file: Path, capsys: Capture, authority: Authority
) -> None:
    file.write_text(certified(authority, "www.example.com", days=-1)[0] + "prozesses: 2\n")
    assert cli.main(["check", str(file)]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "expired at" in first
    assert "prozesses" in second


# ---- serve ------------------------------------------------------------------------------------------------


def test_serve_starts_nothing_when_there_are_problems(file: Path, capsys: Capture, started: list[Config]) -> None:
    file.write_text(GOOD.replace("apps_for_cli:app", "nothing_here:app") + "prozesses: 2\n")
    assert cli.main(["serve", str(file)]) == 2
    assert not started
    problems = capsys.readouterr().err
    assert "nothing_here" in problems
    assert "prozesses" in problems


def test_serve_imports_no_application_of_a_good_file(file: Path, started: list[Config]) -> None:
    file.write_text(GOOD.replace("apps_for_cli:app", "nothing_here:app"))
    assert cli.main(["serve", str(file)]) == 42
    assert started[0].http2_engine == "auto"


def test_serve_with_an_engine(file: Path, started: list[Config]) -> None:
    assert cli.main(["serve", str(file), "--http2-engine", "h2"]) == 42
    assert started[0].http2_engine == "h2"


def test_serve_with_an_event_loop(file: Path, started: list[Config]) -> None:
    assert cli.main(["serve", str(file), "--event-loop", "asyncio"]) == 42
    assert started[0].event_loop == "asyncio"


def test_check_finds_that_uvloop_is_missing(file: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    file.write_text(GOOD + "\neventLoop: uvloop\n")
    assert cli.main(["check", str(file)]) == 2
    assert "eventLoop: uvloop cannot be imported" in capsys.readouterr().err


def test_a_missing_file(capsys: Capture, started: list[Config]) -> None:
    assert cli.main(["serve", "/no/such/file.yaml"]) == 2
    assert capsys.readouterr().err == "/no/such/file.yaml: cannot be read: No such file or directory\n"
    assert not started


def failing(error: BaseException) -> Callable[..., int]:
    def serve(*_: object) -> int:
        raise error

    return serve


def test_a_failed_start_is_exit_code_3(
    file: Path, capsys: Capture, started: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "serve", failing(StartError("the port is taken")))
    assert cli.main(["serve", str(file)]) == 3
    assert capsys.readouterr().err == "the port is taken\n"


def test_an_interrupted_start(file: Path, started: list[Config], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "serve", failing(KeyboardInterrupt()))
    assert cli.main(["serve", str(file)]) == 128 + signal.SIGINT


# ---- run --------------------------------------------------------------------------------------------------


def printed(arguments: list[str], capsys: Capture) -> Config:
    """The configuration that ``sidegate run --print-config`` prints, loaded again."""
    assert cli.main(["run", "apps_for_cli:app", *arguments, "--print-config"]) == 0
    loaded = loads(capsys.readouterr().out, "printed.yaml", {})
    assert loaded.problems == ()
    assert loaded.config is not None
    return loaded.config


@pytest.mark.parametrize(
    ("arguments", "address", "tls"),
    [
        ([], "localhost:8080", False),
        (["--tls"], "localhost:8443", True),
        (["--host", "::1", "--port", "0"], "[::1]:0", False),
        (["--cert", "c.pem"], "localhost:8443", True),
        (["--unix", "/tmp/s"], "unix:/tmp/s", False),
    ],
)
def test_run_listens(file: Path, capsys: Capture, arguments: list[str], address: str, tls: bool) -> None:
    config = printed(arguments, capsys)
    assert config.listeners[0].addresses == (address,)
    assert (config.listeners[0].tls is not None) is tls


def test_run_with_everything(file: Path, capsys: Capture) -> None:
    options = ["--cert", "c.pem", "--key", "k.pem", "--processes", "3", "--root-path", "/${HOME}"]
    more = [
        "--access-log",
        "json",
        "--admin",
        "127.0.0.1:1",
        "--http2-engine",
        "h2",
        "--app-dir",
        "src",
        "--event-loop",
        "asyncio",
    ]
    wsgi = ["--interface", "wsgi", "--threads", "16", "--event-loop", "asyncio"]
    config = printed([*options, *more, *wsgi], capsys)
    tls = config.listeners[0].tls
    assert tls is not None
    certificate = tls.certificates[0]
    assert (certificate.cert, certificate.key) == (str(file.parent / "c.pem"), str(file.parent / "k.pem"))
    backend = config.backends["app"]
    assert backend.root_path == "/${HOME}"
    assert backend.directory == str(file.parent / "src")
    assert (backend.interface, backend.threads) == ("wsgi", 16)
    assert (config.processes, config.http2_engine, config.logging.access_log) == (3, "h2", "json")
    assert config.event_loop == "asyncio"
    assert config.admin is not None
    assert config.admin.address == "127.0.0.1:1"


def test_run_without_a_value_for_the_access_log(file: Path, capsys: Capture) -> None:
    assert printed(["--access-log"], capsys).logging.access_log == "combined"
    assert printed([], capsys).logging.access_log == "off"
    assert printed(["--processes", "auto"], capsys).processes >= 1


def test_run_starts_what_it_would_print(file: Path, capsys: Capture, started: list[Config]) -> None:
    assert cli.main(["run", "apps_for_cli:app"]) == 42
    assert started == [printed([], capsys)]


def test_problems_of_arguments_have_their_names_and_no_lines(file: Path, capsys: Capture) -> None:
    assert cli.main(["run", "no-colon", "--port", "99999", "--processes", "zero"]) == 2
    lines = capsys.readouterr().err.splitlines()
    names = ["--host, --port or --unix", "module:attr", "--processes"]
    assert [line.split(": ")[:2] for line in lines] == [["<command line>", name] for name in names]


def test_problems_that_the_start_finds_have_the_names_of_arguments(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths: list[ConfigPath] = [
        ("listeners", 0, "addresses", 0),
        ("backends", "app", "app"),
        ("listeners", 0, "tls", "certificates", 0, "key"),
        ("gracePeriod",),
    ]
    located: list[str] = []

    def serve(config: Config, locate: Locate, warnings: Sequence[str], expiry: Expiry) -> int:
        located.extend(locate(path, "x") for path in paths)
        return 3

    monkeypatch.setattr(service, "serve", serve)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert cli.main(["run", "apps_for_cli:app", "--cert", "c.pem"]) == 3
    names = ["--host, --port or --unix", "module:attr", "--key", "gracePeriod"]
    assert located == [f"<command line>: {name}: x" for name in names]


def test_warnings_about_certificates_go_to_the_log(
    file: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> None:
    text, pair = certified(authority, "example.com", days=-1)
    file.write_text(text)
    given: list[tuple[list[str], Expiry]] = []

    def serve(config: Config, locate: Locate, warnings: Sequence[str], expiry: Expiry) -> int:
        given.append((list(warnings), expiry))
        return 0

    def serve_worker(config: Config, warnings: Sequence[str]) -> int:
        given.append((list(warnings), {}))
        return 0

    monkeypatch.setattr(service, "serve", serve)
    monkeypatch.setattr(standalone, "serve", serve_worker)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    cert = ["--cert", str(pair.cert), "--key", str(pair.key)]
    worker_cert = ["--tls-cert", str(pair.cert), "--tls-key", str(pair.key)]
    assert cli.main(["serve", str(file)]) == 0
    assert cli.main(["run", "apps_for_cli:app", *cert]) == 0
    assert cli.main(["worker", "apps_for_cli:app", "--bind", "tcp://127.0.0.1:0", *worker_cert]) == 0
    path = "listeners[0].tls.certificates[0].cert"
    places = [f"{file}:2:69: {path}", "<command line>: --cert", "<command line>: --tls-cert"]
    for place, (warnings, _) in zip(places, given, strict=True):
        (warning,) = warnings
        assert warning.startswith(f"{place}: the certificate {pair.cert} expired at ")
    assert [list(expiry) for _, expiry in given] == [[("web", str(pair.cert))], [("https", str(pair.cert))], []]


def test_every_named_argument_is_an_option(file: Path, capsys: Capture) -> None:
    for command, names in (("run", cli.ARGUMENTS), ("worker", standalone.ARGUMENTS)):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        text = capsys.readouterr().out
        options = {word.strip(",") for name in names.values() for word in name.split() if word.startswith("--")}
        assert len(options) > 6
        assert not [option for option in options if option not in text]


def test_a_worker_in_a_folder_that_is_not_there(started: list[Config], monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(config: Config, warnings: Sequence[str]) -> int:
        started.append(config)
        return 0

    monkeypatch.setattr(standalone, "serve", serve)
    assert cli.main(["worker", "a:b", "--bind", "unix:/no/such/folder/socket"]) == 0
    assert cli.main(["worker", "a:b", "--bind", "tcp://127.0.0.1:0"]) == 0
    assert [(config.listeners[0].mode, config.listeners[0].group) for config in started] == [
        (0o660, None),
        (None, None),
    ]
    assert cli.main(["worker", "a:b", "--bind", "tcp://127.0.0.1:0", "--group", "x"]) == 2


def test_problems_of_a_workers_arguments(capsys: Capture) -> None:
    options = ["--trust", "here", "--grace-period", "long", "--mode", "9", "--concurrency", "0"]
    assert cli.main(["worker", "no-colon", "--bind", "nowhere", *options]) == 2
    names = ["--bind", "--mode", "module:attr", "--concurrency", "--trust", "--grace-period"]
    assert [line.split(": ")[1] for line in capsys.readouterr().err.splitlines()] == names


# ---- worker -----------------------------------------------------------------------------------------------


def test_a_worker_of_a_wsgi_application(file: Path, started: list[Config], monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(config: Config, warnings: Sequence[str]) -> int:
        started.append(config)
        return 0

    monkeypatch.setattr(standalone, "serve", serve)
    bound = ["worker", "apps_for_cli:app", "--bind", "unix:x.sock"]
    assert cli.main([*bound, "--interface", "wsgi", "--threads", "16"]) == 0
    assert cli.main(bound) == 0
    backends = [config.backends["worker"] for config in started]
    assert [(backend.interface, backend.threads) for backend in backends] == [("wsgi", 16), ("auto", None)]


@pytest.mark.parametrize("command", [["run", "a:b"], ["worker", "a:b", "--bind", "unix:x"]])
def test_threads_are_not_for_asgi(command: list[str], capsys: Capture) -> None:
    assert cli.main([*command, "--interface", "asgi", "--threads", "4"]) == 2
    words = "'threads' are for WSGI applications, but 'interface' is asgi"
    assert capsys.readouterr().err == f"<command line>: {words}\n"


# ---- the rest ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["serve"], ["run"], ["run", "a:b", "--key", "k.pem"], ["run", "a:b", "--port", "x"]],
)
def test_wrong_arguments_are_exit_code_2(arguments: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: sidegate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["app:app"], "there is no command 'app:app'; did you mean `sidegate run app:app`?"),
        (["site.yaml"], "there is no command 'site.yaml'; did you mean `sidegate serve site.yaml`?"),
        (["serv", "a.yaml"], "there is no command 'serv'; did you mean 'serve'?"),
        (["start"], "there is no command 'start'; there are serve, run, worker, check, schema, version"),
        (["run", "a:b", "-w", "4"], "unrecognized arguments: -w 4 (-w: it is called --processes here)"),
        (["run", "a:b", "-w4"], "unrecognized arguments: -w4 (-w: it is called --processes here)"),
        (
            ["run", "a:b", "--workers=4", "--strange", "--ssl-keyfile=k"],
            "(--workers: it is called --processes here; --ssl-keyfile: it is called --key here)",
        ),
        (["run", "a:b", "--log-level", "debug"], "logs are set in 'logging'"),
        (["run", "a:b", "--strange"], "sidegate run: error: unrecognized arguments: --strange\n"),
        (["worker", "a:b", "--bind", "unix:a", "--workers", "2"], "a worker is one process"),
        (["serve", "a.yaml", "--workers", "2"], "'processes' at the top level are the fronts"),
        (["serve", "--config", "a.yaml"], "`sidegate serve FILE`"),
    ],
)
def test_arguments_of_other_servers(arguments: list[str], words: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_the_option_version(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"sidegate {__version__}\n"


def test_help_documents_the_exit_codes(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    assert cli.EPILOG in capsys.readouterr().out


def test_schema(capsys: Capture) -> None:
    assert cli.main(["schema"]) == 0
    assert "listeners" in json.loads(capsys.readouterr().out)["properties"]


def test_version(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sidegate.wire.http2.nghttp2", None)
    assert cli.main(["version", "--json"]) == 0
    parts = json.loads(capsys.readouterr().out)
    assert parts["sidegate"] == __version__
    assert parts["nghttp2"] is None
    assert cli.main(["version"]) == 0
    out = capsys.readouterr().out
    assert f"sidegate   {__version__}\n" in out
    assert "nghttp2    -\n" in out


def test_version_starts_no_web_server_in_memory() -> None:
    code = "import sys; from sidegate.cli import main; main(['version']); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.splitlines()[-1].split())
    assert not loaded & {"aiohttp", "pydantic", "uvloop", "sidegate.process.runtime", "sidegate.supervisor.supervisor"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals_without_no_color() -> None:
    assert wants_colour(Terminal(), {})
    assert wants_colour(Terminal(), {"NO_COLOR": ""})
    assert not wants_colour(Terminal(), {"NO_COLOR": "1"})
    assert not wants_colour(io.StringIO(), {})


def test_colours_change_nothing_but_colours(file: Path) -> None:
    config = loads(GOOD, "a.yaml", {}).config
    assert config is not None
    addresses = Addresses({"web": ["https://localhost:1"], "plain": []}, [])
    coloured = summary(config, addresses, {"loop": "uvloop 1"}, colour=True)
    plain = summary(config, addresses, {"loop": "uvloop 1"}, colour=False)
    assert "\x1b[1mhttps://localhost:1\x1b[0m" in coloured
    for code in ("\x1b[0m", "\x1b[1m", "\x1b[2m"):
        coloured = coloured.replace(code, "")
    assert coloured == plain
