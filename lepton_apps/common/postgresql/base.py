"""Django's PostgreSQL backend with a health check that costs no round trip."""

from __future__ import annotations

import select
from typing import ClassVar

from django.db.backends.postgresql import base

HAS_TRANSACTION_TIMEOUT = 170_000  # PostgreSQL 17


class DatabaseWrapper(base.DatabaseWrapper):
    """The backend that ``DATABASES`` names; the rest of it is Django's."""

    # Of workers and web alone: a migration or a rebuild may take as long as it takes.
    limit_ms: ClassVar[int] = 0

    def init_connection_state(self) -> None:
        """End a session whose transaction goes on too long, whatever its process is doing.

        ``idle_in_transaction_session_timeout``, which every connection has, does not see a
        process that is paused inside a pipeline or a COPY: the server calls that one active.
        """
        super().init_connection_state()
        if self.limit_ms and self.pg_version >= HAS_TRANSACTION_TIMEOUT:
            with self.cursor() as cursor:
                cursor.execute(
                    "SELECT set_config('transaction_timeout', %s, false)", [str(self.limit_ms)]
                )

    def is_usable(self) -> bool:
        """Whether the connection still serves; Django asks once a request.

        A server that restarts or ends a session says so on the socket. Between requests a silent
        socket is therefore as good a sign as an answer, and the query is kept for the others.
        """
        raw = self.connection
        if raw is None or raw.closed:
            return False
        poll = select.poll()
        poll.register(raw.fileno(), select.POLLIN)
        return not poll.poll(0) or super().is_usable()
