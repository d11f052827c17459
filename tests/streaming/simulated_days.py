"""Days of payments through a worker: one a minute, and a clock that goes with them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from lepton_apps.common import clock
from lepton_apps.streaming.path import StreamPath
from lepton_apps.streaming.worker import Worker
from tests.champions import PAYMENTS, payment
from tests.streaming.sources import InMemorySource, log

START = datetime(2026, 4, 6, tzinfo=UTC)
A_DAY = 1_440  # payments
STEP = timedelta(hours=6)


class Days:
    """Payments whose amounts are skewed: most are small, few are very large."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seed: int = 1) -> None:
        self.now = START
        self.rng = np.random.default_rng(seed)
        self.number = 0
        self.source = InMemorySource(log([]))
        self.worker = Worker(StreamPath(PAYMENTS.name, cache_entities=100), lambda: self.source)
        self.worker.batch_size = 500
        monkeypatch.setattr(clock, "now", lambda: self.now)
        self.worker.run_once()  # takes up the assignment

    def amounts(self, count: int) -> list[float]:
        return [float(amount) for amount in np.exp(self.rng.normal(4.6, 1.2, count))]

    def pass_by(
        self,
        days: float,
        amounts: Callable[[int], list[float]] | None = None,
        customers: Callable[[int], int] | None = None,
    ) -> None:
        """Let payments come, a quarter of a day as a batch; the clock stands at its beginning."""
        for _ in range(round(days * 4)):
            values: list[bytes | dict[str, object] | None] = []
            for amount in (amounts or self.amounts)(A_DAY // 4):
                self.number += 1
                at = self.now + timedelta(minutes=len(values))
                customer = f"c{(customers or self._any)(self.number - 1)}"
                values.append(
                    payment(
                        self.number,
                        occurred_at=at.isoformat(),
                        amount=f"{max(0.01, amount):.2f}",
                        customer=customer,
                        card=customer,
                    )
                )
            offset = len(self.source.raws)
            self.source.raws += [raw._replace(offset=raw.offset + offset) for raw in log(values)]
            while self.worker.run_once():
                pass
            self.now += STEP

    def _any(self, number: int) -> int:
        return int(self.rng.integers(300))
