"""The pieces of ``make attacks``: scripts, how answers are counted, budgets, the table."""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import zlib
from collections import Counter

import hpack
import pytest
from hyperframe.frame import Frame, HeadersFrame

from tests.attacks import h2, handshakes, websockets
from tests.attacks.__main__ import selected
from tests.attacks.answers import Answers, Http2Answers, most, status_of
from tests.attacks.attack import Attack
from tests.attacks.connection import Connection, State
from tests.attacks.report import HEADINGS, Report, cells
from tests.attacks.row import MIB, Honest, Round, Row
from tests.attacks.script import ANSWER, READY, Credit
from tests.attacks.table import ATTACKS, BY_NAME
from tests.bench.http2_frames import DATA, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame
from tests.bench.servers.kind import HOST

FAST = Honest([0.001] * 1000)


def a_round(honest: Honest = FAST, peak: int = 0, after: int = 0) -> Round:
    """``peak`` and ``after`` in MiB above what there was."""
    report = {"ends": {"FIN": 2}, "open": 3, "answers": {"200": 7}, "sent": 0, "cpu_seconds": 0.0}
    return Round(100 * MIB, 101 * MIB, (101 + peak) * MIB, (100 + after) * MIB, 8, 0.5, 10.0, honest, report)


def a_row(*rounds: Round, server: str = "sidegate", quiet: Honest = FAST) -> Row:
    return Row("ping-flood", server, quiet=quiet, before=100 * MIB, rounds=list(rounds), reasons={"errors flood": 2.0})


def excesses(row: Row, *, none_refused: bool = False) -> list[str]:
    return list(row.excesses(none_refused=none_refused))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_every_script_opens_and_then_attacks(attack: Attack) -> None:
    script = list(itertools.islice(attack.script(False), 8))
    assert READY in script
    if attack.protocol == "h2":
        assert isinstance(script[0], bytes)
        assert script[0].startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")


def test_names_differ() -> None:
    assert len(BY_NAME) == len(ATTACKS)


def test_patterns_choose_in_the_order_of_the_table() -> None:
    assert selected(["rapid-reset", "made-*", "hog"])[:2] == ["hog", "rapid-reset"]
    with pytest.raises(ValueError, match="no attack is called 'hogs'"):
        selected(["hogs"])


@pytest.mark.parametrize("secure", [False, True])
def test_a_request_is_what_another_implementation_reads(secure: bool) -> None:
    data = memoryview(h2.request(5, h2.fields(secure, "/upload", "POST")))
    read, length = Frame.parse_frame_header(data[:9])
    read.parse_body(data[9 : 9 + length])
    assert isinstance(read, HeadersFrame)
    assert (read.stream_id, "END_STREAM" in read.flags) == (5, True)
    assert hpack.Decoder().decode(read.data, raw=True) == [
        (b":method", b"POST"),
        (b":scheme", b"https" if secure else b"http"),
        (b":path", b"/upload"),
        (b":authority", b"localhost"),
    ]


def test_references_repeat_the_field_that_was_added_last() -> None:
    decoder = hpack.Decoder()
    decoder.decode(h2.literal(b"cookie", b"a=b" * 50, indexed=True))
    assert decoder.decode(h2.NEWEST * 3, raw=True) == [(b"cookie", b"a=b" * 50)] * 3


@pytest.mark.parametrize("number", [0, 126, 127, 128, 300, 3900])
def test_integers_are_those_of_hpack(number: int) -> None:
    assert h2.integer(number, 7) == bytes(hpack.hpack.encode_integer(number, 7))


def test_each_stream_has_its_number() -> None:
    pieces = h2.streams(lambda stream: frame(RST_STREAM, 0, stream, bytes(4)))
    first, second = (piece for piece in itertools.islice(pieces, 2) if isinstance(piece, bytes))
    count = len(first) // 13
    assert [int.from_bytes(piece[5:9]) for piece in (first, second)] == [1, 2 * count + 1]


@pytest.mark.parametrize("status", ["200", "204", "404", "413", "429", "431", "500", "503", "207", "199"])
@pytest.mark.parametrize("huffman", [False, True])
def test_the_status_is_read_without_a_table(status: str, huffman: bool) -> None:
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    block = encoder.encode([(":status", status), ("date", "now")], huffman=huffman)
    assert status_of(block) == status
    assert status_of(hpack.Encoder().encode([("a-trailer", "b")])) == "trailers"


def test_answers_over_http2_are_counted_by_their_names() -> None:
    counts: Counter[str] = Counter()
    answers = Http2Answers(counts, websocket=False)
    refused, calm = (7).to_bytes(4), bytes(4) + (11).to_bytes(4)
    whole = frame(HEADERS, 4, 1, b"\x88") + frame(RST_STREAM, 0, 3, refused) + frame(7, 0, 0, calm)
    for byte in whole:
        answers.feed(bytes([byte]))
    assert counts == {"200": 1, "RST_STREAM REFUSED_STREAM": 1}
    assert answers.farewell == "GOAWAY ENHANCE_YOUR_CALM"


@pytest.mark.parametrize("early", [False, True])
def test_an_answer_may_come_before_the_script_waits_for_it(early: bool) -> None:
    attack = Attack("a", "", "h1", 1, lambda _secure: iter([b"hello", ANSWER, READY]))
    with socket.create_server((HOST, 0)) as listener:
        connection = Connection(attack, listener.getsockname()[1], False, Counter())
        peer, _ = listener.accept()
        with peer, contextlib.closing(connection):
            connection.act(attacking=False)  # it is connected
            connection.act(attacking=False)
            assert peer.recv(100) == b"hello"
            if not early:
                connection.act(attacking=False)
                assert connection.state is State.ANSWER
            peer.sendall(b"answer")
            select.select([connection.sock], [], [])
            connection.read(attacking=False)
            while connection.state is State.ACTING:
                connection.act(attacking=False)
            assert connection.state is State.READY


def test_credit_is_what_both_windows_have() -> None:
    answers = Http2Answers(Counter(), websocket=False)
    answers.feed(frame(SETTINGS, 0, 0, b"\x00\x04" + (100_000).to_bytes(4)))
    assert not answers.take(1, 65_536)
    assert answers.take(1, 65_535)
    assert not answers.take(1, 1)
    answers.feed(frame(WINDOW_UPDATE, 0, 0, (100_000).to_bytes(4)))
    assert answers.take(1, 100_000 - 65_535)
    assert not answers.take(1, 1)
    answers.feed(frame(WINDOW_UPDATE, 0, 1, (1).to_bytes(4)))
    assert answers.take(1, 1)


def test_http1_has_credit_without_end() -> None:
    assert Answers(Counter(), websocket=False).take(1, 10**9)


def test_close_codes_are_found_behind_other_frames() -> None:
    counts: Counter[str] = Counter()
    pong, message, close = b"\x8a\x00", b"\x82\x7e" + (200).to_bytes(2) + b"\x88" * 200, b"\x88\x02\x03\xf1"
    http1 = Answers(counts, websocket=True)
    http1.feed(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    for byte in pong + message + close:
        http1.feed(bytes([byte]))
    assert http1.farewell == "close 1009"
    http2 = Http2Answers(counts, websocket=True)
    for payload in (pong + message[:50], message[50:] + close):
        http2.feed(frame(DATA, 0, 1, payload))
    assert counts == {"101": 1, "close 1009": 1}
    assert list(most(counts, 1)) == ["101 x1"]


def test_what_a_program_prints_says_how_its_connection_ended() -> None:
    answers = Answers(Counter(), websocket=False)
    answers.feed(b"40A7:error:0A000153:SSL routines:SSL_renegotiate:no renegotiation:ssl/ssl_lib.c:2302:\n")
    assert answers.farewell == "no renegotiation"


def test_a_small_text_inflates_to_one_that_is_large_in_memory() -> None:
    payload = websockets.deflated(websockets.TEXT.encode())
    text = zlib.decompressobj(-12).decompress(payload + b"\x00\x00\xff\xff").decode()
    assert len(payload) < 2048
    assert len(text.encode()) == websockets.LARGEST < 2**20
    assert text.__sizeof__() > 4 * (len(text) - 1)


def test_frames_of_websockets_fill_those_of_http2() -> None:
    script = websockets.over_h2(websockets.PLAIN, 2)(False)
    after = list(itertools.islice(itertools.dropwhile(lambda action: action is not READY, script), 1, 4))
    size = len(websockets.PLAIN)
    assert size == websockets.DATA_FRAME
    assert after == [Credit(1, size), frame(DATA, 0, 1, websockets.PLAIN), Credit(1, size)]


def test_the_client_hello_is_one_record_of_a_handshake() -> None:
    hello = handshakes.client_hello()
    assert (hello[0], hello[5], int.from_bytes(hello[3:5])) == (22, 1, len(hello) - 5)


def test_a_row_within_its_budgets() -> None:
    assert excesses(a_row(a_round(peak=32, after=32)), none_refused=True) == []


def test_a_failed_request_counts_as_one_that_took_as_long_as_there_is_patience() -> None:
    honest = Honest([0.001] * 980, {"503": 20})
    assert (honest.requests, honest.failures) == (1000, 20)
    assert honest.percentile_ms(0.98) == 1.0
    assert honest.percentile_ms(0.99) == 10_000.0
    assert excesses(a_row(a_round(honest))) == ["p99 10000 ms > 30 ms"]


def test_a_single_failure_counts_where_none_is_allowed() -> None:
    row = a_row(a_round(Honest([0.001] * 999, {"429": 1})))
    assert excesses(row) == []
    assert excesses(row, none_refused=True) == ["1 honest requests failed"]


@pytest.mark.parametrize(
    ("server", "quiet_ms", "allowed_ms"),
    [("sidegate", 1, 30), ("sidegate", 20, 60), ("sidegate-h2", 1, 100), ("sidegate-h2", 20, 200)],
)
def test_the_budget_of_the_p99(server: str, quiet_ms: float, allowed_ms: float) -> None:
    quiet = Honest([quiet_ms / 1000] * 1000)
    for excess, expected in ((0, []), (1, [f"p99 {allowed_ms + 1} ms > {allowed_ms} ms"])):
        honest = Honest([(allowed_ms + excess) / 1000] * 1000)
        assert excesses(a_row(a_round(honest), server=server, quiet=quiet)) == expected


def test_memory_is_judged_under_attack_afterwards_and_from_round_to_round() -> None:
    assert excesses(a_row(a_round(peak=33))) == ["memory +33 MiB under attack"]
    assert excesses(a_row(a_round(after=33))) == ["memory +33 MiB afterwards"]
    growing = a_row(*(a_round(after=after) for after in (3, 6, 9, 12)))
    assert excesses(growing) == ["memory grows from round to round: 3, 6, 9, 12 MiB"]
    assert excesses(a_row(*(a_round(after=after) for after in (3, 12, 13, 12)))) == []


def test_a_row_without_rounds_says_why() -> None:
    row = Row("ping-flood", "uvicorn").noted("no HTTP/2")
    assert cells(row) == ("uvicorn", "no HTTP/2", *[""] * (len(HEADINGS) - 2))
    assert excesses(row) == ["no HTTP/2"]


def test_only_sidegate_exceeds_budgets() -> None:
    slow = a_round(Honest([1.0] * 1000))
    report = Report({"machine": "this one"}, [a_row(slow), a_row(slow, server="granian")])
    assert [(row.server, words) for row, words in report.exceeding] == [("sidegate", ["p99 1000 ms > 30 ms"])]
    text, markdown, data = report.text(), report.markdown(), report.as_json()
    assert "ping-flood: flood of PING" in text
    assert "open x3, FIN x2" in text
    assert "| sidegate | 1.0 → 1000.0 | 1000 |" in markdown
    assert "Exceeded budgets: 1 of 1 rows of Sidegate." in markdown
    assert [row["exceeded"] for row in data["rows"]] == [["p99 1000 ms > 30 ms"], []]
    assert data["rows"][0]["rounds"][0]["honest"]["requests"] == 1000
