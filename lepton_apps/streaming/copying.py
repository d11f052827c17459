"""Decisions as rows: part of the one transaction.

Many go by COPY in PostgreSQL's binary format. COPY takes messages of its own; a few rows go as
statements that leave together with what else is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from struct import Struct
from typing import Any

import numpy as np
import psycopg

from lepton_apps.common.db import RawConnection
from lepton_apps.streaming.binary import (
    COPY_HEAD,
    COPY_TAIL,
    INT,
    NULL,
    HotCursor,
    length,
    microseconds,
)
from lepton_apps.streaming.pipeline import Decided
from lepton_apps.verticals.contract import Stream

NUM_COLUMNS = 15
FEW = 16  # records of a batch that is made of round trips more than of work
DECISIONS = """
COPY decision (id, decided_at, stream, record_id, entity_key, occurred_at, topic_id, partition,
    "offset", payload, features, model_version, score, outcome, alert_id)
FROM STDIN WITH (FORMAT binary)
"""
DECISION = """
INSERT INTO decision (id, decided_at, stream, record_id, entity_key, occurred_at, topic_id,
    partition, "offset", payload, features, model_version, score, outcome, alert_id)
VALUES (%b, %b, %b, %b, %b, %b, %b, %b::int, %b::bigint, %b, %b, %b::int, %b, %b, %b::bigint)
"""
TIME = Struct("!iq").pack  # a length of 8, then a bigint or a timestamptz
DOUBLE = Struct("!id").pack
PLACE = Struct("!i16siiiq").pack  # topic id, partition, offset
NOWHERE = NULL * 3


def insert_decisions(
    raw: RawConnection,
    stream: Stream,
    decided: Decided,
    alert_of_row: Mapping[int, int],
    now: datetime,
) -> None:
    """Write the decisions of a small batch, inside the caller's transaction and pipeline."""
    for row in range(len(decided.about)):
        alert = alert_of_row.get(row)
        HotCursor(raw).hot(DECISION, decision_parameters(stream, decided, row, alert, now))


def decision_parameters(
    stream: Stream, decided: Decided, row: int, alert_id: int | None, now: datetime
) -> list[Any]:
    """What ``DECISION`` takes."""
    about = decided.about[row]
    origin = about.origin
    return [
        about.decision_id,
        now,
        stream.name,
        about.record_id,
        about.entity_key,
        about.occurred_at,
        origin and origin.topic_id,
        origin and origin.partition,
        origin and origin.offset,
        about.payload,
        decided.x_BF[row].astype("<f4").tobytes(),
        decided.model_version,
        float(decided.s_B[row]),
        stream.policy.outcomes[int(decided.outcome_B[row])],
        alert_id,
    ]


def copy_decisions(
    raw: RawConnection,
    stream: Stream,
    decided: Decided,
    alert_of_row: Mapping[int, int],
    now: datetime,
) -> None:
    """Write the decisions of a batch, inside the caller's transaction."""
    rows = b"".join(_rows(stream, decided, alert_of_row, now))
    with psycopg.Cursor(raw).copy(DECISIONS) as copy:
        copy.write(COPY_HEAD + rows + COPY_TAIL)


def _rows(
    stream: Stream, decided: Decided, alert_of_row: Mapping[int, int], now: datetime
) -> Iterator[bytes]:
    """Each field after its length, in the order of ``DECISIONS``."""
    name = stream.name.encode()
    outcomes = [length(code) + code for code in (o.encode() for o in stream.policy.outcomes)]
    head = Struct("!h").pack(NUM_COLUMNS) + INT(16)
    after_key = TIME(8, microseconds(now)) + length(name) + name
    features_FB = np.ascontiguousarray(decided.x_BF, "<f4")
    size = INT(features_FB.shape[1] * 4)
    features = features_FB.tobytes()
    step = features_FB.shape[1] * 4
    version = INT(4) + INT(decided.model_version)
    for row, (about, score, outcome) in enumerate(
        zip(decided.about, decided.s_B.tolist(), decided.outcome_B.tolist(), strict=True)
    ):
        record_id = about.record_id.encode()
        entity_key = about.entity_key.encode()
        origin = about.origin
        place = NOWHERE
        if origin is not None:
            place = PLACE(16, origin.topic_id.bytes, 4, origin.partition, 8, origin.offset)
        alert = alert_of_row.get(row)
        yield b"".join(
            (
                head,
                about.key,
                after_key,
                length(record_id),
                record_id,
                length(entity_key),
                entity_key,
                TIME(8, microseconds(about.occurred_at)),
                place,
                length(about.payload),
                about.payload,
                size,
                features[row * step : row * step + step],
                version,
                DOUBLE(8, score),
                outcomes[outcome],
                NULL if alert is None else TIME(8, alert),
            )
        )
