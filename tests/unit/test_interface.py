"""ASGI 3, ASGI 2 and WSGI told apart, and what is not guessed."""

from __future__ import annotations

import asyncio
import functools
import re
import wsgiref.validate
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sidegate.backends.app.interface import recognise

# ASGI 3.


class Instance:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    async def method(self, scope: Any, receive: Any, send: Any) -> None: ...

    @staticmethod
    async def static(scope: Any, receive: Any, send: Any) -> None: ...


async def function(scope: Any, receive: Any, send: Any) -> None: ...


async def other_names(a: Any, b: Any, c: Any) -> None: ...


async def any_number(*args: Any) -> None: ...


async def with_defaults(scope: Any, receive: Any = None, send: Any = None) -> None: ...


async def with_more(scope: Any, receive: Any, send: Any, extra: Any = None, *, key: Any = None) -> None: ...


async def configured(settings: Any, scope: Any, receive: Any, send: Any) -> None: ...


def returns_awaitable(scope: Any, receive: Any, send: Any) -> Any: ...


def three(a: Any, b: Any, c: Any) -> Any: ...


def defaults_by_name(scope: Any, receive: Any = None, send: Any = None) -> Any: ...


def scope_and_more(scope: Any, *rest: Any) -> Any: ...


class Endpoint:
    """As Starlette's HTTPEndpoint: awaited instead of called."""

    def __init__(self, scope: Any, receive: Any, send: Any) -> None: ...


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    return []


@functools.wraps(wsgi)
async def wrapper_of_wsgi(scope: Any, receive: Any, send: Any) -> None: ...


@functools.wraps(function)
def decorated(*args: Any, **kwargs: Any) -> Any: ...


class AsynchronousOfAnotherCompiler:
    """A coroutine function as Cython compiles it: no flag in a code object, but asyncio's mark."""

    _is_coroutine = object()

    def __call__(self, *args: Any) -> Any: ...


class CallsAnother:
    """Its ``__call__`` is an object, and is not bound."""

    __call__ = AsynchronousOfAnotherCompiler()


class InSlot:
    """As Sentry's: which function is called depends on the application."""

    __slots__ = ("__call__",)

    def __init__(self, call: Any) -> None:
        self.__call__ = call


class Proxy:
    """As those of wrapt and New Relic: whatever is asked of it is asked of the application."""

    def __init__(self, wrapped: Any) -> None:
        self.__wrapped__ = wrapped

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


class ProxyWithoutSignature(Proxy):
    """As New Relic's round an instance."""

    __signature__ = "none"


@functools.wraps(scope_and_more)
def decorated_by_name(*args: Any) -> Any: ...


ASGI3 = [
    CallsAnother(),
    InSlot(function),
    InSlot(three),
    InSlot(Instance().method),
    Proxy(function),
    Proxy(Proxy(Instance())),
    ProxyWithoutSignature(Instance()),
    ProxyWithoutSignature(InSlot(three)),
    decorated_by_name,
    function,
    other_names,
    Instance(),
    Instance().method,
    Instance.static,
    any_number,
    with_defaults,
    with_more,
    functools.partial(configured, {}),
    returns_awaitable,
    three,
    defaults_by_name,
    scope_and_more,
    Endpoint,
    wrapper_of_wsgi,
    decorated,
    AsynchronousOfAnotherCompiler(),
]


@pytest.mark.parametrize("interface", ["auto", "asgi"])
@pytest.mark.parametrize("target", ASGI3)
def test_asgi3(target: Any, interface: str) -> None:
    assert recognise(target, interface) == "ASGI 3"


# ASGI 2.


class DoubleCallable:
    def __init__(self, scope: Any) -> None: ...

    async def __call__(self, receive: Any, send: Any) -> None: ...


def double_function(scope: Any) -> Any: ...


ASGI2 = [DoubleCallable, double_function, lambda anything: None, InSlot(double_function), Proxy(DoubleCallable)]


@pytest.mark.parametrize("interface", ["auto", "asgi"])
@pytest.mark.parametrize("target", ASGI2)
def test_asgi2(target: Any, interface: str) -> None:
    assert recognise(target, interface) == "ASGI 2"


@pytest.mark.parametrize(
    ("target", "kind"), [(function, "ASGI 3"), (Instance(), "ASGI 3"), (double_function, "ASGI 2")]
)
def test_within_sentrys_middleware(target: Any, kind: str) -> None:
    library = pytest.importorskip("sentry_sdk.integrations.asgi")
    assert recognise(library.SentryAsgiMiddleware(target)) == kind


# WSGI.


class WsgiInstance:
    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        return []

    def wsgi_app(self, env: Any, respond: Any) -> list[bytes]:
        return []


class WsgiClass:
    """One of the forms in PEP 3333: the instance is the iterable."""

    def __init__(self, environ: Any, start_response: Any) -> None: ...

    def __iter__(self) -> Iterator[bytes]:
        yield b""


class WsgiOfAnotherCompiler:
    """What Cython compiles says so too if it is no coroutine function."""

    _is_coroutine = False

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        return []


class AnswersEverything:
    """As a proxy of an application that is found when it is needed."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return name

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        return []


def generator(environ: Any, start_response: Any) -> Iterator[bytes]:
    yield b""


def two(a: Any, b: Any) -> list[bytes]:
    return []


def env_and_more(env: Any, respond: Any, extra: Any = None) -> list[bytes]:
    return []


def start_response_and_more(request: Any, start_response: Any, *rest: Any) -> list[bytes]:
    return []


def only_by_position(environ: Any, start_response: Any, extra: Any = None, /) -> list[bytes]:
    return []


def with_settings(settings: Any, environ: Any, start_response: Any) -> list[bytes]:
    return []


@functools.wraps(wsgi)
def decorated_wsgi(*args: Any, **kwargs: Any) -> list[bytes]:
    return []


def nameless(*args: Any) -> Any: ...


WSGI = [
    InSlot(wsgi),
    Proxy(wsgi),
    ProxyWithoutSignature(WsgiInstance()),
    wsgiref.validate.validator(nameless),
    wsgi,
    WsgiInstance(),
    WsgiInstance().wsgi_app,
    WsgiClass,
    WsgiOfAnotherCompiler(),
    AnswersEverything(),
    generator,
    two,
    env_and_more,
    start_response_and_more,
    only_by_position,
    functools.partial(with_settings, {}),
    decorated_wsgi,
]


@pytest.mark.parametrize("interface", ["auto", "wsgi"])
@pytest.mark.parametrize("target", WSGI)
def test_wsgi(target: Any, interface: str) -> None:
    assert recognise(target, interface) == "WSGI"


# What does not tell.


class WithoutSignature:
    """As some extension modules have them."""

    __signature__ = "none"

    def __call__(self, *args: Any) -> Any: ...


def two_or_three(a: Any, b: Any, c: Any = None) -> Any: ...


def request_and_more(request: Any, *args: Any, **kwargs: Any) -> Any: ...


itself = Proxy(None)
itself.__wrapped__ = itself

UNTOLD: list[tuple[Callable[..., Any], str]] = [
    (WithoutSignature(), "has a signature that cannot be inspected"),
    (nameless, "takes 0 or more arguments"),
    (itself, "takes 0 or more arguments"),
    (Proxy(nameless), "takes 0 or more arguments"),
    (two_or_three, "takes 2 to 3 arguments"),
    (request_and_more, "takes 1 or more arguments"),  # as of webob.dec.wsgify
]


@pytest.mark.parametrize(("target", "words"), UNTOLD)
def test_what_does_not_tell_is_not_guessed(target: Any, words: str) -> None:
    advice = "so it may be an ASGI or a WSGI application: write interface: asgi or interface: wsgi"
    with pytest.raises(ValueError, match=f"^{words}, {advice}$"):
        recognise(target)


@pytest.mark.parametrize("target", [target for target, _ in UNTOLD])
def test_what_does_not_tell_is_what_the_operator_says(target: Any) -> None:
    assert recognise(target, "asgi") == "ASGI 3"
    assert recognise(target, "wsgi") == "WSGI"


def test_a_double_callable_with_a_default() -> None:
    def application(first: Any, second: Any = None) -> Any: ...

    assert recognise(application, "asgi") == "ASGI 2"
    assert recognise(application, "wsgi") == "WSGI"
    with pytest.raises(ValueError, match=r"^takes 1 to 2 arguments, so it may be"):
        recognise(application)


# What is neither, or not what was said.


async def asynchronous_with_two(environ: Any, start_response: Any) -> None: ...


def four(a: Any, b: Any, c: Any, d: Any) -> Any: ...


def keyword_only(*, scope: Any, receive: Any, send: Any) -> Any: ...


ASGI_TAKES = "an ASGI application takes scope, receive and send"
WSGI_TAKES = "a WSGI application takes environ and start_response"


@pytest.mark.parametrize(
    ("target", "interface", "message"),
    [
        (1, "auto", "is of type int, neither an ASGI nor a WSGI application"),
        (asyncio, "wsgi", "is a module; name its attribute, neither an ASGI nor a WSGI application"),
        (four, "auto", f"takes 4 arguments; {ASGI_TAKES}, {WSGI_TAKES}"),
        (keyword_only, "auto", f"takes 0 arguments; {ASGI_TAKES}, {WSGI_TAKES}"),
        (asynchronous_with_two, "auto", f"is a coroutine function that takes 2 arguments; {ASGI_TAKES}"),
        (asynchronous_with_two, "asgi", f"is a coroutine function that takes 2 arguments; {ASGI_TAKES}"),
        (function, "wsgi", "is a coroutine function, as ASGI applications are, but 'interface' is wsgi"),
        (Instance(), "wsgi", "is a coroutine function, as ASGI applications are, but 'interface' is wsgi"),
        (three, "wsgi", f"takes 3 arguments, but 'interface' is wsgi; {WSGI_TAKES}"),
        (double_function, "wsgi", f"takes 1 argument, but 'interface' is wsgi; {WSGI_TAKES}"),
        (InSlot(function), "wsgi", "is a coroutine function, as ASGI applications are, but 'interface' is wsgi"),
        (wsgiref.validate.validator(wsgi), "asgi", f"takes 2 arguments, but 'interface' is asgi; {ASGI_TAKES}"),
        (wsgi, "asgi", f"takes 2 arguments, but 'interface' is asgi; {ASGI_TAKES}"),
        (env_and_more, "asgi", "is WSGI by the names of its arguments, but 'interface' is asgi"),
        (defaults_by_name, "wsgi", "is ASGI 3 by the names of its arguments, but 'interface' is wsgi"),
    ],
)
def test_what_is_refused(target: Any, interface: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        recognise(target, interface)
