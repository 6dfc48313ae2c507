"""The client's codec against the client's half of the contract, over every two engines."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import pytest

from tests.contract.client_contract import CHECKS
from tests.support.http2 import ENGINES, EngineName
from tests.support.http2_client import MakePair, pair


@pytest.mark.parametrize("engines", list(itertools.product(ENGINES, ENGINES)), ids="-".join)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(check: Callable[[MakePair], None], engines: tuple[EngineName, EngineName]) -> None:
    check(functools.partial(pair, *engines))
