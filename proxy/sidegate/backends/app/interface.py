"""Finds the interface of an application from its signature: ASGI 3, ASGI 2 or WSGI.

``loading`` passes it an application, which it never calls. A coroutine function is ASGI 3. For other callables the
number of positional arguments decides: three (ASGI 3), two (WSGI, PEP 3333), one (ASGI 2, the double callable). If the
callable accepts several of these numbers, the parameters' names decide. In all other cases it raises an error and does
not guess: a WSGI application that is called as an ASGI one would fail with each request instead of at the start.
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
    shape = _shape(target, follow=True)
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


def _type_of(target: Any) -> str:
    return "a module; name its attribute" if inspect.ismodule(target) else f"of type {type(target).__name__}"


def _is_coroutine_function(target: Callable[..., Any]) -> bool:
    return any(inspect.iscoroutinefunction(one) or _is_marked(one) for one in (target, type(target).__call__))


def _is_marked(target: Any) -> bool:
    """Whether it has asyncio's marker attribute, which coroutine functions compiled by Cython have instead of a flag.

    The type is checked first, because a proxy of an application may return a value for any attribute.
    """
    return hasattr(type(target), "_is_coroutine") and bool(target._is_coroutine)


def _asynchronous(target: Callable[..., Any], interface: str) -> Kind:
    if interface == "wsgi":
        raise ValueError("is a coroutine function, as ASGI applications are, but 'interface' is wsgi")
    # Use the decorator's own signature: the function that it wraps may have the other interface.
    shape = _shape(target, follow=False)
    if shape is not None and not shape.takes(3):
        raise ValueError(f"is a coroutine function that {shape}; {ASGI_TAKES}")
    return "ASGI 3"


def _shape(target: Callable[..., Any], follow: bool) -> _Shape | None:
    """The shape; None if it is unknown. ``follow``: a wrapper that takes any arguments has its function's shape."""
    try:
        shape = _shape_of(inspect.signature(target, follow_wrapped=False))
        return _shape_of(inspect.signature(target)) if follow and shape.most == math.inf else shape
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
