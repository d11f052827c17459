"""The channel layer of the live feed: inside one process, for thousands of sockets.

Between processes PostgreSQL carries the news (see listener.py), so a layer only has to reach the
sockets of its own process. Channels' in-memory layer copies every message for every member, scans
the group, and drops in silence when a queue is full; this one shares the message, and a socket
whose queue is full is told so, is closed and resumes by its cursor. A member that waits for its next
message may take it on the spot (``take_at_once``): with thousands of sockets, waking a task for each
costs more than the write itself.

Everything here belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from typing import Any

from channels.exceptions import ChannelFull
from channels.layers import BaseChannelLayer

Message = dict[str, Any]


class _Channel:
    """A bounded queue with one reader."""

    __slots__ = ("is_full", "messages", "on_full", "reader", "take")

    def __init__(self) -> None:
        self.messages: deque[Message] = deque()
        self.reader: asyncio.Future[None] | None = None
        self.is_full = False
        self.on_full: Callable[[], None] | None = None
        self.take: Callable[[Message], bool] | None = None

    def put(self, message: Message, capacity: int) -> bool:
        if self.is_full:
            return False
        # Only a reader that waits has nothing in hand that this message would overtake.
        if self.take is not None and self._is_waiting() and self.take(message):
            return True
        if len(self.messages) >= capacity:
            # What waits is worthless now: the socket resumes from what it has already seen.
            self.is_full = True
            self.messages.clear()
            if self.on_full is not None:
                self.on_full()
        else:
            self.messages.append(message)
        self._wake()
        return not self.is_full

    def _is_waiting(self) -> bool:
        return self.reader is not None and not self.reader.done()

    def _wake(self) -> None:
        if self.reader is not None and not self.reader.done():
            self.reader.set_result(None)


class FeedLayer(BaseChannelLayer):
    """Groups of bounded queues. A message is shared by its receivers, who must not change it."""

    extensions = ["groups", "flush"]

    def __init__(self, capacity: int = 512, **unused: Any) -> None:
        super().__init__(capacity=capacity)
        self._channels: dict[str, _Channel] = {}
        self._groups: dict[str, dict[str, _Channel]] = {}
        self._groups_of: dict[str, set[str]] = {}

    async def new_channel(self, prefix: str = "feed") -> str:
        name = f"{prefix}!{secrets.token_hex(8)}"
        self._channels[name] = _Channel()
        return name

    def on_full(self, channel: str, told: Callable[[], None]) -> None:
        """Call ``told``, once, when a message for this channel finds its queue full."""
        self._channel(channel).on_full = told

    def take_at_once(self, channel: str, take: Callable[[Message], bool]) -> None:
        """Offer each message to ``take`` while ``receive`` waits; it is queued where that says no.

        ``take`` must not block, and must not use the layer.
        """
        self._channel(channel).take = take

    def drop(self, channel: str) -> None:
        """Forget a channel and its places in groups."""
        for group in self._groups_of.pop(channel, ()):
            self._leave(group, channel)
        self._channels.pop(channel, None)

    async def send(self, channel: str, message: Message) -> None:
        """Raises ChannelFull, and so does the channel's next ``receive``."""
        if not self._channel(channel).put(message, self.capacity):
            raise ChannelFull

    async def receive(self, channel: str) -> Message:
        """The next message of the channel. Raises ChannelFull where one could not be queued."""
        queue = self._channel(channel)
        while not queue.messages:
            if queue.is_full:
                raise ChannelFull
            queue.reader = asyncio.get_running_loop().create_future()
            try:
                await queue.reader
            finally:
                queue.reader = None
        return queue.messages.popleft()

    async def group_add(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self._groups.setdefault(group, {})[channel] = self._channel(channel)
        self._groups_of.setdefault(channel, set()).add(group)

    async def group_discard(self, group: str, channel: str) -> None:
        self._groups_of.get(channel, set()).discard(group)
        self._leave(group, channel)

    async def group_send(self, group: str, message: Message) -> None:
        self.publish(group, message)

    def publish(self, group: str, message: Message) -> int:
        """Hand the one message to every member; how many took it. A full one is told."""
        members = tuple(self._groups.get(group, {}).values())
        capacity = self.capacity
        return sum(member.put(message, capacity) for member in members)

    async def flush(self) -> None:
        self._channels.clear()
        self._groups.clear()
        self._groups_of.clear()

    async def close(self) -> None:
        """Nothing is held outside this process."""

    def _channel(self, name: str) -> _Channel:
        return self._channels.setdefault(name, _Channel())

    def _leave(self, group: str, channel: str) -> None:
        members = self._groups.get(group)
        if members is not None:
            members.pop(channel, None)
            if not members:
                del self._groups[group]


def group_of(vertical: str) -> str:
    """The group of the sockets that follow a vertical."""
    return f"feed.{vertical}"
