"""How far the rows of late have moved from those that a stream's champion was made on. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from lepton_apps.common import clock
from lepton_apps.common.clock import moment
from lepton_apps.common.db import raw_connection, transaction
from lepton_apps.model_registry import selectors as models
from lepton_apps.model_registry.models import ModelVersion, Role
from lepton_apps.streaming.models import DriftReview
from lepton_apps.verticals.contract import Stream
from models_core.drift import Drift, DriftReference, feature_drift, score_drift

Verdict = DriftReview.Verdict

SLICES: Final = 96  # of the window, each looked at alike: the newest rows alone are of one hour
MOST_ROWS: Final = 20_000
LEAST_ROWS: Final = 1_000
LEAST_SPAN: Final = timedelta(hours=20)  # of event time: half a day has other hours than a day
SHOWN: Final = 20  # features of a review that are written down, the furthest

BATCH: Final = timedelta(minutes=1)  # that may have begun before its version's line was written
PATIENCE = "SET LOCAL statement_timeout = '2s'"  # of a worker whose records wait meanwhile
SAMPLE = """
SELECT d.id, d.decided_at, d.occurred_at, d.features, d.score
FROM generate_series(0, %(slices)s - 1) AS slice
CROSS JOIN LATERAL (
    SELECT id, decided_at, occurred_at, features, score FROM decision
    WHERE stream = %(stream)s AND model_version = %(version)s
        AND decided_at >= %(since)s + slice * %(step)s
        AND decided_at < %(since)s + (slice + 1) * %(step)s
    LIMIT %(limit)s
) AS d
"""


@dataclass(frozen=True, slots=True)
class Example:
    """A stored decision."""

    id: UUID
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the rows of a window found."""

    version: ModelVersion
    since: datetime
    rows: int
    verdict: str
    score: Drift | None  # None: nothing could be compared
    features: tuple[tuple[str, Drift], ...]  # the furthest first
    furthest: Example | None  # the row that lies furthest out in the worst feature

    @property
    def moved(self) -> list[tuple[str, Drift]]:
        """The features that have moved."""
        return [(name, drift) for name, drift in self.features if drift.moved]


def reference_of(version: ModelVersion) -> DriftReference | None:
    """What the version's artifact is held against; None: it was trained before that was kept."""
    kept = version.manifest.get("drift")
    return None if kept is None else msgspec.convert(kept, DriftReference)


def look(stream: Stream, since: datetime | None = None) -> Look | None:
    """Compare the champion's rows since then with its reference; None: there is no champion."""
    version = models.champion(stream.model_name)
    if version is None:
        return None
    now = clock.now()
    since = since or now - timedelta(hours=settings.DRIFT_WINDOW_HOURS)
    crowned = models.change_at(stream.model_name, Role.CHAMPION, now)
    if crowned is not None:  # before, there are no rows of it to look for
        since = min(max(since, crowned.at - BATCH), now - BATCH)
    reference = reference_of(version)
    if reference is None or not models.fits(version):
        return Look(version, since, 0, Verdict.NO_REFERENCE, None, (), None)
    found = _sample(stream, version, since, now)
    occurred = [row[2] for row in found]
    if len(found) < LEAST_ROWS or max(occurred) - min(occurred) < LEAST_SPAN:
        return Look(version, since, len(found), Verdict.TOO_FEW, None, (), None)
    x_NF = np.frombuffer(b"".join(bytes(row[3]) for row in found), "<f4").reshape(len(found), -1)
    score = score_drift(reference, np.array([row[4] for row in found]))
    drifts = feature_drift(reference, x_NF)
    schema = stream.extractor.schema
    names = schema.names
    watched = [f for f in range(len(drifts)) if names[f] not in schema.moving]
    order = sorted(watched, key=lambda f: -drifts[f].psi)
    everything = [*(drifts[f] for f in watched), score]
    verdict = Verdict.NONE
    if any(drift.some for drift in everything):
        verdict = Verdict.SOME
    if any(drift.moved for drift in everything):
        verdict = Verdict.MUCH
    shown = _furthest(reference, x_NF[:, order[0]], order[0]) if order else 0
    features = tuple((names[f], drifts[f]) for f in order)
    example = Example(found[shown][0], found[shown][1])
    return Look(version, since, len(found), verdict, score, features, example)


def latest(stream_name: str) -> DriftReview | None:
    """The newest review of the stream, or None."""
    return DriftReview.objects.filter(stream=stream_name).order_by("-id").first()


def reviews(stream_name: str, limit: int = 30) -> list[DriftReview]:
    """The newest reviews of the stream, newest first."""
    return list(DriftReview.objects.filter(stream=stream_name).order_by("-id")[:limit])


def told(review: DriftReview) -> dict[str, Any]:
    """A review as REST and commands say it; JSON-ready."""
    return {
        "at": moment(review.at),
        "version": review.version,
        "since": moment(review.since),
        "rows": review.rows,
        "verdict": review.verdict,
        "score_psi": review.score_psi,
        "features": review.features,
        "alert": review.alert_id,
    }


def _sample(
    stream: Stream, version: ModelVersion, since: datetime, now: datetime
) -> list[tuple[Any, ...]]:
    """Rows from all over the window; where they came all at once, simply rows."""
    found: list[tuple[Any, ...]] = []
    for slices in (SLICES, 1):
        asked = {
            "slices": slices,
            "stream": stream.name,
            "version": version.number,
            "since": since,
            "step": (now - since) / slices,
            "limit": MOST_ROWS // slices,
        }
        raw = raw_connection()
        with transaction(raw):
            raw.execute(PATIENCE)
            found = raw.execute(SAMPLE, asked).fetchall()
        if len(found) >= LEAST_ROWS:
            break
    return found


def _furthest(reference: DriftReference, x_N: NDArray[np.float32], feature: int) -> int:
    """A row of the bin that has grown most."""
    shares = reference.features[feature]
    bin_N = np.searchsorted(np.array(shares.edges), x_N.astype(np.float64), side="right")
    live_K = np.bincount(bin_N, minlength=len(shares.counts)) / len(x_N)
    grown = int(np.argmax(live_K - np.array(shares.counts) / sum(shares.counts)))
    return int(np.flatnonzero(bin_N == grown)[0])
