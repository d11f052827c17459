"""What a batch needs from the database before it can be taken through. Reads only."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lepton_apps.common.db import RawConnection
from lepton_apps.common.errors import UnavailableError
from lepton_apps.streaming.batch import Arrival
from lepton_apps.streaming.binary import HotCursor, TextArray, UuidArray
from lepton_apps.streaming.pipeline import Working
from lepton_apps.verticals.contract import Stream

KNOWN = "SELECT key FROM record_key WHERE key = ANY(%b)"
PRIMARY = """
SELECT entity_key, version, schema, due_at, partition, state FROM entity_state
WHERE stream = %b AND entity_key = ANY(%b)
"""
DUE = """
SELECT entity_key, version, schema, due_at, partition, state FROM entity_state
WHERE stream = %b AND partition = %b AND due_at <= %b
"""
SECONDARY = """
SELECT entity_key, shard, version, schema, state FROM secondary_state
WHERE stream = %b AND entity_key = ANY(%b)
"""


class StateSchemaError(UnavailableError):
    """States were written by another extractor; they must be rebuilt, not misread."""

    code = "state_schema_changed"


@dataclass(slots=True)
class Loaded:
    """States as they were read, with the versions that a save must still find."""

    working: Working
    primary_versions: dict[str, int] = field(default_factory=dict)
    secondary_versions: dict[tuple[str, int], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CachedState:
    version: int
    due_at: datetime | None
    partition: int | None
    state: bytes


class StateCache:
    """Main-entity states this worker wrote last, so that a hot entity is not read again.

    A stale entry cannot hurt: saving finds another version in the database, nothing is written,
    the entries of the batch are dropped and the batch is taken again.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._states: OrderedDict[str, CachedState] = OrderedDict()

    def get(self, key: str) -> CachedState | None:
        return self._states.get(key)

    def put(self, key: str, state: CachedState) -> None:
        self._states[key] = state
        self._states.move_to_end(key)

    def trim(self) -> None:
        while len(self._states) > self._capacity:
            self._states.popitem(last=False)

    def drop(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._states.pop(key, None)

    def clear(self) -> None:
        self._states.clear()


def fetch(raw: RawConnection, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Rows of a hot query."""
    return HotCursor(raw).hot(sql, parameters).fetchall()


def known_keys(raw: RawConnection, keys: Sequence[bytes]) -> set[bytes]:
    """Those of the keys whose records were decided before."""
    return {row[0].bytes for row in fetch(raw, KNOWN, [UuidArray(keys)])} if keys else set()


def load_states(
    raw: RawConnection,
    stream: Stream,
    entity_keys: Collection[str],
    secondary_keys: Collection[str],
    cache: StateCache,
    due: dict[int, datetime],
    knowledge: dict[str, bytes],
) -> Loaded:
    """Read the states of a batch. ``due`` asks for the entities with timers, by partition."""
    schema = stream.extractor.schema.hash
    loaded = Loaded(Working(primary={}, secondary={}, knowledge=knowledge))
    working = loaded.working
    missing = []
    for key in entity_keys:
        cached = cache.get(key)
        if cached is None:
            missing.append(key)
        else:
            working.primary[key] = cached.state
            loaded.primary_versions[key] = cached.version
            if cached.due_at is not None:
                working.due_at[key] = cached.due_at
                working.partitions[key] = cached.partition
    rows = fetch(raw, PRIMARY, [stream.name, TextArray(missing)]) if missing else []
    for partition, at in due.items():
        rows += fetch(raw, DUE, [stream.name, partition, at])
    for key, version, found, due_at, partition, state in rows:
        refuse_schema(stream, found, schema)
        if key in working.primary:
            continue
        working.primary[key] = state
        loaded.primary_versions[key] = version
        if due_at is not None:
            working.due_at[key] = due_at
            working.partitions[key] = partition
    if secondary_keys:
        for key, shard, version, found, state in fetch(
            raw, SECONDARY, [stream.name, TextArray(list(secondary_keys))]
        ):
            refuse_schema(stream, found, schema)
            working.secondary.setdefault(key, {})[shard] = state
            loaded.secondary_versions[key, shard] = version
    return loaded


def refuse_schema(stream: Stream, found: str, expected: str) -> None:
    if found != expected:
        raise StateSchemaError(
            f"{stream.name}: entity states were written by feature schema {found}, this server "
            f"has {expected}. Rebuild them with `manage.py rebuild_states {stream.name}`.",
            found=found,
            expected=expected,
        )


def load_knowledge(raw: RawConnection, stream: Stream) -> dict[str, bytes]:
    """All that the stream has learned. Read on assignment; own findings are added as saved."""
    rows = fetch(raw, "SELECT id, body FROM knowledge WHERE stream = %b", [stream.name])
    return {id_: bytes(body) for id_, body in rows}


def keys_of(arrivals: Iterable[Arrival]) -> tuple[set[str], set[str]]:
    """The main and the secondary entities of a batch."""
    primary: set[str] = set()
    secondary: set[str] = set()
    for arrival in arrivals:
        primary.add(arrival.entity_key)
        secondary.update(arrival.secondary_keys)
    return primary, secondary
