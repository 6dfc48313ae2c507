"""The client codecs against the client's half of the contract; HTTP/2's over every two engines."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import pytest

from tests.contract import client_contract, http2_client_contract
from tests.support.client_pair import MakePair, http1_pair
from tests.support.http2 import ENGINES
from tests.support.http2_client import pair

HTTP2: dict[str, MakePair] = {
    f"http2-{'-'.join(engines)}": functools.partial(pair, *engines) for engines in itertools.product(ENGINES, ENGINES)
}
ALL: dict[str, MakePair] = {"http1": http1_pair, **HTTP2}
Check = Callable[[MakePair], None]


def named(check: Check) -> str:
    return check.__name__.removeprefix("check_")


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("check", client_contract.CHECKS, ids=named)
def test_contract(check: Check, name: str) -> None:
    check(ALL[name])


@pytest.mark.parametrize("name", HTTP2)
@pytest.mark.parametrize("check", http2_client_contract.CHECKS, ids=named)
def test_contract_of_http2(check: Check, name: str) -> None:
    check(HTTP2[name])
