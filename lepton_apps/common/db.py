"""The psycopg connection under Django's, and transactions that end in one message.

Django runs in autocommit; the spine opens its transactions itself, because the numbering of feed
events, the NOTIFY and the COMMIT have to leave together: a process paused between them would hold
the counter's lock against every other writer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection

from lepton_apps.common.postgresql.base import DatabaseWrapper

RawConnection = psycopg.Connection[Any]


def raw_connection() -> RawConnection:
    """This thread's psycopg connection, opened or reopened when needed."""
    connection.close_if_health_check_failed()  # at most once a request; in a worker never
    if connection.connection is None or connection.connection.closed:
        connection.close()
        connection.ensure_connection()
    raw: RawConnection = connection.connection
    return raw


def rows(sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Rows of a query that nearly every request asks: prepared once, and past the ORM.

    Building and planning such a query costs ten times what it takes to answer it. Raises
    ``django.db.Error`` as the ORM does.
    """
    raw = raw_connection()
    with connection.wrap_database_errors:
        cursor = psycopg.Cursor(raw).execute(sql, parameters, prepare=True, binary=True)
        return cursor.fetchall()


def limit_transactions() -> None:
    """From now on no transaction of this process outlives TRANSACTION_LIMIT_MS."""
    DatabaseWrapper.limit_ms = settings.TRANSACTION_LIMIT_MS
    connection.close()


@contextmanager
def transaction(raw: RawConnection) -> Iterator[None]:
    """``BEGIN`` and, unless the block has committed by itself, ``COMMIT``; undone on any error.

    Needs a connection in autocommit and outside a transaction.
    """
    with undone_on_error(raw):
        raw.execute("BEGIN")
        yield
        if raw.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS:
            raw.execute("COMMIT")


@contextmanager
def undone_on_error(raw: RawConnection) -> Iterator[None]:
    """Roll back whatever the block began, on any error. The block itself begins and commits."""
    try:
        yield
    except BaseException:
        # A connection that died has nothing left to roll back.
        with suppress(psycopg.OperationalError):
            if not raw.closed:
                raw.execute("ROLLBACK")
        raise
