"""Fraud-Detection-Handbook: simulated card payments of others, one month of them judged."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.real_run import (
    Outcome,
    alerts_of,
    ingest,
    make_champion,
    precision_recall,
    take_through,
)
from benchmarks.servers import BenchmarkError, Servers, note

STREAM = "fintech.transactions"
BATCH = 2_000
DECIDED = """
SELECT record_id, score, outcome, features FROM decision
WHERE stream = 'fintech.transactions' AND occurred_at >= %s
"""


def handbook(run: Servers, options: argparse.Namespace) -> Outcome:
    """The two months before are learned from; the month before and the month go through."""
    folder = options.data / "fintech" / "handbook"
    year, month = (int(part) for part in options.month.split("-"))
    files = [folder / f"transactions_{year}-{m:02d}.parquet" for m in range(month - 3, month + 1)]
    for file in files:
        if not file.is_file():
            raise BenchmarkError(f"{file} is not there; --month must have three months before it.")
    first = datetime(year, month, 1, tzinfo=UTC)
    learned = _learn(files[:3])
    num = sum(_ingest(run, file) for file in files[2:])
    note(f"{num} payments through the server")
    per_second = take_through(run, options, STREAM, num, others=["fintech.labels"])
    truth = _truth(files[3])
    with run.connection() as connection:
        rows = connection.execute(DECIDED, (first,)).fetchall()
        alerts = alerts_of(connection, STREAM)
        (total,) = connection.execute("SELECT count(*) FROM decision").fetchone() or (0,)
        (letters,) = connection.execute("SELECT count(*) FROM dead_letter").fetchone() or (0,)
    decided = {record_id: score for record_id, score, _, _ in rows}
    served_NF = np.frombuffer(b"".join(bytes(row[3]) for row in rows), "<f4")
    served_NF = served_NF.reshape(len(rows), -1)
    positive = {id_ for id_, fraud in truth.items() if fraud}
    flagged = {id_ for id_, _, outcome, _ in rows if outcome != "approve"}
    results = {
        "records_per_s": round(per_second),
        **precision_recall(flagged, positive),
        "pr_auc": _pr_auc(truth, decided),
        "lost": num - int(total) - int(letters),
        "doubled": len(rows) - len(decided),
        "alerts": alerts,
        "flagged_share": round(len(flagged) / max(len(decided), 1), 5),
    }
    return Outcome(
        f"learned from the second month before (the one before that fills the memories), stopped "
        f"and thresholds set on the month before, judged on {options.month}; frauds become known "
        "seven days later; gradient boosting learned from the same rows and judged on the features "
        "that the server stored; in order: both judged on features made in the order of event "
        "time, where two months in a minute do not let payments run ahead of their labels",
        f"{num} payments of the handbook, {len(positive)} frauds in the month that is judged",
        results,
        _beside(files, learned, served_NF, list(decided), truth),
    )


def _ingest(run: Servers, file: Path) -> int:
    mapped = {
        "id": "TRANSACTION_ID", "occurred_at": "TX_DATETIME", "customer": "c{CUSTOMER_ID}",
        "card": "k{CUSTOMER_ID}", "terminal": "t{TERMINAL_ID}", "amount": "{TX_AMOUNT:.2f}",
    }  # fmt: skip
    arguments = [f"--map={name}={column}" for name, column in mapped.items()]
    return ingest(
        run, STREAM, str(file), *arguments, "--map=id={TRANSACTION_ID}", "--timezone", "UTC",
        "--set", "currency=EUR", "--set", "channel=chip", "--skip-bad", "--label-column",
        "TX_FRAUD", "--label-set", "verdict=fraud", "--label-set", "kind=chargeback",
    )  # fmt: skip


def _payments(file: Path) -> Iterator[tuple[Any, bool]]:
    import pyarrow.parquet as pq

    from fintech.records import Transaction

    for batch in pq.ParquetFile(file).iter_batches(batch_size=20_000):
        for row in batch.to_pylist():
            if row["TX_AMOUNT"] <= 0:
                continue  # refused by the server too
            yield (
                Transaction(
                    str(row["TRANSACTION_ID"]),
                    row["TX_DATETIME"].replace(tzinfo=UTC),
                    f"c{row['CUSTOMER_ID']}",
                    f"k{row['CUSTOMER_ID']}",
                    f"t{row['TERMINAL_ID']}",
                    Decimal(f"{row['TX_AMOUNT']:.2f}"),
                    "EUR",
                    "chip",
                ),
                bool(row["TX_FRAUD"]),
            )


def _rows(files: list[Path]) -> tuple[NDArray[np.float32], NDArray[np.bool_], list[int]]:
    """Features as one writer makes them; labels are given with the payments and count later."""
    from fintech.dataset import Memory
    from fintech.extractor import TransactionExtractor
    from lepton_apps.verticals.contract import LabelledRecord

    memory = Memory(TransactionExtractor())
    parts: list[NDArray[np.float32]] = []
    truth: list[bool] = []
    sizes = []
    for file in files:
        batch: list[Any] = []
        frauds: list[LabelledRecord] = []
        before = len(truth)
        for payment, fraud in _payments(file):
            batch.append(payment)
            truth.append(fraud)
            if fraud:
                frauds.append(LabelledRecord(payment, payment.occurred_at, 1))
            if len(batch) == BATCH:
                parts.append(memory.extract(batch))
                memory.label(frauds)
                batch, frauds = [], []
        if batch:
            parts.append(memory.extract(batch))
            memory.label(frauds)
        sizes.append(len(truth) - before)
    return np.concatenate(parts), np.array(truth), sizes


@dataclass(frozen=True, slots=True)
class Learned:
    """A way to score features, and the threshold of a review that it set on earlier rows."""

    score: Callable[[NDArray[np.float32]], NDArray[np.float64]]
    review: float


def _learn(files: list[Path]) -> tuple[Learned, Learned]:
    """Make the champion; returns what it learned, and what boosted trees did from the same rows."""
    import models_core as core
    from fintech.extractor import TransactionExtractor
    from fintech.policy import REVIEW
    from fintech.recipes import set_thresholds
    from lepton_apps.verticals.contract import Trained

    x_NF, fraud_N, sizes = _rows(files)
    first, second = sizes[0], sizes[0] + sizes[1]
    kept_N = np.arange(len(x_NF))
    kept_N = (kept_N >= first) & (kept_N < second) & (fraud_N | (kept_N % 4 == 0))
    weight_N = np.where(fraud_N, 1.0, 4.0).astype(np.float32)
    train = core.Table(x_NF[kept_N], fraud_N[kept_N].astype(np.float32), weight_N[kept_N])
    half = second + (len(x_NF) - second) // 2
    validation = core.Table(x_NF[second:half], fraud_N[second:half].astype(np.float32))
    schema = TransactionExtractor().schema
    spec = core.Spec("tabular_ensemble", len(schema.names), {"dropout": 0.2})
    recipe = core.FitRecipe(steps=900, evaluate_every=100, max_seconds=90)
    model = core.fit(spec, train, validation, recipe)
    logits_N = model.logits(x_NF[half:])
    calibration = core.fit_calibration(logits_N, fraud_N[half:])
    thresholds = set_thresholds(calibration.apply(logits_N), fraud_N[half:])
    files_of = core.pack(
        model,
        calibration,
        schema_hash=schema.hash,
        feature_names=schema.names,
        thresholds=thresholds,
        metrics={},
    )
    make_champion(STREAM, Trained(files_of, {}, {}))
    trees = core.fit_boosted_trees(train, validation, max_trees=200)
    own = set_thresholds(trees.probabilities(x_NF[half:]), fraud_N[half:])
    return (
        Learned(lambda x_NF: calibration.apply(model.logits(x_NF)), thresholds[REVIEW]),
        Learned(trees.probabilities, own[REVIEW]),
    )


def _truth(file: Path) -> dict[str, bool]:
    return {payment.id: fraud for payment, fraud in _payments(file)}


def _beside(
    files: list[Path],
    learned: tuple[Learned, Learned],
    served_NF: NDArray[np.float32],
    served_ids: list[str],
    truth: dict[str, bool],
) -> dict[str, dict[str, float]]:
    x_NF, _, sizes = _rows(files[2:])
    in_order_NF, in_order_ids = x_NF[sizes[0] :], list(truth)
    model, trees = learned
    return {
        "boosted trees": _judged(trees, served_NF, served_ids, truth),
        "boosted trees, in order": _judged(trees, in_order_NF, in_order_ids, truth),
        "the model, in order": _judged(model, in_order_NF, in_order_ids, truth),
    }


def _judged(
    learned: Learned, x_NF: NDArray[np.float32], ids: list[str], truth: dict[str, bool]
) -> dict[str, float]:
    scores = dict(zip(ids, learned.score(x_NF).tolist(), strict=True))
    positive = {id_ for id_, fraud in truth.items() if fraud}
    flagged = {id_ for id_, score in scores.items() if score >= learned.review}
    return {**precision_recall(flagged, positive), "pr_auc": _pr_auc(truth, scores)}


def _pr_auc(truth: dict[str, bool], scores: dict[str, float]) -> float:
    from models_core.evaluation import pr_auc

    ids = [id_ for id_ in truth if id_ in scores]
    return round(pr_auc(np.array([truth[i] for i in ids]), np.array([scores[i] for i in ids])), 4)
