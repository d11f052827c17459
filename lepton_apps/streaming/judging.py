"""A model version held against what became known of stored decisions.

Shape suffixes: N = rows, F = features.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from lepton_apps.common import clock
from lepton_apps.common.db import raw_connection
from lepton_apps.common.errors import LeptonError, NotFoundError
from lepton_apps.model_registry import selectors
from lepton_apps.model_registry.cache import FileCache
from lepton_apps.model_registry.loading import load_files, open_scorer
from lepton_apps.model_registry.models import ModelVersion
from lepton_apps.verticals import registry
from models_core.artifact import unpack

if TYPE_CHECKING:
    from models_core.reports import Report

DEFAULT_LIMIT = 200_000  # rows; some 40 MB of features

# The newest word on each record, and the decision as it was made. Newest decisions first, so that
# a limit keeps what is most like today.
LABELLED = """
SELECT d.features, l.positive, d.model_version, d.score
FROM (
    SELECT DISTINCT ON (decision_key) decision_key, positive FROM label
    WHERE stream = %(stream)s ORDER BY decision_key, id DESC
) l
JOIN record_key k ON k.key = l.decision_key
JOIN decision d ON d.entity_key = k.entity_key AND d.decided_at = k.decided_at AND d.id = k.key
WHERE d.stream = %(stream)s AND d.decided_at >= %(since)s AND d.decided_at < %(until)s
    AND d.model_version = ANY(%(versions)s)
ORDER BY d.decided_at DESC, d.id LIMIT %(limit)s
"""


class NothingToJudgeError(LeptonError):
    """Labels of one answer alone tell nothing apart."""

    code = "nothing_to_judge"
    status = 409


@dataclass(frozen=True, slots=True)
class Judged:
    """A report, and the rows that it is of."""

    report: Report
    positives: int
    by_others: int  # rows that other versions had decided

    @property
    def rows(self) -> int:
        return self.report.rows


@dataclass(frozen=True, slots=True)
class Costs:
    """What the asker says of a miss and of a false alarm, and how much can be looked at."""

    threshold: float | None = None  # None: the loosest in force
    alert_share: float = 0.005
    miss_cost: float = 1.0
    false_alarm_cost: float = 1.0


def judge_version(
    version: ModelVersion,
    since: datetime,
    until: datetime,
    costs: Costs,
    limit: int = DEFAULT_LIMIT,
) -> Judged:
    """Score the labelled decisions of a span anew, by the features that they were made on.

    Only labelled records count, which are seldom a fair sample of all: alerts are looked at more
    often than quiet records. ``as_decided`` stands beside where other versions had decided.

    Raises:
        NotFoundError: there is no labelled decision in the span.
        NothingToJudgeError: all labels say the same.
        ModelRefusedError: the version's files are damaged, or of other features than today's.
        ValueError: a cost, share or threshold is out of range.
    """
    from models_core.judging import Question, binary_report

    _, stream = registry.stream(version.stream)
    files = load_files(version.pk, FileCache(settings.LEPTON_DATA_DIR / "models"))
    scorer = open_scorer(files, stream)
    artifact = unpack(files)
    found = _labelled(version, since, until, limit)
    x_NF = np.frombuffer(b"".join(bytes(row[0]) for row in found), dtype="<f4")
    x_NF = x_NF.reshape(len(found), -1).astype(np.float32)
    y_N = np.array([row[1] for row in found], dtype=bool)
    if y_N.all() or not y_N.any():
        raise NothingToJudgeError(
            f"All {len(y_N)} labels of {version.stream} in this span say "
            f"{'yes' if y_N.all() else 'no'}. A report needs both; choose a longer span.",
            labels=len(y_N),
        )
    threshold = costs.threshold
    if threshold is None:
        held = selectors.thresholds_at(version, clock.now())
        threshold = held[stream.policy.thresholds[0]]
    question = Question(threshold, costs.alert_share, costs.miss_cost, costs.false_alarm_cost)
    by_others = sum(row[2] != version.number for row in found)
    decided_N = np.array([row[3] for row in found], dtype=np.float64)
    report = binary_report(
        y_N,
        scorer.score(x_NF),
        question,
        architecture=artifact.spec.architecture,
        spec_hash=artifact.spec.hash,
        data_hash=_hash(x_NF, y_N),
        others={"as_decided": decided_N} if by_others else {},
    )
    return Judged(report, int(y_N.sum()), by_others)


def alike(model_name: str, schema_hash: str) -> list[int]:
    """The numbers of the versions of a model whose decisions carry rows of these features."""
    found = ModelVersion.objects.filter(model_name=model_name, schema_hash=schema_hash)
    return list(found.values_list("number", flat=True))


def _labelled(
    version: ModelVersion, since: datetime, until: datetime, limit: int
) -> list[tuple[Any, ...]]:
    asked = {
        "stream": version.stream,
        "since": since,
        "until": until,
        "versions": alike(version.model_name, version.schema_hash),
        "limit": limit,
    }
    found = raw_connection().execute(LABELLED, asked).fetchall()
    if not found:
        raise NotFoundError(
            f"No decision of {version.stream} on today's features between {since:%Y-%m-%d %H:%M} "
            f"and {until:%Y-%m-%d %H:%M} UTC has a label. Give labels, or a longer span.",
            stream=version.stream,
        )
    return found


def _hash(x_NF: NDArray[np.float32], y_N: NDArray[np.bool_]) -> str:
    from models_core.table import Table

    return Table(x_NF, y_N.astype(np.float32)).hash
