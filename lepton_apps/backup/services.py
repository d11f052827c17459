"""``manage.py restore``: a backup into a database, all of it or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import ClassVar, LiteralString

import psycopg
from psycopg import sql

from lepton_apps.audit import services as audit
from lepton_apps.backup import catalogue
from lepton_apps.backup.archive import (
    ArchiveReader,
    BackupRefusedError,
    Manifest,
    Table,
)
from lepton_apps.backup.saving import without_limits
from lepton_apps.common.db import RawConnection, transaction
from lepton_apps.common.errors import LeptonError, UnavailableError
from lepton_apps.realtime.services import new_epochs
from lepton_apps.streaming import retention
from lepton_apps.verticals.contract import Progress

SHOWN = 5  # names in a sentence
OTHERS: LiteralString = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'lepton%%'
ORDER BY pid
"""
WITH_TRIGGERS: LiteralString = """
SELECT DISTINCT c.relname FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND n.nspname = current_schema() AND c.relkind IN ('r', 'p')
ORDER BY c.relname
"""


class RestoreRefusedError(LeptonError):
    """The database is not one that this backup may go into."""

    code: ClassVar[str] = "restore_refused"


class DatabaseInUseError(UnavailableError):
    """Workers, web processes or a backup use the database that is to be replaced."""

    code: ClassVar[str] = "database_in_use"


@dataclass(frozen=True, slots=True)
class Restored:
    """What is in the database now."""

    manifest: Manifest
    epochs: list[str]  # verticals whose feed began a new one
    next_offsets: list[tuple[str, int, int]]  # stream, partition, where its worker reads on


def check(raw: RawConnection, archive: ArchiveReader, *, replace: str | None) -> None:
    """Whether the backup may go into this database. Writes nothing.

    ``replace`` is the name of the database whose content may go, as a person has typed it.

    Raises RestoreRefusedError or DatabaseInUseError.
    """
    manifest = archive.manifest
    _check_release(manifest, catalogue.migrations(raw))
    there = {table.name: table.columns for table in catalogue.stored_tables(raw)}
    for table in manifest.tables:
        if there.get(table.name) != table.columns:
            raise RestoreRefusedError(
                f"The table {table.name} of this database has other columns than the backup's, "
                "though their migrations are the same: it was changed by hand."
            )
    name = raw.info.dbname
    if replace is not None and replace != name:
        raise RestoreRefusedError(f"--replace {replace}: this database is named {name}.")
    if replace is None and (filled := catalogue.filled(raw)):
        raise RestoreRefusedError(
            f"The database {name} is not empty ({_named(filled)}). Restore into a new one, or give "
            f"up what is there by `--replace {name}`."
        )
    others = [str(pid) for (pid,) in raw.execute(OTHERS)]
    if others:
        raise DatabaseInUseError(
            f"{len(others)} other connections of Lepton use the database {name} (backend pids "
            f"{_named(others)}). Stop web and workers, then try again."
        )


def _check_release(manifest: Manifest, there: tuple[tuple[str, str], ...]) -> None:
    if not there:
        raise RestoreRefusedError(
            f"The database is not migrated. Run `manage.py migrate` of Lepton {manifest.lepton} "
            "first."
        )
    missing = [f"{app}.{name}" for app, name in manifest.migrations if (app, name) not in there]
    more = [f"{app}.{name}" for app, name in there if (app, name) not in manifest.migrations]
    if missing:
        raise RestoreRefusedError(
            f"The backup was made by Lepton {manifest.lepton} with migrations that this database "
            f"lacks ({_named(missing)}). Run `manage.py migrate` of that release first."
        )
    if more:
        raise RestoreRefusedError(
            f"The database has migrations that the backup of Lepton {manifest.lepton} lacks "
            f"({_named(more)}). Restore into a database that the release of the backup migrated; "
            "then `manage.py migrate` of this release brings it up."
        )


def restore(raw: RawConnection, archive: ArchiveReader, progress: Progress) -> Restored:
    """Replace all rows by those of the backup, in one transaction, and begin new feed epochs.

    Call ``verify`` of the archive and ``check`` before: they find what is wrong before anything is
    written.

    Raises:
        DatabaseInUseError: somebody holds locks on the tables.
        RestoreRefusedError: the role may not do it, or the rows do not fit.
    """
    manifest = archive.manifest
    try:
        with transaction(raw):
            without_limits(raw)
            raw.execute("SET LOCAL lock_timeout = '10s'")
            raw.execute("SELECT pg_advisory_xact_lock(%s)", [retention.LOCK])
            guarded = [name for (name,) in raw.execute(WITH_TRIGGERS)]
            _triggers(raw, guarded, "DISABLE")
            everything = [sql.Identifier(name) for name in catalogue.all_tables(raw)]
            raw.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(everything)))
            retention.make_days(raw, _days(manifest))
            for table in manifest.tables:
                _load(raw, archive, table, progress)
            raw.execute("SET CONSTRAINTS ALL IMMEDIATE")
            _triggers(raw, guarded, "ENABLE")
            # Last, for these are not rolled back.
            for each in manifest.sequences:
                raw.execute(
                    "SELECT setval(quote_ident(%s)::regclass, %s, %s)",
                    [each.name, each.last_value, each.is_called],
                )
            epochs = new_epochs(raw)
            audit.record(
                None,
                "backup.restored",
                f"backup:{manifest.created_at}",
                rows=manifest.rows,
                lepton=manifest.lepton,
                with_decisions=manifest.with_decisions,
            )
    except psycopg.errors.LockNotAvailable as exc:
        raise DatabaseInUseError(
            "Somebody uses the tables: stop web, workers and backups, then try again. Nothing was "
            "changed."
        ) from exc
    except (psycopg.errors.InsufficientPrivilege, psycopg.DataError, psycopg.IntegrityError) as exc:
        first = str(exc).strip().splitlines()[0]
        raise RestoreRefusedError(f"PostgreSQL refused: {first}. Nothing was changed.") from exc
    raw.execute("ANALYZE")
    offsets = raw.execute(
        "SELECT DISTINCT ON (stream, partition) stream, partition, next_offset FROM stream_offset"
        " ORDER BY stream, partition, updated_at DESC"
    )
    return Restored(manifest, epochs, offsets.fetchall())


def _days(manifest: Manifest) -> dict[str, list[date]]:
    """Those of the rows, and those to come. What is past its retention goes with the next round of
    housekeeping: whoever brings back an old backup to look at it has an hour, or runs no workers.
    """
    ahead = retention.next_days()
    return {
        table: [*(date.fromisoformat(day) for day in days), *ahead]
        for table, days in manifest.days.items()
    }


def _triggers(raw: RawConnection, tables: Sequence[str], what: LiteralString) -> None:
    """Rows come back as they were, also where a trigger lets nobody change them."""
    for table in tables:
        command = sql.SQL("ALTER TABLE {} {} TRIGGER USER")
        raw.execute(command.format(sql.Identifier(table), sql.SQL(what)))


def _load(raw: RawConnection, archive: ArchiveReader, table: Table, progress: Progress) -> None:
    query = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        sql.Identifier(table.name), catalogue.listed(table.columns)
    )
    with archive.chunks(table) as chunks, raw.cursor() as cursor:
        with cursor.copy(query) as copy:
            for chunk, share in chunks:
                copy.write(chunk)
                progress(table.name, min(int(table.rows * share), table.rows - 1), table.rows)
        rows = cursor.rowcount
    if rows != table.rows:
        raise BackupRefusedError(
            f"The table {table.name} has {rows} rows in the file and {table.rows} in its manifest. "
            "Nothing was changed."
        )
    if rows:
        progress(table.name, rows, rows)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"
