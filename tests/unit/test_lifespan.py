"""The lifespan protocol with applications that know it, do not, or fail in the middle."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from sidegate.asgi import RECORD_KEY, App, Message
from sidegate.backends.app import lifespan
from sidegate.backends.app.asgi import AsgiBackend
from sidegate.backends.app.lifespan import Lifespan
from sidegate.backends.app.loading import LoadedApp
from sidegate.errors import StartError
from tests.support.apps import Receive, Scope, Send

Mode = Literal["auto", "on", "off"]


def run(app: App, mode: Mode = "auto", then: Callable[[Lifespan], None] | None = None) -> Lifespan:
    """Startup and shutdown; fails if a task's exception was seen by nobody."""
    unhandled: list[dict[str, Any]] = []

    async def live() -> Lifespan:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        span = Lifespan("shop", app, mode)
        try:
            await span.startup()
            if then is not None:
                then(span)
            await span.shutdown()
        finally:
            assert asyncio.all_tasks() == {asyncio.current_task()}
            gc.collect()
            await asyncio.sleep(0)
        return span

    span = asyncio.run(live())
    assert not unhandled, unhandled
    return span


def failure(app: App, mode: Mode = "auto") -> str:
    with pytest.raises(StartError) as caught:
        run(app, mode)
    return str(caught.value)


def complete(phase: str) -> dict[str, str]:
    return {"type": f"lifespan.{phase}.complete"}


# Applications that know it.


def test_startup_state_and_shutdown_in_order() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "lifespan"
        assert scope["asgi"] == {"version": "3.0", "spec_version": "2.0"}
        seen.append((await receive())["type"])
        scope["state"]["pool"] = "shared"
        await send(complete("startup"))
        seen.append((await receive())["type"])
        await send(complete("shutdown"))

    for mode in ("auto", "on"):
        span = run(app, mode, then=lambda _: seen.append("serving"))
        assert seen == ["lifespan.startup", "serving", "lifespan.shutdown"]
        assert span.state == {"pool": "shared"}
        seen.clear()


def test_off_calls_nothing() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("called")

    assert run(app, "off").state == {}


def test_each_request_gets_the_state_and_the_root_path() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"]["pool"] = "shared"
            await send(complete("startup"))
            await receive()
            await send(complete("shutdown"))
        else:
            await send(scope)

    record = SimpleNamespace(backend="")

    async def live() -> list[Message]:
        backend = AsgiBackend("shop", LoadedApp(app, "asgi", "ASGI 3 application"), "/shop", "on")
        await backend.start()
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        for _ in range(2):
            scope = {"type": "http", "path": "/shop", "raw_path": b"/shop", RECORD_KEY: record}
            await backend(scope, None, send)  # type: ignore[arg-type]  # nothing is received
            sent[-1]["state"]["mine"] = 1
        await backend.stop()
        return sent

    first, second = asyncio.run(live())
    state = {"pool": "shared", "mine": 1}
    asked = {"type": "http", "path": "/shop", "raw_path": b"/shop", RECORD_KEY: record}
    assert first == second == {**asked, "root_path": "/shop", "state": state}
    assert record.backend == "shop"
    assert first["state"] is not second["state"]


# Applications that do not know it.


async def raises_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError("what is a lifespan?")


async def returns_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    pass


async def reads_and_returns(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()


async def answers_in_http(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 404, "headers": []})


@pytest.mark.parametrize(
    ("app", "words"),
    [
        (raises_at_once, "ValueError: what is a lifespan?"),
        (returns_at_once, "it returned without answering."),
        (reads_and_returns, "it returned without answering."),
        (answers_in_http, "RuntimeError: 'http.response.start' is not a lifespan message"),
    ],
)
def test_auto_goes_on_without_it_and_on_does_not(app: App, words: str) -> None:
    assert run(app, "auto").state == {}
    shown = failure(app, "on")
    assert shown.startswith("backend 'shop': the application's startup failed: ")
    assert words in shown
    assert shown.endswith("\nIf it has no lifespan, set `lifespan: off`.")


# Startup that fails.


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_an_exception_after_the_startup_message_is_a_failure(mode: Mode) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise ConnectionError("no database")

    shown = failure(app, mode)
    assert "Traceback" in shown
    assert "ConnectionError: no database\n" in shown


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_startup_failed_has_the_applications_own_words(mode: Mode) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database\n"})

    assert failure(app, mode) == "backend 'shop': the application's startup failed: no database"


def test_startup_failed_without_words() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed"})

    assert failure(app).endswith("startup failed: it sent no message")


def test_startup_failed_and_then_raised_as_starlette_does() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        raise ConnectionError("no database")

    assert failure(app).endswith("startup failed: no database")


def test_startup_failed_by_an_application_that_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifespan, "FAREWELL", 0.01)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        await receive()

    assert failure(app).endswith("startup failed: no database")


@pytest.mark.parametrize("error", [SystemExit("no settings"), KeyboardInterrupt()])
def test_an_application_that_wants_to_exit_does_not_end_the_process(error: BaseException) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise error

    assert f"RuntimeError: the application raised {error!r}" in failure(app)


def test_a_second_answer_changes_nothing() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(complete("startup"))
        await send({"type": "lifespan.startup.failed", "message": "too late"})
        await receive()
        await send(complete("shutdown"))

    run(app)


# Shutdown that fails: logged, never raised.


def after_startup(do: Callable[[Receive, Send], Any]) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(complete("startup"))
        await do(receive, send)

    return app


def test_shutdown_failed(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "left a file behind"})

    run(after_startup(fail))
    assert "backend 'shop': the application's shutdown failed: left a file behind" in caplog.text


def test_an_exception_in_shutdown(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(receive: Receive, send: Send) -> None:
        await receive()
        raise ValueError("no way")

    run(after_startup(fail))
    assert "backend 'shop': the application's lifespan failed" in caplog.text
    assert "ValueError: no way" in caplog.text


def test_a_lifespan_that_ended_long_before(caplog: pytest.LogCaptureFixture) -> None:
    async def leave(receive: Receive, send: Send) -> None:
        pass

    run(after_startup(leave))
    assert caplog.text == ""


def test_a_lifespan_that_stays_after_its_last_word(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lifespan, "FAREWELL", 0.01)

    async def stay(receive: Receive, send: Send) -> None:
        await receive()
        await send(complete("shutdown"))
        await receive()

    run(after_startup(stay))
    assert "the application's lifespan failed" in caplog.text
