"""How the starter models of this vertical are made: from a simulated world in which nothing breaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lepton_apps.common.errors import TooLittleHistoryError
from lepton_apps.verticals.contract import (
    Extractor,
    Fitting,
    History,
    Message,
    Progress,
    SimulatedRecord,
    Trained,
    TrainingRecipe,
)
from ops import learning
from ops.learning import Budget, Method
from ops.logs import corruption as log_corruption
from ops.logs.extractor import NAMES as LOG_NAMES
from ops.logs.extractor import LogExtractor
from ops.logs.records import from_message
from ops.logs.states import WINDOW
from ops.metrics import corruption as metric_corruption
from ops.metrics.extractor import NAMES, PLACES, MetricExtractor
from ops.metrics.records import MetricSample
from ops.replay import Replay, Row
from ops.simulator import LOGS_TOPIC, METRICS_TOPIC, simulate_with_truth

TICK: Final = timedelta(seconds=60)
START: Final = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
SEED: Final = 20260302
# Two rates: what is usual must not depend on how busy the demonstration is.
LOG_WORLDS: Final = ((1.0, 1.5), (6.0, 0.5))  # records a second, days
METRIC_WORLD: Final = (2.5, 2.5)
HISTORY_S: Final = 300.0  # wall time of a fit on the server's own rows, at most
WARM_UP: Final = timedelta(hours=3)

BLOCK: Final = timedelta(minutes=15)  # as long as alerts fold

HOUR_MOST: Final = NAMES.index("hour_most")

Rows = NDArray[np.float32]


def never_together(memory: Rows, rows: Rows) -> NDArray[np.float64]:
    """1 where a window's events, whatever their order, never made a window of the memory.

    The count vector that was never seen: the plain method that is hard to beat on sessions.
    """
    seen = {row.tobytes() for row in np.sort(memory[:, :WINDOW], axis=1)}
    ordered = np.sort(rows[:, :WINDOW], axis=1)
    return np.array([float(row.tobytes() not in seen) for row in ordered])


def pca_residual(memory: Rows, rows: Rows) -> NDArray[np.float64]:
    """The squared distance from the plane that holds 90 % of the memory's variance."""
    from sklearn.decomposition import PCA

    plane = PCA(0.9, svd_solver="full").fit(memory[:, :PLACES])
    flat = plane.inverse_transform(plane.transform(rows[:, :PLACES]))
    distance: NDArray[np.float64] = np.square(rows[:, :PLACES] - flat).sum(axis=1, dtype=float)
    return distance


def from_hour(memory: Rows, rows: Rows) -> NDArray[np.float64]:
    """The largest distance from what the hour of the day usually brings: the seasonal method."""
    return rows[:, HOUR_MOST].astype(float)


def log_method() -> Method:
    return Method(
        "event_windows",
        LogExtractor().schema,
        log_corruption.corrupted,
        {"count_vector_never_seen": never_together},
        batch_size=64,  # a row is 64 events
    )


def metric_method(alerts_per_day: float = 1.0) -> Method:
    """``alerts_per_day`` of one entity may be false; a fifth as many alarms."""
    blocks_per_day = timedelta(days=1) / BLOCK
    return Method(
        "metric_vectors",
        MetricExtractor().schema,
        metric_corruption.corrupted,
        {"pca_residual": pca_residual, "seasonal": from_hour},
        steps=600,
        batch_size=512,
        budget=Budget(alerts_per_day / blocks_per_day, alerts_per_day / blocks_per_day / 5),
        refit=True,
    )


def train_logs(fitting: Fitting) -> Trained:
    """A first model of log windows for a fresh installation, in under half a minute."""
    worlds = [
        features_of(simulated_rows(LOGS_TOPIC, rate, days, SEED + place, fitting))
        for place, (rate, days) in enumerate(LOG_WORLDS)
    ]
    # Side by side in time: each part of the cut must have seen every world.
    order = np.argsort(np.concatenate([np.linspace(0, 1, len(rows)) for rows in worlds]))
    quiet_NF = np.concatenate(worlds)[order]
    return learning.train(quiet_NF, log_method(), fitting, max_seconds=15.0, device=fitting.device)


def train_metrics(fitting: Fitting) -> Trained:
    """A first model of metric vectors for a fresh installation, in some seconds."""
    rate, days = METRIC_WORLD
    rows = simulated_rows(METRICS_TOPIC, rate, days, SEED, fitting)
    return learning.train(
        features_of(rows), metric_method(), fitting, block_N=blocks_of(rows), max_seconds=16.0,
        device=fitting.device,
    )  # fmt: skip


def learn_logs(fitting: Fitting) -> Trained:
    """How the logs of this server read when nothing is confirmed to be wrong with them."""
    rows = quiet_rows(fitting.history)
    return learning.train(
        features_of(rows), log_method(), fitting, max_seconds=HISTORY_S, device=fitting.device
    )


def learn_metrics(fitting: Fitting) -> Trained:
    """How the metrics of this server move when nothing is confirmed to be wrong with them."""
    rows = quiet_rows(fitting.history)
    return learning.train(
        features_of(rows), metric_method(), fitting, block_N=blocks_of(rows),
        max_seconds=HISTORY_S, device=fitting.device,
    )  # fmt: skip


def quiet_rows(history: History | None) -> list[Row]:
    """Rows that no label calls an anomaly.

    Raises:
        TooLittleHistoryError: the method needs more.
    """
    assert history is not None, "the recipe learns from history"
    quiet_N = np.flatnonzero(~history.positive_N)
    if len(quiet_N) < learning.MIN_ROWS:
        raise TooLittleHistoryError(
            f"{len(quiet_N):,} quiet rows are too few to learn from; {learning.MIN_ROWS:,} are "
            "needed. Let the server run longer, or take a longer span with --data.",
        )
    return [
        Row(
            history.entity_N[n],
            datetime.fromtimestamp(float(history.at_N[n]), UTC),
            history.x_NF[n],
            None,
        )
        for n in quiet_N.tolist()
    ]


def features_of(rows: Sequence[Row]) -> Rows:
    """``(N, F)`` features."""
    return np.array([row.x_F for row in rows], np.float32)


def blocks_of(rows: Sequence[Row]) -> NDArray[np.int64]:
    """``(N,)``: rows of one entity and quarter of an hour have one number."""
    numbers: dict[tuple[str, int], int] = {}
    blocks = [
        numbers.setdefault((row.entity_key, (row.at - START) // BLOCK), len(numbers))
        for row in rows
    ]
    return np.array(blocks, np.int64)


def simulated_rows(
    topic: str, records_per_s: float, days: float, seed: int, progress: Progress
) -> list[Row]:
    """Rows of a simulated world without faults, without its first hours and without what is new."""
    extractor, decode, occurred_at = _stream_of(topic)
    replay = Replay(extractor, TICK, occurred_at)
    end = START + timedelta(days=days)
    records: list[Any] = []
    simulated = simulate_with_truth(
        seed=seed, start=START, records_per_s=records_per_s, faults=False
    )
    rows = []
    hour = 0
    for made in takewhile(lambda made: made.record.occurred_at < end, simulated):
        if made.record.topic == topic:
            records.append(decode(made.record))
        passed = int((made.record.occurred_at - START) / timedelta(hours=1))
        if passed > hour:
            hour = passed
            rows += replay.take(records)
            records = []
            progress("simulate", hour, int(days * 24))
    rows += replay.take(records)
    progress("simulate", int(days * 24), int(days * 24))
    warm = START + min(WARM_UP, timedelta(days=days / 4))
    return [row for row in rows if row.at >= warm and not _has_news(topic, row)]


def _has_news(topic: str, row: Row) -> bool:
    """Whether a template was seen for the first time: in a world of some hours that is common."""
    return topic == LOGS_TOPIC and row.x_F[LOG_NAMES.index("new_templates")] > 0


def _stream_of(
    topic: str,
) -> tuple[Extractor, Callable[[SimulatedRecord], Any], Callable[[Any], datetime]]:
    if topic == LOGS_TOPIC:
        return LogExtractor(), _log_line, lambda line: line.at
    return MetricExtractor(), _metric_sample, lambda sample: sample.time


def _log_line(record: SimulatedRecord) -> Any:
    return from_message(Message(record.value, record.key.encode(), record.occurred_at))


def _metric_sample(record: SimulatedRecord) -> Any:
    import msgspec

    return msgspec.json.decode(record.value, type=MetricSample)


RECIPES: Final = (
    TrainingRecipe(
        name="ops.logs.starter",
        stream="ops.logs",
        summary="Learns how quiet logs read, from simulated ones; for demonstration and tests.",
        run=train_logs,
    ),
    TrainingRecipe(
        name="ops.metrics.starter",
        stream="ops.metrics",
        summary="Learns how quiet metrics move, from simulated ones; for demonstration and tests.",
        run=train_metrics,
    ),
    TrainingRecipe(
        name="ops.logs.history",
        stream="ops.logs",
        summary="Learns how quiet logs read from those that this server has decided on.",
        run=learn_logs,
        learns_history=True,
        label_delay=timedelta(days=1),
    ),
    TrainingRecipe(
        name="ops.metrics.history",
        stream="ops.metrics",
        summary="Learns how quiet metrics move from those that this server has decided on.",
        run=learn_metrics,
        learns_history=True,
        label_delay=timedelta(days=1),
    ),
)
