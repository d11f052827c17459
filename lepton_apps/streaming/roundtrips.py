"""What a few records read and write, in as few messages as can be.

A batch of thousands hides what a statement costs; a single record is made of nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import psycopg
from django.contrib.auth.models import User
from django.db import DEFAULT_DB_ALIAS

from lepton_apps.alerts.models import Alert
from lepton_apps.common.db import RawConnection
from lepton_apps.streaming import alerting, store
from lepton_apps.streaming.batch import Arrival
from lepton_apps.streaming.binary import HotCursor, TextArray, UuidArray
from lepton_apps.streaming.copying import DECISION, decision_parameters
from lepton_apps.streaming.loading import Loaded, keys_of, refuse_schema
from lepton_apps.streaming.pipeline import Working
from lepton_apps.streaming.store import BatchResult, ConflictError
from lepton_apps.streaming.tallying import TALLY, score_parameters
from lepton_apps.verticals.contract import Stream

KEY, STATE, SHARD = range(3)
LOAD = f"""
SELECT {KEY}, '', 0, 0::bigint, '', NULL::timestamptz, uuid_send(key)
FROM record_key WHERE key = ANY(%b)
UNION ALL
SELECT {STATE}, entity_key, partition, version, schema, due_at, state
FROM entity_state WHERE stream = %b AND entity_key = ANY(%b)
UNION ALL
SELECT {SHARD}, entity_key, shard, version, schema, NULL, state
FROM secondary_state WHERE stream = %b AND entity_key = ANY(%b)
"""  # noqa: S608 - numbers of ours
TO_FOLD_INTO = f"""
SELECT {", ".join(f"alert.{name}" for name in alerting.COLUMNS)}, assignee.username
FROM alert LEFT JOIN {User._meta.db_table} AS assignee ON assignee.id = alert.assigned_to_id
WHERE fingerprint = ANY(%b) AND status IN ('open', 'acknowledged')
    AND last_occurred_at >= %b AND first_occurred_at <= %b
"""  # noqa: S608 - columns of ours
NEW_IDS = """
SELECT nextval(pg_get_serial_sequence('alert', 'id')) FROM generate_series(1, %b::int)
"""
# The fences of ``store``, held by the statement itself: short of a row it divides by zero, and
# nothing of it was done. They are asked for in the order in which ``store`` writes.
SAVE = f"""
WITH keys AS ({store.KEYS} RETURNING 1),
    states AS ({store.PRIMARY} RETURNING 1),
    shards AS ({store.SECONDARY} RETURNING 1),
    decisions AS ({DECISION} RETURNING 1),
    tally AS ({TALLY} RETURNING 1)
SELECT 1 / ((SELECT count(*) FROM keys) = %b AND (SELECT count(*) FROM states) = %b
    AND (SELECT count(*) FROM shards) = %b AND (SELECT count(*) FROM decisions) = 1)::int
"""  # noqa: S608 - statements of ours


def load_few(
    raw: RawConnection, stream: Stream, arrivals: Sequence[Arrival], knowledge: dict[str, bytes]
) -> tuple[set[bytes], Loaded]:
    """The keys that were decided before, and the states of all arrivals, those included."""
    primary, secondary = keys_of(stream, arrivals, with_labels=True)
    rows = HotCursor(raw).hot(
        LOAD,
        [
            UuidArray([arrival.key for arrival in arrivals]),
            stream.name,
            TextArray(list(primary)),
            stream.name,
            TextArray(list(secondary)),
        ],
    )
    schema = stream.extractor.schema.hash
    known: set[bytes] = set()
    loaded = Loaded(Working(primary={}, secondary={}, knowledge=knowledge))
    working = loaded.working
    for kind, key, place, version, found, due_at, state in rows:
        if kind == KEY:
            known.add(state)
            continue
        refuse_schema(stream, found, schema)
        if kind == SHARD:
            working.secondary.setdefault(key, {})[place] = state
            loaded.secondary_versions[key, place] = version
            continue
        working.primary[key] = state
        loaded.primary_versions[key] = version
        # Also without a timer: whoever writes the state next must not lose its partition.
        if due_at is not None or place is not None:
            working.due_at[key] = due_at
            working.partitions[key] = place
    return known, loaded


def foldable(
    raw: RawConnection,
    fingerprints: Iterable[UUID],
    earliest: datetime,
    latest: datetime,
    count: int,
) -> tuple[list[Alert], list[int]]:
    """The unresolved alerts of these fingerprints, and ids for ``count`` new ones.

    Only alerts that have or may have records between ``earliest`` and ``latest``, in event time.

    Ids of our own let decisions name their alert in the same transaction.
    """
    marks = UuidArray([mark.bytes for mark in fingerprints])
    with raw.pipeline():
        known = HotCursor(raw).hot(TO_FOLD_INTO, [marks, earliest, latest])
        ids = HotCursor(raw).hot(NEW_IDS, [count])
    alerts = []
    for *values, username in known.fetchall():
        alert = Alert.from_db(DEFAULT_DB_ALIAS, alerting.COLUMNS, values)
        if username is not None:
            alert.assigned_to = User(alert.assigned_to_id, username=username)
        alerts.append(alert)
    return alerts, [row[0] for row in ids.fetchall()]


def is_one_quiet(result: BatchResult) -> bool:
    """Whether a result is one decision with its states, and nothing besides."""
    return (
        result.decided is not None
        and len(result.decided.about) == 1
        and not result.alerts.alert_of_row
        and result.shadowed is None
        and not (result.moves or result.rejected or result.ticks)
        and not (result.loaded.working.learned or result.loaded.working.tallies)
    )


def save_one(raw: RawConnection, stream: Stream, result: BatchResult) -> None:
    """``store.save`` of such a result: one statement, which is a transaction of its own.

    Raises:
        ConflictError: another writer was faster; nothing was written.
    """
    decided = result.decided
    assert decided is not None
    states, num_states = store.state_parameters(stream, result.loaded)
    shards, num_shards = store.shard_parameters(stream, result.loaded)
    parameters = [
        *store.key_parameters(decided.about, result.now),
        *states,
        *shards,
        *decision_parameters(stream, decided, 0, None, result.now),
        *score_parameters(stream, decided, result.now),
        1,
        num_states,
        num_shards,
    ]
    try:
        HotCursor(raw).hot(SAVE, parameters)
    except psycopg.errors.DivisionByZero:
        raise ConflictError(
            f"{stream.name}: a record was decided or an entity changed in between."
        ) from None
