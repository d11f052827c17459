"""What a batch needs from the database before it can be taken through. Reads only."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lepton_apps.common.db import RawConnection
from lepton_apps.common.errors import UnavailableError
from lepton_apps.streaming.batch import REST_SHARD, Arrival
from lepton_apps.streaming.binary import HotCursor, IntArray, TextArray, UuidArray
from lepton_apps.streaming.caches import ShardCache, StateCache
from lepton_apps.streaming.mirror import LabelMirror, SecondaryStates
from lepton_apps.streaming.pipeline import HOME_PARTITION, Working
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
# Entities that only REST has brought: the ticks of one partition are theirs.
DUE_AT_HOME = """
SELECT entity_key, version, schema, due_at, partition, state FROM entity_state
WHERE stream = %b AND partition IS NULL AND due_at <= %b
"""
SECONDARY = """
SELECT entity_key, shard, version, schema, state FROM secondary_state
WHERE stream = %b AND entity_key = ANY(%b)
"""
SECONDARY_OF_OTHERS = f"{SECONDARY} AND shard = ANY(%b)"


class StateSchemaError(UnavailableError):
    """States were written by another extractor; they must be rebuilt, not misread."""

    code = "state_schema_changed"


@dataclass(slots=True)
class Loaded:
    """States as they were read, with the versions that a save must still find."""

    working: Working
    primary_versions: dict[str, int] = field(default_factory=dict)
    secondary_versions: dict[tuple[str, int], int] = field(default_factory=dict)
    secondary_keys: Collection[str] = ()
    unknown: Collection[str] = ()  # secondary entities that were not in memory


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
    labelled: LabelMirror | None = None,
    shards: ShardCache | None = None,
) -> Loaded:
    """Read the states of a batch. ``due`` asks for the entities with timers, by partition.

    With a mirror of what labels wrote, ``secondary_keys`` need not name those entities.
    """
    schema = stream.extractor.schema.hash
    secondary: dict[str, dict[int, bytes]] = {}
    if labelled is not None:
        labelled.refresh(raw)
        for found in labelled.schemas:
            refuse_schema(stream, found, schema)
        secondary = SecondaryStates(labelled.states)
    loaded = Loaded(Working(primary={}, secondary=secondary, knowledge=knowledge))
    loaded.secondary_keys = secondary_keys
    working = loaded.working
    missing = []
    for key in entity_keys:
        cached = cache.get(key)
        if cached is None:
            missing.append(key)
        else:
            version, due_at, partition, working.primary[key] = cached
            loaded.primary_versions[key] = version
            if due_at is not None or partition is not None:
                working.due_at[key] = due_at
                working.partitions[key] = partition
    rows = fetch(raw, PRIMARY, [stream.name, TextArray(missing)]) if missing else []
    for partition, at in due.items():
        rows += fetch(raw, DUE, [stream.name, partition, at])
        if partition == HOME_PARTITION:
            rows += fetch(raw, DUE_AT_HOME, [stream.name, at])
    for key, version, found, due_at, partition, state in rows:
        refuse_schema(stream, found, schema)
        if key in working.primary:
            continue
        working.primary[key] = state
        loaded.primary_versions[key] = version
        # Also without a timer: whoever writes the state next must not lose its partition.
        if due_at is not None or partition is not None:
            working.due_at[key] = due_at
            working.partitions[key] = partition
    for key, shard, version, found, state in _secondary_rows(
        raw, stream, secondary_keys, loaded, shards
    ):
        if found != schema:
            refuse_schema(stream, found, schema)
        secondary.setdefault(key, {})[shard] = state
        loaded.secondary_versions[key, shard] = version
    return loaded


def _secondary_rows(
    raw: RawConnection,
    stream: Stream,
    keys: Collection[str],
    loaded: Loaded,
    shards: ShardCache | None,
) -> list[tuple[Any, ...]]:
    """The shards to read; those of our own that are in memory go straight into ``loaded``."""
    if not keys:
        return []
    if shards is None:
        return fetch(raw, SECONDARY, [stream.name, TextArray(list(keys))])
    shards.trim()
    loaded.secondary_versions = shards.versions
    unknown, known = [], []
    for key in keys:
        states = shards.states.get(key)
        if states is None:
            unknown.append(key)
            continue
        known.append(key)
        if states:
            loaded.working.secondary[key] = states
    rows = fetch(raw, SECONDARY, [stream.name, TextArray(unknown)]) if unknown else []
    if known and shards.others:
        asked = [stream.name, TextArray(known), IntArray(shards.others)]
        rows += fetch(raw, SECONDARY_OF_OTHERS, asked)
    loaded.unknown = unknown
    return rows


def keep_shards(loaded: Loaded, shards: ShardCache) -> None:
    """After a save: what the batch wrote and read is known from now on."""
    secondary = loaded.working.secondary
    for key in loaded.unknown:
        shards.states[key] = secondary.get(key) or {}
    for key, shard in loaded.working.changed_secondary:
        shards.states[key] = secondary[key]
        shards.versions[key, shard] = shards.versions.get((key, shard), 0) + 1


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


def shards_of(raw: RawConnection, stream: str) -> set[int]:
    """Every shard that writers of records may have: REST's, and one for each partition."""
    rows = fetch(raw, "SELECT DISTINCT partition FROM stream_offset WHERE stream = %b", [stream])
    return {REST_SHARD} | {row[0] for row in rows}


def keys_of(
    stream: Stream, arrivals: Iterable[Arrival], *, with_labels: bool
) -> tuple[set[str], set[str]]:
    """The main and the secondary entities of a batch; with those that only labels write."""
    primary: set[str] = set()
    secondary: set[str] = set()
    for arrival in arrivals:
        primary.add(arrival.entity_key)
        secondary.update(arrival.secondary_keys)
        if with_labels:
            secondary.update(stream.extractor.label_keys(arrival.record))
    return primary, secondary
