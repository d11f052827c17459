"""Server Machine Dataset: 38 metrics of one machine, a row a minute, each normal or not."""

from __future__ import annotations

import argparse
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.real_run import Outcome, alerts_of, ingest, make_champion, take_through
from benchmarks.servers import BenchmarkError, Servers, note

STREAM = "ops.metrics"
START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DECIDED = "SELECT occurred_at, score, outcome FROM decision WHERE stream = 'ops.metrics'"
ALERTS_PER_DAY = 3.0  # that may be false, of this one machine


def smd(run: Servers, options: argparse.Namespace) -> Outcome:
    """The training half is learned from, then both halves go through; the test half is judged."""
    folder = options.data / "ops" / "smd"
    name = f"machine-{options.machine}"
    before, after = (_read(folder / part / f"{name}.txt.zst") for part in ("train", "test"))
    truth = np.loadtxt(folder / "test_label" / f"{name}.txt").astype(bool)
    quiet, rows = _learn(name, before, after)
    shape = ("--format", "csv", "--no-header", "--values-from", "c*", "--set", f"entity={name}")
    num = 0
    for part, first in (("train", 0), ("test", len(before))):
        start = (START + first * MINUTE).isoformat()
        file = str(folder / part / f"{name}.txt.zst")
        num += ingest(run, STREAM, file, *shape, "--start", start, "--step", "60")
    note(f"{num} vectors through the server")
    per_second = take_through(run, options, STREAM, num)
    with run.connection() as connection:
        decided = connection.execute(DECIDED).fetchall()
        alerts = alerts_of(connection, STREAM)
        (letters,) = connection.execute("SELECT count(*) FROM dead_letter").fetchone() or (0,)
    score_N, flagged_N = np.zeros(len(truth)), np.zeros(len(truth), bool)
    for occurred_at, score, outcome in decided:
        # A minute is told of when the next one begins.
        place = (occurred_at - START) // MINUTE - 1 - len(before)
        if 0 <= place < len(truth):
            score_N[place], flagged_N[place] = score, outcome != "quiet"
    results = {
        "records_per_s": round(per_second),
        **_figures(truth, flagged_N, score_N),
        # Every vector but the last of all makes one row.
        "lost": num - 1 - len(decided) - int(letters),
        "alerts": alerts,
    }
    return Outcome(
        "one machine; the training half learned from without labels, the test half judged minute "
        "by minute, no point adjustment; threshold for three false alerts a day on the training half",
        f"{name}: {len(before)} + {len(after)} minutes of 38 metrics, {int(truth.sum())} anomalous",
        results,
        {"PCA residual": _pca(quiet, rows, truth), "PCA residual, raw": _raw(before, after, truth)},
    )


def _read(file: Path) -> NDArray[np.float64]:
    import zstandard

    if not file.is_file():
        raise BenchmarkError(f"{file} is not there.")
    with file.open("rb") as packed:
        text = zstandard.ZstdDecompressor().stream_reader(packed).read()
    values: NDArray[np.float64] = np.loadtxt(io.BytesIO(text), delimiter=",")
    return values


def _learn(
    name: str, before: NDArray[np.float64], after: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Make the champion from the training half. Returns the feature rows of both halves."""
    from ops import learning
    from ops.metrics.extractor import WARM, MetricExtractor
    from ops.metrics.records import MetricSample
    from ops.recipes import TICK, blocks_of, metric_method
    from ops.replay import Replay

    replay = Replay(MetricExtractor(), TICK, lambda sample: sample.time)
    samples = [
        MetricSample(
            name,
            START + minute * MINUTE,
            values={f"c{place}": value for place, value in enumerate(row.tolist())},
        )
        for minute, row in enumerate(np.concatenate([before, after]))
    ]
    rows: list[Any] = replay.take(samples) + replay.finish(samples[-1].time + 3 * MINUTE)
    x_NF = np.array([row.x_F for row in rows], np.float32)
    learned = slice(2 * WARM, len(before))
    quiet = x_NF[learned]
    trained = learning.train(
        quiet,
        metric_method(ALERTS_PER_DAY),
        lambda stage, done, total: None,
        block_N=blocks_of(rows[learned]),
        max_seconds=60,
    )
    make_champion(STREAM, trained)
    return quiet, x_NF[len(before) : len(before) + len(after)]


def _limit(strangeness_N: NDArray[np.floating[Any]]) -> float:
    """At the same budget as the model: of quarters of an hour of the training half."""
    from ops.learning import highest_of_blocks

    quarter_N = np.arange(len(strangeness_N)) // 15
    highest = highest_of_blocks(strangeness_N.astype(np.float32), quarter_N)
    return float(np.quantile(highest, 1 - ALERTS_PER_DAY / 96))


def _pca(
    quiet: NDArray[np.float32], rows: NDArray[np.float32], truth: NDArray[np.bool_]
) -> dict[str, float]:
    """On the same features as the model."""
    from ops.recipes import pca_residual

    limit = _limit(pca_residual(quiet, quiet))
    strangeness = pca_residual(quiet, rows)[: len(truth)]
    return _figures(truth, strangeness > limit, strangeness)


def _raw(
    before: NDArray[np.float64], after: NDArray[np.float64], truth: NDArray[np.bool_]
) -> dict[str, float]:
    """On the metrics themselves, standardised by the training half: the usual baseline."""
    from sklearn.decomposition import PCA

    mean, deviation = before.mean(axis=0), before.std(axis=0) + 1e-6
    learned, judged = (before - mean) / deviation, np.clip((after - mean) / deviation, -1e3, 1e3)
    plane = PCA(0.9, svd_solver="full").fit(learned)

    def residual(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        flat = plane.inverse_transform(plane.transform(rows))
        found: NDArray[np.float64] = np.square(rows - flat).sum(axis=1)
        return found

    limit = _limit(residual(learned))
    return _figures(truth, residual(judged) > limit, residual(judged))


def _figures(
    truth: NDArray[np.bool_], flagged: NDArray[np.bool_], score: NDArray[np.floating[Any]]
) -> dict[str, float]:
    from models_core.evaluation import pr_auc, roc_auc

    hits = int((flagged & truth).sum())
    precision, recall = hits / max(int(flagged.sum()), 1), hits / int(truth.sum())
    segments = np.flatnonzero(np.diff(np.r_[0, truth.astype(int)]) == 1)
    ends = np.flatnonzero(np.diff(np.r_[truth.astype(int), 0]) == -1)
    seen = sum(flagged[a : b + 1].any() for a, b in zip(segments, ends, strict=True))
    return {
        "precision": round(precision, 4),
        "recall": round(recall, 4),
        "segments_found": round(float(seen) / len(segments), 4),
        "pr_auc": round(pr_auc(truth, score), 4),
        "roc_auc": round(roc_auc(truth, score), 4),
    }
