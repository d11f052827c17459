"""Payments made fast and by number: the same arguments always give the same records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from lepton_apps.common import clock

TOPIC = "fintech.transactions.v1"
STREAM = "fintech.transactions"
CHANNELS = ("chip", "contactless", "online")
PAYMENTS_A_DAY = 3  # of a customer
CHUNK = 10_000
NOON_S = 12 * 3_600
# Seconds after noon, and the share of a day's payments that are made by then: few at 3:00 UTC,
# many at 15:00, as in the simulator. A model that knows the night answers otherwise by night.
AFTER_NOON = np.linspace(0, 86_400, 24 * 60 + 1)
_ANGLE = (AFTER_NOON + NOON_S - 3 * 3_600) * (2 * np.pi / 86_400)
PAID_BY = AFTER_NOON / 86_400 - 0.65 / (2 * np.pi) * (np.sin(_ANGLE) - np.sin(_ANGLE[0]))


@dataclass(frozen=True, slots=True)
class Payment:
    id: str
    key: bytes  # the customer
    value: bytes  # JSON, about 330 bytes


def noon_before(num: int, entities: int, end: datetime | None = None) -> datetime:
    """The noon from which ``num`` payments of so many customers are over by ``end`` (now).

    Always a noon: the hour at which a benchmark is run must not shape what it measures.
    """
    days = -(-num // (entities * PAYMENTS_A_DAY))
    noon = (end or clock.now()).replace(hour=12, minute=0, second=0, microsecond=0)
    return noon - timedelta(days=days + 1)


def moments(first: int, num: int, *, entities: int, start: datetime) -> list[datetime]:
    """When the payments from number ``first`` on are made; the first of all at noon."""
    days, rest = np.divmod(np.arange(first, first + num), entities * PAYMENTS_A_DAY)
    seconds = np.interp(rest / (entities * PAYMENTS_A_DAY), PAID_BY, AFTER_NOON)
    return [start + timedelta(seconds=s) for s in (days * 86_400 + seconds).tolist()]


def payments(
    prefix: str,
    num: int,
    *,
    entities: int,
    start: datetime,
    seed: int = 1,
    known: int | None = None,
) -> Iterator[Payment]:
    """``num`` payments of ``entities`` customers at a quarter as many terminals.

    Customers and terminals are drawn uniformly, which is the hardest case for any cache; each
    customer pays about three times a day, mostly by day. Ids are ``<prefix>-<number>``. ``start``
    is a noon, that of ``noon_before``. With ``known``, those who pay lie evenly among so many.
    """
    random = np.random.default_rng(seed)
    terminals = max(1, entities // 4)
    stride = 1 if known is None else known // entities
    for first in range(0, num, CHUNK):
        size = min(CHUNK, num - first)
        customers = random.integers(0, entities, size).tolist()
        places = random.integers(0, terminals, size).tolist()
        amounts = np.maximum(random.lognormal(3.3, 0.6, size), 0.01).tolist()
        channels = random.choice(len(CHANNELS), size, p=(0.5, 0.4, 0.1)).tolist()
        times = moments(first, size, entities=entities, start=start)
        for place in range(size):
            number = first + place
            yield payment(
                f"{prefix}-{number}",
                f"c{customers[place] * stride}",
                f"t{places[place] * stride}",
                amounts[place],
                CHANNELS[channels[place]],
                times[place],
            )


def payment(
    record_id: str,
    customer: str,
    terminal: str,
    amount: float,
    channel: str,
    at: datetime,
    *,
    device: str = "d0",
    country: str = "DE",
) -> Payment:
    """One payment of 0.01 EUR or more. Cards are told apart within a customer, so one will do."""
    moment = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    value = (
        f'{{"id":"{record_id}","occurred_at":"{moment}","customer":"{customer}",'
        f'"card":"card-0","terminal":"{terminal}","merchant":"m-{terminal}",'
        f'"amount":"{amount:.2f}","currency":"EUR","channel":"{channel}",'
        f'"device":"{device}","ip":"10.1.2.3","country":"{country}",'
        f'"attributes":{{"source":"benchmark"}}}}'
    )
    return Payment(record_id, customer.encode(), value.encode())
