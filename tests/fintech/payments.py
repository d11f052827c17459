"""Payments and labels made for tests: a small, rough world with everything that goes wrong."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from fintech.extractor import TransactionExtractor
from fintech.records import Transaction
from lepton_apps.verticals.contract import Extraction, LabelledRecord, States

START = datetime(2024, 5, 1, tzinfo=UTC)


def payment(**changes: Any) -> Transaction:
    values: dict[str, Any] = {
        "id": "p-1",
        "occurred_at": START,
        "customer": "c-1",
        "card": "k-1",
        "terminal": "t-1",
        "amount": Decimal("12.34"),
        "currency": "EUR",
        "channel": "chip",
    }
    return Transaction(**(values | changes))


@dataclass(frozen=True)
class Step:
    """What happens next: a payment arrives, or a label on one that has."""

    record: Transaction
    shard: int
    labelled_at: datetime | None = None
    change: int = 0


def rough_world(seed: int, steps: int) -> list[Step]:
    """Late, out-of-order and simultaneous payments at few terminals over 100 days, and labels."""
    rng = random.Random(seed)
    now = START
    happened: list[Step] = []
    labelled: list[Step] = []
    for number in range(steps):
        now += timedelta(seconds=rng.choice([0, 0, 1, 400, 3_000, 20_000, 100_000]))
        if rng.random() < 0.01:
            now += timedelta(days=rng.choice([2, 9, 35]))  # silence
        lot = rng.random()
        payments = [step for step in happened if step.labelled_at is None]
        if lot < 0.12 and payments:
            known = rng.choice(payments)
            at = known.record.occurred_at + timedelta(hours=rng.choice([1, 50, 200, 900]))
            labelled.append(Step(known.record, rng.randrange(3), at, 1))
            happened.append(labelled[-1])
        elif lot < 0.15 and labelled:  # taken back, perhaps by another writer
            was = labelled.pop(rng.randrange(len(labelled)))
            happened.append(Step(was.record, rng.randrange(3), was.labelled_at, -1))
        else:
            late = rng.choice([0, 0, 0, 0, 2, 7_000, 90_000, 86_400 * 6, 86_400 * 33, 86_400 * 50])
            happened.append(Step(_rough_payment(rng, number, now, late), rng.randrange(3)))
    return happened


def _rough_payment(rng: random.Random, number: int, now: datetime, late: int) -> Transaction:
    currency, unit = rng.choice([("EUR", "0.01"), ("EUR", "0.01"), ("JPY", "1"), ("KWD", "0.001")])
    units = int(rng.lognormvariate(7, 1)) + 1
    return payment(
        id=f"p-{number}",
        occurred_at=now - timedelta(seconds=late, microseconds=rng.choice([0, 1, 999_999])),
        customer=f"c-{rng.randrange(3)}",
        card=f"k-{rng.randrange(6)}",
        terminal=f"t-{int(rng.random() ** 2 * 11)}",
        amount=Decimal(units) * Decimal(unit),
        currency=currency,
        channel=rng.choice(["chip", "contactless", "online", "atm", "transfer", "pigeon"]),
        device=rng.choice([None, "", *(f"d-{n}" for n in range(10))]),
        country=rng.choice([None, "DE", "DE", "FR", "IT", "GB", "US", "PL"]),
    )


class Host:
    """Keeps states as the host does: by entity key, and by shard for secondary entities."""

    def __init__(self, extractor: TransactionExtractor) -> None:
        self.extractor = extractor
        self.primary: dict[str, bytes] = {}
        self.secondary: dict[str, dict[int, bytes]] = {}

    @property
    def states(self) -> States:
        return States(self.primary, self.secondary, {})

    def take(self, steps: list[Step]) -> list[list[float]]:
        """Let the steps happen, payments between two labels as one batch; rows of the payments."""
        rows: list[list[float]] = []
        batch: list[Step] = []
        for step in [*steps, None]:
            if step is not None and step.labelled_at is None:
                batch.append(step)
                continue
            if batch:
                extraction = self.extractor.extract(
                    [s.record for s in batch], [s.shard for s in batch], self.states
                )
                self.keep(extraction)
                rows += extraction.x_BF.tolist()
                batch = []
            if step is not None and step.labelled_at is not None:
                label = LabelledRecord(step.record, step.labelled_at, step.change)
                self.keep(self.extractor.apply_labels([label], step.shard, self.states))
        return rows

    def keep(self, extraction: Extraction) -> None:
        self.primary.update(extraction.primary)
        for (key, shard), packed in extraction.secondary.items():
            self.secondary.setdefault(key, {})[shard] = packed
