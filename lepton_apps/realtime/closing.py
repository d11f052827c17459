"""Why the server closes a socket. A refused socket is accepted first, or browsers see no code."""

from __future__ import annotations

from enum import IntEnum


class CloseCode(IntEnum):
    """What a client can do about it is in the comment."""

    RESTART = 1012  # the server stops: come back with the cursor
    TRY_LATER = 1013  # the database does not answer: come back later with the cursor
    BAD_REQUEST = 4400  # the cursor is not one: come back without
    UNAUTHENTICATED = 4401  # no session or token, or it ended: sign in
    REFUSED = 4403  # a foreign origin, or the right was withdrawn: do not come back
    UNKNOWN = 4404  # no such path, or no such vertical for this user: do not come back
    SLOW = 4408  # the queue of the socket was full: come back with the cursor


class ClosedError(Exception):
    """Ends the conversation with a code and a short reason for people."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
