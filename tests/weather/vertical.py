"""What the host knows of the weather vertical."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from operator import attrgetter
from typing import Any, Final

from lepton_apps.verticals.contract import (
    AlertText,
    LabelStream,
    Panel,
    Stream,
    TrainingRecipe,
    Vertical,
)
from tests.weather import fixtures, panels, recipe
from tests.weather.extractor import REASON_TEXTS, ReadingExtractor
from tests.weather.policy import WeatherPolicy
from tests.weather.records import Reading, ReadingLabel


def _no_id(record: Any) -> None:
    """Readings are known by their place in the log."""


def _kind(label: Any) -> str:
    return "inspection"


READINGS: Final = Stream(
    name="weather.readings",
    record_type=Reading,
    extractor=ReadingExtractor(),
    policy=WeatherPolicy(),
    model_name="weather.readings",
    record_id=_no_id,
    occurred_at=attrgetter("at"),
    partitions=2,
    tick=timedelta(seconds=60),
)
LABELS: Final = LabelStream(
    name="weather.labels",
    labels=READINGS.name,
    record_type=ReadingLabel,
    record_id=attrgetter("record_id"),
    is_positive=attrgetter("broken"),
    kind=_kind,
    labelled_at=attrgetter("labelled_at"),
)


def render_alert(stream: str, record: Any, evidence: Mapping[str, Any]) -> AlertText:
    """A reading as one line. A row that a tick made has no reading: its alert names the station."""
    if record is None:
        return AlertText("A station has fallen silent", ())
    reading: Reading = record
    return AlertText(
        f"{reading.celsius:+.1f} °C at {reading.station}",
        (
            ("Station", reading.station),
            ("Region", reading.region),
            ("Kind", reading.station_kind),
            ("Temperature", f"{reading.celsius:+.2f} °C"),
        ),
    )


VERTICAL: Final = Vertical(
    key="weather",
    title="Weather",
    case_noun="fault",
    streams=(READINGS,),
    label_streams=(LABELS,),
    reason_texts=REASON_TEXTS,
    render_alert=render_alert,
    recipes=(
        TrainingRecipe(
            name="weather.starter",
            stream=READINGS.name,
            summary="A small network that tells jumps and silence from ordinary weather.",
            run=recipe.train,
        ),
    ),
    panels=(
        Panel(
            key="station-kinds",
            title="Kinds of stations",
            template="weather/station_kinds.html",
            load=panels.station_kinds,
        ),
    ),
    fixtures={READINGS.name: fixtures.READINGS, LABELS.name: fixtures.LABELS},
)
