from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice, takewhile

import pytest

from ops.faults import EFFECTS
from ops.simulator import LOGS_TOPIC, METRICS_TOPIC, SimulatedOps, simulate, simulate_with_truth

START = datetime(2026, 3, 2, tzinfo=UTC)


@cache
def two_weeks() -> list[SimulatedOps]:
    end = START + timedelta(days=14)
    world = simulate_with_truth(seed=3, start=START, records_per_s=1.0)
    return list(takewhile(lambda made: made.record.occurred_at < end, world))


def test_a_seed_always_gives_the_same_world() -> None:
    one = list(islice(simulate(seed=5, start=START, records_per_s=4.0), 2_000))
    assert one == list(islice(simulate(seed=5, start=START, records_per_s=4.0), 2_000))
    assert one != list(islice(simulate(seed=6, start=START, records_per_s=4.0), 2_000))


@pytest.mark.parametrize("rate", [1.0, 5.0])
def test_records_come_in_order_and_as_often_as_asked(rate: float) -> None:
    end = START + timedelta(days=1)
    world = simulate_with_truth(seed=1, start=START, records_per_s=rate, faults=False)
    times = [
        made.record.occurred_at
        for made in takewhile(lambda made: made.record.occurred_at < end, world)
    ]
    assert times == sorted(times)
    assert 0.8 * rate < len(times) / 86_400 < 1.25 * rate


def test_every_kind_of_fault_comes_within_two_weeks_in_logs_and_metrics() -> None:
    seen: defaultdict[str, set[str]] = defaultdict(set)
    for made in two_weeks():
        if made.fault is not None:
            seen[made.fault.kind].add(made.record.topic)
    both = {LOGS_TOPIC, METRICS_TOPIC}
    assert {kind: topics for kind, topics in seen.items() if topics != both} == {}
    assert set(seen) | {"silence"} == set(EFFECTS)  # a silent instance sends nothing to see


def test_a_silent_instance_sends_nothing() -> None:
    newest: dict[str, datetime] = {}
    longest = timedelta()
    for made in two_weeks():
        if made.record.topic == METRICS_TOPIC:
            at = made.record.occurred_at
            longest = max(longest, at - newest.get(made.record.key, at))
            newest[made.record.key] = at
    assert timedelta(minutes=10) <= longest <= timedelta(minutes=60)


def test_logs_have_many_templates_and_some_lines_are_plain() -> None:
    world = simulate(seed=2, start=START, records_per_s=5.0)
    texts: Counter[str] = Counter()
    plain = 0
    for record in islice(world, 40_000):
        if record.topic != LOGS_TOPIC:
            continue
        if record.value.startswith(b"{"):
            text = json.loads(record.value)["message"]
        else:
            plain += 1
            text = record.value.decode()
        texts[re.sub(r"\S*\d\S*", "*", text)] += 1
    assert len(texts) >= 35
    assert plain > 100


def test_counters_fall_only_where_an_instance_was_restarted() -> None:
    before: dict[str, float] = {}
    for made in two_weeks():
        if made.record.topic != METRICS_TOPIC:
            continue
        values = json.loads(made.record.value).get("values", {})
        total = values.get("requests_total")
        if total is None:
            continue
        if total < before.get(made.record.key, 0.0):
            kinds = {"crash_loop", "leak", "bad_deploy"}
            # The minute after a fault still shows what it did.
            assert made.fault is None or made.fault.kind in kinds
        before[made.record.key] = total
