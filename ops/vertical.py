"""What the host knows of the IT-operations vertical."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from operator import attrgetter
from typing import Any, Final

from lepton_apps.verticals.contract import (
    AlertText,
    EvidenceView,
    LabelStream,
    Panel,
    Stream,
    Vertical,
)
from ops import fixtures, origins, panels
from ops.labels import FaultLabel
from ops.logs import evidence as log_evidence
from ops.logs.extractor import REASON_TEXTS as LOG_REASONS
from ops.logs.extractor import LogExtractor
from ops.logs.records import JsonLine, from_message
from ops.metrics import evidence as metric_evidence
from ops.metrics.extractor import REASON_TEXTS as METRIC_REASONS
from ops.metrics.extractor import MetricExtractor
from ops.metrics.records import MetricSample
from ops.policy import FaultPolicy
from ops.recipes import RECIPES
from ops.simulator import simulate
from ops.topology import TOPOLOGY

TICK: Final = timedelta(seconds=60)


def _no_id(record: Any) -> None:
    """Lines and samples are known by their place in the log."""


def _is_fault(label: FaultLabel) -> bool:
    return label.verdict == "fault"


LOGS: Final = Stream(
    name="ops.logs",
    record_type=JsonLine,
    extractor=LogExtractor(),
    policy=FaultPolicy(),
    model_name="ops.logs",
    record_id=_no_id,
    occurred_at=attrgetter("at"),
    fold=timedelta(minutes=15),
    tick=TICK,
    from_message=from_message,
    plain_lines=True,
    gather_evidence=log_evidence.gather,
)
METRICS: Final = Stream(
    name="ops.metrics",
    record_type=MetricSample,
    extractor=MetricExtractor(),
    policy=FaultPolicy(),
    model_name="ops.metrics",
    record_id=_no_id,
    occurred_at=attrgetter("time"),
    fold=timedelta(minutes=15),
    tick=TICK,
    gather_evidence=metric_evidence.gather,
)
LABELS: Final = LabelStream(
    name="ops.labels",
    labels=LOGS.name,
    record_type=FaultLabel,
    record_id=attrgetter("record_id"),
    is_positive=_is_fault,
    kind=attrgetter("kind"),
    labelled_at=attrgetter("labelled_at"),
)


def render_alert(stream: str, record: Any, evidence: Mapping[str, Any]) -> AlertText:
    """One line and some facts. What is to be said is in the evidence, not in the last record."""
    if stream == LOGS.name:
        return log_evidence.text_of(evidence)
    return metric_evidence.text_of(evidence)


def show_evidence(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """What ``ops/evidence.html`` needs: numbers as text, charts as SVG numbers."""
    lines = [
        {
            **line,
            "probability_text": f"{100 * line['probability']:.2g} %",
            "expected": [
                {**other, "percent": f"{100 * other['probability']:.0f}"}
                for other in line.get("expected", ())
            ],
        }
        if "probability" in line
        else line
        for line in evidence.get("lines", ())
    ]
    metrics = [
        {
            **metric,
            "percent": f"{100 * metric['share']:.0f}",
            "seen_text": "-" if metric["seen"] is None else metric_evidence.short(metric["seen"]),
            "expected_text": metric_evidence.short(metric["expected"]),
            "chart": metric_evidence.chart(metric),
        }
        for metric in evidence.get("metrics", ())
    ]
    return {"evidence": {**evidence, "lines": lines}, "metrics": metrics}


VERTICAL: Final = Vertical(
    key="ops",
    title="IT operations",
    case_noun="fault",
    streams=(LOGS, METRICS),
    label_streams=(LABELS,),
    reason_texts={**LOG_REASONS, **METRIC_REASONS},
    render_alert=render_alert,
    recipes=RECIPES,
    panels=(
        Panel("templates", "Log templates", "ops/templates.html", panels.templates),
        Panel("metrics", "Metrics by instance", "ops/entities.html", panels.entities),
    ),
    evidence_view=EvidenceView("ops/evidence.html", show_evidence),
    simulate=simulate,
    declarations=(TOPOLOGY,),
    look_into=origins.look_into,
    fixtures={
        LOGS.name: fixtures.LOGS,
        METRICS.name: fixtures.METRICS,
        LABELS.name: fixtures.LABELS,
    },
)
