"""Payments made fast and by number: the same arguments always give the same records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

TOPIC = "fintech.transactions.v1"
STREAM = "fintech.transactions"
CHANNELS = ("chip", "contactless", "online")
PAYMENTS_A_DAY = 3  # of a customer
CHUNK = 10_000


@dataclass(frozen=True, slots=True)
class Payment:
    id: str
    key: bytes  # the customer
    value: bytes  # JSON, about 330 bytes


def span(num: int, entities: int) -> timedelta:
    """Event time that ``num`` payments of so many customers take."""
    return timedelta(days=num / (entities * PAYMENTS_A_DAY))


def payments(
    prefix: str, num: int, *, entities: int, start: datetime, seed: int = 1
) -> Iterator[Payment]:
    """``num`` payments of ``entities`` customers at a quarter as many terminals.

    Customers and terminals are drawn uniformly, which is the hardest case for any cache; each
    customer pays about three times a day. Ids are ``<prefix>-<number>``.
    """
    random = np.random.default_rng(seed)
    terminals = max(1, entities // 4)
    step = span(1, entities)
    for first in range(0, num, CHUNK):
        size = min(CHUNK, num - first)
        customers = random.integers(0, entities, size).tolist()
        places = random.integers(0, terminals, size).tolist()
        amounts = np.maximum(random.lognormal(3.3, 0.6, size), 0.01).tolist()
        channels = random.choice(len(CHANNELS), size, p=(0.5, 0.4, 0.1)).tolist()
        for place in range(size):
            number = first + place
            yield payment(
                f"{prefix}-{number}",
                f"c{customers[place]}",
                f"t{places[place]}",
                amounts[place],
                CHANNELS[channels[place]],
                start + number * step,
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
