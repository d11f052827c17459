"""A challenger decides on the rows that the champion decides on, and nobody hears of it.

What it would have done is counted in the transaction that keeps the decisions, so each row is
compared exactly once, whatever is killed or taken again. The champion comes first: a challenger
that is missing, refused or broken changes nothing but what is counted.

Shape suffixes: B = rows of a batch, S = rows that the challenger looks at, O = outcomes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import numpy as np
import psycopg
from django.conf import settings
from numpy.typing import NDArray

from lepton_apps.common import clock
from lepton_apps.common.db import RawConnection
from lepton_apps.common.metrics import SHADOW_FAILURES, SHADOW_ROWS
from lepton_apps.model_registry.models import Role
from lepton_apps.model_registry.serving import ModelSource, NoChampionError, ServedModel
from lepton_apps.streaming import pipeline
from lepton_apps.streaming.pipeline import Decided, Rows
from lepton_apps.verticals.contract import Stream

log = logging.getLogger(__name__)

QUIET_S: Final = 60.0  # a challenger that failed is let alone so long
MOST_KEPT: Final = 100  # rows of a batch whose disagreement is kept by itself; all are counted

# A row for each connection, as in ``tallying``; ``retention`` adds them up.
COUNT = """
INSERT INTO shadow_tally AS t (stream, hour, champion, challenger, writer, outcome, other_outcome,
    count, difference, square)
SELECT %s, %s, %s, %s, pg_backend_pid(), *
FROM unnest(%s::smallint[], %s::smallint[], %s::bigint[], %s::float8[], %s::float8[])
ON CONFLICT (stream, hour, champion, challenger, writer, outcome, other_outcome) DO UPDATE
SET count = t.count + excluded.count, difference = t.difference + excluded.difference,
    square = t.square + excluded.square
"""
KEEP = """
INSERT INTO shadow_disagreement (stream, decided_at, champion, challenger, decision_key, score,
    other_score, outcome, other_outcome)
SELECT %s, %s, %s, %s, *
FROM unnest(%s::uuid[], %s::float8[], %s::float8[], %s::smallint[], %s::smallint[])
"""


@dataclass(frozen=True, slots=True)
class Shadowed:
    """What a challenger would have decided on some rows of a batch."""

    version: int  # its number
    row_S: NDArray[np.int64]
    s_S: NDArray[np.float64]
    outcome_S: NDArray[np.int8]


class Shadow:
    """The challenger of one stream, as one process follows it."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._models = ModelSource(stream, Role.CHALLENGER)
        self._quiet_until = 0.0  # of the monotonic clock
        self._failed: int | None = None  # version that the log has named

    def look(self, decided: Decided) -> Shadowed | None:
        """What the challenger says of these rows; None: there is none, or it cannot say."""
        if not len(decided.s_B) or not settings.SHADOW_SHARE:
            return None
        if clock.monotonic() < self._quiet_until:
            return None
        model = None
        try:
            model = self._models.current()
            if model.number == decided.model_version:  # it became champion and nobody followed it
                return None
            return self._decided(decided, model)
        except NoChampionError:
            return None
        except Exception as exc:  # noqa: BLE001 - whatever it is, the champion goes on
            self._let_alone(model, exc)
            return None

    def _decided(self, decided: Decided, model: ServedModel) -> Shadowed | None:
        row_S = chosen([about.key for about in decided.about], settings.SHADOW_SHARE)
        if not len(row_S):
            return None
        x_SF = decided.x_BF if len(row_S) == len(decided.x_BF) else decided.x_BF[row_S]
        rows = Rows([], x_SF, [])
        s_S = pipeline.score(self._stream, rows, model)
        outcome_S = pipeline.decide(self._stream, rows, s_S, model).outcome_B
        SHADOW_ROWS.labels(self._stream.name).inc(len(row_S))
        return Shadowed(model.number, row_S, s_S, outcome_S)

    def _let_alone(self, model: ServedModel | None, exc: Exception) -> None:
        self._quiet_until = clock.monotonic() + QUIET_S
        SHADOW_FAILURES.labels(self._stream.name).inc()
        number = None if model is None else model.number
        if self._failed != number or number is None:
            self._failed = number
            log.error(
                "challenger failed; its shadow is off for a while",
                extra={"stream": self._stream.name, "version": number, "why": repr(exc)},
            )


def chosen(keys: list[bytes], share: float) -> NDArray[np.int64]:
    """The rows to look at: a record's key says it, so that every process chooses the same ones."""
    if share >= 1:
        return np.arange(len(keys))
    heads = np.frombuffer(b"".join(key[:4] for key in keys), dtype=">u4")
    return np.flatnonzero(heads < share * 2.0**32)


def send_shadow(
    raw: RawConnection, stream: Stream, decided: Decided, shadowed: Shadowed, now: datetime
) -> None:
    """Count a batch's rows, and keep where the two differ, inside the caller's transaction."""
    num_outcomes = len(stream.policy.outcomes)
    outcome_S = decided.outcome_B[shadowed.row_S].astype(np.int64)
    other_S = shadowed.outcome_S.astype(np.int64)
    s_S = decided.s_B[shadowed.row_S]
    difference_S = shadowed.s_S - s_S
    pair_S = outcome_S * num_outcomes + other_S
    size = num_outcomes**2
    count_P = np.bincount(pair_S, minlength=size)
    sum_P = np.bincount(pair_S, weights=difference_S, minlength=size)
    square_P = np.bincount(pair_S, weights=difference_S**2, minlength=size)
    met = np.flatnonzero(count_P)
    who = [decided.model_version, shadowed.version]
    cursor = psycopg.Cursor(raw)
    cursor.execute(
        COUNT,
        [
            stream.name,
            now.replace(minute=0, second=0, microsecond=0),
            *who,
            (met // num_outcomes).tolist(),
            (met % num_outcomes).tolist(),
            count_P[met].tolist(),
            sum_P[met].tolist(),
            square_P[met].tolist(),
        ],
    )
    differ = np.flatnonzero(outcome_S != other_S)[:MOST_KEPT]
    if not len(differ):
        return
    cursor.execute(
        KEEP,
        [
            stream.name,
            now,
            *who,
            [UUID(bytes=decided.about[row].key) for row in shadowed.row_S[differ].tolist()],
            s_S[differ].tolist(),
            shadowed.s_S[differ].tolist(),
            outcome_S[differ].tolist(),
            other_S[differ].tolist(),
        ],
    )
