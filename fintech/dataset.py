"""Tables to learn from, made by the simulator through the same decoding and extraction as live.

Payments and labels are taken in event-time order by one writer, with the states in memory, so a
row holds exactly what a worker would have scored. Suffixes: N = rows, F = features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from fintech.extractor import TransactionExtractor
from fintech.records import Transaction, TransactionLabel
from fintech.simulator import LABELS_TOPIC, simulate_with_truth
from lepton_apps.verticals.contract import Extraction, LabelledRecord, States

BATCH: Final = 512  # payments at most; a label ends a batch too


@dataclass(frozen=True, slots=True)
class DatasetParameters:
    """How much is simulated, and where time is cut. Days are counted from ``start``."""

    seed: int = 20240401
    start: datetime = datetime(2024, 4, 1, tzinfo=UTC)
    payments_per_day: int = 9_000
    warm_up_days: int = 15  # memories fill; one row in ``warm_up_keep`` is learned from
    validation_day: int = 33  # trained on up to here
    test_day: int = 39  # calibrated and thresholds set up to here
    days: int = 45
    # A fresh installation begins with empty memories, so the model must have seen some.
    warm_up_keep: int = 4


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one span of time."""

    x_NF: NDArray[np.float32]
    is_fraud_N: NDArray[np.bool_]  # the simulator's truth, also of frauds that nobody reports
    scheme_N: NDArray[np.str_]  # empty for honest payments


@dataclass(frozen=True, slots=True)
class Dataset:
    """Train, validation and test, one after the other in time."""

    train: Part
    validation: Part
    test: Part


@dataclass(slots=True)
class Memory:
    """States of one writer, kept in dictionaries."""

    extractor: TransactionExtractor
    states: States = field(default_factory=lambda: States({}, {}, {}))

    def extract(self, records: list[Transaction]) -> NDArray[np.float32]:
        """The rows of these records; remembers them."""
        extraction = self.extractor.extract(records, [0] * len(records), self.states)
        self._keep(extraction)
        return extraction.x_BF

    def label(self, labelled: list[LabelledRecord]) -> None:
        self._keep(self.extractor.apply_labels(labelled, 0, self.states))

    def _keep(self, extraction: Extraction) -> None:
        primary: dict[str, bytes] = self.states.primary  # type: ignore[assignment]
        secondary: dict[str, Any] = self.states.secondary  # type: ignore[assignment]
        primary.update(extraction.primary)
        for (key, shard), packed in extraction.secondary.items():
            secondary.setdefault(key, {})[shard] = packed


def build(
    parameters: DatasetParameters,
    extractor: TransactionExtractor,
    progress: Callable[[int, int], None],
) -> Dataset:
    """Simulate, extract and split. ``progress`` is told days done and days in all."""
    decoder = msgspec.json.Decoder(Transaction)
    label_decoder = msgspec.json.Decoder(TransactionLabel)
    memory = Memory(extractor)
    by_id: dict[str, Transaction] = {}
    batch: list[Transaction] = []
    rows: list[NDArray[np.float32]] = []
    schemes: list[str] = []
    days: list[int] = []
    day = 0
    for simulated in simulate_with_truth(
        seed=parameters.seed,
        start=parameters.start,
        records_per_s=parameters.payments_per_day / 86_400,
    ):
        record = simulated.record
        is_label = record.topic == LABELS_TOPIC
        if batch and (is_label or len(batch) == BATCH):
            rows.append(memory.extract(batch))
            batch = []
        if (record.occurred_at - parameters.start) // timedelta(days=1) > day:
            day += 1
            progress(day, parameters.days)
            if day == parameters.days:
                break
        if is_label:
            label = label_decoder.decode(record.value)
            if label.verdict == "fraud":
                payment = by_id[label.record_id]
                memory.label([LabelledRecord(payment, label.labelled_at, 1)])
            continue
        transaction = decoder.decode(record.value)
        by_id[transaction.id] = transaction
        batch.append(transaction)
        schemes.append(simulated.scheme or "")
        days.append(day)
    if batch:
        rows.append(memory.extract(batch))
    return _split(np.concatenate(rows), np.array(schemes), np.array(days), parameters)


def _split(
    x_NF: NDArray[np.float32],
    scheme_N: NDArray[np.str_],
    day_N: NDArray[np.int64],
    p: DatasetParameters,
) -> Dataset:
    kept_N = (day_N >= p.warm_up_days) | (np.arange(len(day_N)) % p.warm_up_keep == 0)

    def part(mask_N: NDArray[np.bool_]) -> Part:
        return Part(x_NF[mask_N], scheme_N[mask_N] != "", scheme_N[mask_N])

    return Dataset(
        train=part(kept_N & (day_N < p.validation_day)),
        validation=part((day_N >= p.validation_day) & (day_N < p.test_day)),
        test=part(day_N >= p.test_day),
    )
