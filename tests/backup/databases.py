"""Databases of their own for what a test brings back, and what is in one, row for row."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import connection
from psycopg import sql

from lepton_apps.backup import catalogue
from lepton_apps.common.db import raw_connection

Rows = dict[str, list[tuple[object, ...]]]


@contextmanager
def fresh_database() -> Iterator[str]:
    """A migrated database without rows: a copy of the tests' own, emptied."""
    name = f"fresh_{uuid.uuid4().hex[:8]}"
    template = connection.settings_dict["NAME"]
    connection.close()
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as admin:
        made = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        admin.execute(made.format(sql.Identifier(name), sql.Identifier(template)))
        try:
            with using(name):
                raw = raw_connection()
                tables = [t for t in catalogue.all_tables(raw) if t not in catalogue.SEEDED]
                identifiers = sql.SQL(", ").join(sql.Identifier(table) for table in tables)
                raw.execute(sql.SQL("TRUNCATE {} CASCADE").format(identifiers))
            yield name
        finally:
            dropped = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            admin.execute(dropped)


@contextmanager
def using(name: str) -> Iterator[None]:
    """This process works on another database meanwhile."""
    before = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = name
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = before


def everything() -> Rows:
    """All rows of all tables that a backup holds, in an order of their own."""
    raw = raw_connection()
    found: Rows = {}
    for table in catalogue.stored_tables(raw):
        query = sql.SQL("SELECT * FROM {} AS t ORDER BY t::text").format(sql.Identifier(table.name))
        found[table.name] = raw.execute(query).fetchall()
    return found
