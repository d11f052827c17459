from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest

from ops.metrics.extractor import NAMES, WARM, MetricExtractor, place_of
from ops.metrics.records import MAX_METRICS, MetricSample
from ops.metrics.states import unpack
from ops.replay import Replay, Row

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
TICK = timedelta(seconds=60)


def replay() -> Replay:
    return Replay(MetricExtractor(), TICK, lambda sample: sample.time)


def vector(minute: float, **values: float | None) -> MetricSample:
    return MetricSample("web", START + timedelta(minutes=minute), values=dict(values))


def column(row: Row, name: str) -> float:
    return float(row.x_F[NAMES.index(name)])


def z(row: Row, metric: str) -> float:
    return float(row.x_F[place_of(metric)])


def wave(minute: int) -> float:
    return 10 + float(np.sin(minute / 9))


def test_samples_of_a_minute_become_one_row_when_the_next_one_begins() -> None:
    rows = replay().take([vector(n / 4, cpu=wave(n), memory=5.0 + n % 3) for n in range(41)])
    assert len(rows) == 10


def test_single_samples_and_whole_vectors_give_the_same_rows() -> None:
    together = [vector(n, cpu=wave(n), memory=wave(n + 5)) for n in range(90)]
    apart = [
        MetricSample("web", sample.time, metric, value)
        for sample in together
        for metric, value in sample.values.items()
        if value is not None
    ]
    one, two = replay().take(together), replay().take(apart)
    assert len(one) == len(two) == 89
    assert np.array_equal([row.x_F for row in one], [row.x_F for row in two])


def test_a_value_far_from_its_own_history_stands_out_after_it_is_warm() -> None:
    values = [wave(n) for n in range(WARM * 3)] + [60.0, 60.0, 60.0]
    rows = replay().take([vector(n, cpu=value) for n, value in enumerate([*values, 10.0])])
    assert all(z(row, "cpu") == 0 for row in rows[:WARM])
    assert max(abs(z(row, "cpu")) for row in rows[WARM : WARM * 3]) < 4
    assert z(rows[-1], "cpu") > 10


def test_a_counter_counts_by_its_rise_and_a_reset_is_no_spike() -> None:
    totals = [100.0 * n for n in range(60)] + [100.0 * n for n in range(1, 30)]
    rows = replay().take([vector(n, requests_total=total) for n, total in enumerate(totals)])
    resets = [place for place, row in enumerate(rows) if column(row, "resets") > 0]
    assert resets == [60]
    assert max(abs(z(row, "requests_total")) for row in rows) < 1


def test_gaps_are_told_and_do_not_disturb_the_rest() -> None:
    samples = [vector(n, cpu=wave(n), memory=None if n > 60 else wave(n + 3)) for n in range(70)]
    rows = replay().take(samples)
    assert column(rows[50], "missing") == 0
    assert column(rows[-1], "missing") == pytest.approx(0.5)


def test_an_entity_that_sends_nothing_more_is_missed_once() -> None:
    memory = replay()
    memory.take([vector(n, cpu=wave(n)) for n in range(60)])
    end = START + timedelta(minutes=60)
    rows = [row for n in range(1, 60) for row in memory.finish(end + n * TICK)]
    silent = [row for row in rows if column(row, "silence") > 0]
    assert len(silent) == 1


def test_late_samples_and_clock_jumps_change_no_minute_that_was_told() -> None:
    memory = replay()
    rows = memory.take([vector(n, cpu=wave(n)) for n in range(50)])
    before = len(rows)
    rows = memory.take([vector(10, cpu=9_999.0), vector(3, cpu=-9_999.0)])
    assert rows == []
    assert before == 49
    entity = unpack(memory.primary["web"])
    assert entity.late == 2
    assert 5 < entity.known["mean"][0] < 15


def test_an_entity_with_endless_metric_names_is_bounded() -> None:
    memory = replay()
    for batch in range(4):
        names = {f"m{batch}_{n}": 1.0 for n in range(200)}
        memory.take([MetricSample("web", START + timedelta(seconds=batch), values=dict(names))])
    assert len(unpack(memory.primary["web"]).place) == MAX_METRICS


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"entity": "a", "time": "2026-03-02T08:00:00Z"}, "$"),
        ({"entity": "a", "time": "2026-03-02T08:00:00Z", "metric": "m"}, "$"),
        ({"entity": "a", "time": "2026-03-02T08:00:00Z", "metric": "m", "value": 1e40}, "$.value"),
        ({"entity": "a", "time": "2026-03-02T08:00:00", "values": {"m": 1}}, "$.time"),
        ({"entity": "a", "time": "2026-03-02T08:00:00Z", "values": {"m": "1"}}, "$.values[...]"),
        ({"entity": " ", "time": "2026-03-02T08:00:00Z", "values": {"m": 1}}, "$.entity"),
        (
            {"entity": "a", "time": "2026-03-02T08:00:00Z", "values": {f"m{n}": 1 for n in range(300)}},
            "$.values",
        ),
    ],
)  # fmt: skip
def test_a_wrong_sample_is_refused_with_its_path(body: dict[str, Any], path: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(msgspec.json.encode(body), type=MetricSample)
    assert str(caught.value).endswith(f"at `{path}`")
