"""The compiled extractor against the definition of its features."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fintech.extractor import TransactionExtractor
from fintech.features import FEATURES, REASON_TEXTS
from fintech.states import CUSTOMER, risk_dtype, terminal_dtype
from lepton_apps.verticals.contract import LabelledRecord, States
from tests.fintech.oracle import Oracle, hashes_differ
from tests.fintech.payments import START, Host, Step, payment, rough_world


@lru_cache(maxsize=4)
def extractor(label_delay_days: int = 7) -> TransactionExtractor:
    return TransactionExtractor(label_delay_days)


def oracle_rows(steps: list[Step], delay_days: int) -> list[list[float]]:
    oracle = Oracle(delay_days)
    rows = []
    for step in steps:
        if step.labelled_at is not None:
            oracle.label(step.record, step.labelled_at, step.change)
            continue
        x = oracle.row(step.record)
        assert set(x) == {name for name, _ in FEATURES}
        rows.append([float(np.float32(x[name])) for name, _ in FEATURES])
    return rows


@pytest.mark.parametrize(("seed", "delay_days"), [(1, 7), (2, 7), (3, 1), (4, 20)])
def test_features_equal_the_brute_force_oracle_exactly(seed: int, delay_days: int) -> None:
    steps = rough_world(seed, 1_500)
    assert hashes_differ([f"{kind}-{n}" for kind in "dtk" for n in range(12)])

    rows = Host(extractor(delay_days)).take(steps)

    expected = oracle_rows(steps, delay_days)
    for number, (row, wanted) in enumerate(zip(rows, expected, strict=True)):
        wrong = {
            name: (got, want)
            for (name, _), got, want in zip(FEATURES, row, wanted, strict=True)
            if got != want
        }
        assert not wrong, f"payment {number}"
    # The world must be rough enough to move every feature.
    assert (np.ptp(np.array(rows), axis=0) > 0).all()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 150), max_size=12))
def test_cutting_records_into_other_batches_changes_nothing(seed: int, cuts: list[int]) -> None:
    steps = rough_world(seed, 150)
    whole, cut = Host(extractor()), Host(extractor())
    edges = [0, *sorted(cuts), len(steps)]

    rows = whole.take(steps)
    cut_rows = [row for first, last in pairwise(edges) for row in cut.take(steps[first:last])]

    assert cut_rows == rows
    assert cut.primary == whole.primary
    assert cut.secondary == whole.secondary


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10_000), order=st.permutations([0, 1, 2]))
def test_the_order_and_number_of_shards_change_no_feature(seed: int, order: list[int]) -> None:
    *steps, last = [step for step in rough_world(seed, 120) if step.labelled_at is None]
    host, alone = Host(extractor()), Host(extractor())
    host.take(steps)
    alone.take([Step(step.record, 0) for step in steps])
    shuffled = {
        key: {shard: shards[shard] for shard in order if shard in shards}
        for key, shards in host.secondary.items()
    }

    def row(secondary: dict[str, dict[int, bytes]]) -> list[float]:
        states = States(host.primary, secondary, {})
        values: list[float] = extractor().extract([last.record], [0], states).x_BF[0].tolist()
        return values

    assert row(shuffled) == row(host.secondary) == row(alone.secondary)


def test_only_the_shard_of_the_writer_is_changed() -> None:
    host = Host(extractor())
    host.take([Step(payment(id="a"), 1), Step(payment(id="b"), 2)])

    extraction = extractor().extract([payment(id="c")], [2], host.states)

    assert set(extraction.secondary) == {("t:t-1", 2)}
    assert set(extraction.primary) == {"c-1"}


def test_one_instant_on_two_clocks_is_one_time() -> None:
    utc = payment()
    tokyo = payment(occurred_at=START.astimezone(ZoneInfo("Asia/Tokyo")))

    first = extractor().extract([utc], [0], States({}, {}, {}))
    second = extractor().extract([tokyo], [0], States({}, {}, {}))

    assert np.array_equal(first.x_BF, second.x_BF)
    assert first.primary == second.primary


def test_labels_count_from_the_later_of_delay_and_arrival() -> None:
    name = [name for name, _ in FEATURES].index("terminal_fraud_1d")

    def share_after(labelled_after_days: float, seen_after_days: float) -> float:
        host = Host(extractor(7))
        fraud = payment(id="a")
        host.take([Step(fraud, 0), Step(fraud, 0, START + timedelta(days=labelled_after_days), 1)])
        later = payment(id="b", occurred_at=START + timedelta(days=seen_after_days, hours=1))
        return host.take([Step(later, 0)])[0][name]

    assert share_after(2, 6) == 0.0  # known early, but the delay is not over
    assert share_after(2, 7) > 0.0
    assert share_after(20, 20) > 0.0  # known late: counts at once, as if it were 7 days old
    assert share_after(2, 10) == 0.0  # out of the one-day window again


def test_a_label_taken_back_leaves_no_trace_in_the_features() -> None:
    host = Host(extractor())
    fraud, later = payment(id="a"), payment(id="b", occurred_at=START + timedelta(days=9))
    host.take([Step(fraud, 0)])
    clean = extractor().extract([later], [0], host.states).x_BF

    host.take([Step(fraud, 1, START + timedelta(days=3), 1)])
    marked = extractor().extract([later], [0], host.states).x_BF
    host.take([Step(fraud, 2, START + timedelta(days=3), -1)])
    cleared = extractor().extract([later], [0], host.states).x_BF

    assert not np.array_equal(clean, marked)
    assert np.array_equal(clean, cleared)


def test_several_labels_in_one_call_equal_one_call_each() -> None:
    labels = [
        LabelledRecord(payment(id=str(n)), START + timedelta(days=n), 1) for n in (1, 30, 2, 50)
    ]
    host = Host(extractor())
    for label in labels:
        host.keep(extractor().apply_labels([label], 0, host.states))

    together = extractor().apply_labels(labels, 0, States({}, {}, {}))

    assert {(key, 0): shards[0] for key, shards in host.secondary.items()} == together.secondary
    assert len(together.x_BF) == 0


def test_states_have_the_sizes_that_the_database_was_planned_for() -> None:
    extraction = extractor().extract([payment()], [0], States({}, {}, {}))

    assert CUSTOMER.itemsize == len(extraction.primary["c-1"]) == 592
    assert terminal_dtype(7).itemsize == len(extraction.secondary["t:t-1", 0]) == 552
    assert risk_dtype(7).itemsize == 192


def test_a_state_of_another_size_is_refused_with_both_sizes() -> None:
    with pytest.raises(ValueError, match=r"States of \[3\] bytes where 592 are expected"):
        extractor().extract([payment()], [0], States({"c-1": b"abc"}, {}, {}))


def test_a_full_bucket_takes_no_more_and_keeps_its_mean() -> None:
    host = Host(extractor())
    many = [payment(id=str(n)) for n in range(70_000)]

    for start in range(0, len(many), 7_000):
        batch = many[start : start + 7_000]
        extraction = extractor().extract(batch, [0] * len(batch), host.states)
        host.keep(extraction)
    row = dict(zip((name for name, _ in FEATURES), extraction.x_BF[-1].tolist(), strict=True))

    assert row["customer_count_1d"] == row["customer_count_30d"] == np.float32(np.log1p(65_535))
    assert row["terminal_count_30d"] == np.float32(np.log1p(69_999))
    assert abs(row["customer_deviation_30d"]) < 0.01


def test_extreme_amounts_give_finite_features() -> None:
    amounts = [Decimal("0.01"), Decimal(10) ** 12, Decimal("0.01"), Decimal(10) ** 12] * 5
    batch = [payment(id=str(n), amount=amount) for n, amount in enumerate(amounts)]

    assert np.isfinite(extractor().extract(batch, [0] * 20, States({}, {}, {})).x_BF).all()


def test_an_empty_batch_changes_nothing() -> None:
    extraction = extractor().extract([], [], States({}, {}, {}))

    assert extraction.x_BF.shape == (0, len(FEATURES))
    assert not extraction.primary
    assert not extraction.secondary


def test_the_delay_is_part_of_the_schema() -> None:
    assert extractor(7).schema.hash != extractor(8).schema.hash
    with pytest.raises(ValueError, match="label_delay_days=0 is not within 1 to 60"):
        TransactionExtractor(0)


def test_every_feature_has_a_reason_that_an_operator_can_read() -> None:
    assert {reason for _, reason in FEATURES} == set(REASON_TEXTS)
    assert len(FEATURES) >= 36
