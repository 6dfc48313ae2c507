"""Routes: the rules of the Kubernetes Gateway API's HTTPRoute, name for name."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from proxy.config import values
from proxy.config.model import Integer, Model

Hostname = Annotated[str, AfterValidator(values.hostname)]
Path = Annotated[str, AfterValidator(values.path)]


def _expand_path(data: object) -> object:
    if isinstance(data, str):
        return {"value": data}
    if not isinstance(data, dict | PathMatch):
        raise ValueError("must be a path such as /shop, or a mapping with 'type' and 'value'")
    return data


class PathMatch(Model):
    """Gateway API HTTPPathMatch."""

    type: Literal["Exact", "PathPrefix"] = Field(
        default="PathPrefix",
        description="`PathPrefix` compares whole elements: /shop matches /shop and /shop/x, not /shopping.",
    )
    value: Path = Field(default="/", description="The path, decoded: no `%`, no `.` or `..` elements.")


class HeaderMatch(Model):
    """Gateway API HTTPHeaderMatch."""

    type: Literal["Exact"] = Field(default="Exact", description="How to compare.")
    name: Annotated[str, AfterValidator(values.header_name)] = Field(description="Name, lower-cased.")
    value: Annotated[str, AfterValidator(values.header_value)] = Field(description="The whole value.")


class QueryMatch(Model):
    """Gateway API HTTPQueryParamMatch."""

    type: Literal["Exact"] = Field(default="Exact", description="How to compare.")
    name: Annotated[str, AfterValidator(values.query_name)] = Field(description="Name, decoded.")
    value: str = Field(description="The whole value, decoded.")


class Match(Model):
    """Gateway API HTTPRouteMatch: all conditions together."""

    path: Annotated[PathMatch, BeforeValidator(_expand_path)] = Field(
        default=PathMatch(), description="Short form: a string, which is a PathPrefix."
    )
    method: Annotated[str, AfterValidator(values.method)] | None = Field(default=None, description="Request method.")
    headers: tuple[HeaderMatch, ...] = Field(
        default=(), description="Request headers that must be there, each name once."
    )
    query_params: tuple[QueryMatch, ...] = Field(
        default=(), description="Query parameters that must be there, each name once."
    )

    @model_validator(mode="after")
    def _names_once(self) -> Match:
        for key, names in (
            ("headers", [h.name for h in self.headers]),
            ("queryParams", [q.name for q in self.query_params]),
        ):
            if len(set(names)) < len(names):
                raise ValueError(f"'{key}' names one of its entries twice; all of them would have to match")
        return self


class BackendRef(Model):
    """Gateway API HTTPBackendRef."""

    name: str = Field(description="A key of `backends`.")
    weight: Integer = Field(
        default=1, ge=0, le=1_000_000, description="Share of the requests, in proportion to the others."
    )


class Route(Model):
    """Gateway API HTTPRouteRule, with the host names of its HTTPRoute."""

    short_forms: ClassVar = {"path": ("matches", 0, "path"), "backend": ("backendRefs", 0, "name")}

    name: Annotated[str, AfterValidator(lambda text: text and values.name(text))] = Field(
        default="",
        description="Names the route in messages and metric labels; by default `route-` and its place, from 1.",
    )
    hostnames: tuple[Hostname, ...] = Field(
        default=(), description="Hosts it is for, `*.example.com` for any leading labels; none: every host."
    )
    matches: tuple[Match, ...] = Field(
        default=(Match(),),
        min_length=1,
        description="Any of them is enough; none: every path. Short form: `path` for one PathPrefix.",
    )
    backend_refs: tuple[BackendRef, ...] = Field(
        min_length=1, description="Who answers, by weight. Short form: `backend` with one name."
    )

    @model_validator(mode="after")
    def _some_weight(self) -> Route:
        if not any(ref.weight for ref in self.backend_refs):
            raise ValueError("every weight in 'backendRefs' is 0, so nothing would answer")
        return self
