"""A small world of payments as a producer would send them: seeded, endless, in event-time order.

Payments go to ``fintech.transactions.v1``, what banks find out later to ``fintech.labels.v1``.
The world is in ``world.py``, frauds are in ``schemes.py``, numbers in ``docs/simulator.md``.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final

import numpy as np

from fintech.schemes import FRAUDS, LOOKALIKES, Scheme
from fintech.world import DAY_MS, Payment, World, WorldParameters
from lepton_apps.verticals.contract import SimulatedRecord

TRANSACTIONS_TOPIC: Final = "fintech.transactions.v1"
LABELS_TOPIC: Final = "fintech.labels.v1"

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
CHUNK_PAYMENTS: Final = 2_000  # made at once
CHUNK_MS: Final = 7_200_000  # the daily rhythm is one number for so long, at most
PAST_MS: Final = 10 * DAY_MS  # campaigns last no longer
PAST_CAMPAIGNS: Final = 1_000  # and no more of them are made up before the first record


@dataclass(frozen=True, slots=True)
class Simulated:
    """A record and the truth about it, which the record itself does not tell."""

    record: SimulatedRecord
    scheme: str | None  # the fraud scheme of a payment; None for honest ones and for labels


def simulate(*, seed: int, start: datetime, records_per_s: float) -> Iterator[SimulatedRecord]:
    """Payments and labels from ``start`` on, ``records_per_s`` payments a second on average.

    There are as many customers as need be for each to pay about three times a day. The same
    arguments give the same bytes; other arguments give other record ids.
    """
    for simulated in simulate_with_truth(seed=seed, start=start, records_per_s=records_per_s):
        yield simulated.record


def simulate_with_truth(
    *,
    seed: int,
    start: datetime,
    records_per_s: float,
    parameters: WorldParameters | None = None,
) -> Iterator[Simulated]:
    """The records of ``simulate``, each with the scheme that it belongs to.

    Raises:
        ValueError: ``start`` is naive or ``records_per_s`` is not above 0.
    """
    start_ms = _checked(start, records_per_s)
    parameters = parameters or WorldParameters()
    world = World(seed, records_per_s, parameters)
    run = hashlib.blake2b(f"{seed} {start_ms} {records_per_s}".encode(), digest_size=5).hexdigest()
    # Where another run leaves off another one may go on: ids must not meet.
    rng = np.random.default_rng([seed, start_ms])
    numbers = count(1)
    tie = count()  # the heap must never compare payments
    pending: list[tuple[int, int, Payment]] = []
    reports: list[tuple[int, int, str, str]] = []
    chunk_ms = max(min(CHUNK_MS, int(CHUNK_PAYMENTS / records_per_s * 1000)), 1)
    for payment in _under_way(world, rng, start_ms, records_per_s):
        heapq.heappush(pending, (payment.ms, next(tie), payment))
    begin = start_ms
    while True:
        end = begin + chunk_ms
        ordinary_share = 1.0 - parameters.fraud_share - parameters.lookalike_share
        mean = records_per_s * chunk_ms / 1000 * ordinary_share * rhythm(begin + chunk_ms // 2)
        times = np.sort(rng.integers(begin, end, rng.poisson(mean)))
        payments = world.ordinary(rng, times) if len(times) else []
        for payment in _campaigns(world, rng, begin, chunk_ms, records_per_s):
            heapq.heappush(pending, (payment.ms, next(tie), payment))
        while pending and pending[0][0] < end:
            payments.append(heapq.heappop(pending)[2])
        payments.sort(key=lambda payment: payment.ms)
        rows: list[tuple[int, Simulated]] = []
        for payment, lot in zip(payments, rng.random(len(payments)).tolist(), strict=True):
            record_id = f"{run}-{next(numbers)}"
            rows.append(
                (
                    payment.ms,
                    Simulated(_payment_record(record_id, payment), payment.scheme),
                )
            )
            report = _report(rng, parameters, payment, lot)
            if report is not None:
                delay_ms, verdict = report
                heapq.heappush(reports, (payment.ms + delay_ms, next(tie), record_id, verdict))
        while reports and reports[0][0] < end:
            ms, _, record_id, verdict = heapq.heappop(reports)
            rows.append((ms, Simulated(_label_record(record_id, ms, verdict), None)))
        rows.sort(key=lambda row: row[0])
        for _, simulated in rows:
            yield simulated
        begin = end


def _checked(start: datetime, records_per_s: float) -> int:
    """The start in ms since 1970, if a world can begin there and at that rate."""
    if start.tzinfo is None:
        raise ValueError(f"start={start.isoformat()} has no time zone.")
    if not records_per_s > 0:
        raise ValueError(f"records_per_s={records_per_s} is not above 0.")
    return (start - EPOCH) // timedelta(milliseconds=1)


def rhythm(ms: int) -> float:
    """How busy the hour is: 1 on average, 0.35 at 3:00 UTC, 1.65 at 15:00 UTC."""
    return 1.0 - 0.65 * math.cos(2.0 * math.pi * (ms % DAY_MS / DAY_MS - 3 / 24))


def _under_way(
    world: World, rng: np.random.Generator, start_ms: int, payments_per_s: float
) -> list[Payment]:
    """What is still to come of campaigns begun before: fraud is older than the recording."""
    campaigns_per_ms = payments_per_s / 1000 * (world.parameters.fraud_share / 5)
    past_ms = int(min(PAST_MS, PAST_CAMPAIGNS / campaigns_per_ms))
    payments = _campaigns(world, rng, start_ms - past_ms, past_ms, payments_per_s)
    return [payment for payment in payments if payment.ms >= start_ms]


def _campaigns(
    world: World,
    rng: np.random.Generator,
    begin: int,
    chunk_ms: int,
    payments_per_s: float,
) -> list[Payment]:
    """The payments, some of them days ahead, of the campaigns that start in this chunk.

    Fraud keeps no office hours: campaigns start at any time of day.
    """
    p = world.parameters
    kinds: list[tuple[Scheme, float, str | None]] = [
        (scheme, p.fraud_share, scheme.name) for scheme in FRAUDS
    ]
    kinds += [(scheme, p.lookalike_share, None) for scheme in LOOKALIKES]
    payments: list[Payment] = []
    for scheme, share, name in kinds:
        mean = payments_per_s * chunk_ms / 1000 * share * scheme.share / scheme.mean_payments
        for _ in range(rng.poisson(mean)):
            at = begin + int(rng.integers(chunk_ms))
            payments += scheme.start(world, rng, at, name)
    return payments


def _report(
    rng: np.random.Generator, p: WorldParameters, payment: Payment, lot: float
) -> tuple[int, str] | None:
    """After how many ms somebody says what the payment was, and what they say."""
    if payment.scheme is None:
        if lot < p.genuine_verdict_share:
            return int(rng.uniform(0.05, 2.0) * DAY_MS), "genuine"
        return None
    if lot >= p.reported_share:
        return None
    days = p.report_median_days * math.exp(p.report_spread * rng.standard_normal())
    return int(min(max(days, 0.1), 90.0) * DAY_MS), "fraud"


def _payment_record(record_id: str, p: Payment) -> SimulatedRecord:
    occurred_at = EPOCH + timedelta(milliseconds=p.ms)
    device = f'"{p.device}"' if p.device else "null"
    ip = f'"{p.ip}"' if p.ip else "null"
    country = f'"{p.country}"' if p.country else "null"
    value = (
        f'{{"id":"{record_id}","occurred_at":"{_text(occurred_at)}","customer":"{p.customer}",'
        f'"card":"{p.card}","terminal":"{p.terminal}","merchant":"{p.merchant}",'
        f'"amount":"{p.amount}","currency":"{p.currency}","channel":"{p.channel}",'
        f'"device":{device},"ip":{ip},"country":{country},'
        f'"attributes":{{"category":"{p.category}"}}}}'
    )
    return SimulatedRecord(TRANSACTIONS_TOPIC, p.customer, value.encode(), occurred_at)


def _label_record(record_id: str, ms: int, verdict: str) -> SimulatedRecord:
    labelled_at = EPOCH + timedelta(milliseconds=ms)
    kind = "chargeback" if verdict == "fraud" else "verdict"
    value = (
        f'{{"record_id":"{record_id}","verdict":"{verdict}","kind":"{kind}",'
        f'"labelled_at":"{_text(labelled_at)}"}}'
    )
    return SimulatedRecord(LABELS_TOPIC, record_id, value.encode(), labelled_at)


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
