"""``manage.py backup``: one snapshot of the whole database into one file. It writes no row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from psycopg import sql

from lepton_apps.backup import catalogue
from lepton_apps.backup.archive import (
    FORMAT_VERSION,
    ArchiveWriter,
    BackupRefusedError,
    Manifest,
    Table,
)
from lepton_apps.backup.catalogue import StoredTable
from lepton_apps.common import clock
from lepton_apps.common.db import RawConnection, undone_on_error
from lepton_apps.streaming import retention
from lepton_apps.verticals.contract import Progress

HAS_TRANSACTION_TIMEOUT = 170_000  # PostgreSQL 17
DECISIONS = "decision"


def back_up(
    raw: RawConnection, file: Path, *, with_decisions: bool, progress: Progress
) -> Manifest:
    """Write all rows as they are at one moment; writers go on meanwhile.

    Raises BackupRefusedError, and leaves no file then.
    """
    with ArchiveWriter(file) as archive, _no_housekeeping(raw), undone_on_error(raw):
        raw.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        without_limits(raw)
        migrations = catalogue.migrations(raw)
        if not migrations:
            raise BackupRefusedError("The database is empty: it was never migrated.")
        created_at = clock.now()
        tables = tuple(
            _save(raw, archive, table, progress)
            for table in catalogue.stored_tables(raw)
            if with_decisions or table.name != DECISIONS
        )
        manifest = Manifest(
            version=FORMAT_VERSION,
            lepton=settings.VERSION,
            created_at=created_at.isoformat(),
            server_version=raw.info.server_version,
            with_decisions=with_decisions,
            migrations=migrations,
            tables=tables,
            # No snapshot holds sequences back: read last, they are never behind the rows.
            sequences=catalogue.sequences(raw),
            days={
                table: tuple(day.isoformat() for day in days)
                for table, days in retention.days(raw).items()
            },
        )
        raw.execute("COMMIT")
        archive.finish(manifest)
    return manifest


def without_limits(raw: RawConnection) -> None:
    """This transaction may take as long as it takes, whatever the role or the settings say."""
    raw.execute("SET LOCAL statement_timeout = 0")
    raw.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    if raw.info.server_version >= HAS_TRANSACTION_TIMEOUT:
        raw.execute("SET LOCAL transaction_timeout = 0")


@contextmanager
def _no_housekeeping(raw: RawConnection) -> Iterator[None]:
    """While we read, nobody drops a day: that would wait for us, and all writers for it.

    Taken before the transaction, so that the snapshot is as new as it can be.
    """
    raw.execute("SELECT pg_advisory_lock_shared(%s)", [retention.LOCK])
    try:
        yield
    finally:
        if not raw.closed:
            raw.execute("SELECT pg_advisory_unlock_shared(%s)", [retention.LOCK])


def _save(
    raw: RawConnection, archive: ArchiveWriter, table: StoredTable, progress: Progress
) -> Table:
    query = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT binary)").format(
        catalogue.listed(table.columns), sql.Identifier(table.name)
    )
    with archive.table(table.name) as written, raw.cursor() as cursor:
        with cursor.copy(query) as copy:
            for done, data in enumerate(copy, start=1):  # a message for each row
                written.write(bytes(data))
                if not done % 1_000:
                    progress(table.name, done, table.estimate if table.estimate > done else 0)
        rows = cursor.rowcount
    if rows:
        progress(table.name, rows, rows)
    return Table(table.name, table.columns, rows, written.size, written.sha256)
