"""Django's PostgreSQL backend with a health check that costs no round trip."""

from __future__ import annotations

import select

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    """The backend that ``DATABASES`` names; everything but the health check is Django's."""

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
