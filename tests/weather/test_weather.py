"""The weather vertical's own promises, beside those of the contract suite."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations

import msgspec

from lepton_apps.model_registry.loading import open_scorer
from lepton_apps.verticals.contract import LabelledRecord, States
from tests.contracts.memory import Memory, arrivals_of
from tests.weather.extractor import REGION, ReadingExtractor, Region, merged
from tests.weather.recipe import train
from tests.weather.records import Reading
from tests.weather.vertical import READINGS

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
HOUR = int(NOON.timestamp()) // 3_600
COLUMN = {name: n for n, name in enumerate(READINGS.extractor.schema.names)}


def reading(station: str, seconds: int, celsius: float = 10.0, kind: str = "roof") -> bytes:
    return msgspec.json.encode(Reading(station, NOON + timedelta(seconds=seconds), celsius, kind))


def rows_of(memory: Memory, *payloads: bytes) -> list[tuple[str, dict[str, float]]]:
    rows, _ = memory.take(arrivals_of(READINGS, payloads))
    return [
        (about.entity_key, {name: float(x_F[n]) for name, n in COLUMN.items()})
        for about, x_F in zip(rows.about, rows.x_BF, strict=True)
    ]


def test_a_silent_station_is_noticed_once_at_the_tick_that_ends_three_minutes() -> None:
    north = [reading("north-1", 0), *(reading("north-3", s) for s in (0, 179, 181, 241, 301))]

    rows = rows_of(Memory(READINGS), *north)

    silent = [(key, n) for n, (key, row) in enumerate(rows) if row["silent"]]
    assert silent == [("north-1", 3)]  # after the reading at 179 s, before the one at 181 s


def test_the_next_reading_of_a_silent_station_sets_its_timer_again() -> None:
    memory = Memory(READINGS)
    rows_of(memory, reading("north-1", 0), reading("north-1", 400))

    assert memory.timers["north-1"][1] == NOON + timedelta(seconds=580)


def test_a_late_reading_neither_replaces_the_newest_nor_sets_the_timer() -> None:
    memory = Memory(READINGS)
    rows = rows_of(
        memory, reading("north-1", 100, 20), reading("north-1", 40, 5), reading("north-1", 110, 21)
    )

    assert [row["change"] for _, row in rows] == [0, -15, 1]
    assert memory.timers["north-1"][1] == NOON + timedelta(seconds=290)


def test_a_kind_is_new_once_in_the_whole_stream() -> None:
    memory = Memory(READINGS)
    first = rows_of(memory, reading("north-1", 0), reading("south-1", 1))
    later = rows_of(memory, reading("south-2", 2), reading("south-2", 3, kind="mast"))

    assert [row["kind_new"] for _, row in first + later] == [1, 0, 0, 1]
    assert sorted(memory.knowledge.values()) == [b"mast", b"roof"]


def test_a_reading_is_compared_with_its_regions_hour_whoever_wrote_it() -> None:
    north_by_two_writers = {
        0: REGION.pack(*Region(HOUR, 1, 1000)),
        1: REGION.pack(*Region(HOUR, 1, 1400)),
    }
    states = States({}, {"north": north_by_two_writers}, {})
    record = msgspec.json.decode(reading("north-9", 60, 20), type=Reading)

    extraction = ReadingExtractor().extract([record], [1], states)

    assert extraction.x_BF[0, COLUMN["from_region"]] == 8
    assert list(extraction.secondary) == [("north", 1)]


def test_merging_shards_does_not_depend_on_their_order() -> None:
    shards = [Region(5, 2, 30, 1), Region(4, 9, 90), Region(5, 1, -7), Region(broken=2)]

    assert {merged(order) for order in permutations(shards)} == {Region(5, 3, 23, 3)}


def test_a_label_counts_for_the_region_and_can_be_taken_back() -> None:
    extractor, record = ReadingExtractor(), msgspec.json.decode(reading("north-1", 0), type=Reading)
    changes = [LabelledRecord(record, NOON, change) for change in (1, 1, -1)]

    extraction = extractor.apply_labels(changes, -2, States({}, {}, {}))

    assert Region(*REGION.unpack(extraction.secondary["north", -2])).broken == 1


def test_the_starter_model_may_serve_and_hears_silence() -> None:
    told: list[str] = []

    trained = train(lambda stage, done, total: told.append(stage))

    scorer = open_scorer(trained.files, READINGS)
    extractor, states = READINGS.extractor, States({}, {}, {})
    silence = extractor.on_tick(NOON, ["north-1"], states).x_BF
    assert scorer.score(silence)[0] >= scorer.thresholds["warn"]
    assert trained.metrics["pr_auc"] > trained.baseline["largest_difference"]["pr_auc"]
    assert "fit" in told
