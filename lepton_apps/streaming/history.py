"""A stream's own rows to learn from: as they were decided, or from a file. Reads only.

Shape suffixes: N = rows, F = features of the stream's schema.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lepton_apps.common import clock
from lepton_apps.common.db import raw_connection, transaction
from lepton_apps.common.errors import LeptonError
from lepton_apps.model_registry.models import ModelVersion
from lepton_apps.streaming.replay.question import ReplayRefusedError, parse_moment
from lepton_apps.verticals.contract import History, Stream

MOST_ROWS: Final = 1_000_000  # the newest; some 300 MB of features
CHUNK: Final = 20_000
SPAN: Final = re.compile(r"(?P<since>[^.]+?)(?:\.\.(?P<until>[^.]+))?")
AT, ENTITY, POSITIVE = "decided_at", "entity_key", "positive"  # columns of a file beside features

# Only rows of today's features: which versions decided them says so.
DECIDED = """
SELECT d.features, extract(epoch FROM d.decided_at)::float8 AS at, d.entity_key, l.positive
FROM (
    SELECT id, stream, decided_at, entity_key, features FROM decision
    WHERE stream = %s AND decided_at >= %s AND decided_at < %s AND model_version = ANY(%s)
    ORDER BY decided_at DESC LIMIT %s
) AS d LEFT JOIN LATERAL (
    SELECT positive FROM label WHERE decision_key = d.id AND stream = d.stream
    ORDER BY id DESC LIMIT 1
) AS l ON true
ORDER BY d.decided_at, d.id
"""


class DataRefusedError(LeptonError):
    """What was named to learn from is no span of time and no file of rows."""

    code = "data_refused"


@dataclass(frozen=True, slots=True)
class Span:
    """Decisions from ``since`` on and before ``until``."""

    since: datetime
    until: datetime
    has_end: bool  # it was said, so that every node reads the same rows


def span_of(text: str) -> Span | None:
    """``90d``, or two times or ages with two dots between; None: it is not like that."""
    found = SPAN.fullmatch(text)
    if found is None:
        return None
    try:
        since = parse_moment("data", found["since"])
        until = parse_moment("data", found["until"]) if found["until"] else clock.now()
    except ReplayRefusedError:
        return None
    if since >= until:
        raise DataRefusedError(f"--data {text}: the span ends before it begins.")
    return Span(since, until, found["until"] is not None)


def history_of(stream: Stream, data: str, label_delay: timedelta) -> History:
    """The rows that ``data`` names: a span of decisions, or a Parquet or CSV file.

    Raises:
        DataRefusedError: it is neither, or the file does not fit the stream's features.
    """
    span = span_of(data)
    if span is not None:
        return decided(stream, span, label_delay)
    path = Path(data)
    if not path.is_file():
        raise DataRefusedError(
            f"--data {data!r} is neither a span, as 90d or 2026-03-01T00:00Z..2026-04-01T00:00Z, "
            "nor a file that is there."
        )
    return read_file(stream, path)


def decided(stream: Stream, span: Span, label_delay: timedelta) -> History:
    """Stored decisions of a span, less its last ``label_delay``, in their order.

    Of younger rows those with a label would be a sample of alerts, and those without one unknown.
    """
    alike = ModelVersion.objects.filter(
        model_name=stream.model_name, schema_hash=stream.extractor.schema.hash
    )
    asked = [
        stream.name, span.since, span.until - label_delay,
        list(alike.values_list("number", flat=True)), MOST_ROWS,
    ]  # fmt: skip
    parts, at, entities, labels = [], list[float](), list[str](), list[bool | None]()
    raw = raw_connection()
    with transaction(raw), raw.cursor("history") as cursor:
        cursor.itersize = CHUNK
        cursor.execute(DECIDED, asked)
        while chunk := cursor.fetchmany(CHUNK):
            parts.append(np.frombuffer(b"".join(bytes(row[0]) for row in chunk), "<f4"))
            at += [row[1] for row in chunk]
            entities += [row[2] for row in chunk]
            labels += [row[3] for row in chunk]
    width = len(stream.extractor.schema.names)
    x_N = np.concatenate(parts) if parts else np.zeros(0, "<f4")
    positive_N = np.array([bool(label) for label in labels], dtype=bool)
    return History(
        x_N.reshape(-1, width).astype(np.float32),
        np.array(at, dtype=np.float64),
        entities,
        positive_N,
        np.ones(len(positive_N), dtype=bool),
    )


def read_file(stream: Stream, path: Path) -> History:
    """Rows of a Parquet or CSV file: a column for each feature, ``positive``, and ``decided_at``.

    ``positive`` is 1, 0 or empty (not known); ``entity_key`` may be left out.
    """
    table = _table(path)
    names = stream.extractor.schema.names
    missing = [name for name in (*names, AT, POSITIVE) if name not in table]
    if missing:
        raise DataRefusedError(
            f"{path} lacks the column{'s' if len(missing) > 1 else ''} "
            f"{', '.join(missing[:5])}{' and others' if len(missing) > 5 else ''} of "
            f"{stream.name}: a column for each feature, {AT} and {POSITIVE} are needed."
        )
    x_NF = np.stack([_numbers(path, table, name) for name in names], axis=1).astype(np.float32)
    _require_finite(path, x_NF, names)
    at_N = _moments(path, table)
    truth = [None if value in (None, "") else float(value) for value in table[POSITIVE]]
    odd = next((value for value in truth if value not in (None, 0.0, 1.0)), None)
    if odd is not None:
        raise DataRefusedError(f"{path}: {POSITIVE} is {odd:g}, and not 0, 1 or empty.")
    order = np.argsort(at_N, kind="stable")
    entities = table.get(ENTITY) or [""] * len(at_N)
    return History(
        x_NF[order],
        at_N[order],
        [str(entities[n]) for n in order.tolist()],
        np.array([bool(value) for value in truth], dtype=bool)[order],
        np.array([value is not None for value in truth], dtype=bool)[order],
    )


def _table(path: Path) -> dict[str, list[Any]]:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    try:
        if path.suffix == ".parquet":
            read = pa.parquet.read_table(path)
        elif path.suffix == ".csv":
            read = pa.csv.read_csv(path)
        else:
            raise DataRefusedError(f"{path} is neither .parquet nor .csv.")
    except (pa.ArrowException, OSError) as exc:
        raise DataRefusedError(f"{path} cannot be read: {exc}.") from exc
    columns: dict[str, list[Any]] = read.to_pydict()
    return columns


def _numbers(path: Path, table: dict[str, list[Any]], name: str) -> NDArray[np.float64]:
    try:
        return np.array(table[name], dtype=np.float64)
    except (TypeError, ValueError):
        raise DataRefusedError(
            f"{path}: the column {name} holds something else than numbers."
        ) from None


def _moments(path: Path, table: dict[str, list[Any]]) -> NDArray[np.float64]:
    def seconds(value: Any) -> float:
        at = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(at, datetime) and at.tzinfo is not None:
            return at.timestamp()
        raise ValueError

    try:
        return np.array([seconds(value) for value in table[AT]], dtype=np.float64)
    except (TypeError, ValueError):
        raise DataRefusedError(
            f"{path}: {AT} holds something else than times with a zone."
        ) from None


def _require_finite(path: Path, x_NF: NDArray[np.float32], names: tuple[str, ...]) -> None:
    if not len(x_NF):
        raise DataRefusedError(f"{path} has no rows.")
    if not np.isfinite(x_NF).all():
        row, column = np.argwhere(~np.isfinite(x_NF))[0]
        raise DataRefusedError(f"{path}: row {row + 1} has no finite number as {names[column]}.")
