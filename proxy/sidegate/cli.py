"""The command ``sidegate``.

This module parses arguments, prints, and turns errors into exit codes; the modules below it do the work. Each command
imports its modules only when it runs, so that ``sidegate version`` does not wait for a web server's imports and
``sidegate serve`` keeps nothing in memory that it does not use.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from sidegate import __version__
from sidegate.errors import ConfigPath, StartError
from sidegate.ipc import standard_streams

if TYPE_CHECKING:
    from sidegate.config.loaded import Expiry, Loaded, Problem
    from sidegate.config.schema import Config

OK = 0
BAD_CONFIGURATION = 2
FAILED_START = 3

EPILOG = """\
exit codes:
  0  success; a service was stopped by SIGTERM, SIGINT or SIGQUIT and finished its requests
  2  wrong arguments or an invalid configuration: one line for each problem on standard error; nothing was started
  3  the start failed: an address was in use, or an application's startup raised an exception
  128 + N  a second signal N stopped the service immediately, or a first one arrived during the start
"""

ENGINES = {
    "--http2-engine": ("HTTP/2 implementation", ("auto", "nghttp2", "h2")),
    "--tls-engine": ("TLS implementation", ("auto", "openssl", "ssl")),
    "--event-loop": ("event loop", ("auto", "uvloop", "asyncio")),
}
INTERFACES = ("auto", "asgi", "wsgi")

COMMAND_LINE = "<command line>"
"""Used as the file name in problems of ``sidegate run``; its folder is the working directory."""

ARGUMENTS = {
    "listeners[0].address": "--host, --port or --unix",
    "listeners[0].tls": "--cert",
    "listeners[0].tls.certificates[0].key": "--key",
    "backends.app": "",
    "backends.app.app": "module:attr",
    "backends.app.interface": "--interface",
    "backends.app.threads": "--threads",
    "backends.app.directory": "--app-dir",
    "backends.app.rootPath": "--root-path",
    "admin": "--admin",
    "processes": "--processes",
    "http2Engine": "--http2-engine",
    "tlsEngine": "--tls-engine",
    "eventLoop": "--event-loop",
}
"""Arguments of ``sidegate run`` by their paths in ``_run_document``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    standard_streams.open_missing()
    arguments = _arguments(sys.argv[1:] if argv is None else argv)
    try:
        code: int = arguments.command(arguments)
    except StartError as error:
        _say(str(error), sys.stderr)
        return FAILED_START
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader of our output has closed the pipe
        # Otherwise the interpreter would print an error when it flushes standard output at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return code


# ---- commands ---------------------------------------------------------------------------------------------


def _serve(arguments: argparse.Namespace) -> int:
    _take_signals()
    from sidegate.supervisor.subprocess_call import SubprocessCall

    with SubprocessCall("sidegate.supervisor.loading:load_file", arguments.config, dict(os.environ)) as call:
        import sidegate.supervisor.service  # noqa: F401 - imported while the file is read

        loaded, expiry = call.result()
    if loaded.config is None:
        problems, _ = _every_problem(loaded, import_apps=True)
        return _refuse(problems)
    return _start(_with_engines(loaded.config, arguments), loaded, expiry)


def _run(arguments: argparse.Namespace) -> int:
    _take_signals()
    from sidegate.supervisor.subprocess_call import call_in_subprocess

    if arguments.cert is None and arguments.key is not None:
        arguments.parser.error("--key needs --cert")
    document = _run_document(arguments)
    loaded, expiry = call_in_subprocess(
        "sidegate.supervisor.loading:load_plain", document, COMMAND_LINE, dict(os.environ)
    )
    if loaded.config is None:
        return _refuse(_of_arguments(problem, ARGUMENTS) for problem in loaded.problems)
    if arguments.print_config:
        from sidegate.config.write import to_yaml

        _say(to_yaml(loaded.config).rstrip())
        return OK
    return _start(loaded.config, loaded, expiry, ARGUMENTS)


def _worker(arguments: argparse.Namespace) -> int:
    from sidegate.supervisor import pid_one

    if os.getpid() == 1:
        code = pid_one.divide()
        if code is not None:
            return code
    return _serve_worker(arguments)


def _serve_worker(arguments: argparse.Namespace) -> int:
    _take_signals()
    from sidegate import standalone
    from sidegate.process.runtime import BuildError
    from sidegate.supervisor.subprocess_call import call_in_subprocess

    for option, value in (("--tls-key", arguments.tls_key), ("--client-ca", arguments.client_ca)):
        if arguments.tls_cert is None and value is not None:
            arguments.parser.error(f"{option} needs --tls-cert")
    loaded, _ = call_in_subprocess(
        "sidegate.supervisor.loading:load_plain", standalone.document(arguments), COMMAND_LINE, {}
    )
    if loaded.config is None:
        return _refuse(_of_arguments(problem, standalone.ARGUMENTS) for problem in loaded.problems)
    try:
        warnings = (_of_arguments(warning, standalone.ARGUMENTS) for warning in loaded.warnings)
        return standalone.serve(loaded.config, [_log_text(warning) for warning in warnings])
    except BuildError as error:
        for _, message in error.problems:
            _say(message, sys.stderr)
        return BAD_CONFIGURATION


def _check(arguments: argparse.Namespace) -> int:
    from sidegate.config.load import load
    from sidegate.supervisor.summary import describe_found, describe_protocols, route_lines

    loaded = load(arguments.config, os.environ)
    problems, kinds = _every_problem(loaded, import_apps=not arguments.no_import)
    of_certificates, warnings = _certificate_problems(loaded)
    problems += of_certificates
    warnings = [*loaded.warnings, *warnings]
    if loaded.config is None or problems:
        return _refuse([*problems, *warnings])
    _print_in_order(warnings)
    config = loaded.config
    _say(f"{arguments.config}: ok")
    for listener in config.listeners:
        tls = "TLS" if listener.tls else "cleartext"
        _say(f"  listener {listener.name}: {', '.join(listener.addresses)} ({tls}, {describe_protocols(listener)})")
    for name, backend in config.backends.items():
        _say(f"  backend {name}: {describe_found(backend, kinds.get(name))}")
    for line in route_lines(config):
        _say(f"  route {line}")
    return OK


def _schema(_: argparse.Namespace) -> int:
    from sidegate.config.json_schema import json_schema

    _say(json.dumps(json_schema(), indent=2))
    return OK


def _version(arguments: argparse.Namespace) -> int:
    from sidegate.versions import installation

    parts = installation()
    if arguments.json:
        _say(json.dumps(parts, indent=2))
    else:
        for name, version in parts.items():
            _say(f"{name:10} {version or '-'}")
    return OK


# ---- steps ------------------------------------------------------------------------------------------------


def _start(config: Config, loaded: Loaded, expiry: Expiry, arguments: Mapping[str, str] | None = None) -> int:
    """Serve ``config``. ``arguments``: the words of the command line by path, if it was made from a command line."""
    from sidegate.supervisor.service import serve

    def in_words(problem: Problem) -> Problem:
        return problem if arguments is None else _of_arguments(problem, arguments)

    def locate(path: ConfigPath, message: str) -> str:
        return str(in_words(loaded.problem(path, message)))

    return serve(config, locate, [_log_text(in_words(warning)) for warning in loaded.warnings], expiry)


def _log_text(warning: Problem) -> str:
    """``warning`` without this word: the log adds its own."""
    return str(replace(warning, is_warning=False))


def _of_arguments(problem: Problem, names: Mapping[str, str]) -> Problem:
    """``problem`` in the words of the command line: lines, columns and paths of the document mean nothing to its user.

    ``names``: what was written, by the path in the document; a longer path is more exact.
    """
    known = [path for path in names if problem.path.startswith(path)]
    return replace(problem, line=0, path=names[max(known, key=len)] if known else problem.path)


def _take_signals() -> None:
    """Handle signals until an event loop does. If this process is PID 1, they have no effect without a handler.

    The program that starts Sidegate may have blocked some, which ``exec`` keeps. Without SIGCHLD no exit is noticed.
    """
    from sidegate.ipc import signals

    signals.remember_given()
    for number in (signal.SIGTERM, signal.SIGQUIT):
        signals.on_signal(number, _leave)
    signals.ignore((signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*signals.HANDLED, signal.SIGCHLD})


def _leave(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


def _every_problem(loaded: Loaded, import_apps: bool) -> tuple[list[Problem], dict[str, str]]:
    """All problems of the text, and of the files and applications that its valid parts name.

    Also a description of each application, by the backend's name.
    """
    from sidegate.aio.event_loops import loop_factory
    from sidegate.process.runtime import check
    from sidegate.server.tls.engines import load_tls_engine
    from sidegate.supervisor.pool_check import check_pools
    from sidegate.supervisor.sockets import unknown_groups
    from sidegate.wire.http2 import load_engine

    event_loop = "auto" if loaded.config is None else loaded.config.event_loop
    tls_engine = "auto" if loaded.config is None else loaded.config.tls_engine
    missing_loop = _failure(partial(loop_factory, event_loop))
    missing_tls = _failure(partial(load_tls_engine, tls_engine))
    loop, engine = "auto" if missing_loop else event_loop, "auto" if missing_tls else tls_engine
    found, kinds = check(loaded.listeners, loaded.backends, import_apps, loop, engine)
    if loaded.config is not None:
        found += unknown_groups(loaded.config)
        if import_apps:
            of_pools, kinds_of_pools = check_pools(loaded.config)
            found += of_pools
            kinds |= kinds_of_pools
        missing_engine = _failure(partial(load_engine, loaded.config.http2_engine))
        missing = {"http2Engine": missing_engine, "tlsEngine": missing_tls, "eventLoop": missing_loop}
        found += [((key,), message) for key, message in missing.items() if message]
    return [*loaded.problems, *(loaded.problem(path, message) for path, message in found)], kinds


def _certificate_problems(loaded: Loaded) -> tuple[list[Problem], list[Problem]]:
    """Problems of certificates that can be loaded, and warnings."""
    import time

    from sidegate.config.certificates import inspect

    routes = () if loaded.config is None else loaded.config.routes
    found = inspect(loaded.listeners, loaded.backends, routes, time.time())
    warnings = [replace(loaded.problem(*one), is_warning=True) for one in found.warnings]
    return [loaded.problem(*one) for one in found.refused], warnings


def _failure(load: Callable[[], object]) -> str:
    try:
        load()
    except StartError as error:
        return str(error)
    return ""


def _refuse(problems: Iterable[Problem]) -> int:
    _print_in_order(problems)
    return BAD_CONFIGURATION


def _print_in_order(problems: Iterable[Problem]) -> None:
    for problem in sorted(problems, key=lambda problem: (problem.line, problem.column)):
        _say(str(problem), sys.stderr)


def _with_engines(config: Config, arguments: argparse.Namespace) -> Config:
    """The configuration with what the command line says of the engines."""
    named = {key: getattr(arguments, key) for key in ("http2_engine", "tls_engine", "event_loop")}
    return replace(config, **{key: value for key, value in named.items() if value is not None})


def _run_document(arguments: argparse.Namespace) -> dict[str, Any]:
    """The YAML document that is equivalent to the arguments of ``sidegate run``."""
    listener: dict[str, Any] = {"name": "http"}
    if arguments.cert is not None:
        pair = {"cert": arguments.cert, "key": arguments.key or arguments.cert}
        listener = {"name": "https", "tls": {"certificates": [pair]}}
    elif arguments.tls:
        listener = {"name": "https", "tls": {"selfSigned": True}}
    port = arguments.port if arguments.port is not None else (8443 if "tls" in listener else 8080)
    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    listener["address"] = f"unix:{arguments.unix}" if arguments.unix else f"{host}:{port}"
    backend = {
        "app": arguments.app,
        "interface": arguments.interface,
        "threads": arguments.threads,
        "directory": arguments.app_dir,
        "rootPath": arguments.root_path,
    }
    return {
        "listeners": [listener],
        "backends": {"app": backend},
        "routes": [{"name": "app", "path": "/", "backend": "app"}],
        "admin": {"address": arguments.admin} if arguments.admin else False,
        "processes": arguments.processes,
        "logging": {"accessLog": arguments.access_log},
        "http2Engine": arguments.http2_engine or "auto",
        "tlsEngine": arguments.tls_engine or "auto",
        "eventLoop": arguments.event_loop or "auto",
    }


def _say(text: str, stream: TextIO | None = None) -> None:
    stream = stream or sys.stdout
    stream.write(f"{text}\n")
    stream.flush()


# ---- arguments --------------------------------------------------------------------------------------------


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse ``argv``. What is unknown is answered with what was probably meant, and exit code 2."""
    parser, commands = _parser()
    word = argv[0] if argv else ""
    if word and not word.startswith("-") and word not in commands:
        parser.error(f"there is no command {word!r}{_meant(word, commands)}")
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        from sidegate.config.foreign import option_advice

        options = (text.partition("=")[0] if text.startswith("--") else text[:2] for text in unknown)
        advice = {option: option_advice(option, word) for option in options if option.startswith("-")}
        found = "; ".join(f"{option}: {text}" for option, text in advice.items() if text)
        arguments.parser.error(f"unrecognized arguments: {' '.join(unknown)}{found and f' ({found})'}")
    return arguments


def _meant(word: str, commands: Iterable[str]) -> str:
    from sidegate.config.checks import suggestion

    if word.endswith((".yaml", ".yml", ".json")):
        return f"; did you mean `sidegate serve {word}`?"
    if ":" in word:
        return f"; did you mean `sidegate run {word}`?"
    return suggestion(word, commands) or f"; there are {', '.join(commands)}"


def _parser() -> tuple[argparse.ArgumentParser, Iterable[str]]:
    """The parser, and the names of the commands."""
    parser = argparse.ArgumentParser(
        prog="sidegate",
        description="A front proxy, written in Python, for Python web applications.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"sidegate {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="serve the applications of a configuration file")
    serve.add_argument("config", metavar="CONFIG", help="YAML file")
    _add_engines(serve)
    serve.set_defaults(command=_serve)

    _add_run(commands.add_parser("run", help="serve one application without a configuration file"))

    _add_worker(commands.add_parser("worker", help="serve one application over HTTP/2 to fronts that run elsewhere"))

    check = commands.add_parser("check", help="report every problem in a configuration file without starting anything")
    check.add_argument("config", metavar="CONFIG", help="YAML file")
    check.add_argument("--no-import", action="store_true", help="do not import the applications")
    check.set_defaults(command=_check)

    schema = commands.add_parser("schema", help="print the configuration's JSON Schema, for editors")
    schema.set_defaults(command=_schema)

    version = commands.add_parser("version", help="print the versions of Sidegate and its dependencies")
    version.add_argument("--json", action="store_true", help="as a JSON object")
    version.set_defaults(command=_version)
    for command in commands.choices.values():
        command.set_defaults(parser=command)
    return parser, list(commands.choices)


def _add_run(run: argparse.ArgumentParser) -> None:
    _add_app(run)
    run.add_argument("--host", default="localhost", help="address or name to listen on (default: localhost)")
    run.add_argument("--port", type=int, help="default: 8080, with TLS 8443; 0: any free port")
    run.add_argument("--unix", metavar="PATH", help="listen on a unix socket instead")
    run.add_argument("--tls", action="store_true", help="serve TLS with a self-signed certificate, for development")
    run.add_argument("--cert", metavar="FILE", help="serve TLS with this certificate chain (PEM)")
    run.add_argument("--key", metavar="FILE", help="its private key (default: in the certificate's file)")
    run.add_argument("--processes", default="1", type=_processes, metavar="N", help="front processes, or auto")
    run.add_argument("--root-path", default="", metavar="PATH", help="where the application is mounted")
    run.add_argument(
        "--app-dir", default=".", metavar="FOLDER", help="folder that is put first on the import path (default: .)"
    )
    run.add_argument(
        "--access-log", nargs="?", const="combined", default="off", choices=("off", "combined", "json"),
        help="write an access log to standard output (without a value, at the end of the line: combined)",
    )  # fmt: skip
    run.add_argument("--admin", metavar="ADDRESS", help="serve metrics and probes there, such as 127.0.0.1:9090")
    run.add_argument("--print-config", action="store_true", help="print the equivalent YAML configuration and exit")
    _add_engines(run)
    run.set_defaults(command=_run)


def _add_worker(worker: argparse.ArgumentParser) -> None:
    _add_app(worker)
    worker.add_argument("--bind", required=True, metavar="ADDRESS", help="unix:/path or tcp://host:port")
    worker.add_argument("--mode", metavar="OCTAL", help="permissions of the unix socket (default: 0660)")
    worker.add_argument(
        "--group", metavar="GROUP", help="group of the unix socket, by name or number (default: its folder's)"
    )
    worker.add_argument(
        "--directory", default=".", metavar="FOLDER", help="folder that is put first on the import path (default: .)"
    )
    worker.add_argument(
        "--root-path",
        default="",
        metavar="PATH",
        help="where the application is mounted (default: as the front says)",
    )
    worker.add_argument(
        "--lifespan", default="auto", choices=("auto", "on", "off"), help="ASGI lifespan (default: auto)"
    )
    worker.add_argument(
        "--concurrency",
        type=int,
        default=100,
        metavar="N",
        help="concurrent requests from each front (default: 100; a WSGI application: its threads)",
    )
    worker.add_argument("--tls-cert", metavar="FILE", help="serve TLS with this certificate chain (PEM)")
    worker.add_argument("--tls-key", metavar="FILE", help="its private key (default: in the certificate's file)")
    worker.add_argument(
        "--client-ca", metavar="FILE", help="accept only fronts with a certificate of these authorities (PEM)"
    )
    worker.add_argument(
        "--trust", action="append", default=[], metavar="CIDR",
        help="address block of fronts that are trusted, besides those on unix sockets; repeatable",
    )  # fmt: skip
    worker.add_argument(
        "--grace-period", default="25s", metavar="TIME",
        help="longest time from SIGTERM until all requests are finished (default: 25s)",
    )  # fmt: skip
    _add_engines(worker)
    worker.set_defaults(command=_worker)


def _add_app(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("app", metavar="module:attr", help="ASGI or WSGI application; module:attr() calls a factory")
    parser.add_argument(
        "--interface", default="auto", choices=INTERFACES, help="how it is called (default: auto, by inspection)"
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads of each process for a WSGI application (default: 4)"
    )


def _add_engines(parser: argparse.ArgumentParser) -> None:
    for option, (what, choices) in ENGINES.items():
        parser.add_argument(option, choices=choices, help=f"{what} (default: the configuration's, or auto)")


def _processes(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
