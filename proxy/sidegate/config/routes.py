"""Routes: the rules of the Kubernetes Gateway API's HTTPRoute, name for name."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from sidegate.config import values
from sidegate.config.limits import DAY
from sidegate.config.model import Integer, Model, model, setting
from sidegate.config.quantities import Duration
from sidegate.config.rules import After, Before
from sidegate.config.websocket import WebSocketConfig

Hostname = Annotated[str, After(values.hostname)]
Path = Annotated[str, After(values.path)]


def _expand_path(data: object) -> object:
    if isinstance(data, str):
        return {"value": data}
    if not isinstance(data, dict | PathMatch):
        raise ValueError("must be a path such as /shop, or a mapping with 'type' and 'value'")
    return data


@model
class PathMatch(Model):
    """Gateway API HTTPPathMatch."""

    type: Literal["Exact", "PathPrefix"] = setting(
        default="PathPrefix",
        description="`PathPrefix` compares whole elements: /shop matches /shop and /shop/x, not /shopping.",
    )
    value: Path = setting(
        default="/",
        description="The path, decoded: no `%`, no `.` or `..` elements; `*` is allowed in an `Exact` one. It is "
        "compared with the decoded path of the request, in which repeated slashes are merged.",
    )

    def __post_init__(self) -> None:
        if self.type == "PathPrefix" and "*" in self.value:
            folder = self.value[: self.value.index("*")].rpartition("/")[0] or "/"
            raise ValueError(
                f"{self.value!r} is a pattern, and a PathPrefix is a path: {folder} matches {folder} itself and "
                "everything below it; there are no other wildcards"
            )


@model
class HeaderMatch(Model):
    """Gateway API HTTPHeaderMatch."""

    type: Literal["Exact"] = setting(default="Exact", description="How to compare.")
    name: Annotated[str, After(values.header_name)] = setting(description="Name, lower-cased.")
    value: Annotated[str, After(values.header_value)] = setting(description="The whole value.")


@model
class QueryMatch(Model):
    """Gateway API HTTPQueryParamMatch."""

    type: Literal["Exact"] = setting(default="Exact", description="How to compare.")
    name: Annotated[str, After(values.query_name)] = setting(description="Name, decoded.")
    value: str = setting(description="The whole value, decoded.")


@model
class Match(Model):
    """Gateway API HTTPRouteMatch: all conditions together."""

    path: Annotated[PathMatch, Before(_expand_path)] = setting(
        default=PathMatch(), description="Short form: a string, which is a PathPrefix."
    )
    method: Annotated[str, After(values.method)] | None = setting(
        default=None,
        description="Request method. Any token reaches applications, except CONNECT, TRACE and methods with lower-case"
        " letters: these get 501.",
    )
    headers: tuple[HeaderMatch, ...] = setting(
        default=(), description="Request headers that the request must have, each name once."
    )
    query_params: tuple[QueryMatch, ...] = setting(
        default=(), description="Query parameters that the request must have, each name once."
    )

    def __post_init__(self) -> None:
        for key, names in (
            ("headers", [h.name for h in self.headers]),
            ("queryParams", [q.name for q in self.query_params]),
        ):
            if len(set(names)) < len(names):
                raise ValueError(f"'{key}' names one of its entries twice; all of them would have to match")


@model
class BackendRef(Model):
    """Gateway API HTTPBackendRef."""

    name: str = setting(description="A key of `backends`.")
    weight: Integer = setting(
        default=1, ge=0, le=1_000_000, description="Share of the requests, relative to the weights of the others."
    )


@model
class Timeouts(Model):
    """Gateway API HTTPRouteTimeouts."""

    request: Duration = setting(
        default=0.0,
        ge=0,
        le=DAY,
        description="From the request head to the end of the response, 0s for no limit. Then the client gets 504; if "
        "the response has begun, the stream or connection is closed. A thread that still runs the request is counted "
        "as stuck.",
    )


@model
class RouteConfig(Model):
    """Gateway API HTTPRouteRule, with the host names of its HTTPRoute."""

    short_forms: ClassVar = {"path": ("matches", 0, "path"), "backend": ("backendRefs", 0, "name")}

    name: Annotated[str, After(lambda text: text and values.name(text))] = setting(
        default="",
        description="Names the route in messages and metric labels; by default `route-` and its number, from 1.",
    )
    hostnames: tuple[Hostname, ...] = setting(
        default=(), description="Hosts of the route; `*.example.com` matches any leading labels. By default every host."
    )
    matches: tuple[Match, ...] = setting(
        default=(Match(),),
        min_length=1,
        description="The route matches if any of them matches. By default every path. Short form: `path` for one "
        "PathPrefix.",
    )
    backend_refs: tuple[BackendRef, ...] = setting(
        min_length=1, description="Backends of the route, by weight. Short form: `backend` with one name."
    )
    timeouts: Timeouts = setting(default=Timeouts(), description="How long requests may take.")
    websocket: WebSocketConfig = setting(
        default=WebSocketConfig(), description="Settings of WebSockets, where they differ from the listener's."
    )

    def __post_init__(self) -> None:
        if not any(ref.weight for ref in self.backend_refs):
            raise ValueError("every weight in 'backendRefs' is 0, so no backend would answer")
