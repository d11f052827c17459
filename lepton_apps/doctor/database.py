"""What is asked of PostgreSQL: its settings, its clock, migrations, partitions, sizes, LISTEN."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from django.conf import settings
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from psycopg import sql

from lepton_apps.common import clock
from lepton_apps.common.db import RawConnection, raw_connection
from lepton_apps.doctor.environment import room
from lepton_apps.doctor.findings import Finding, first_line, ok, problem, unreachable, warning
from lepton_apps.streaming import retention
from lepton_apps.verticals import registry

OLDEST = 150_000  # PostgreSQL 15
ANSWER_MS = 10_000  # of one question
SKEW_S, FAR_SKEW_S = 1.0, 30.0
FEED_CONNECTIONS = 4  # of a web process, beside its threads
LONG, VERY_LONG = timedelta(minutes=5), timedelta(hours=1)
STATES = ("entity_state", "secondary_state", "knowledge_tally")
DEAD_ROWS = 10_000  # fewer are not worth a word
FILL = 0.6  # of the pages of states, by their fill factor
BLOAT_FACTOR, BLOAT_BYTES = 3.0, 64 * 2**20
NOTIFY_S = 5.0
NEIGHBOURS = 5  # transactions in a row that should come from one back end

LONG_TRANSACTIONS: LiteralString = """
SELECT pid, application_name, state, now() - xact_start AS age, coalesce(client_addr::text, 'local')
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start < now() - %s
ORDER BY age DESC LIMIT 5
"""
PREPARED: LiteralString = """
SELECT gid, now() - prepared FROM pg_prepared_xacts
WHERE database = current_database() AND prepared < now() - %s ORDER BY prepared LIMIT 5
"""
SLOTS: LiteralString = """
SELECT slot_name FROM pg_replication_slots WHERE NOT active AND (xmin IS NOT NULL OR
    catalog_xmin IS NOT NULL OR restart_lsn IS NOT NULL) ORDER BY slot_name LIMIT 5
"""
SIZES: LiteralString = """
SELECT s.relname, s.n_live_tup, s.n_dead_tup, pg_table_size(s.relid),
    coalesce((SELECT sum(avg_width) FROM pg_stats AS p
              WHERE p.schemaname = s.schemaname AND p.tablename = s.relname), 0)
FROM pg_stat_user_tables AS s WHERE s.schemaname = current_schema() AND s.relname = ANY(%s)
"""


def asking() -> RawConnection:
    """This thread's connection; no question to it takes for ever."""
    raw = raw_connection()
    raw.execute("SELECT set_config('statement_timeout', %s, false)", [str(ANSWER_MS)])
    return raw


def _one(raw: RawConnection, query: LiteralString, *parameters: object) -> Any:
    row = raw.execute(query, parameters).fetchone()
    return None if row is None else row[0]


def reachable() -> Iterator[Finding]:
    if not settings.DATABASES.get("default", {}).get("NAME"):
        yield unreachable(
            "DATABASE_URL names no database.",
            "Set DATABASE_URL, or start `make run`: docs/settings.md.",
        )
        return
    where = settings.DATABASES["default"]
    target = f"{where['USER']}@{where['HOST']}:{where['PORT']}/{where['NAME']}"
    try:
        raw = asking()
    except (psycopg.OperationalError, OperationalError) as exc:
        yield unreachable(
            f"{target}: {first_line(exc)}",
            "Start PostgreSQL (`make run`, `make servers`), or mend DATABASE_URL.",
        )
        return
    number = raw.info.server_version
    version = _one(raw, "SHOW server_version")
    if number < OLDEST:
        yield problem(f"PostgreSQL {version} at {target} is too old.", "Upgrade to 15 or newer.")
    else:
        yield ok(f"PostgreSQL {version} at {target}.")


def server_settings() -> Iterator[Finding]:
    raw = asking()
    encoding = _one(raw, "SHOW server_encoding")
    if encoding != "UTF8":
        yield problem(
            f"The database is encoded in {encoding}: not every record can be stored.",
            "Make another: CREATE DATABASE lepton ENCODING 'UTF8' TEMPLATE template0, and restore.",
        )
    off = [
        name
        for name in ("fsync", "full_page_writes", "synchronous_commit")
        if _one(raw, "SELECT current_setting(%s)", name) == "off"
    ]
    for name in off:
        yield problem(
            f"{name} is off: a power cut loses decisions that were answered, or the database.",
            f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();",
        )
    if encoding == "UTF8" and not off:
        zone = _one(raw, "SHOW timezone")
        yield ok(f"UTF8, time zone {zone} (times are kept with theirs), writes are durable.")


def clocks() -> Iterator[Finding]:
    """The clock of this machine beside the database's; half of the round trip is taken off."""
    raw = asking()
    before = clock.now()
    there: datetime = _one(raw, "SELECT clock_timestamp()")
    after = clock.now()
    yield skew((there - (before + (after - before) / 2)).total_seconds())


def skew(seconds: float) -> Finding:
    """What a difference of two clocks means; positive where the database is ahead."""
    said = f"The database's clock is {abs(seconds):.1f} s {'ahead' if seconds > 0 else 'behind'}"
    mend = "Let NTP set the clocks of both machines: timedatectl set-ntp true"
    if abs(seconds) > FAR_SKEW_S:
        return problem(f"{said}: live workers look silent, and days begin twice.", mend)
    if abs(seconds) > SKEW_S:
        return warning(f"{said}.", mend)
    return ok(
        f"The clocks of this machine and the database differ by {abs(seconds) * 1000:.0f} ms."
    )


def connections() -> Iterator[Finding]:
    raw = asking()
    most = int(_one(raw, "SHOW max_connections"))
    kept = int(_one(raw, "SHOW superuser_reserved_connections"))
    used = int(
        _one(raw, "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'client%%'")
    )
    web = settings.WEB_THREADS + settings.DECISION_THREADS + FEED_CONNECTIONS
    workers = sum(len(vertical.all_streams) for vertical in registry.verticals())
    needed = web + workers
    raise_it = (
        f"ALTER SYSTEM SET max_connections = {max(100, 2 * needed)}; then restart PostgreSQL."
    )
    if most - kept < needed:
        yield problem(
            f"max_connections = {most}; one web process needs {web}, a worker for each stream "
            f"{workers}.",
            f"{raise_it} Or lower WEB_THREADS and DECISION_THREADS.",
        )
    elif used > 0.8 * (most - kept):
        yield warning(f"{used} of {most} connections are in use.", raise_it)
    else:
        yield ok(f"{used} of {most} connections are in use; a web process takes {web}.")


def migrations() -> Iterator[Finding]:
    asking()
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    names = [f"{migration.app_label}.{migration.name}" for migration, _ in plan]
    strange = [
        f"{app}.{name}"
        for app, name in executor.loader.applied_migrations
        if (app, name) not in executor.loader.graph.nodes
        and (app, name) not in executor.loader.replacements
        and app in executor.loader.migrated_apps
    ]
    if names:
        yield problem(
            f"{len(names)} migrations have not run: {', '.join(names[:3])}.", "manage.py migrate"
        )
    if strange:
        yield problem(
            f"The database is of a newer release: it has {', '.join(sorted(strange)[:3])}.",
            "Start the release that migrated it.",
        )
    if not names and not strange:
        yield ok("All migrations have run.")


def partitions() -> Iterator[Finding]:
    """Days of the large tables: made ahead by whoever keeps house, every hour."""
    raw = asking()
    today = clock.now().date()
    fine = True
    for table, days in retention.days(raw).items():
        missing = [day for day in (today, today + timedelta(days=1)) if day not in days]
        if missing:
            fine = False
            yield problem(
                f"{table} has no partition for {' and '.join(map(str, missing))}: workers have not "
                "kept house for a week.",
                "manage.py retention, and see that a worker runs.",
            )
        default = sql.SQL("SELECT count(*) FROM (SELECT 1 FROM {} LIMIT 100000) AS counted")
        row = raw.execute(default.format(sql.Identifier(f"{table}_default"))).fetchone()
        if row and row[0]:
            fine = False
            yield warning(
                f"{row[0]} rows of {table} are in its default partition: no day took them.",
                "manage.py retention moves those of days to come. Older ones are found there too; "
                "they go when they are past retention.",
            )
    if fine:
        yield ok("Partitions of today and tomorrow are there, and nothing is in the default ones.")


def old_snapshots() -> Iterator[Finding]:
    """Who keeps dead rows from being reused."""
    raw = asking()
    fine = True
    for pid, name, state, age, address in raw.execute(LONG_TRANSACTIONS, [LONG]).fetchall():
        fine = False
        say = problem if age > VERY_LONG else warning
        yield say(
            f"Back end {pid} ({name or 'no name'}, {address}, {state}) has had a transaction open "
            f"for {_span(age)}; rewritten states cannot be reused.",
            f"Where it is no backup: SELECT pg_terminate_backend({pid});",
        )
    for gid, age in raw.execute(PREPARED, [LONG]).fetchall():
        fine = False
        yield problem(
            f"The prepared transaction {gid!r} has been open for {_span(age)}.",
            f"ROLLBACK PREPARED '{gid}';",
        )
    for (name,) in raw.execute(SLOTS).fetchall():
        fine = False
        yield warning(
            f"The replication slot {name} is not read, and keeps old rows and WAL.",
            f"Start its replica, or SELECT pg_drop_replication_slot('{name}');",
        )
    if fine:
        yield ok(f"No transaction has been open for more than {_span(LONG)}.")


def sizes() -> Iterator[Finding]:
    raw = asking()
    size = int(_one(raw, "SELECT pg_database_size(current_database())"))
    yield ok(f"The database has {size / 1e9:.2f} GB.")
    try:
        folder = Path(str(_one(raw, "SELECT current_setting('data_directory')")))
    except psycopg.errors.InsufficientPrivilege:
        return
    if settings.DATABASES["default"]["HOST"] in {"127.0.0.1", "localhost", "::1", ""}:
        try:
            yield room(folder, "PostgreSQL")
        except OSError:
            return  # another machine's folder, or one that we may not see


def bloat() -> Iterator[Finding]:
    raw = asking()
    fine = True
    for table, live, dead, size, width in raw.execute(SIZES, [list(STATES)]).fetchall():
        expected = live * (width + 32) / FILL
        grown = size > BLOAT_FACTOR * expected and size > BLOAT_BYTES and live > 0
        if (dead > DEAD_ROWS and dead > 2 * live) or grown:
            fine = False
            yield warning(
                f"{table} has {size / 1e6:.0f} MB for {live} rows, and {dead} dead ones.",
                "See database.old_snapshots first. Then, with the workers stopped: "
                f"VACUUM (FULL, ANALYZE) {table};",
            )
    if fine:
        yield ok("Tables of states are as large as their rows.")


def listening() -> Iterator[Finding]:
    """A real NOTIFY on the way that the live feed takes, and whether sessions keep their server."""
    raw = asking()
    backends = {_one(raw, "SELECT pg_backend_pid()") for _ in range(NEIGHBOURS)}
    if len(backends) > 1:
        yield problem(
            "DATABASE_URL leads through a pooler that changes the session between transactions.",
            "Set the pooler to session pooling, or name the server itself.",
        )
    channel = f"lepton_doctor_{secrets.token_hex(4)}"
    direct = "Set LISTEN_DATABASE_URL to the server itself, past any pooler."
    try:
        with psycopg.connect(
            settings.LISTEN_DATABASE_URL or "", autocommit=True, connect_timeout=5
        ) as listener:
            listener.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            raw.execute("SELECT pg_notify(%s, 'heard')", [channel])
            heard = list(listener.notifies(timeout=NOTIFY_S, stop_after=1))
            same = _same_server(raw) == _same_server(listener)
    except psycopg.Error as exc:
        yield problem(f"LISTEN_DATABASE_URL: {first_line(exc)}", direct)
        return
    if heard and same:
        yield ok("A notification came through: the live feed can listen.")
    elif not same:
        yield problem(
            "LISTEN_DATABASE_URL leads to another database than DATABASE_URL: browsers see nothing "
            "live.",
            direct,
        )
    else:
        yield problem(
            f"A notification did not come through within {NOTIFY_S:.0f} s: a pooler in between "
            "swallows it, and browsers see nothing live.",
            direct,
        )


def _same_server(raw: RawConnection) -> tuple[Any, ...] | None:
    found = raw.execute("SELECT pg_postmaster_start_time(), current_database()")
    return found.fetchone()


def _span(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
