"""The compiled inner loops: one record after another over packed states.

They touch the arrays they are given and nothing else. What the numbers mean is said in
``features.py``, how they are kept in ``states.py``. Suffixes: B = records of the batch,
C = customers, T = terminals (merged), S = (terminal, shard) pairs, F = features.
"""

from __future__ import annotations

import math
from typing import Any

import numba

from fintech.states import (
    DAY_BUCKETS,
    DAY_MS,
    LOG_CENTRE,
    LOG_SCALE,
    MINUTE_MS,
    SHORT_BUCKETS,
    SHORT_MS,
)

NEVER_LOG_S = math.log1p(90 * 86_400.0)  # "time since the last one" where there was none
UNUSUAL_LOG_RATIO = math.log(4.0)
UNUSUAL_Z = 3.0
UNUSUAL_MIN_HISTORY = 5  # records in 30 days before a payment can be called unusual
LOG_SPREAD_FLOOR = 0.25  # added in quadrature: someone who always pays the same is not a machine
SHARE_PRIOR = 4.0  # records without fraud that every terminal is thought to have had besides
BUCKET_FULL = 65_535


@numba.njit(cache=True)
def advance(ring: Any, old: int, new: int) -> None:
    """Empty the buckets that time has entered since ``old``."""
    size = len(ring)
    for bucket in range(max(old + 1, new - size + 1), new + 1):
        ring[bucket % size] = 0


@numba.njit(cache=True)
def _window(ring: Any, newest: int, first: int, last: int) -> int:
    """Sum of the buckets ``first`` .. ``last`` that the ring still holds."""
    size = len(ring)
    total = 0
    for bucket in range(max(first, newest - size + 1), min(last, newest) + 1):
        total += ring[bucket % size]
    return total


@numba.njit(cache=True)
def _holds(ring: Any, value: int) -> bool:
    found = False
    for item in ring:
        found |= item == value
    return found


@numba.njit(cache=True)
def _use(ring: Any, value: int) -> None:
    """Move ``value`` to the front; whoever was used longest ago falls out."""
    carried = value
    for place in range(len(ring)):
        swapped = ring[place]
        ring[place] = carried
        carried = swapped
        if swapped == value:
            break


@numba.njit(cache=True)
def _use_device(c: Any, device: int, at: int) -> None:
    """As ``_use``; the minute of a device's first use moves along with it."""
    carried, carried_since = device, at // MINUTE_MS
    for place in range(len(c.devices)):
        if c.devices[place] == device:
            carried_since = c.devices_since[place]
    for place in range(len(c.devices)):
        swapped, swapped_since = c.devices[place], c.devices_since[place]
        c.devices[place], c.devices_since[place] = carried, carried_since
        carried, carried_since = swapped, swapped_since
        if swapped == device:
            break


@numba.njit(cache=True)
def merge_terminals(shards_S: Any, terminal_S: Any, merged_T: Any) -> None:
    """Add shards up into ``merged_T``, which comes zeroed. The order does not matter."""
    for s in range(len(shards_S)):
        t = merged_T[terminal_S[s]]
        t.last_at = max(t.last_at, shards_S[s].last_at)
    for s in range(len(shards_S)):
        shard = shards_S[s]
        t = merged_T[terminal_S[s]]
        day, own_day = t.last_at // DAY_MS, shard.last_at // DAY_MS
        short, own_short = t.last_at // SHORT_MS, shard.last_at // SHORT_MS
        _add_ring(t.day_count, shard.day_count, day, own_day)
        _add_ring(t.day_log_sum, shard.day_log_sum, day, own_day)
        _add_ring(t.day_unusual, shard.day_unusual, day, own_day)
        _add_ring(t.short_count, shard.short_count, short, own_short)
        _add_ring(t.short_unusual, shard.short_unusual, short, own_short)


@numba.njit(cache=True)
def merge_risks(shards_S: Any, entity_S: Any, merged_E: Any) -> None:
    """Add shards of known frauds up into ``merged_E``, which comes zeroed."""
    for s in range(len(shards_S)):
        e = merged_E[entity_S[s]]
        e.newest_day = max(e.newest_day, shards_S[s].newest_day)
    for s in range(len(shards_S)):
        e = merged_E[entity_S[s]]
        _add_ring(e.frauds, shards_S[s].frauds, e.newest_day, shards_S[s].newest_day)


@numba.njit(cache=True)
def _add_ring(into: Any, ring: Any, newest: int, own_newest: int) -> None:
    size = len(ring)
    for bucket in range(max(newest, own_newest) - size + 1, own_newest + 1):
        into[bucket % size] += ring[bucket % size]


@numba.njit(cache=True)
def _describe_record(x_F: Any, at: int, log_amount: float, channel: int, has_device: bool) -> None:
    hour = (at % DAY_MS) / 3_600_000.0
    x_F[0] = log_amount
    x_F[1] = math.sin(hour * (math.pi / 12.0))
    x_F[2] = math.cos(hour * (math.pi / 12.0))
    x_F[3] = (at // DAY_MS + 3) % 7 >= 5  # 1970-01-01 was a Thursday
    x_F[4] = hour < 6.0
    x_F[5] = channel == 1
    x_F[6] = channel == 2
    x_F[7] = channel == 3
    x_F[8] = channel == 4
    x_F[9] = has_device


@numba.njit(cache=True)
def _describe_novelty(x_F: Any, c: Any, r: Any) -> None:
    at, device, country = r.at, r.device_hash, r.country
    known = c.cards[0] != 0  # every payment has a card
    elsewhere = country != 0 and c.countries[0] != 0
    x_F[10] = known
    x_F[11] = known and r.currency != c.currency
    x_F[12] = country != 0
    x_F[13] = elsewhere and country != c.countries[0]
    x_F[14] = elsewhere and not _holds(c.countries, country)
    x_F[15] = known and device != 0 and not _holds(c.devices, device)
    x_F[16] = known and not _holds(c.terminals, r.terminal_hash)
    x_F[17] = known and not _holds(c.cards, r.card_hash)
    for place in range(len(c.devices)):
        if device != 0 and c.devices[place] == device:
            minutes = max(at // MINUTE_MS - c.devices_since[place], 0)
            x_F[46] = math.log1p(minutes / 60.0)


@numba.njit(cache=True)
def _describe_customer(x_F: Any, c: Any, at: int, log_amount: float) -> bool:
    """Fill in the customer's own history; tell whether the amount is unusual for them."""
    short, newest_short = at // SHORT_MS, c.last_at // SHORT_MS
    count_2h = count_1d = sum_1d = 0
    for bucket in range(max(short, newest_short) - 12, min(short, newest_short) + 1):
        slot = bucket % SHORT_BUCKETS
        count_1d += c.short_count[slot]
        sum_1d += c.short_log_sum[slot]
        if bucket >= short - 1:
            count_2h += c.short_count[slot]
    day, newest_day = at // DAY_MS, c.last_at // DAY_MS
    count_7d = count_30d = sum_7d = sum_30d = squares = unusual_7d = unusual_30d = 0
    for bucket in range(max(day, newest_day) - 30, min(day, newest_day) + 1):
        slot = bucket % DAY_BUCKETS
        count_30d += c.day_count[slot]
        sum_30d += c.day_log_sum[slot]
        squares += c.day_log_sq[slot]
        unusual_30d += c.day_unusual[slot]
        if bucket >= day - 7:
            count_7d += c.day_count[slot]
            sum_7d += c.day_log_sum[slot]
            unusual_7d += c.day_unusual[slot]
    deviation = _deviation(log_amount, sum_30d, count_30d)
    z = 0.0
    if count_30d > 0:
        offset = (sum_30d - LOG_CENTRE * count_30d) / count_30d
        variance = max(squares / count_30d - offset * offset, 0.0) / (LOG_SCALE * LOG_SCALE)
        z = deviation / math.sqrt(variance + LOG_SPREAD_FLOOR * LOG_SPREAD_FLOOR)
        x_F[25] = sum_30d / (count_30d * LOG_SCALE)
    x_F[18] = math.log1p(count_2h)
    x_F[19] = math.log1p(count_1d)
    x_F[20] = math.log1p(count_7d)
    x_F[21] = math.log1p(count_30d)
    x_F[22] = _deviation(log_amount, sum_1d, count_1d)
    x_F[23] = _deviation(log_amount, sum_7d, count_7d)
    x_F[24] = deviation
    x_F[26] = min(max(z, -10.0), 10.0)
    x_F[27] = math.log1p(unusual_7d)
    x_F[28] = math.log1p(unusual_30d)
    x_F[29] = _log_seconds_since(at, c.last_at)
    if c.first_at != 0:
        x_F[30] = math.log1p(max(at - c.first_at, 0) / DAY_MS)
    return count_30d >= UNUSUAL_MIN_HISTORY and (deviation > UNUSUAL_LOG_RATIO or z > UNUSUAL_Z)


@numba.njit(cache=True)
def _deviation(log_amount: float, log_sum: int, count: int) -> float:
    if count == 0:
        return 0.0
    return log_amount - log_sum / (count * LOG_SCALE)


@numba.njit(cache=True)
def _log_seconds_since(at: int, last_at: int) -> float:
    if last_at == 0:
        return NEVER_LOG_S
    return min(math.log1p(max(at - last_at, 0) / 1000.0), NEVER_LOG_S)


@numba.njit(cache=True)
def _describe_terminal(x_F: Any, t: Any, at: int, log_amount: float) -> None:
    short, newest_short = at // SHORT_MS, t.last_at // SHORT_MS
    count_2h = count_1d = unusual_1d = 0
    for bucket in range(max(short, newest_short) - 12, min(short, newest_short) + 1):
        slot = bucket % SHORT_BUCKETS
        count_1d += t.short_count[slot]
        unusual_1d += t.short_unusual[slot]
        if bucket >= short - 1:
            count_2h += t.short_count[slot]
    day, newest_day = at // DAY_MS, t.last_at // DAY_MS
    count_7d = count_30d = sum_30d = unusual_7d = unusual_30d = 0
    # The ring of counts reaches further back than the others, but only label windows use that.
    for bucket in range(max(day, newest_day) - 30, min(day, newest_day) + 1):
        slot = bucket % DAY_BUCKETS
        count = t.day_count[bucket % len(t.day_count)]
        count_30d += count
        sum_30d += t.day_log_sum[slot]
        unusual_30d += t.day_unusual[slot]
        if bucket >= day - 7:
            count_7d += count
            unusual_7d += t.day_unusual[slot]
    x_F[31] = math.log1p(count_2h)
    x_F[32] = math.log1p(count_1d)
    x_F[33] = math.log1p(count_7d)
    x_F[34] = math.log1p(count_30d)
    x_F[35] = _deviation(log_amount, sum_30d, count_30d)
    x_F[36] = _share(unusual_1d, count_1d)
    x_F[37] = _share(unusual_7d, count_7d)
    x_F[38] = _share(unusual_30d, count_30d)
    x_F[39] = _log_seconds_since(at, t.last_at)


@numba.njit(cache=True)
def _share(part: int, count: int) -> float:
    return min(max(part, 0) / (count + SHARE_PRIOR), 1.0)


@numba.njit(cache=True)
def _describe_risk(x_F: Any, t: Any, risk_t: Any, risk_c: Any, at: int, delay: int) -> None:
    until = at // DAY_MS - delay
    newest = t.last_at // DAY_MS
    for place, width in enumerate((1, 7, 30)):
        frauds = _window(risk_t.frauds, risk_t.newest_day, until - width, until)
        x_F[40 + place] = _share(frauds, _window(t.day_count, newest, until - width, until))
        own = _window(risk_c.frauds, risk_c.newest_day, until - width, until)
        x_F[43 + place] = math.log1p(max(own, 0))


@numba.njit(cache=True)
def _remember_customer(c: Any, at: int, q: int, unusual: bool) -> None:
    if at > c.last_at:
        day, newest_day = at // DAY_MS, c.last_at // DAY_MS
        if day > newest_day:
            advance(c.day_count, newest_day, day)
            advance(c.day_unusual, newest_day, day)
            advance(c.day_log_sum, newest_day, day)
            advance(c.day_log_sq, newest_day, day)
        short, newest_short = at // SHORT_MS, c.last_at // SHORT_MS
        if short > newest_short:
            advance(c.short_count, newest_short, short)
            advance(c.short_log_sum, newest_short, short)
        c.last_at = at
    if c.first_at == 0 or at < c.first_at:
        c.first_at = at
    size = len(c.day_count)
    slot = (at // DAY_MS) % size
    square = (q - LOG_CENTRE) * (q - LOG_CENTRE)
    # A full bucket takes no more, in any of its sums, so that means stay means.
    if (
        at // DAY_MS > c.last_at // DAY_MS - size
        and c.day_count[slot] < BUCKET_FULL
        and c.day_log_sq[slot] + square < 2**32
    ):
        c.day_count[slot] += 1
        c.day_unusual[slot] += unusual
        c.day_log_sum[slot] += q
        c.day_log_sq[slot] += square
    size = len(c.short_count)
    slot = (at // SHORT_MS) % size
    if at // SHORT_MS > c.last_at // SHORT_MS - size and c.short_count[slot] < BUCKET_FULL:
        c.short_count[slot] += 1
        c.short_log_sum[slot] += q


@numba.njit(cache=True)
def _move_terminal(t: Any, at: int) -> None:
    """Let a terminal's rings follow the time; for a shard as for the merged view."""
    if at <= t.last_at:
        return
    day, newest_day = at // DAY_MS, t.last_at // DAY_MS
    if day > newest_day:
        advance(t.day_count, newest_day, day)
        advance(t.day_log_sum, newest_day, day)
        advance(t.day_unusual, newest_day, day)
    short, newest_short = at // SHORT_MS, t.last_at // SHORT_MS
    if short > newest_short:
        advance(t.short_count, newest_short, short)
        advance(t.short_unusual, newest_short, short)
    t.last_at = at


@numba.njit(cache=True)
def _remember_at_terminal(own: Any, t: Any, at: int, q: int, unusual: bool) -> None:
    """Count the record in the writer's shard and in the merged view."""
    _move_terminal(own, at)
    _move_terminal(t, at)
    day, short = at // DAY_MS, at // SHORT_MS
    # Whoever is full in the shard is not counted in the merged view either: a batch cut here
    # would merge the shard again.
    slot = short % len(own.short_count)
    unusual_short = unusual and own.short_unusual[slot] < BUCKET_FULL
    unusual_day = unusual and own.day_unusual[day % len(own.day_unusual)] < BUCKET_FULL
    _count_at_terminal(own, day, short, q, unusual_day, unusual_short)
    _count_at_terminal(t, day, short, q, unusual_day, unusual_short)


@numba.njit(cache=True)
def _count_at_terminal(
    t: Any, day: int, short: int, q: int, unusual_day: bool, unusual_short: bool
) -> None:
    newest_day, newest_short = t.last_at // DAY_MS, t.last_at // SHORT_MS
    if day > newest_day - len(t.day_count):
        t.day_count[day % len(t.day_count)] += 1
    if day > newest_day - len(t.day_log_sum):
        slot = day % len(t.day_log_sum)
        t.day_log_sum[slot] += q
        t.day_unusual[slot] += unusual_day
    if short > newest_short - len(t.short_count):
        slot = short % len(t.short_count)
        t.short_count[slot] += 1
        t.short_unusual[slot] += unusual_short


@numba.njit(cache=True)
def extract(
    records_B: Any,
    customers_C: Any,
    terminals_T: Any,
    shards_S: Any,
    risk_T: Any,
    risk_C: Any,
    delay: int,
    x_BF: Any,
) -> None:
    """Fill ``x_BF`` (zeroed) record by record, each from what came before it, then remember it.

    ``records_B`` is of ``extractor.RECORD``; ``customers_C``, ``terminals_T`` and ``shards_S``
    are changed in place; the risks are only read. ``delay`` is in days.
    """
    for i in range(len(records_B)):
        r = records_B[i]
        at = r.at
        log_amount = math.log1p(math.floor(r.amount * 100.0 + 0.5))
        q = math.floor(log_amount * LOG_SCALE + 0.5)
        x_F = x_BF[i]
        c = customers_C[r.customer]
        t = terminals_T[r.terminal]
        _describe_record(x_F, at, log_amount, r.channel, r.device_hash != 0)
        _describe_novelty(x_F, c, r)
        unusual = _describe_customer(x_F, c, at, log_amount)
        _describe_terminal(x_F, t, at, log_amount)
        _describe_risk(x_F, t, risk_T[r.terminal], risk_C[r.customer], at, delay)
        _remember_customer(c, at, q, unusual)
        if c.currency == 0:
            c.currency = r.currency
        _use(c.cards, r.card_hash)
        _use(c.terminals, r.terminal_hash)
        if r.device_hash != 0:
            _use_device(c, r.device_hash, at)
        if r.country != 0:
            _use(c.countries, r.country)
        _remember_at_terminal(shards_S[r.shard], t, at, q, unusual)
