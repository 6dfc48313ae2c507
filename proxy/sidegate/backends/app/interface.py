"""Finds the interface of an application from its signature: ASGI 3, ASGI 2 or WSGI.

``loading`` passes it an application, which it never calls. A coroutine function is ASGI 3. For other callables the
number of positional arguments decides: three (ASGI 3), two (WSGI, PEP 3333), one (ASGI 2, the double callable). If the
callable accepts several of these numbers, the parameters' names decide. If a callable accepts any arguments, or its
signature is unknown, that of its bound ``__call__`` or of what it wraps (``__wrapped__``) decides. In all other cases
it raises an error and does not guess: a WSGI application that is called as an ASGI one would fail with each request
instead of at the start.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

Kind = Literal["ASGI 3", "ASGI 2", "WSGI"]

ASGI_TAKES = "an ASGI application takes scope, receive and send"
WSGI_TAKES = "a WSGI application takes environ and start_response"

_BY_COUNT: dict[int, Kind] = {3: "ASGI 3", 2: "WSGI", 1: "ASGI 2"}
_ENVIRON = ("environ", "env")


def recognise(target: Any, interface: str = "auto") -> Kind:
    """Return the kind of ``target``, which must fit ``interface`` (auto, asgi, wsgi).

    :raises ValueError: it does not fit, or is not recognised; the message completes "``module:attribute`` …".
    """
    if not callable(target):
        raise ValueError(f"is {_type_of(target)}, neither an ASGI nor a WSGI application")
    if _is_coroutine_function(target):
        return _asynchronous(target, interface)
    shape = _shape_through_wrappers(target)
    found = _by_shape(shape)
    if interface == "auto":
        if found is None:
            raise ValueError(_ambiguity(shape))
        return found
    if shape is not None and (words := _contradiction(found, shape, interface)):
        raise ValueError(words)
    if interface == "wsgi":
        return "WSGI"
    return "ASGI 3" if shape is None or shape.takes(3) else "ASGI 2"


class _Shape(NamedTuple):
    """The positional arguments of a callable: at least ``least``, at most ``most``, and their names."""

    least: int
    most: float
    names: tuple[str, ...]

    def takes(self, count: int) -> bool:
        return self.least <= count <= self.most

    def __str__(self) -> str:
        """For messages: ``takes 2 arguments``, ``takes 2 to 4 arguments``, ``takes 1 or more arguments``."""
        if self.most == math.inf:
            return f"takes {self.least} or more arguments"
        number = str(self.least) if self.least == self.most else f"{self.least} to {self.most}"
        return f"takes {number} argument{'' if number == '1' else 's'}"


_KNOWN = {("wsgiref.validate", "validator.<locals>.lint_app"): _Shape(2, 2, ("environ", "start_response"))}
"""Functions that take any arguments and have no ``__wrapped__``, by module and name."""

_METHOD_WRAPPER = type(object().__str__)

_DEEPEST = 20
"""Number of wrappers round an application that are looked through; a proxy may wrap itself."""


def _type_of(target: Any) -> str:
    return "a module; name its attribute" if inspect.ismodule(target) else f"of type {type(target).__name__}"


def _is_coroutine_function(target: Callable[..., Any]) -> bool:
    return any(inspect.iscoroutinefunction(one) or _is_marked(one) for one in (target, _bound_call(target)))


def _bound_call(target: Callable[..., Any]) -> Any:
    """What Python calls for ``target(…)``: the type's ``__call__``, bound. It may be a slot that holds a function."""
    call: Any = inspect.getattr_static(type(target), "__call__")
    return call.__get__(target, type(target)) if hasattr(call, "__get__") else call


def _is_marked(target: Any) -> bool:
    """Whether it has asyncio's marker attribute, which coroutine functions compiled by Cython have instead of a flag.

    The type is checked first, because a proxy of an application may return a value for any attribute.
    """
    return hasattr(type(target), "_is_coroutine") and bool(target._is_coroutine)


def _asynchronous(target: Callable[..., Any], interface: str) -> Kind:
    if interface == "wsgi":
        raise ValueError("is a coroutine function, as ASGI applications are, but 'interface' is wsgi")
    # Use the decorator's own signature: the function that it wraps may have the other interface.
    shape = _shape(target)
    if shape is not None and not shape.takes(3):
        raise ValueError(f"is a coroutine function that {shape}; {ASGI_TAKES}")
    return "ASGI 3"


def _shape_through_wrappers(target: Callable[..., Any], depth: int = 0) -> _Shape | None:
    """The shape of ``target``, or, if that says nothing, of the first thing that it calls or wraps and that has one."""
    place: Any = (getattr(target, "__module__", None), getattr(target, "__qualname__", None))
    shape = _KNOWN.get(place) if place in _KNOWN else _shape(target)
    if _tells(shape) or depth == _DEEPEST:
        return shape
    for inner in (_bound_call(target), getattr(target, "__wrapped__", None)):
        # The bound call of a function is a `method-wrapper`, which says nothing, nor does its own.
        if callable(inner) and not isinstance(inner, _METHOD_WRAPPER):
            found = _shape_through_wrappers(inner, depth + 1)
            if _tells(found):
                return found
    return shape


def _tells(shape: _Shape | None) -> bool:
    return shape is not None and (shape.most != math.inf or _by_shape(shape) is not None)


def _shape(target: Callable[..., Any]) -> _Shape | None:
    """The shape by the target's own signature; None if it has none."""
    try:
        return _shape_of(inspect.signature(target, follow_wrapped=False))
    except (TypeError, ValueError):
        return None


def _shape_of(signature: inspect.Signature) -> _Shape:
    parameters = signature.parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    unlimited = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    least = sum(p.default is p.empty for p in positional)
    return _Shape(least, math.inf if unlimited else len(positional), tuple(p.name for p in positional))


def _by_shape(shape: _Shape | None) -> Kind | None:
    if shape is None:
        return None
    kinds = [kind for count, kind in _BY_COUNT.items() if shape.takes(count)]
    if len(kinds) > 1:
        kinds = _by_names(shape.names, kinds)
    return kinds[0] if kinds else None


def _by_names(names: tuple[str, ...], kinds: list[Kind]) -> list[Kind]:
    """Those of ``kinds`` that fit the names, the most likely first; empty if the names do not decide."""
    if names[:1] == ("scope",):
        return [kind for kind in kinds if kind != "WSGI"]
    if names[1:2] == ("start_response",) or names[:1] in [(name,) for name in _ENVIRON]:
        return [kind for kind in kinds if kind == "WSGI"]
    return []


def _ambiguity(shape: _Shape | None) -> str:
    if shape is not None and not any(map(shape.takes, _BY_COUNT)):
        return f"{shape}; {ASGI_TAKES}, {WSGI_TAKES}"
    words = "has a signature that cannot be inspected" if shape is None else str(shape)
    return f"{words}, so it may be an ASGI or a WSGI application: write interface: asgi or interface: wsgi"


def _contradiction(found: Kind | None, shape: _Shape, interface: str) -> str:
    """Say why an application of this shape cannot have the interface; empty if it can."""
    wanted, takes = ((2,), WSGI_TAKES) if interface == "wsgi" else ((3, 1), ASGI_TAKES)
    if not any(map(shape.takes, wanted)):
        return f"{shape}, but 'interface' is {interface}; {takes}"
    if found is not None and (found == "WSGI") != (interface == "wsgi"):
        return f"is {found} by the names of its arguments, but 'interface' is {interface}"
    return ""
