"""Features by their definition: lists of everything that arrived, no rings, no shards, no packing.

It shares constants with nothing in ``fintech`` on purpose.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zlib import crc32

from fintech.records import Transaction

DAY = 86_400_000
SHORT = 7_200_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NEVER = math.log1p(90 * 86_400.0)


def ms_of(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


@dataclass
class Seen:
    """One payment that arrived, as its customer and terminal remember it."""

    at: int
    q: int
    unusual: bool
    device: str | None
    terminal: str
    card: str
    country: str | None
    currency: str


@dataclass
class Oracle:
    delay_days: int = 7
    by_customer: dict[str, list[Seen]] = field(default_factory=lambda: defaultdict(list))
    by_terminal: dict[str, list[Seen]] = field(default_factory=lambda: defaultdict(list))
    frauds: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))

    def label(self, record: Transaction, at: datetime, change: int) -> None:
        effective = max(ms_of(record.occurred_at), ms_of(at) - self.delay_days * DAY)
        for key in (f"t:{record.terminal}", f"c:{record.customer}"):
            self.frauds[key].append((effective // DAY, change))

    def row(self, record: Transaction) -> dict[str, float]:
        """The features of a record that arrives now; remembers it."""
        at = ms_of(record.occurred_at)
        log_amount = math.log1p(math.floor(float(record.amount) * 100.0 + 0.5))
        mine = self.by_customer[record.customer]
        theirs = self.by_terminal[record.terminal]
        x = record_features(record, at, log_amount) | novelty_features(record, at, mine)
        own, unusual = customer_features(mine, at, log_amount)
        x |= own | terminal_features(theirs, at, log_amount) | self.risk_features(record, at)
        seen = Seen(
            at,
            math.floor(log_amount * 64 + 0.5),
            unusual,
            record.device or None,
            record.terminal,
            record.card,
            record.country or None,
            record.currency,
        )
        mine.append(seen)
        theirs.append(seen)
        return x

    def risk_features(self, record: Transaction, at: int) -> dict[str, float]:
        until = at // DAY - self.delay_days
        x: dict[str, float] = {}
        theirs = self.by_terminal[record.terminal]
        for width in (1, 7, 30):
            count = len(within(theirs, DAY, until - width, until, remembered=31 + self.delay_days))
            found = self.known(f"t:{record.terminal}", until - width, until)
            x[f"terminal_fraud_{width}d"] = share(found, count)
            found = self.known(f"c:{record.customer}", until - width, until)
            x[f"customer_fraud_{width}d"] = math.log1p(max(found, 0))
        return x

    def known(self, key: str, first: int, last: int) -> int:
        labels = self.frauds[key]
        oldest = max((day for day, _ in labels), default=0) - (38 + self.delay_days) + 1
        return sum(change for day, change in labels if max(first, oldest) <= day <= last)


def within(seen: list[Seen], grain: int, first: int, last: int, remembered: int) -> list[Seen]:
    """What arrived before, of the buckets first..last, as far back as is remembered."""
    newest = max((s.at // grain for s in seen), default=0)
    return [s for s in seen if max(first, newest - remembered + 1) <= s.at // grain <= last]


def last_used(values: list[Any], keep: int) -> list[Any]:
    """The ``keep`` different values that were used last, the last one first."""
    used: list[Any] = []
    for value in reversed([value for value in values if value is not None]):
        if value not in used:
            used.append(value)
    return used[:keep]


def first_use(mine: list[Seen], device: str) -> int | None:
    """When the device came to be among the last 8, unless it has dropped out again."""
    ring: list[str] = []
    since: dict[str, int] = {}
    for s in mine:
        if s.device is None:
            continue
        if s.device not in ring:
            since[s.device] = s.at
        ring = [s.device, *(d for d in ring if d != s.device)][:8]
    return since[device] if device in ring else None


def record_features(record: Transaction, at: int, log_amount: float) -> dict[str, float]:
    hour = (at % DAY) / 3_600_000.0
    return {
        "amount_log": log_amount,
        "hour_sin": math.sin(hour * (math.pi / 12.0)),
        "hour_cos": math.cos(hour * (math.pi / 12.0)),
        "weekend": float(record.occurred_at.astimezone(UTC).weekday() >= 5),
        "night": float(record.occurred_at.astimezone(UTC).hour < 6),
        "channel_online": float(record.channel == "online"),
        "channel_contactless": float(record.channel == "contactless"),
        "channel_atm": float(record.channel == "atm"),
        "channel_transfer": float(record.channel == "transfer"),
        "device_given": float(bool(record.device)),
    }


def novelty_features(record: Transaction, at: int, mine: list[Seen]) -> dict[str, float]:
    countries = last_used([s.country for s in mine], 4)
    elsewhere = record.country is not None and bool(countries)
    device = record.device or None
    known_since = first_use(mine, device) if device else None
    hours = 0.0 if known_since is None else max(at // 60_000 - known_since // 60_000, 0) / 60.0
    return {
        "customer_known": float(bool(mine)),
        "currency_foreign": float(bool(mine) and record.currency != mine[0].currency),
        "country_given": float(record.country is not None),
        "country_changed": float(elsewhere and record.country != countries[0]),
        "country_new": float(elsewhere and record.country not in countries),
        "device_new": float(bool(mine) and device is not None and known_since is None),
        "terminal_new": float(
            bool(mine) and record.terminal not in last_used([s.terminal for s in mine], 8)
        ),
        "card_new": float(bool(mine) and record.card not in last_used([s.card for s in mine], 4)),
        "device_age_log_h": math.log1p(hours),
    }


def customer_features(
    mine: list[Seen], at: int, log_amount: float
) -> tuple[dict[str, float], bool]:
    short, day = at // SHORT, at // DAY
    hours_2 = within(mine, SHORT, short - 1, short, 13)
    day_1 = within(mine, SHORT, short - 12, short, 13)
    days_7 = within(mine, DAY, day - 7, day, 31)
    days_30 = within(mine, DAY, day - 30, day, 31)
    deviation = deviation_from(log_amount, days_30)
    z = mean = 0.0
    if days_30:
        n = len(days_30)
        mean = sum(s.q for s in days_30) / (n * 64)
        offset = sum(s.q - 512 for s in days_30) / n
        variance = max(sum((s.q - 512) ** 2 for s in days_30) / n - offset * offset, 0.0) / 4096
        z = deviation / math.sqrt(variance + 0.25 * 0.25)
    x = {
        "customer_count_2h": math.log1p(len(hours_2)),
        "customer_count_1d": math.log1p(len(day_1)),
        "customer_count_7d": math.log1p(len(days_7)),
        "customer_count_30d": math.log1p(len(days_30)),
        "customer_deviation_1d": deviation_from(log_amount, day_1),
        "customer_deviation_7d": deviation_from(log_amount, days_7),
        "customer_deviation_30d": deviation,
        "customer_mean_30d": mean,
        "customer_z_30d": min(max(z, -10.0), 10.0),
        "customer_unusual_7d": math.log1p(sum(s.unusual for s in days_7)),
        "customer_unusual_30d": math.log1p(sum(s.unusual for s in days_30)),
        "customer_last_log_s": log_seconds_since(mine, at),
        "customer_age_log_d": math.log1p(max(at - min((s.at for s in mine), default=at), 0) / DAY),
    }
    return x, len(days_30) >= 5 and (deviation > math.log(4.0) or z > 3.0)


def terminal_features(theirs: list[Seen], at: int, log_amount: float) -> dict[str, float]:
    short, day = at // SHORT, at // DAY
    day_1 = within(theirs, SHORT, short - 12, short, 13)
    days_7 = within(theirs, DAY, day - 7, day, 31)
    days_30 = within(theirs, DAY, day - 30, day, 31)
    return {
        "terminal_count_2h": math.log1p(len(within(theirs, SHORT, short - 1, short, 13))),
        "terminal_count_1d": math.log1p(len(day_1)),
        "terminal_count_7d": math.log1p(len(days_7)),
        "terminal_count_30d": math.log1p(len(days_30)),
        "terminal_deviation_30d": deviation_from(log_amount, days_30),
        "terminal_unusual_1d": share(sum(s.unusual for s in day_1), len(day_1)),
        "terminal_unusual_7d": share(sum(s.unusual for s in days_7), len(days_7)),
        "terminal_unusual_30d": share(sum(s.unusual for s in days_30), len(days_30)),
        "terminal_last_log_s": log_seconds_since(theirs, at),
    }


def deviation_from(log_amount: float, seen: list[Seen]) -> float:
    return log_amount - sum(s.q for s in seen) / (len(seen) * 64) if seen else 0.0


def share(part: int, count: int) -> float:
    return min(max(part, 0) / (count + 4.0), 1.0)


def log_seconds_since(seen: list[Seen], at: int) -> float:
    if not seen:
        return NEVER
    return min(math.log1p(max(at - max(s.at for s in seen), 0) / 1000.0), NEVER)


def hashes_differ(texts: list[str]) -> bool:
    """The oracle compares texts, the extractor their hashes: a test's texts must not collide."""
    return len({crc32(text.encode()) for text in texts}) == len(texts)
