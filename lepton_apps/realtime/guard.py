"""Closes the sockets of those who signed out or lost their right, all of them in one look."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from django.db import Error as DatabaseError

from lepton_apps.accounts.credentials import Credential, Holder, holders
from lepton_apps.realtime.closing import CloseCode, ClosedError
from lepton_apps.realtime.lanes import Lane

log = logging.getLogger(__name__)


class GuardedSocket(Protocol):
    """An open socket that the guard can end."""

    @property
    def credential(self) -> Credential: ...

    @property
    def vertical(self) -> str: ...

    def end(self, why: ClosedError) -> None: ...


def refusal(vertical: str, holder: Holder | None, *, was_open: bool) -> ClosedError | None:
    """Why this holder may not follow the vertical, or None. The one rule, at the door and after."""
    if holder is None:
        return ClosedError(CloseCode.UNAUTHENTICATED, "Sign in, or send a valid token.")
    if vertical in holder.verticals:
        return None
    if was_open:
        return ClosedError(CloseCode.REFUSED, "The right to this vertical was withdrawn.")
    return ClosedError(CloseCode.UNKNOWN, "No such vertical.")


class Guard:
    """Looks at all open sockets of this process every few seconds, in four queries at most."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._sockets: set[GuardedSocket] = set()

    def watch(self, socket: GuardedSocket) -> None:
        self._sockets.add(socket)

    def forget(self, socket: GuardedSocket) -> None:
        self._sockets.discard(socket)

    async def run(self, every_s: float) -> None:
        """Look until cancelled. While the database is away nobody can sign out either."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.look()
            except DatabaseError as exc:
                log.warning("feed: rights of open sockets not checked", extra={"why": str(exc)})

    async def look(self) -> None:
        sockets = list(self._sockets)
        if not sockets:
            return
        credentials = {socket.credential for socket in sockets}
        held = await self._lane.query(lambda: holders(credentials))
        for socket in sockets:
            why = refusal(socket.vertical, held.get(socket.credential), was_open=True)
            if why is not None:
                socket.end(why)
