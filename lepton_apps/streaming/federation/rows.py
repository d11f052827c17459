"""The rows of a site: decided records of a stream with the newest word on each.

Shape suffixes: N = rows, F = features.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lepton_apps.common import clock
from lepton_apps.common.db import raw_connection
from lepton_apps.streaming.federation.errors import FederationRowsError
from lepton_apps.streaming.federation.models import FederationConsent
from lepton_apps.streaming.judging import DEFAULT_LIMIT, LABELLED, alike
from lepton_apps.verticals.contract import Stream

COUNTED = f"SELECT count(*), count(*) FILTER (WHERE positive) FROM ({LABELLED}) AS found"  # noqa: S608 - our own query
LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
STEPS: Final = (1, 2, 5)  # of the bands, in each power of ten


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Features as they were scored, and whether each turned out positive; the oldest first."""

    x_NF: NDArray[np.float32]
    y_N: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.y_N)

    @property
    def has_both(self) -> bool:
        return bool(self.y_N.any()) and not bool(self.y_N.all())


def labelled(stream: Stream, limit: int = DEFAULT_LIMIT) -> LabelledRows:
    """The newest ``limit`` labelled rows of today's features."""
    found = raw_connection().execute(LABELLED, _asked(stream, limit)).fetchall()[::-1]
    x_NF = np.frombuffer(b"".join(bytes(row[0]) for row in found), dtype="<f4")
    width = len(stream.extractor.schema.names)
    y_N = np.array([row[1] for row in found], dtype=bool)
    return LabelledRows(x_NF.reshape(-1, width).astype(np.float32), y_N)


def require_rows(stream: Stream, consent: FederationConsent) -> None:
    """Raises FederationRowsError, whose sentence does not say how many there are."""
    row = raw_connection().execute(COUNTED, _asked(stream, DEFAULT_LIMIT)).fetchone()
    assert row is not None
    rows, positives = row
    if rows < consent.min_rows:
        raise FederationRowsError(
            f"This site has fewer labelled rows of {stream.name} than the {consent.min_rows:,} "
            "below which its admin lets nobody train. Give labels, or allow fewer.",
            minimum=consent.min_rows,
        )
    if not 0 < positives < rows:
        raise FederationRowsError(
            f"All labels of {stream.name} at this site say the same. It takes both answers.",
            minimum=consent.min_rows,
        )


def band(rows: int) -> str:
    """How many, roughly: ``1,000 to 1,999``. Two sites, or two days, seldom differ by it."""
    edges = [step * 10**power for power in range(12) for step in STEPS]
    above = next(edge for edge in edges if edge > rows)
    below = edges[edges.index(above) - 1] if above > 1 else 0
    return f"{below:,} to {above - 1:,}"


def _asked(stream: Stream, limit: int) -> dict[str, Any]:
    return {
        "stream": stream.name,
        "since": LONG_AGO,
        "until": clock.now() + timedelta(days=1),  # decided by a machine whose clock is ahead
        "versions": alike(stream.model_name, stream.extractor.schema.hash),
        "limit": limit,
    }
