"""The live feed of one web process: what has to run beside its sockets."""

from __future__ import annotations

import asyncio
import logging
from typing import cast

from channels.layers import get_channel_layer
from django.conf import settings

from lepton_apps.realtime.guard import Guard
from lepton_apps.realtime.lanes import Lane
from lepton_apps.realtime.layer import FeedLayer
from lepton_apps.realtime.listener import FeedListener

log = logging.getLogger(__name__)


class LiveFeed:
    """Listener, heartbeat, guard and the threads that read for sockets; started with the server."""

    def __init__(self) -> None:
        self.layer = cast(FeedLayer, get_channel_layer())
        self.lane = Lane("feed", threads=2, waiting_limit=20_000)
        # Its own thread: a thousand sockets that come back at once must not delay the guard.
        self._guard_lane = Lane("feed-guard", threads=1)
        self.guard = Guard(self._guard_lane)
        self._listener = FeedListener(str(settings.LISTEN_DATABASE_URL), self.layer)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_listening(self) -> bool:
        return self._listener.is_connected and not any(task.done() for task in self._tasks)

    def start(self) -> None:
        """Needs a running loop, that of the sockets."""
        self.lane.start()
        self._guard_lane.start()
        self._tasks = [
            asyncio.create_task(self._listener.run(), name="feed-listener"),
            asyncio.create_task(self._listener.beat(settings.FEED_HEARTBEAT_S), name="feed-beat"),
            asyncio.create_task(self.guard.run(settings.FEED_RECHECK_S), name="feed-guard"),
        ]
        for task in self._tasks:
            task.add_done_callback(_tell_of_death)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.lane.close()
        self._guard_lane.close()


def _tell_of_death(task: asyncio.Task[None]) -> None:
    """A defect of ours: the process goes on, but /readyz says that it must not get traffic."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("feed: %s died", task.get_name(), exc_info=error)
