"""How fraudsters pay in the simulated world, and honest people who look like them.

Each scheme is a campaign: a victim or terminal, and some payments over minutes to days. Amounts,
places and devices overlap with honest behaviour on purpose: no feature separates them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from fintech.world import (
    ATM,
    HOMES,
    ONLINE,
    SHOP,
    TRANSFER,
    Floats,
    Ints,
    Payment,
    World,
    mix,
)

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Scheme:
    """A kind of campaign. Campaigns start so that ``share`` of the kind's payments are its."""

    name: str
    share: float
    mean_payments: float
    start: Callable[[World, np.random.Generator, int, str | None], list[Payment]]


def card_testing(
    world: World, rng: np.random.Generator, ms: int, scheme: str | None
) -> list[Payment]:
    """A stolen number is tried out online with tiny amounts, then used for a large one."""
    tries = int(rng.integers(4, 11))
    gaps = rng.exponential(6 * MINUTE_MS, tries + 1)
    euros = 0.5 + 4.0 * rng.random(tries + 1)
    euros[-1] = np.exp(rng.normal(5.0, 0.8))
    if rng.random() < 0.35:  # found not to work
        gaps, euros = gaps[:-1], euros[:-1]
    return _campaign(
        world,
        rng,
        ms + np.cumsum(gaps),
        euros,
        scheme,
        kinds=(ONLINE,),
        places=2,
        stranger=0.75,
    )


def account_takeover(
    world: World, rng: np.random.Generator, ms: int, scheme: str | None
) -> list[Payment]:
    """Somebody else is signed in: often a new device and country, larger amounts."""
    count = int(rng.integers(2, 7))
    times = ms + np.cumsum(rng.exponential(2.5 * HOUR_MS, count))
    return _campaign(
        world, rng, times, np.exp(rng.normal(1.3, 0.6, count)), scheme,
        relative=True, kinds=(ONLINE, TRANSFER), places=3, stranger=0.8, abroad=0.4,
    )  # fmt: skip


def compromised_terminal(
    world: World, rng: np.random.Generator, ms: int, scheme: str | None
) -> list[Payment]:
    """For days, some payments at one terminal are made with its visitors' copied cards."""
    count = int(rng.integers(6, 19))
    times = ms + np.sort(rng.random(count)) * rng.uniform(3, 10) * DAY_MS
    return _campaign(
        world, rng, times, np.exp(rng.normal(0.9, 0.6, count)), scheme,
        relative=True, kinds=(SHOP, ONLINE), places=1, stranger=0.5, victims=count,
    )  # fmt: skip


def stolen_card(
    world: World, rng: np.random.Generator, ms: int, scheme: str | None
) -> list[Payment]:
    """A card is tapped, below the limit, at one shop after another until it is blocked."""
    count = int(rng.integers(4, 10))
    times = ms + np.cumsum(rng.exponential(8 * MINUTE_MS, count))
    return _campaign(
        world, rng, times, 8.0 + 40.0 * rng.random(count), scheme,
        kinds=(SHOP, SHOP, SHOP, ATM), places=count,
    )  # fmt: skip


def bust_out(world: World, rng: np.random.Generator, ms: int, scheme: str | None) -> list[Payment]:
    """A customer spends all the credit there is, and is not seen again."""
    count = int(rng.integers(8, 19))
    times = ms + np.sort(rng.random(count)) * rng.uniform(1, 3) * DAY_MS
    return _campaign(
        world, rng, times, np.exp(rng.normal(1.7, 0.5, count)), scheme,
        relative=True, kinds=(SHOP, ONLINE), places=count,
    )  # fmt: skip


def plain(world: World, rng: np.random.Generator, ms: int, scheme: str | None) -> list[Payment]:
    """One payment like any other; nothing gives it away but what others report."""
    euros = np.exp(rng.normal(0.3, 0.7, 1))
    kinds = (SHOP, ONLINE, ONLINE)
    return _campaign(
        world, rng, np.array([float(ms)]), euros, scheme,
        relative=True, kinds=kinds, places=1, stranger=0.3,
    )  # fmt: skip


def spree(world: World, rng: np.random.Generator, ms: int, scheme: str | None) -> list[Payment]:
    """An honest afternoon in town: several new shops within hours."""
    count = int(rng.integers(3, 9))
    times = ms + np.cumsum(rng.exponential(35 * MINUTE_MS, count))
    euros = np.exp(rng.normal(0.2, 0.6, count))
    return _campaign(
        world,
        rng,
        times,
        euros,
        scheme,
        relative=True,
        kinds=(SHOP, SHOP, ATM),
        places=count,
    )


def new_phone(world: World, rng: np.random.Generator, ms: int, scheme: str | None) -> list[Payment]:
    """An honest customer with a new device, sometimes abroad, buying what costs more."""
    count = int(rng.integers(1, 5))
    times = ms + np.cumsum(rng.exponential(5 * HOUR_MS, count))
    euros = np.exp(rng.normal(0.4, 0.8, count))
    return _campaign(
        world, rng, times, euros, scheme,
        relative=True, kinds=(ONLINE, TRANSFER), places=3, stranger=1.0, abroad=0.3,
    )  # fmt: skip


# Shares are of the fraudulent payments here, and of the lookalikes below.
FRAUDS: Final = (
    Scheme("card_testing", 0.24, 7.15, card_testing),
    Scheme("account_takeover", 0.22, 4.0, account_takeover),
    Scheme("compromised_terminal", 0.24, 12.0, compromised_terminal),
    Scheme("stolen_card", 0.16, 6.5, stolen_card),
    Scheme("bust_out", 0.10, 13.0, bust_out),
    Scheme("plain", 0.04, 1.0, plain),
)
LOOKALIKES: Final = (
    Scheme("spree", 0.6, 5.5, spree),
    Scheme("new_phone", 0.4, 2.5, new_phone),
)


def _campaign(
    world: World,
    rng: np.random.Generator,
    times: Floats,
    euros: Floats,
    scheme: str | None,
    *,
    kinds: tuple[int, ...],
    places: int,
    relative: bool = False,
    stranger: float = 0.0,
    abroad: float = 0.0,
    victims: int = 1,
) -> list[Payment]:
    """Payments at ``times`` (ms) over ``places`` terminals of these kinds.

    ``relative``: euros are factors of the customer's usual amount. ``stranger``: how likely the
    device is none of theirs. ``abroad``: how likely it happens in another country.
    """
    count = len(times)
    ms_B = times.astype(np.int64)
    slot_B = np.resize(world.draw_slots(rng, victims), count)
    # Who they are is fixed by the first payment: a campaign does not outlive its victim.
    who = world.customers(slot_B, np.full(count, ms_B[0]))
    country = int(rng.integers(len(HOMES))) if rng.random() < abroad else int(who.home_B[0])
    number_B = np.resize(_terminals(world, rng, country, kinds, places), count)
    devices = who.device_B
    if rng.random() < stranger:
        devices = np.resize(mix(rng.integers(0, 1 << 62, victims)), count)
    amounts = np.exp(who.mean_B) * euros if relative else euros
    return world.payments(
        rng,
        ms_B,
        who,
        np.full(count, country),
        number_B,
        amounts,
        devices,
        [scheme] * count,
    )


def _terminals(
    world: World,
    rng: np.random.Generator,
    country: int,
    kinds: tuple[int, ...],
    places: int,
) -> Ints:
    """Random terminals of a country, of the wanted kinds as far as the draw finds them."""
    tried = rng.integers(0, world.num_terminals[country], 8 * places)
    kind = world.terminal_kind(np.full(len(tried), country), tried)
    fitting = tried[np.isin(kind, kinds)]
    return fitting[:places] if len(fitting) else tried[:places]
