"""What a database consists of, as a backup needs to know it: tables, columns, order, sequences."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import LiteralString

from psycopg import sql

from lepton_apps.backup.archive import Sequence
from lepton_apps.common.db import RawConnection

# Not of the data: which migrations ran is compared, sessions would let whoever has the file go on
# where somebody was signed in, a worker's row says that a process lives, and a try holds a secret that is worth nothing later.
LEFT_OUT = frozenset({"django_migrations", "django_session", "worker_heartbeat", "federation_try"})
# `migrate` fills these; a database that has rows nowhere else is empty.
SEEDED = frozenset({"auth_permission", "django_content_type"})

TABLES: LiteralString = """
SELECT c.oid::bigint, c.relname, (
    SELECT coalesce(sum(greatest(leaf.reltuples, 0)), 0)::bigint
    FROM pg_partition_tree(c.oid) AS tree JOIN pg_class AS leaf ON leaf.oid = tree.relid
    WHERE tree.isleaf
) + greatest(c.reltuples, 0)::bigint * (c.relkind = 'r')::int
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND NOT c.relispartition
ORDER BY c.relname
"""
COLUMNS: LiteralString = """
SELECT attrelid::bigint, attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = ANY(%s) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
ORDER BY attrelid, attnum
"""
REFERENCES: LiteralString = """
SELECT DISTINCT conrelid::bigint, confrelid::bigint FROM pg_constraint
WHERE contype = 'f' AND conrelid = ANY(%s) AND conrelid <> confrelid
"""
SEQUENCES: LiteralString = """
SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = current_schema() AND c.relkind = 'S' ORDER BY c.relname
"""
MIGRATIONS: LiteralString = "SELECT app, name FROM django_migrations ORDER BY app, name"


@dataclass(frozen=True, slots=True)
class StoredTable:
    """A table of the database; a partitioned one stands for its partitions."""

    name: str
    columns: tuple[tuple[str, str], ...]  # name and type; generated ones are not listed
    estimate: int  # rows, as the planner thinks


def listed(columns: Iterable[tuple[str, str]]) -> sql.Composed:
    """The names of columns as a query takes them."""
    return sql.SQL(", ").join(sql.Identifier(column) for column, _ in columns)


def all_tables(raw: RawConnection) -> list[str]:
    """Every table but that of the migrations."""
    return [row[1] for row in raw.execute(TABLES) if row[1] != "django_migrations"]


def stored_tables(raw: RawConnection) -> list[StoredTable]:
    """What a backup holds, each table after those that it refers to."""
    found = {row[0]: row[1:] for row in raw.execute(TABLES) if row[1] not in LEFT_OUT}
    oids = list(found)
    columns: dict[int, list[tuple[str, str]]] = {oid: [] for oid in oids}
    for oid, column, kind in raw.execute(COLUMNS, [oids]):
        columns[oid].append((column, kind))
    before: dict[int, set[int]] = {oid: set() for oid in oids}
    for oid, other in raw.execute(REFERENCES, [oids]):
        if other in found:
            before[oid].add(other)
    try:
        order = list(TopologicalSorter(before).static_order())
    except CycleError:  # Django's references are checked at the end of the transaction anyway
        order = oids
    return [StoredTable(found[oid][0], tuple(columns[oid]), found[oid][1]) for oid in order]


def migrations(raw: RawConnection) -> tuple[tuple[str, str], ...]:
    """Which migrations have run; nothing where the database was never migrated."""
    row = raw.execute("SELECT to_regclass('django_migrations')").fetchone()
    if row is None or row[0] is None:
        return ()
    return tuple((app, name) for app, name in raw.execute(MIGRATIONS))


def sequences(raw: RawConnection) -> tuple[Sequence, ...]:
    found = []
    for (name,) in raw.execute(SEQUENCES).fetchall():
        query = sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(name))
        row = raw.execute(query).fetchone()
        assert row is not None
        found.append(Sequence(name, row[0], row[1]))
    return tuple(found)


def filled(raw: RawConnection) -> list[str]:
    """Tables with rows that nobody but a person or a record can have put there."""
    names = [name for name in all_tables(raw) if name not in SEEDED | LEFT_OUT]
    query = sql.SQL("SELECT 1 FROM {} LIMIT 1")
    return [name for name in names if raw.execute(query.format(sql.Identifier(name))).fetchone()]
