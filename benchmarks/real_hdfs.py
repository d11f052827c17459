"""HDFS: raw lines keyed by block, each block normal or not."""

from __future__ import annotations

import argparse
from collections import defaultdict
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.audit import audit_lines
from benchmarks.real_run import (
    Outcome,
    alerts_of,
    ingest,
    make_champion,
    precision_recall,
    take_through,
)
from benchmarks.servers import BenchmarkError, Servers, note

STREAM = "ops.logs"
LINE = "{date} {time} {id} {level} {component} {m_message}"
FULL_NORMAL, FULL_ANOMALOUS = 553_366, 16_838  # sessions of the full set
FLAGGED = """
SELECT entity_key FROM decision WHERE stream = 'ops.logs' AND outcome <> 'quiet'
GROUP BY entity_key
"""
CLOSING = 64  # keys of the lines that let event time pass in every partition


def hdfs(run: Servers, options: argparse.Namespace) -> Outcome:
    """Half of the sessions, by their first line, are learned from; the others are judged."""
    folder = options.data / "ops" / "hdfs"
    file = folder / "hdfs_events_2percent.parquet"
    lines, truth, order = _load(folder, file)
    earlier, later = order[: len(order) // 2], order[len(order) // 2 :]
    _learn(lines, truth, set(earlier))
    num = ingest(
        run, STREAM, str(file), "--map", f"message={LINE}", "--map", "time=m_timestamp",
        "--timezone", "UTC", "--key-regex", r"(blk_-?\d+)",
    )  # fmt: skip
    num += _close(run, lines[-1].at)
    note(f"{num} lines through the server")
    per_second = take_through(run, options, STREAM, num)
    with run.connection() as connection:
        audit = audit_lines(connection, num)
        flagged = {row[0] for row in connection.execute(FLAGGED)} & set(later)
        alerts = alerts_of(connection, STREAM)
    positive = {session for session in later if truth[session]}
    found = precision_recall(flagged, positive)
    results = {
        "records_per_s": round(per_second),
        **found,
        "f1_at_full_prevalence": _reweighted(flagged, positive, later),
        "lost": audit.lost,
        "doubled": audit.doubled,
        "alerts": alerts,
        "windows": audit.rows,
    }
    never = _never_seen(lines, truth, set(earlier), later)
    baseline = {
        **precision_recall(never, positive),
        "f1_at_full_prevalence": _reweighted(never, positive, later),
    }
    return Outcome(
        "sessions in order of their first line, half learned from (its labels set the threshold), "
        "half judged; a session is flagged when one of its windows is",
        f"{num} HDFS lines of {len(order)} blocks, {sum(truth.values())} anomalous",
        results,
        {"count vector never seen": baseline},
    )


def _load(folder: Path, file: Path) -> tuple[list[Any], dict[str, bool], list[str]]:
    import pyarrow.parquet as pq

    from ops.logs.records import LogLine

    if not file.is_file():
        raise BenchmarkError(f"{file} is not there.")
    columns = pq.read_table(file).to_pydict()
    names = list(columns)
    lines = []
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(names, values, strict=True))
        text = LINE.format_map(row).encode()
        lines.append(LogLine(row["seq_id"], row["m_timestamp"].replace(tzinfo=UTC), text))
    lines.sort(key=lambda line: line.at)
    sessions = pq.read_table(folder / "hdfs_seqs_2percent.parquet").to_pydict()
    truth = dict(zip(sessions["seq_id"], map(bool, sessions["anomaly"]), strict=True))
    return lines, truth, list(dict.fromkeys(line.key for line in lines))


def _learn(lines: list[Any], truth: dict[str, bool], earlier: set[str]) -> None:
    from ops import learning
    from ops.logs.extractor import LogExtractor
    from ops.recipes import TICK, log_method
    from ops.replay import Replay

    replay = Replay(LogExtractor(), TICK, lambda line: line.at)
    rows = replay.take([line for line in lines if line.key in earlier])
    rows += replay.finish(lines[-1].at + 10 * TICK)
    quiet = np.array([row.x_F for row in rows if not truth[row.entity_key]], np.float32)
    labelled = learning.Labelled(
        np.array([row.x_F for row in rows], np.float32),
        [row.entity_key for row in rows],
        frozenset(session for session in earlier if truth[session]),
    )
    trained = learning.train(
        quiet, log_method(), lambda stage, done, total: None, labelled=labelled, max_seconds=60
    )
    make_champion(STREAM, trained)


def _close(run: Servers, last: Any) -> int:
    """Lines of much later, so that every window that waits is told of."""
    from datetime import timedelta

    from lepton_apps.streaming.kafka import Producer

    producer = Producer()
    at = int((last + timedelta(hours=1)).timestamp() * 1000)
    for number in range(CLOSING):
        producer.send("ops.logs.v1", b"closing", f"closing-{number}".encode(), timestamp_ms=at)
    producer.flush()
    producer.close()
    return CLOSING


def _never_seen(
    lines: list[Any], truth: dict[str, bool], earlier: set[str], later: list[str]
) -> set[str]:
    """Sessions whose counts of templates no normal earlier session had."""
    from ops.logs.masking import template_hashes

    hashes = template_hashes([line.text for line in lines]).tolist()
    events: defaultdict[str, list[int]] = defaultdict(list)
    for line, event in zip(lines, hashes, strict=True):
        events[line.key].append(event)
    counts = {session: tuple(sorted(found)) for session, found in events.items()}
    seen = {counts[session] for session in earlier if not truth[session]}
    return {session for session in later if counts[session] not in seen}


def _reweighted(flagged: set[str], positive: set[str], later: list[str]) -> float:
    """F1 as it would be with the full set's share of anomalies."""
    normal = set(later) - positive
    recall = len(flagged & positive) / len(positive)
    false_share = len(flagged & normal) / len(normal)
    hits = recall * FULL_ANOMALOUS
    precision = hits / (hits + false_share * FULL_NORMAL) if hits else 0.0
    return round(2 * precision * recall / (precision + recall), 4) if hits else 0.0
