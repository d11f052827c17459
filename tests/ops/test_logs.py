from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec
import numpy as np
import pytest

from lepton_apps.verticals.contract import Message, States
from ops.logs.extractor import MAX_TEMPLATES, NAMES, OTHER, LogExtractor, template_of
from ops.logs.records import LogLine, from_message
from ops.logs.states import WINDOW, unpack
from ops.replay import Replay, Row

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
TICK = timedelta(seconds=60)


def line(key: str, seconds: float, text: str) -> LogLine:
    return LogLine(key, START + timedelta(seconds=seconds), text.encode())


def replay() -> Replay:
    return Replay(LogExtractor(), TICK, lambda record: record.at)


def fresh(row: Row) -> int:
    """How many events a row tells of for the first time."""
    return int((row.x_F[:WINDOW] > 0).sum() - row.x_F[NAMES.index("judged")])


def column(row: Row, name: str) -> float:
    return float(row.x_F[NAMES.index(name)])


def test_a_full_window_makes_a_row_and_starts_anew() -> None:
    rows = replay().take([line("a", n * 0.1, f"step {n}") for n in range(2 * WINDOW + 5)])
    assert [fresh(row) for row in rows] == [WINDOW, WINDOW]


def test_a_session_that_rests_is_told_of_and_told_of_whole_when_it_goes_on() -> None:
    memory = replay()
    first = memory.take([line("blk_1", n, "received block 7") for n in range(3)])
    first += memory.finish(START + timedelta(minutes=3))
    assert [fresh(row) for row in first] == [3]

    later = memory.take([line("blk_1", 9_000, "deleted block 7")])
    later += memory.finish(START + timedelta(seconds=9_000) + 3 * TICK)
    (row,) = later
    assert (fresh(row), column(row, "judged")) == (1, 3)
    assert (row.x_F[:WINDOW] > 0).sum() == 4


def test_no_line_waits_longer_than_five_minutes() -> None:
    lines = [line("host", 20 * n, "beat") for n in range(60)]
    rows = replay().take(lines)
    told = np.cumsum([fresh(row) for row in rows])
    for (before, row), count in zip(pairwise(rows), told[1:], strict=True):
        assert row.at - before.at <= timedelta(minutes=6)
        assert count <= 60


def test_every_line_is_told_of_once_or_waits() -> None:
    memory = replay()
    lines = [line(f"k{n % 7}", n * 1.7, f"did {n % 5} of {'abc'[n % 3]}") for n in range(3_000)]
    rows = memory.take(lines)
    waiting = 0
    for state in memory.primary.values():
        entity = unpack(state)
        waiting += len(entity.events) - entity.judged
    assert sum(fresh(row) for row in rows) + waiting == len(lines)


def test_a_template_is_new_once_in_the_whole_stream() -> None:
    lines = [line("a", 0, "usual 1"), line("b", 1, "usual 2"), line("b", 2, "strange thing 3")]
    memory = replay()
    memory.take(lines[:2])
    rows = memory.take(lines[2:]) + memory.finish(START + timedelta(minutes=5))
    assert {template_of(body).text for body in memory.knowledge.values()} == {
        "usual *",
        "strange thing *",
    }
    by_key = {row.entity_key: column(row, "new_templates") for row in rows}
    assert by_key == {"a": pytest.approx(np.log(2)), "b": pytest.approx(np.log(2))}


def test_the_same_lines_give_the_same_template_ids_in_another_worker() -> None:
    lines = [line("a", n, f"{'opened' if n % 2 else 'closed'} {n}") for n in range(50)]
    one, two = replay(), replay()
    one.take(lines)
    two.take(lines[::-1])
    assert one.knowledge == two.knowledge


def test_errors_and_warnings_are_counted() -> None:
    memory = replay()
    lines = [line("a", 0, "ERROR no disk"), line("a", 1, "WARN slow"), line("a", 2, "fine")]
    (row,) = memory.take(lines) + memory.finish(START + timedelta(minutes=5))
    assert column(row, "errors") == column(row, "warnings") == pytest.approx(np.log(2))


def test_a_regular_entity_that_falls_silent_is_missed_once() -> None:
    memory = replay()
    rows = memory.take([line("host", 10 * n, "beat") for n in range(300)])
    assert all(column(row, "silence") == 0 for row in rows)
    end = START + timedelta(seconds=3_000)
    after = [row for n in range(1, 60) for row in memory.finish(end + n * TICK)]
    silent = [row for row in after if column(row, "silence") > 0]
    assert len(silent) == 1
    assert silent[0].evidence.silent_ms >= 180_000


def test_a_short_session_that_ends_is_not_missed() -> None:
    memory = replay()
    memory.take([line("session", n, "step") for n in range(20)])
    after = [row for n in range(1, 90) for row in memory.finish(START + n * TICK)]
    assert all(column(row, "silence") == 0 for row in after)


def test_a_host_that_never_says_the_same_thing_twice_is_bounded() -> None:
    extractor = LogExtractor()
    knowledge = {f"{n:016x}": b"" for n in range(1, MAX_TEMPLATES - 1)}
    letters = "abcdefghij"
    words = ["".join(letters[int(d)] for d in str(n)) for n in range(1_000, 1_400)]
    made = extractor.extract(
        [line("noisy", n * 0.01, f"word {word}") for n, word in enumerate(words)],
        [0] * len(words),
        States({}, {}, knowledge),
    )
    assert len(made.knowledge) <= 3
    assert OTHER in made.knowledge
    assert sum(tally.times for tally in made.tallies.values()) == len(words)
    assert max(len(state) for state in made.primary.values()) < 8_000


def test_the_memory_of_an_entity_fits_into_a_row_of_the_database() -> None:
    memory = replay()
    memory.take([line("a", n * 0.01, "ERROR " + "y" * 5_000 + f" {n}") for n in range(WINDOW - 1)])
    assert len(memory.primary["a"]) < 6_500


@pytest.mark.parametrize(
    "value",
    [
        b'{"message": "hi", "service": "s", "time": "2026-03-02T08:00:00Z"}',
        b'{"msg": "hi", "session": "s", "@timestamp": "2026-03-02T09:00:00+01:00"}',
        b'{"log": "hi", "host": "s", "timestamp": "2026-03-02T08:00:00Z", "more": [1]}',
    ],
)
def test_json_lines_are_read_by_any_of_the_usual_names(value: bytes) -> None:
    assert from_message(Message(value)) == LogLine("s", START, b"hi")


def test_the_kafka_key_is_what_a_line_belongs_to() -> None:
    value = b'{"message": "hi", "service": "s", "time": "2026-03-02T08:00:00Z"}'
    assert from_message(Message(value, b"node-7")).key == "node-7"


def test_a_plain_line_is_taken_with_the_key_and_time_of_its_message() -> None:
    read = from_message(Message(b"disk \xff full", b"node-1", START))
    assert read == LogLine("node-1", START, b"disk \xff full")


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (Message(b"a line", None, START), "needs a Kafka key"),
        (Message(b"a line", b"k", None), "time of its message"),
        (Message(b"  ", b"k", START), "empty"),
        (Message(b'{"service": "s"}', None, START), "says nothing"),
        (Message(b'{"message": "hi"}', None, START), "belongs to nothing"),
        (Message(b'{"message": "hi", "host": "h"}'), "no time"),
        (Message(b'{"message": "hi", "time": "2026-03-02T08:00:00"}', b"k"), "time"),
        (Message(b'{"message": "hi", "time": "0001-01-01T00:00:00Z"}', b"k"), "out of range"),
    ],
)
def test_a_line_that_cannot_be_placed_is_refused(message: Message, what: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=what):
        from_message(message)
