"""What the host gets from the payments vertical, and what it costs to know of it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from decimal import Decimal

import msgspec
import numpy as np
import pytest

from fintech.dataset import Dataset, DatasetParameters, build
from fintech.extractor import TransactionExtractor
from fintech.features import NAMES
from fintech.recipes import DECLINE_PRECISION, REVIEW_SHARE, set_thresholds
from fintech.records import Transaction
from fintech.simulator import LABELS_TOPIC, TRANSACTIONS_TOPIC
from fintech.vertical import LABELS, TRANSACTIONS, VERTICAL, render_alert
from tests.fintech.payments import payment


@pytest.fixture(scope="module")
def small() -> Dataset:
    parameters = DatasetParameters(
        payments_per_day=1_500, warm_up_days=3, validation_day=8, test_day=10, days=12
    )
    return build(parameters, TransactionExtractor(), lambda done, total: None)


def test_the_simulator_sends_to_the_topics_that_are_declared() -> None:
    assert TRANSACTIONS.topic == TRANSACTIONS_TOPIC
    assert LABELS.topic == LABELS_TOPIC
    assert LABELS.labels == TRANSACTIONS.name


def test_fixtures_decode_and_render() -> None:
    for payload in VERTICAL.fixtures[TRANSACTIONS.name]:
        record = msgspec.json.decode(payload, type=Transaction)
        text = render_alert(TRANSACTIONS.name, record, {})
        assert record.customer in text.title
        assert all(label and value for label, value in text.facts)
    for payload in VERTICAL.fixtures[LABELS.name]:
        msgspec.json.decode(payload, type=LABELS.record_type)


def test_an_amount_reads_as_it_was_sent() -> None:
    large = payment(amount=Decimal("1E+6"), currency="JPY")

    assert dict(render_alert(TRANSACTIONS.name, large, {}).facts)["Amount"] == "1,000,000 JPY"


def test_knowing_the_vertical_loads_neither_torch_nor_numba() -> None:
    code = "import sys, fintech.vertical; print({'torch', 'numba', 'sklearn'} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


def test_a_dataset_is_cut_by_time_and_holds_what_the_extractor_makes(small: Dataset) -> None:
    parts = (small.train, small.validation, small.test)

    assert all(part.x_NF.shape == (len(part.is_fraud_N), len(NAMES)) for part in parts)
    assert all(np.isfinite(part.x_NF).all() for part in parts)
    assert all(0.002 < part.is_fraud_N.mean() < 0.03 for part in parts)
    # Two days each of validation and test; five of training, and a quarter of three before.
    assert len(small.test.x_NF) == pytest.approx(3_000, rel=0.1)
    assert len(small.train.x_NF) == pytest.approx(1_500 * (5 + 3 / 4), rel=0.1)


def test_labels_reach_the_features_of_later_days_only(small: Dataset) -> None:
    known = NAMES.index("terminal_fraud_7d")

    assert not small.train.x_NF[: 1_500 * 3 // 4, known].any()  # no label is due yet
    assert small.test.x_NF[:, known].any()


def test_one_dataset_is_made_twice_alike() -> None:
    parameters = DatasetParameters(
        payments_per_day=500, warm_up_days=1, validation_day=2, test_day=3, days=4
    )

    first, second = (build(parameters, TransactionExtractor(), lambda *_: None) for _ in "ab")
    other = build(replace(parameters, seed=1), TransactionExtractor(), lambda *_: None)

    assert np.array_equal(first.test.x_NF, second.test.x_NF)
    assert not np.array_equal(first.test.x_NF[:100], other.test.x_NF[:100])


def test_thresholds_keep_the_review_budget_and_the_precision_of_declines() -> None:
    rng = np.random.default_rng(1)
    s_N = rng.beta(0.1, 8.0, 50_000)
    is_fraud_N = rng.random(50_000) < s_N

    thresholds = set_thresholds(s_N, is_fraud_N)

    assert (s_N >= thresholds["review"]).mean() <= REVIEW_SHARE
    assert (s_N >= thresholds["review"]).mean() > 0.9 * REVIEW_SHARE
    declined_N = s_N >= thresholds["decline"]
    assert not declined_N.any() or is_fraud_N[declined_N].mean() >= DECLINE_PRECISION
    assert thresholds["review"] <= thresholds["decline"] <= 1.0


def test_nothing_is_declined_where_no_score_is_sure_enough() -> None:
    s_N = np.linspace(0.0, 0.5, 1_000)

    thresholds = set_thresholds(s_N, np.zeros(1_000, bool))

    assert not (s_N >= thresholds["decline"]).any()
