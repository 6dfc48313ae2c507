"""Which requests may be sent again, and when an endpoint that fails is tried again."""

from __future__ import annotations

import pytest

from sidegate.backends.upstream.backoff import EJECTED_AFTER, LONGEST, LONGEST_EJECTION, EndpointBackoff
from sidegate.backends.upstream.retry import reason_to_retry
from sidegate.errors import ExchangeError, Fault
from sidegate.wire.client_codec import CONNECTION_LOST, RESPONSE_TOO_LARGE
from sidegate.wire.codes import CANCEL, INTERNAL_ERROR, REFUSED_STREAM


@pytest.mark.parametrize(
    ("code", "method", "sent", "lost_before", "reason"),
    [
        (REFUSED_STREAM, "POST", True, False, "refused"),
        (REFUSED_STREAM, "GET", True, True, "refused"),
        (CONNECTION_LOST, "POST", False, False, "unsent"),
        (CONNECTION_LOST, "POST", False, True, "unsent"),
        *((CONNECTION_LOST, method, True, False, "lost") for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")),
    ],
)
def test_sent_again(code: int, method: str, sent: bool, lost_before: bool, reason: str) -> None:
    assert reason_to_retry(code, method, sent, lost_before) == reason


@pytest.mark.parametrize(
    ("code", "method", "lost_before", "reason"),
    [
        (CONNECTION_LOST, "POST", False, "upstream_lost"),
        (CONNECTION_LOST, "PATCH", False, "upstream_lost"),
        (CONNECTION_LOST, "GET", True, "upstream_lost"),
        (INTERNAL_ERROR, "GET", False, "upstream_reset"),
        (CANCEL, "GET", False, "upstream_reset"),
        (RESPONSE_TOO_LARGE, "GET", False, "upstream_head_too_large"),
    ],
)
def test_not_sent_again(code: int, method: str, lost_before: bool, reason: str) -> None:
    with pytest.raises(ExchangeError) as caught:
        reason_to_retry(code, method, True, lost_before)
    assert (caught.value.fault, caught.value.status, caught.value.reason) == (Fault.UPSTREAM, 502, reason)


def test_pauses_double_up_to_a_second() -> None:
    pauses = [EndpointBackoff(ejects=False).after(failures, alone=False) for failures in range(1, 12)]
    assert pauses[:3] == [0.04, 0.08, 0.16]
    assert pauses[-1] == LONGEST


def test_an_endpoint_that_fails_again_and_again_is_ejected_unless_it_is_the_last() -> None:
    pauses = EndpointBackoff(ejects=True)
    assert pauses.after(EJECTED_AFTER - 1, alone=False) <= LONGEST
    assert [pauses.after(EJECTED_AFTER + more, alone=False) for more in (0, 1, 2, 40)] == [10, 20, 40, LONGEST_EJECTION]
    assert pauses.after(EJECTED_AFTER + 40, alone=True) == LONGEST
