"""What the host knows of this vertical."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Final

from lepton_apps.verticals.contract import AlertText, Stream, TrainingRecipe, Vertical

from . import fixtures, recipe
from .extractor import REASON_TEXTS, MeasurementExtractor
from .policy import LookPolicy
from .records import Measurement
from .simulator import simulate

MEASUREMENTS: Final = Stream(
    name="$key.measurements",
    record_type=Measurement,
    extractor=MeasurementExtractor(),
    policy=LookPolicy(),
    model_name="$key.measurements",
    record_id=attrgetter("id"),
    occurred_at=attrgetter("at"),
    partitions=2,
)


def render_alert(stream: str, record: Any, evidence: Mapping[str, Any]) -> AlertText:
    """A measurement as one line and some facts. ``stream`` is the only one there is."""
    measurement: Measurement = record
    return AlertText(
        f"{measurement.value:g} at {measurement.device}",
        (
            ("Device", measurement.device),
            ("Value", f"{measurement.value:g}"),
            ("Measurement", measurement.id),
        ),
    )


VERTICAL: Final = Vertical(
    key="$key",
    title="$title",
    case_noun="case",
    streams=(MEASUREMENTS,),
    label_streams=(),
    reason_texts=REASON_TEXTS,
    render_alert=render_alert,
    recipes=(
        TrainingRecipe(
            name="$key.starter",
            stream=MEASUREMENTS.name,
            summary="A small network that tells faults of devices from ordinary values.",
            run=recipe.train,
        ),
    ),
    simulate=simulate,
    fixtures={MEASUREMENTS.name: fixtures.MEASUREMENTS},
)
