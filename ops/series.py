"""Rows of ``ops.metrics`` as series by the minute: what each entity measured, and what was new to it.

Suffixes: T = minutes, F = features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from lepton_apps.verticals.insight import ScoredRow
from ops.metrics.extractor import NAMES, PLACES, SMOOTHING, place_of
from ops.metrics.states import unpack

MINUTE: Final = timedelta(minutes=1)
MISSING: Final = NAMES.index("missing")
RESETS: Final = NAMES.index("resets")
SILENCE: Final = NAMES.index("silence")
MOST_MEASURES: Final = 8  # of one entity: those that changed most
# A measure stands still if no more minutes than this share are away from its middle: faults end.
STILL: Final = 0.15
AWAY: Final = 0.25  # standard deviations; the mean of a metric that stands still creeps
NEWS: Final = 4.0  # standard deviations from where it stood: less is no news
LEAST_NEWS: Final = 0.2  # of the minutes since the alert began, or it was a blip
AFTER_RESTART: Final = 10  # minutes that a restart is news
FURTHEST: Final = 10.0  # standard deviations of what is new
NEW: Final = "what is new"  # the measure that gathers all that stood still while usual

Series = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Grid:
    """Minutes from ``start`` on; ``begin``: the first one of the alert."""

    start: datetime
    steps: int
    begin: int
    lead: int  # minutes before ``begin`` in which the origin may have begun

    def at(self, step: int) -> datetime:
        return self.start + step * MINUTE


@dataclass(frozen=True, slots=True)
class Measured:
    """One entity: its series, and which of its metrics is behind what is new."""

    series: Series
    news: Mapping[str, NDArray[np.float64]]  # by metric, 0 to ``FURTHEST``


def minute_of(row: ScoredRow) -> datetime:
    """The minute that a row is about: a sample of the next one ends it, or a tick two later."""
    return row.at.replace(second=0, microsecond=0) - (2 if row.by_tick else 1) * MINUTE


def by_entity(
    rows: Sequence[ScoredRow], states: Mapping[str, bytes], grid: Grid
) -> dict[str, Measured]:
    """What the entities measured; one without rows while usual is absent."""
    found: dict[str, list[ScoredRow]] = {}
    for row in rows:
        if len(row.x_F) == len(NAMES):
            found.setdefault(row.entity_key, []).append(row)
    measured = {}
    for entity, own in found.items():
        x_TF = _rows_by_minute(own, grid)
        if np.isfinite(x_TF[: grid.begin - grid.lead, 0]).any():
            measured[entity] = _measured(x_TF, _names(states.get(entity)), grid)
    return measured


def _rows_by_minute(rows: Sequence[ScoredRow], grid: Grid) -> NDArray[np.float64]:
    """``(T, F)``; NaN in minutes without a row. Rows of silence tell of no minute."""
    x_TF = np.full((grid.steps, len(NAMES)), np.nan)
    for row in rows:
        step = (minute_of(row) - grid.start) // MINUTE
        if 0 <= step < grid.steps and row.x_F[SILENCE] == 0:
            x_TF[step] = row.x_F
    return x_TF


def _names(state: bytes | None) -> dict[int, str]:
    """Metric names by column; names that share one are both told."""
    try:
        names = list(unpack(state).place)
    except (msgspec.DecodeError, ValueError):  # packed by another version of the extractor
        names = []
    found: dict[int, str] = {}
    for name in names:
        column = place_of(name)
        found[column] = f"{found[column]} or {name}" if column in found else name
    return found


def _measured(x_TF: NDArray[np.float64], names: Mapping[int, str], grid: Grid) -> Measured:
    usual, after = slice(0, grid.begin - grid.lead), slice(grid.begin, None)
    series: Series = {}
    news: dict[str, NDArray[np.float64]] = {}
    z_TF = _unsmoothed(x_TF[:, :PLACES])
    for column in np.flatnonzero((np.nan_to_num(z_TF) != 0).any(axis=0)).tolist():
        z_T, name = z_TF[:, column], names.get(column, f"metric {column}")
        seen = z_T[usual][np.isfinite(z_T[usual])]
        middle = float(np.median(seen)) if len(seen) else 0.0
        if (np.abs(seen - middle) > AWAY).mean() > STILL:
            series[name] = z_T
        else:
            news[name] = np.abs(np.nan_to_num(z_T - middle))
    restarted_T = (np.nan_to_num(x_TF[:, RESETS]) > 0).astype(float)
    recently_T = np.convolve(restarted_T, np.ones(AFTER_RESTART))[: len(restarted_T)]
    news["restarts"] = np.where(recently_T > 0, FURTHEST, 0.0)
    news["missing metrics"] = FURTHEST * np.clip(np.nan_to_num(x_TF[:, MISSING]), 0, 1)
    news["silence"] = _silence(x_TF)
    news = {
        name: kept_T for name, z_T in news.items() if (kept_T := _news(z_T, usual, after)).any()
    }

    def changed(name: str) -> float:
        z_T = series[name]
        if not np.isfinite(z_T[after]).any():
            return 0.0
        return abs(float(np.nanmean(z_T[after]) - np.nanmedian(z_T[usual])))

    kept = sorted(series, key=lambda name: (-changed(name), name))[:MOST_MEASURES]
    whole: Series = {name: series[name] for name in sorted(kept)}
    whole[NEW] = np.max([np.zeros(grid.steps), *news.values()], axis=0)
    return Measured(whole, news)


def _unsmoothed(smooth_TP: NDArray[np.float64]) -> NDArray[np.float64]:
    """The standardised values themselves, where the minute before is known; features lag behind."""
    before_TP = np.concatenate([np.full((1, smooth_TP.shape[1]), np.nan), smooth_TP[:-1]])
    z_TP = before_TP + (smooth_TP - before_TP) / SMOOTHING
    return np.where(np.isfinite(before_TP), z_TP, smooth_TP)


def _news(z_T: NDArray[np.float64], usual: slice, after: slice) -> NDArray[np.float64]:
    """How far a measure is from where it stood; all 0 where that is a blip, and while usual.

    What an earlier fault did to it is no reason to think less of this one.
    """
    news_T = np.where(z_T >= NEWS, np.minimum(z_T, FURTHEST), 0.0)
    if (news_T[after] > 0).mean() < LEAST_NEWS:
        return np.zeros_like(news_T)
    news_T[usual] = 0.0
    return news_T


def _silence(x_TF: NDArray[np.float64]) -> NDArray[np.float64]:
    """Minutes without a row; a single one is a gap, and before its first row an entity was not there."""
    gone_T = ~np.isfinite(x_TF[:, 0])
    gone_T[: int(np.argmin(gone_T))] = False
    alone_T = ~np.concatenate([[False], gone_T[:-1]]) & ~np.concatenate([gone_T[1:], [False]])
    return np.where(gone_T & ~alone_T, FURTHEST, 0.0)
