"""Whatever the text, ``loads`` answers with problems; whatever is valid, it comes back from YAML and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidegate.config.load import loads
from sidegate.config.loaded import Loaded
from sidegate.config.plain import dump, pack, unpack
from sidegate.config.schema import Config
from sidegate.config.validation import validate, validate_file
from sidegate.config.write import to_yaml

ROOT = Path(__file__).parents[2]
# Not the bombs: they are bounded, but slow enough to eat the time of the other examples.
SEEDS = [
    path.read_text(encoding="utf-8")
    for path in sorted(ROOT.glob("tests/config/golden/*.yaml"))
    if not path.stem.endswith("-bomb")
]

YAML_LIKE = st.text(alphabet=" \n\t-:{}[]&*!|>'\"#%@,?<$~ab01.\r\u2028\ud800\0", max_size=60)
ENVIRONS = st.dictionaries(st.sampled_from(["PORT", "UNSET", "WORD"]), st.text(alphabet=st.characters(), max_size=5))


@st.composite
def damaged(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(SEEDS))
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 20)))
    return text[:start] + draw(YAML_LIKE | st.sampled_from(SEEDS)) + text[end:]


def assert_answered(loaded: Loaded, text: str) -> None:
    assert (loaded.config is None) == bool(loaded.problems)
    assert list(loaded.problems) == sorted(loaded.problems, key=lambda one: (one.line, one.column))
    for problem in loaded.problems:
        assert 1 <= problem.line <= text.count("\n") + text.count("\r") + text.count("\u2028") + 2
        assert problem.column >= 1
        assert "pydantic" not in str(problem)
        assert "Input should" not in str(problem)


@given(YAML_LIKE | st.text(max_size=60), ENVIRONS)
def test_any_text_is_answered(text: str, environ: dict[str, str]) -> None:
    assert_answered(loads(text, "a.yaml", environ), text)


@given(damaged(), ENVIRONS)
def test_damaged_files_are_answered(text: str, environ: dict[str, str]) -> None:
    assert_answered(loads(text, "a.yaml", environ), text)


NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?", fullmatch=True)
TEXTS = st.text(max_size=20) | st.sampled_from(
    ["off", "yes", "1e3", "0660", "${A}", "$${A}", " x\n y \n\n", "12:30", "~"]
)
LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?", fullmatch=True).filter(lambda label: not label.isdigit())
HOSTS = st.builds(
    lambda wild, labels: wild + ".".join(labels), st.sampled_from(["", "*."]), st.lists(LABELS, min_size=1, max_size=3)
)
PATHS = st.lists(st.from_regex(r"[a-zA-Z0-9é~_ -]{1,5}", fullmatch=True), max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)
VALUES = st.from_regex(r"[!-~]([ -~]{0,8}[!-~])?", fullmatch=True)
TOKENS = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
DURATIONS = st.integers(1, 60_000).map(lambda milliseconds: milliseconds / 1000)


def some(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


PATH_MATCHES = PATHS | some({}, {"type": st.sampled_from(["Exact", "PathPrefix"]), "value": PATHS})
FIELD_MATCHES = st.lists(some({"name": TOKENS, "value": VALUES}, {}), max_size=2, unique_by=lambda one: one["name"])
MATCHES = some(
    {},
    {
        "path": PATH_MATCHES,
        "method": st.sampled_from(["GET", "POST"]),
        "headers": FIELD_MATCHES,
        "queryParams": FIELD_MATCHES,
    },
)
RESPONDS = some(
    {},
    {
        "status": st.sampled_from([200, 404, 503]),
        "body": TEXTS,
        "headers": st.lists(some({"name": TOKENS.map(lambda name: "x-" + name), "value": VALUES}, {}), max_size=2),
    },
)
WORKERS = st.integers(1, 5) | some({"max": st.integers(2, 5)}, {"min": st.integers(1, 2), "idleTimeout": DURATIONS})
POOLS = some(
    {"workers": WORKERS},
    {
        "concurrency": st.integers(1, 500),
        "env": st.dictionaries(
            st.from_regex(r"[A-Z_][A-Z0-9_]{0,5}", fullmatch=True),
            TEXTS.filter(lambda text: "\0" not in text),
            max_size=2,
        ),
        "umask": st.sampled_from(["0027", "077"]),
        "limits": some({}, {"openFiles": st.integers(64, 9999), "memory": st.integers(2**31, 2**34)}),
        "maxMemory": st.integers(0, 2**30),
        "maxAge": DURATIONS,
        "preload": st.booleans(),
        "reload": st.just({"watch": ["/src"]}),
    },
)
QUEUES = some({}, {"size": st.integers(0, 9), "timeout": DURATIONS})
ADDRESSES = st.lists(st.sampled_from(["tcp://a:1", "tcp://[::1]:2", "tcp://10.0.0.1:3"]), min_size=1, unique=True)
BACKENDS = st.one_of(
    some({"app": st.just("a:b"), "pool": POOLS}, {"queue": QUEUES, "rootPath": st.just("/x")}),
    some({"h2c": ADDRESSES | st.just("unix:/a")}, {"queue": QUEUES}),
    some(
        {"h2": ADDRESSES}, {"tls": some({}, {"ca": st.just("/ca"), "serverName": HOSTS.filter(lambda h: h[0] != "*")})}
    ),
    some({"respond": RESPONDS}, {}),
    some(
        {"app": st.sampled_from(["a:b", "a.b:c.d", "a:make()"])},
        {
            "rootPath": PATHS.map(lambda path: path.rstrip("/")),
            "lifespan": st.sampled_from(["auto", "on", "off"]),
            "bodyBuffering": st.sampled_from(["auto", "on", "off"]),
            "responseBuffering": st.sampled_from(["auto", "on", "off"]),
        },
    ),
)
TLS = st.one_of(
    some({"selfSigned": st.just(True)}, {"minVersion": st.sampled_from(["1.2", "1.3"])}),
    some({"certificates": st.just([{"cert": "/a", "key": "/b"}])}, {"clientCertificates": st.just({"ca": "/c"})}),
)
WEBSOCKETS = some(
    {},
    {
        "maxMessage": st.integers(64, 2**20),
        "pingInterval": DURATIONS,
        "pingTimeout": DURATIONS,
        "maxQueue": st.integers(1, 99),
        "compression": st.sampled_from(["off", "deflate"])
        | some({}, {"mode": st.just("off"), "windowBits": st.integers(9, 15), "contextTakeover": st.booleans()}),
    },
)
LIMITS = some(
    {},
    {
        "requestBody": st.integers(0, 2**34),
        "headerFields": st.integers(1, 50),
        "streamResetRate": st.integers(0, 50).map(float),
        "keepUnderscores": st.just(["x_id"]),
        "proxyFields": st.lists(st.sampled_from(["x-own", "x-from-*"]), unique=True),
    },
)
TIMEOUTS = some({}, {"keepAlive": DURATIONS, "write": DURATIONS})
LISTENERS = some(
    {"addresses": st.lists(st.sampled_from([":0", "127.0.0.1:0", "[::1]:0"]), min_size=1, max_size=2)},
    {
        "backlog": st.integers(1, 5),
        "tls": TLS,
        "protocols": st.just(["h2"]),
        "httpsRedirect": st.booleans(),
        "websocket": WEBSOCKETS,
        "limits": LIMITS,
        "timeouts": TIMEOUTS,
    },
)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    backends = draw(st.dictionaries(NAMES, BACKENDS, min_size=1, max_size=3))
    refs = some({"name": st.sampled_from(sorted(backends))}, {"weight": st.integers(1, 9)})
    routes = some(
        {"backendRefs": st.lists(refs, min_size=1, max_size=2)},
        {
            "hostnames": st.lists(HOSTS, max_size=2),
            "matches": st.lists(MATCHES, min_size=1, max_size=2),
            "websocket": WEBSOCKETS,
        },
    )
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    others = some(
        {},
        {
            "admin": st.sampled_from([None, False, {}, {"address": "unix:/a"}]),
            "processes": st.integers(1, 8),
            "limits": LIMITS,
            "timeouts": TIMEOUTS,
            "gracePeriod": DURATIONS,
            "websocketDrain": st.just(0.001),
            "logging": some({"accessLog": st.just("json")}, {"skipPaths": st.lists(PATHS, max_size=2)}),
            "path": some({}, {"slashes": st.just("merge"), "encodedSlash": st.just("refuse")}),
            "trustedProxies": st.just(["10.0.0.0/8"]),
        },
    )
    return validate(
        Config,
        {
            "listeners": [{"name": name, **draw(LISTENERS)} for name in names],
            "backends": backends,
            "routes": draw(st.lists(routes, min_size=1, max_size=3)),
            **draw(others),
        },
    )


@given(configs())
def test_valid_configurations_come_back_from_json(config: Config) -> None:
    assert validate_file(Config, dump(config), "/") == config


@given(configs())
def test_valid_configurations_come_back_from_yaml(config: Config) -> None:
    loaded = loads(to_yaml(config), "a.yaml", {})
    assert [str(problem) for problem in loaded.problems] == []
    assert loaded.config == config


@pytest.mark.parametrize("text", ["\x85", "a\u2028b", "\u2029", "a\nb"])
def test_line_breaks_of_yaml_1_1_come_back(text: str) -> None:
    backends = {"app": {"app": "a:b", "pool": {"env": {"A": text}}}}
    listeners, routes = [{"name": "x", "addresses": [":0"]}], [{"backendRefs": [{"name": "app"}]}]
    config = validate(Config, {"listeners": listeners, "backends": backends, "routes": routes})
    loaded = loads(to_yaml(config), "a.yaml", {}).config
    assert loaded is not None
    assert loaded.backends["app"].pool is not None
    assert loaded.backends["app"].pool.env == {"A": text}


def test_yaml_is_short_and_in_order() -> None:
    text = """\
listeners:
- name: http
  address: localhost:8080
backends:
  hello:
    respond:
      body: "off\\n"
routes:
- name: route-1
  path: /x
  backend: hello
gracePeriod: 1m
"""
    config = loads(text, "a.yaml", {}).config
    assert config is not None
    assert to_yaml(config) == text


@given(configs())
def test_fronts_get_the_configuration_that_was_validated(config: Config) -> None:
    assert unpack(Config, json.loads(json.dumps(pack(config)))) == config
