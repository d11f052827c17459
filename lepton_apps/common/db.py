"""The psycopg connection under Django's, and transactions that end in one message.

Django runs in autocommit; the spine opens its transactions itself, because the numbering of feed
events, the NOTIFY and the COMMIT have to leave together: a process paused between them would hold
the counter's lock against every other writer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from django.db import connection

RawConnection = psycopg.Connection[Any]


def raw_connection() -> RawConnection:
    """This thread's psycopg connection, opened or reopened when needed."""
    if connection.connection is None or connection.connection.closed:
        connection.close()
        connection.ensure_connection()
    raw: RawConnection = connection.connection
    return raw


@contextmanager
def transaction(raw: RawConnection) -> Iterator[None]:
    """``BEGIN`` and, unless the block has committed by itself, ``COMMIT``; undone on any error.

    Needs a connection in autocommit and outside a transaction.
    """
    raw.execute("BEGIN")
    try:
        yield
        if raw.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS:
            raw.execute("COMMIT")
    except BaseException:
        # A connection that died has nothing left to roll back.
        with suppress(psycopg.OperationalError):
            if not raw.closed:
                raw.execute("ROLLBACK")
        raise
