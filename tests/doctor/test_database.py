"""What the doctor finds in a real PostgreSQL, each provoked for real."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from psycopg import sql

from lepton_apps.common import clock
from lepton_apps.common.db import raw_connection
from lepton_apps.doctor import database
from lepton_apps.doctor.findings import Verdict
from lepton_apps.streaming.retention import keep_house, name
from tests.backup.databases import using
from tests.doctor.looking import is_well, look, only
from tests.realtime.conftest import database_url

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def another(**settings: str) -> Iterator[str]:
    """An empty database with these settings."""
    made = "doctor_test"
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {made} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {made} ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0")
        for key, value in settings.items():
            admin.execute(f"ALTER DATABASE {made} SET {key} = {value}")
        try:
            yield made
        finally:
            admin.execute(f"DROP DATABASE {made} WITH (FORCE)")


def test_a_healthy_database_is_told_as_one(settings: Any) -> None:
    keep_house(raw_connection())
    settings.LISTEN_DATABASE_URL = database_url()
    for check in ("reachable", "settings", "clocks", "connections", "migrations", "partitions",
                  "bloat", "listen"):  # fmt: skip
        assert is_well(f"database.{check}"), look(f"database.{check}")


def test_a_wrong_encoding_and_writes_that_a_power_cut_loses_are_problems(settings: Any) -> None:
    with another(synchronous_commit="off") as made, using(made):
        settings.DATABASES["default"]["NAME"] = made
        found = {each.found.split()[0]: each for each in look("database.settings")}
        migrations = only("database.migrations", Verdict.PROBLEM)
        assert only("database.partitions", Verdict.SKIPPED)
        settings.DATABASES["default"]["NAME"] = connection.settings_dict["NAME"]
    assert "SQL_ASCII" in found["The"].found
    assert found["synchronous_commit"].do.startswith("ALTER SYSTEM SET synchronous_commit = on")
    assert migrations.do == "manage.py migrate"


def test_clocks_that_differ_are_told_by_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    real = clock.now
    monkeypatch.setattr(clock, "now", lambda: real() - timedelta(seconds=5))
    assert "5.0 s ahead" in only("database.clocks", Verdict.WARNING).found
    monkeypatch.setattr(clock, "now", lambda: real() + timedelta(minutes=5))
    found = only("database.clocks", Verdict.PROBLEM)
    assert "300.0 s behind" in found.found
    assert "NTP" in found.do


def test_more_threads_than_connections_are_a_problem(settings: Any) -> None:
    settings.WEB_THREADS = settings.DECISION_THREADS = 64
    assert "max_connections" in only("database.connections", Verdict.PROBLEM).do


def test_a_migration_that_has_not_run_or_is_of_another_release_is_named() -> None:
    raw = raw_connection()
    ((_, newest),) = MigrationLoader(connection).graph.leaf_nodes("streaming")
    rename = "UPDATE django_migrations SET name = %s WHERE app = 'streaming' AND name = %s"
    raw.execute(rename, ["0099_later", newest])
    try:
        found = [each.found for each in look("database.migrations")]
    finally:
        raw.execute(rename, [newest, "0099_later"])
    assert found == [
        f"1 migrations have not run: streaming.{newest}.",
        "The database is of a newer release: it has streaming.0099_later.",
    ]


def test_missing_days_and_rows_that_no_day_took_are_told() -> None:
    raw = raw_connection()
    keep_house(raw)
    raw.execute(f"DROP TABLE {name('feed_event', clock.now().date())}")
    raw.execute(
        "INSERT INTO feed_event (vertical, number, type, body, created_at)"
        " VALUES ('ops', 1, 'x', '{}', '2020-01-01')"
    )
    missing = only("database.partitions", Verdict.PROBLEM)
    assert missing.found.startswith("feed_event has no partition for ")
    assert missing.do.startswith("manage.py retention")
    assert "1 rows of feed_event" in only("database.partitions", Verdict.WARNING).found
    keep_house(raw)
    assert is_well("database.partitions")


def test_a_forgotten_transaction_is_named_by_its_back_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LONG", timedelta(0))
    with psycopg.connect(database_url(), application_name="forgotten") as other:
        other.execute("SELECT 1")
        found = [each for each in look("database.old_snapshots") if "(forgotten," in each.found]
        assert f"pg_terminate_backend({other.info.backend_pid})" in found[0].do


def test_states_full_of_dead_rows_are_suspected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "DEAD_ROWS", 100)
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute("ALTER TABLE entity_state SET (autovacuum_enabled = false)")
        other.execute(
            "INSERT INTO entity_state (stream, entity_key, version, schema, state)"
            " SELECT 's', n::text, 1, 'x', '' FROM generate_series(1, 500) AS n"
        )
        other.execute("DELETE FROM entity_state")
        other.execute("SELECT pg_stat_force_next_flush()")
        try:
            found = only("database.bloat", Verdict.WARNING)
        finally:
            other.execute("ALTER TABLE entity_state RESET (autovacuum_enabled)")
            other.execute("TRUNCATE entity_state")
    assert found.found.startswith("entity_state has ")
    assert "VACUUM (FULL, ANALYZE) entity_state;" in found.do


def test_a_listener_that_hears_nothing_is_a_problem(settings: Any) -> None:
    settings.LISTEN_DATABASE_URL = os.environ["DATABASE_URL"]  # the same server, not the database
    assert "another database" in only("database.listen", Verdict.PROBLEM).found
    settings.LISTEN_DATABASE_URL = "postgresql://nobody@127.0.0.1:1/lepton"
    found = only("database.listen", Verdict.PROBLEM)
    assert found.found.startswith("LISTEN_DATABASE_URL: ")
    assert "past any pooler" in found.do


def test_a_table_that_cannot_be_asked_is_a_finding_of_its_own() -> None:
    raw = raw_connection()
    raw.execute(sql.SQL("ALTER TABLE stream_halt RENAME TO halted_streams"))
    try:
        assert only("work.halts", Verdict.SKIPPED)
    finally:
        raw.execute("ALTER TABLE halted_streams RENAME TO stream_halt")
