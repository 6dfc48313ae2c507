"""Access-log lines: their fields, their escapes, and what is done when the log cannot keep up."""

from __future__ import annotations

import calendar
import errno
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidegate.errors import Fault
from sidegate.observe import access_log as module
from sidegate.observe.access_log import AccessLog, open_access_log
from sidegate.observe.cells import Area
from sidegate.observe.log_lines import MAX_ID, MAX_LINE, REMEMBERED, Memory, make_format
from sidegate.observe.metrics import CellLayout
from sidegate.observe.observer import Observer
from sidegate.observe.record import Record
from tests.support.observing import client_left, make_config, make_record

CONFIG = make_config()
METER = Observer(CONFIG, Area.create(CellLayout(CONFIG).size).cells).listener("http")
HEADERS = [
    (b"host", b"shop.example"),
    (b"user-agent", b"curl/8"),
    (b"referer", b"https://shop.example/login?token=secret"),
]
ENDED = 1_700_000_000.0625


class Entry(NamedTuple):
    """What a line is made from."""

    record: Record
    duration: float
    ended: float


def entry(**fields: Any) -> Entry:
    return Entry(make_record(METER, **{"headers": HEADERS, **fields}), 0.0123456, ENDED)


def json_line(entry: Entry, query: bool = False) -> dict[str, Any]:
    members = json.loads(make_format("json", ("r0", "r1"), query).line(*entry))
    assert isinstance(members, dict)
    return members


def combined_line(entry: Entry, query: bool = False) -> str:
    return make_format("combined", ("r0", "r1"), query).line(*entry)


def test_json() -> None:
    ended = entry(route=1, backend="b1", status=200, bytes_in=3, bytes_out=5, tls="TLSv1.3", http_version="2")
    assert json_line(ended) == {
        "time": "2023-11-14T22:13:20.062Z",
        "requestId": ended.record.request_id,
        "client": "192.0.2.1",
        "method": "GET",
        "host": "shop.example",
        "path": "/r0/x",
        "protocol": "2",
        "status": 200,
        "route": "r1",
        "backend": "b1",
        "durationMs": 12.346,
        "bytesIn": 3,
        "bytesOut": 5,
        "userAgent": "curl/8",
        "referer": "https://shop.example/login",
        "tls": "TLSv1.3",
    }


def test_json_names_fault_and_reason() -> None:
    members = json_line(entry(fault=Fault.APPLICATION, reason="exception", status=500))
    assert (members["fault"], members["reason"], members["status"]) == ("application", "exception", 500)
    assert "route" not in members
    assert json_line(Entry(client_left(METER), 1.0, ENDED))["status"] == 499
    assert json_line(entry(fault=Fault.PROXY))["status"] == 0


def test_combined() -> None:
    assert combined_line(entry(status=200, bytes_out=5, http_version="2")) == (
        '192.0.2.1 - - [14/Nov/2023:22:13:20 +0000] "GET /r0/x HTTP/2.0" 200 5 "https://shop.example/login" "curl/8"\n'
    )


def test_combined_without_headers() -> None:
    assert combined_line(entry(headers=[], status=404)).endswith('"GET /r0/x HTTP/1.1" 404 0 "-" "-"\n')


def test_queries_are_kept_when_asked_for() -> None:
    members = json_line(entry(), query=True)
    assert (members["path"], members["query"]) == ("/r0/x", "q=1")
    assert members["referer"].endswith("?token=secret")
    assert '"GET /r0/x?q=1 HTTP/1.1"' in combined_line(entry(), query=True)


def test_the_time_follows_the_seconds() -> None:
    line_format = make_format("combined", (), query=False)
    times = [line_format.line(make_record(METER), 0.0, ended).split("[")[1][12:20] for ended in (0.0, 0.9, 1.0, 61.5)]
    assert times == ["00:00:00", "00:00:00", "00:00:01", "00:01:01"]


def test_months_have_their_english_names() -> None:
    record, line_format = make_record(METER), make_format("combined", (), query=False)
    middles = [calendar.timegm((2024, month, 15, 0, 0, 0)) for month in range(1, 13)]
    months = [line_format.line(record, 0.0, middle).split("/")[1] for middle in middles]
    assert months == ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [(0.0, "0.000"), (0.0000004, "0.000"), (0.0000016, "0.002"), (0.9999996, "1000.000"), (61.0012345, "61001.235")],
)
def test_durations_are_rounded_to_microseconds(seconds: float, milliseconds: str) -> None:
    line = make_format("json", (), query=False).line(make_record(METER), seconds, ENDED)
    assert f'"durationMs":{milliseconds},' in line


def test_the_last_field_of_a_name_counts() -> None:
    assert json_line(entry(headers=[(b"host", b"a"), (b"accept", b"*/*"), (b"host", b"b")]))["host"] == "b"


def test_a_request_id_from_another_front_is_escaped_and_cut() -> None:
    record = make_record(METER)
    record.request_id = '"\n\xff' + "0" * 9000
    members = json_line(Entry(record, 0.1, ENDED))
    assert members["requestId"] == '"\n\xff' + "0" * (MAX_ID - 3)


def test_a_memory_says_the_same_again_and_forgets() -> None:
    asked: list[bytes] = []

    def make(value: bytes, room: int) -> str:
        asked.append(value)
        return value.decode()[:room]

    memory = Memory(make)
    assert [memory.text(b"a", 0), memory.text(b"a", 0), memory.text("\xe9", 0)] == ["a", "a", "\xe9"]
    assert asked == [b"a", b"\xc3\xa9"]
    for number in range(REMEMBERED):
        memory.text(b"%d" % number, 0)
    memory.text(b"a", 0)
    assert asked.count(b"a") == 2, "older values made room"


def test_a_memory_keeps_neither_long_values_nor_cut_ones() -> None:
    asked: list[int] = []

    def make(value: bytes, room: int) -> str:
        asked.append(room)
        return value.decode()[:room]

    memory = Memory(make)
    for _ in range(2):
        assert memory.text(b"x" * 300, 0) == "x" * 300
        assert memory.text(b"abc", 2) == "ab"
    assert memory.text(b"abc", 0) == "abc"
    assert memory.text(b"abc", 2) == "ab"
    assert asked == [MAX_LINE, 2, MAX_LINE, 2, MAX_LINE, 2]


def test_combined_escapes_as_nginx_does() -> None:
    headers = [(b"user-agent", b'a"b\\c\x00\x1b[31m\xff\x7f\n')]
    assert combined_line(entry(headers=headers)).endswith('"a\\x22b\\x5Cc\\x00\\x1B[31m\\xFF\\x7F\\x0A"\n')


def test_json_shows_utf8_and_marks_what_is_none() -> None:
    assert (
        json_line(entry(headers=[(b"user-agent", "Füchse\xa0".encode() + b"\xff")]))["userAgent"] == "Füchse\xa0\\xff"
    )


@pytest.mark.parametrize("name", ["combined", "json"])
def test_a_long_line_is_cut_so_that_a_pipe_takes_it_whole(name: str) -> None:
    line = make_format(name, ("r0", "r1"), query=True).line(*entry(target=b"/" + b"a" * 8000))
    assert len(line) <= MAX_LINE
    assert "a" * 500 + "..." in line or "a" * 400 in line
    assert line.endswith("\n")


_ANYTHING = st.binary(max_size=20) | st.binary(min_size=1500, max_size=6000)


@pytest.mark.parametrize("query", [False, True])
@given(names=st.tuples(st.text(max_size=9), st.text(max_size=9000)), target=_ANYTHING, host=_ANYTHING, agent=_ANYTHING)
def test_arbitrary_bytes_make_one_line(
    query: bool, names: tuple[str, str], target: bytes, host: bytes, agent: bytes
) -> None:
    headers = [(b"host", host), (b"user-agent", agent), (b"referer", agent)]
    record = make_record(METER, target, headers, client=names[0], method=names[1])
    for name in ("json", "combined"):
        line_format = make_format(name, ("r0", "r1"), query)
        line = line_format.line(record, 0.5, ENDED)
        assert line_format.line(record, 0.5, ENDED) == line, "the same from memory"
        assert re.fullmatch(r"[ -~]*\n", line), "printable ASCII and one line feed, at the end"
        assert len(line) <= MAX_LINE
        if name == "json":
            members = json.loads(line)
            assert members["requestId"] == record.request_id
            assert isinstance(members.get("path", ""), str)
        else:
            assert line.count('"') == 6


class Writer:
    """Keeps lines, or refuses them with ``error``."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.calls: list[str] = []
        self.error: OSError | None = None

    def write(self, lines: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.writes.append(lines)

    def reopen(self) -> None:
        self.calls.append("reopen")

    def close(self) -> None:
        self.calls.append("close")


class Loop:
    """Remembers what ``call_later`` was asked for."""

    def __init__(self) -> None:
        self.scheduled: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        self.scheduled.append((delay, callback))

    def run_next(self) -> None:
        self.scheduled.pop(0)[1]()


@pytest.fixture
def writer() -> Writer:
    return Writer()


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def log(writer: Writer, loop: Loop) -> AccessLog:
    return AccessLog(make_format("json", ("r0",), query=False), writer, loop.call_later, ["/healthz"], lambda: ENDED)


@pytest.fixture
def drops(log: AccessLog) -> Callable[[], list[float]]:
    area = Area.create(2)
    log.count_drops_in(area.cells, {"buffer_full": 0, "write_error": 1})
    return lambda: list(area.cells)


def append(log: AccessLog, count: int = 1, **fields: Any) -> list[Record]:
    records = [make_record(METER, **fields) for _ in range(count)]
    for record in records:
        log.append(record, 0.1)
    return records


def test_nothing_is_written_inside_a_request(log: AccessLog, writer: Writer, loop: Loop) -> None:
    records = append(log, 3)
    assert writer.writes == []
    assert [delay for delay, _ in loop.scheduled] == [module.FLUSH_DELAY]
    loop.run_next()
    assert len(writer.writes) == 1
    lines = writer.writes[0].splitlines()
    assert [json.loads(line)["requestId"] for line in lines] == [record.request_id for record in records]
    assert loop.scheduled == []
    append(log)
    assert len(loop.scheduled) == 1


def test_a_batch_is_handed_over_without_waiting(log: AccessLog, writer: Writer, loop: Loop) -> None:
    records = []
    while not writer.writes:
        records += append(log)
    assert module.BATCH <= len(writer.writes[0]) < module.BATCH + module.BURST * MAX_LINE
    records += append(log)
    assert len(loop.scheduled) == 1, "one timer, however many batches"
    loop.run_next()
    lines = b"".join(writer.writes).splitlines()
    assert [json.loads(line)["requestId"] for line in lines] == [record.request_id for record in records]
    assert loop.scheduled == []


def test_a_turn_after_a_flush_finds_nothing_to_do(log: AccessLog, writer: Writer, loop: Loop) -> None:
    append(log)
    log.flush()
    assert len(writer.writes) == 1
    loop.run_next()
    assert len(writer.writes) == 1


def test_records_are_not_kept_beyond_a_burst(log: AccessLog, writer: Writer) -> None:
    records = append(log, module.BURST)
    records[0].target = b"/changed"
    log.flush()
    assert b"changed" not in writer.writes[0]
    assert writer.writes[0].count(b"\n") == module.BURST


def test_skipped_paths_match_exactly(log: AccessLog, writer: Writer) -> None:
    for target in (b"/healthz", b"/healthz?full", b"/healthz/x", b"/Healthz"):
        append(log, target=target)
    log.flush()
    assert [json.loads(line)["path"] for line in writer.writes[0].splitlines()] == ["/healthz/x", "/Healthz"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (BlockingIOError(errno.EAGAIN, "full"), [2.0, 0.0]),
        (OSError(errno.ENOSPC, "disk full"), [0.0, 2.0]),
        (BrokenPipeError(errno.EPIPE, "gone"), [0.0, 2.0]),
    ],
)
def test_lines_that_cannot_be_written_are_counted(
    log: AccessLog, writer: Writer, drops: Callable[[], list[float]], error: OSError, expected: list[float]
) -> None:
    writer.error = error
    append(log, 2)
    log.flush()
    assert drops() == expected
    writer.error = None
    append(log)
    log.flush()
    assert len(writer.writes) == 1


def test_lines_of_a_batch_that_cannot_be_written_are_counted(
    log: AccessLog, writer: Writer, drops: Callable[[], list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BURST", 2)
    monkeypatch.setattr(module, "BATCH", 1)
    writer.error = BlockingIOError(errno.EAGAIN, "full")
    append(log, 5)
    assert drops() == [4.0, 0.0]
    writer.error = None
    log.flush()
    assert writer.writes[0].count(b"\n") == 1
    assert drops() == [4.0, 0.0]


def test_a_line_that_cannot_be_made_is_counted_alone(
    log: AccessLog, writer: Writer, drops: Callable[[], list[float]], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    line, failures = log._format.line, [RuntimeError("not foreseen")]

    def failing(*arguments: Any) -> str:
        if failures:
            raise failures.pop()
        return line(*arguments)

    monkeypatch.setattr(log, "_format", SimpleNamespace(line=failing))
    append(log, 2)
    log.flush()
    assert b"".join(writer.writes).count(b"\n") == 1
    assert drops() == [0.0, 1.0]
    assert "not foreseen" in caplog.text
    monkeypatch.setattr(log, "_format", SimpleNamespace(line=lambda *_: "\xe4\n"))
    append(log)
    log.flush()
    assert drops() == [0.0, 2.0]


def test_drops_before_a_front_counts_are_no_error(log: AccessLog, writer: Writer) -> None:
    writer.error = OSError(errno.EIO, "no disk")
    append(log)
    log.flush()
    assert writer.writes == []


def test_reopen_and_close_write_first(log: AccessLog, writer: Writer) -> None:
    append(log)
    log.reopen()
    assert (len(writer.writes), writer.calls) == (1, ["reopen"])
    append(log)
    log.close()
    assert (len(writer.writes), writer.calls) == (2, ["reopen", "close"])


def test_the_config_opens_the_log(tmp_path: Path, loop: Loop) -> None:
    path = tmp_path / "access.log"
    config = make_config(logging={"accessLog": "combined", "accessLogFile": str(path), "skipPaths": ["/livez"]})
    log = open_access_log(config, loop.call_later)
    assert log is not None
    observer = Observer(config, Area.create(CellLayout(config).size).cells, log)
    for target in (b"/livez", b"/r1"):
        record = make_record(observer.listener("http"), target, route=1, backend="b1", status=200)
        observer.started(record)
        observer.finished(record)
    log.close()
    assert [line.split('"')[1] for line in path.read_text().splitlines()] == ["GET /r1 HTTP/1.1"]


def test_off_opens_nothing(loop: Loop) -> None:
    assert open_access_log(make_config(), loop.call_later) is None
