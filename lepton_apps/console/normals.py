"""What is normal for one entity, from the feature rows of its own earlier decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lepton_apps.alerts.models import Alert
from lepton_apps.model_registry.models import ModelVersion
from lepton_apps.streaming import selectors as streaming
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import Stream

ROWS: Final = 200  # newest earlier decisions that are looked at
FEWEST: Final = 8  # with fewer there is no normal to speak of
LOW, MIDDLE, HIGH = 10, 50, 90  # percentiles


@dataclass(frozen=True, slots=True)
class Normal:
    """One feature over the entity's own earlier records."""

    low: float  # 10th percentile
    median: float
    high: float  # 90th percentile

    def is_far(self, value: float) -> bool:
        """Whether a value is further outside the usual range than that range is wide."""
        width = self.high - self.low
        return not self.low - width <= value <= self.high + width


@dataclass(frozen=True, slots=True)
class Normals:
    """What the entity's earlier records tell; ``of`` is empty where they are too few."""

    rows: int
    of: dict[str, Normal]  # by feature, of those that the alert's reasons name

    @property
    def few(self) -> bool:
        """Whether there are too few rows to say what is normal."""
        return self.rows < FEWEST


def normals(alert: Alert) -> Normals:
    """The entity's own normal before the alert was decided on, in two queries."""
    try:
        _, stream = registry.stream(alert.stream)
    except LookupError:
        return Normals(0, {})  # the stream has gone since
    before = streaming.features_before(alert.stream, alert.entity_key, alert.decided_at, ROWS)
    x_NF = _matrix(stream, before)
    if len(x_NF) < FEWEST:
        return Normals(len(x_NF), {})
    # A feature may be unknown in some records, and in all of them.
    known_NF = np.where(np.isfinite(x_NF), x_NF, np.nan)
    found: dict[str, Normal] = {}
    shown = _shown(alert)
    for column, name in enumerate(stream.extractor.schema.names):
        if name not in shown:
            continue
        seen_N = known_NF[:, column][~np.isnan(known_NF[:, column])]
        if len(seen_N) >= FEWEST:
            low, median, high = np.percentile(seen_N, (LOW, MIDDLE, HIGH))
            found[name] = Normal(float(low), float(median), float(high))
    return Normals(len(x_NF), found)


def _shown(alert: Alert) -> set[str]:
    """The features that the alert's reasons name; nobody asks for the others."""
    entries = (entry for entry in alert.explanation if isinstance(entry, dict))
    return {
        str(feature.get("name", "")) for entry in entries for feature in entry.get("features") or ()
    }


def _matrix(stream: Stream, before: Sequence[tuple[int, bytes]]) -> NDArray[np.float32]:
    """The rows that were made by the present schema; numbers of another one mean other things."""
    schema = stream.extractor.schema
    made_by_it = set(
        ModelVersion.objects.filter(
            model_name=stream.model_name, schema_hash=schema.hash
        ).values_list("number", flat=True)
    )
    width = 4 * len(schema.names)
    packed = [row for number, row in before if number in made_by_it and len(row) == width]
    x_NF = np.frombuffer(b"".join(packed), dtype="<f4")
    return x_NF.reshape(len(packed), len(schema.names))
