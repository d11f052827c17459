"""The simulated world's people and places, and how they pay on ordinary days.

Nobody is stored: whatever is lasting about a customer or terminal is computed from a hash of the
seed and their number, so a world of two million customers costs no memory. Parameters are
described in ``docs/simulator.md``. Suffix B = payments of one batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]
Floats = NDArray[np.float64]

DAY_MS: Final = 86_400_000

# Home countries, how common they are, their currency, and its units for about one euro.
HOMES: Final = ("DE", "FR", "ES", "IT", "GB", "US", "PL", "JP")
HOME_SHARES: Final = np.cumsum([0.26, 0.16, 0.12, 0.12, 0.12, 0.10, 0.08, 0.04])
CURRENCIES: Final = ("EUR", "EUR", "EUR", "EUR", "GBP", "USD", "PLN", "JPY")
DECIMALS: Final = (2, 2, 2, 2, 2, 2, 2, 0)
PRICE_LEVELS: Final = np.array([1.0, 1.0, 1.0, 1.0, 0.85, 1.1, 4.3, 160.0])

SHOP, ONLINE, ATM, TRANSFER = range(4)
KIND_SHARES: Final = np.cumsum([0.60, 0.28, 0.05, 0.07])
KIND_LOG_AMOUNT: Final = np.array([0.0, 0.35, 1.0, 1.4])  # against the customer's mean
CATEGORIES: Final = ("5411", "5812", "5541", "5732", "5651", "4829", "5999")


class Payment(NamedTuple):
    """One payment before it has a number. ``scheme`` is the truth, and never leaves in a payload."""

    ms: int
    customer: str
    card: str
    terminal: str
    merchant: str
    amount: str
    currency: str
    channel: str
    device: str | None
    ip: str | None
    country: str | None
    category: str
    scheme: str | None


@dataclass(frozen=True, slots=True)
class WorldParameters:
    """What the world is like. Shares are of all payments unless said otherwise."""

    payments_per_customer_day: float = 3.0
    customers_per_terminal: float = 4.0
    least_customers: int = 200
    most_customers: int = 2_000_000
    life_days: float = 150.0  # after that a customer leaves and a new one takes the place
    device_days: float = 120.0  # after that a customer has a new device
    favourites: int = 6  # terminals to which a customer comes back
    favourite_share: float = 0.72
    travel_share: float = 0.025  # of a customer's weeks
    large_share: float = 0.01  # ordinary payments of 3 to 10 times the usual
    other_device_share: float = 0.005  # of payments with a device
    unknown_country_share: float = 0.03
    fraud_share: float = 0.008
    lookalike_share: float = 0.002  # honest payments that look like a fraud scheme
    reported_share: float = 0.9  # of frauds, ever
    report_median_days: float = 5.0
    report_spread: float = 0.7  # of the log of the delay
    genuine_verdict_share: float = 0.0003


def mix(*parts: Ints | Words | int) -> Words:
    """A 64-bit hash of integers, element by element (the finalizer of splitmix64)."""
    word = np.zeros(1, np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            word = word + np.asarray(part).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
            word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            word = word ^ (word >> np.uint64(31))
    return word


def uniform(word: Words) -> Floats:
    """The upper bits of a hash as a number in [0, 1)."""
    return (word >> np.uint64(11)).astype(np.float64) * 2.0**-53


def below(word: Words, limit: Ints | int) -> Ints:
    """A hash as an integer in [0, limit)."""
    return (uniform(word) * limit).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Customers:
    """What lasts about the payers of a batch."""

    slot_B: Ints
    generation_B: Ints
    key_B: Words
    home_B: Ints  # index into HOMES
    here_B: Ints  # where they are this week
    mean_B: Floats  # log of the usual amount in euros
    spread_B: Floats
    device_B: Words

    def name(self, i: int) -> str:
        return f"c{self.slot_B[i]}-{self.generation_B[i]}"


class World:
    """Customers and terminals of one seed. ``rng`` draws what is not lasting."""

    def __init__(
        self,
        seed: int,
        payments_per_s: float,
        parameters: WorldParameters | None = None,
    ) -> None:
        self.parameters = p = parameters or WorldParameters()
        self.seed = seed
        wanted = round(payments_per_s * 86_400 / p.payments_per_customer_day)
        self.num_customers = min(max(wanted, p.least_customers), p.most_customers)
        terminals = self.num_customers / p.customers_per_terminal
        shares = np.diff(HOME_SHARES, prepend=0.0)
        self.num_terminals = np.maximum(terminals * shares, 8).astype(np.int64)  # by country

    def draw_slots(self, rng: np.random.Generator, count: int) -> Ints:
        """Some customers pay more often than others: mildly skewed to low numbers."""
        return (self.num_customers * rng.random(count) ** 1.5).astype(np.int64)

    def customers(self, slot_B: Ints, ms_B: Ints) -> Customers:
        """Who holds these places at these times."""
        p = self.parameters
        day_B = ms_B / DAY_MS
        place_B = mix(self.seed, slot_B)
        generation_B = (day_B / p.life_days + uniform(place_B)).astype(np.int64)
        key_B = mix(place_B, generation_B)
        home_B = np.searchsorted(HOME_SHARES[:-1], uniform(mix(key_B, 1)), side="right")
        trip_B = mix(key_B, 2, (day_B / 7).astype(np.int64))
        abroad_B = below(mix(trip_B, 3), len(HOMES))
        change_B = (day_B / p.device_days + uniform(mix(key_B, 4))).astype(np.int64)
        return Customers(
            slot_B=slot_B,
            generation_B=generation_B,
            key_B=key_B,
            home_B=home_B,
            here_B=np.where(uniform(trip_B) < p.travel_share, abroad_B, home_B),
            mean_B=2.6 + 1.2 * uniform(mix(key_B, 5)),
            spread_B=0.45 + 0.5 * uniform(mix(key_B, 6)),
            device_B=mix(key_B, 7, change_B),
        )

    def terminal_kind(self, country_B: Ints, number_B: Ints) -> Ints:
        """Shop, online, cash machine or transfer, for terminals by country and number."""
        word_B = mix(self.seed, 8, country_B, number_B)
        return np.searchsorted(KIND_SHARES[:-1], uniform(word_B), side="right")

    def ordinary(self, rng: np.random.Generator, ms_B: Ints) -> list[Payment]:
        """Honest payments at the given times, by customers drawn for them."""
        p = self.parameters
        count = len(ms_B)
        who = self.customers(self.draw_slots(rng, count), ms_B)
        country_B = who.here_B
        limit_B = self.num_terminals[country_B]
        favourite_B = mix(
            who.key_B, 9, country_B, (p.favourites * rng.random(count) ** 2).astype(np.int64)
        )
        number_B = np.where(
            rng.random(count) < p.favourite_share,
            below(favourite_B, limit_B),
            (rng.random(count) * limit_B).astype(np.int64),
        )
        kind_B = self.terminal_kind(country_B, number_B)
        log_B = who.mean_B + KIND_LOG_AMOUNT[kind_B] + who.spread_B * rng.standard_normal(count)
        large_B = rng.random(count) < p.large_share
        log_B += np.where(large_B, np.log(3.0 + 7.0 * rng.random(count)), 0.0)
        other_B = rng.random(count) < p.other_device_share
        device_B = np.where(other_B, mix(who.key_B, rng.integers(0, 1 << 62, count)), who.device_B)
        return self.payments(
            rng, ms_B, who, country_B, number_B, np.exp(log_B), device_B, [None] * count
        )

    def payments(
        self,
        rng: np.random.Generator,
        ms_B: Ints,
        who: Customers,
        country_B: Ints,
        number_B: Ints,
        euros_B: Floats,
        device_B: Words,
        schemes: list[str | None],
    ) -> list[Payment]:
        """Dress numbers up as payments at the terminals (country, number)."""
        count = len(ms_B)
        kind_B = self.terminal_kind(country_B, number_B)
        units_B = np.maximum(euros_B * PRICE_LEVELS[country_B], 0.5)
        units_B = np.where(kind_B == ATM, np.ceil(units_B / 10.0) * 10.0, units_B)
        tapped_B = rng.random(count) < 0.6
        unknown_B = rng.random(count) < self.parameters.unknown_country_share
        second_card_B = (uniform(mix(who.key_B, 10)) < 0.4) & (rng.random(count) < 0.25)
        category_B = below(mix(self.seed, 11, country_B, number_B), len(CATEGORIES))
        columns: list[list[Any]] = [
            column.tolist()
            for column in (
                ms_B, who.slot_B, who.generation_B, country_B, number_B, kind_B, units_B,
                tapped_B, unknown_B, second_card_B, category_B, device_B,
            )
        ]  # fmt: skip
        return [_payment(*row) for row in zip(*columns, schemes, strict=True)]


def _payment(
    ms: int,
    slot: int,
    generation: int,
    country: int,
    number: int,
    kind: int,
    units: float,
    tapped: bool,
    unknown: bool,
    second_card: bool,
    category: int,
    device: int,
    scheme: str | None,
) -> Payment:
    code = HOMES[country]
    remote = kind in (ONLINE, TRANSFER)
    channel = ("contactless" if tapped else "chip", "online", "atm", "transfer")[kind]
    return Payment(
        ms=ms,
        customer=f"c{slot}-{generation}",
        card=f"k{slot}-{generation}-{'b' if second_card else 'a'}",
        terminal=f"t{code}{number}",
        merchant=f"m{code}{number // 3}",
        amount=f"{max(units, 1.0):.0f}" if DECIMALS[country] == 0 else f"{units:.2f}",
        currency=CURRENCIES[country],
        channel=channel,
        device=f"d{device:016x}" if remote or (tapped and device & 1) else None,
        # 100.64.0.0/10 is nobody's address on the internet.
        ip=f"100.{64 + device % 64}.{device // 64 % 256}.{device // 16384 % 256}"
        if remote
        else None,
        country=None if unknown else code,
        category=CATEGORIES[category],
        scheme=scheme,
    )
