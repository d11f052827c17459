"""One LISTEN connection for each web process: from commits to the sockets of this process.

A NOTIFY only says how far the feed of a vertical has come. The events are read from the table,
each is encoded once, and the one frame is handed to every socket. Whatever is missed (a lost
connection, a NOTIFY that never came) is read at the next look, because the listener goes on from
the last number it has handed out.
"""

from __future__ import annotations

import asyncio
import logging

import psycopg

from lepton_apps.common import clock
from lepton_apps.common.metrics import FEED_EVENTS
from lepton_apps.realtime import frames
from lepton_apps.realtime.cursor import NOTHING_YET, Cursor
from lepton_apps.realtime.feed import CHANNEL
from lepton_apps.realtime.layer import FeedLayer, group_of
from lepton_apps.realtime.selectors import COUNTERS, EVENTS, PAGE, Row, is_seamless
from lepton_apps.verticals import registry

log = logging.getLogger(__name__)

CHECK_S = 3.0  # between looks at the counters, in case a NOTIFY did not come
FIRST_PAUSE_S = 0.1  # before connecting again; doubled up to the longest one
LONGEST_PAUSE_S = 5.0

Connection = psycopg.AsyncConnection[tuple[object, ...]]


class FeedListener:
    """Runs on the loop of the sockets."""

    def __init__(self, url: str, layer: FeedLayer) -> None:
        self._url = url
        self._layer = layer
        self._positions: dict[str, Cursor] = {}
        self._has_begun = False
        self.is_connected = False

    async def run(self) -> None:
        """Listen until cancelled, through every failure of the database."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                async with await self._connect() as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    # After LISTEN: what commits from here on is either seen now or notified.
                    await self._check(connection)
                    self.is_connected = True
                    pause_s = FIRST_PAUSE_S
                    await self._follow(connection)
            except psycopg.Error as exc:
                log.warning(
                    "feed: no database connection", extra={"why": str(exc), "again_in_s": pause_s}
                )
            finally:
                self.is_connected = False
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def beat(self, every_s: float) -> None:
        """Tell every socket how far the feed is, until cancelled: one frame for all of them."""
        while True:
            await asyncio.sleep(every_s)
            for vertical in registry.verticals():
                text = frames.heartbeat(self._positions.get(vertical.key, NOTHING_YET).number)
                self._layer.publish(
                    group_of(vertical.key),
                    {"type": "feed.heartbeat", "text": text, "wire": frames.wire(text)},
                )

    async def _connect(self) -> Connection:
        return await psycopg.AsyncConnection.connect(
            self._url,
            autocommit=True,
            application_name="lepton-feed",
            connect_timeout=5,
            # A server that vanished without a word must be noticed in seconds, not hours.
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=10_000,
        )

    async def _follow(self, connection: Connection) -> None:
        check_at = clock.monotonic() + CHECK_S
        while True:
            heard: dict[str, int] = {}  # a burst of NOTIFYs becomes one read
            wait_s = max(0.0, check_at - clock.monotonic())
            async for notify in connection.notifies(timeout=wait_s, stop_after=1):
                vertical, _, number = notify.payload.rpartition(":")
                if number.isdigit():
                    heard[vertical] = max(heard.get(vertical, 0), int(number))
            for vertical, up_to in heard.items():
                await self._read(connection, vertical, up_to)
            if clock.monotonic() >= check_at:
                await self._check(connection)
                check_at = clock.monotonic() + CHECK_S

    async def _check(self, connection: Connection) -> None:
        """Compare with the counters: catch up, and notice a restored or emptied database."""
        rows = await (await connection.execute(COUNTERS)).fetchall()
        counters = {str(row[0]): Cursor(row[1], row[2]) for row in rows}  # type: ignore[arg-type]
        if not self._has_begun:
            # Nobody could follow before: sockets read by themselves what came earlier.
            self._positions = counters
            self._has_begun = True
        for vertical, now in counters.items():
            known = self._positions.setdefault(vertical, Cursor(now.epoch, 0))
            if known.epoch != now.epoch or known.number > now.number:
                self._start_over(vertical, now)
            else:
                await self._read(connection, vertical, now.number)
        for vertical in self._positions.keys() - counters.keys():
            self._start_over(vertical, NOTHING_YET)
            del self._positions[vertical]

    async def _read(self, connection: Connection, vertical: str, up_to: int) -> None:
        """Hand out the events of a vertical up to a number, a page at a time."""
        known = self._positions.get(vertical)
        if known is None:  # the first event ever, or since a restore: the epoch is not known
            await self._check(connection)
            return
        while known.number < up_to:
            found = await connection.execute(EVENTS, (vertical, known.number, up_to, PAGE))
            rows: list[Row] = await found.fetchall()  # type: ignore[assignment]
            if not rows or not is_seamless(rows, known):
                await self._skip(connection, vertical)
                return
            share = max(1, self._layer.capacity // 4)
            for start in range(0, len(rows), share):
                self._publish(vertical, rows[start : start + share])
                await asyncio.sleep(0)  # the sockets empty their queues before the next share
            known = self._positions[vertical]

    def _publish(self, vertical: str, rows: list[Row]) -> None:
        group = group_of(vertical)
        delivered = 0
        for number, type_, body, epoch in rows:
            text = frames.event(epoch, number, type_, body)
            message = {
                "type": "feed.event",
                "epoch": epoch,
                "number": number,
                "text": text,
                "wire": frames.wire(text),
            }
            delivered += self._layer.publish(group, message)
        self._positions[vertical] = Cursor(rows[-1][3], rows[-1][0])
        FEED_EVENTS.inc(delivered)

    async def _skip(self, connection: Connection, vertical: str) -> None:
        """Events are missing in the table (dropped by retention), or the epoch changed."""
        query = f"{COUNTERS} WHERE vertical = %s"
        row = await (await connection.execute(query, (vertical,))).fetchone()
        if row is not None:
            self._start_over(vertical, Cursor(row[1], row[2]))  # type: ignore[arg-type]

    def _start_over(self, vertical: str, now: Cursor) -> None:
        log.warning(
            "feed: events cannot tell the way, snapshot required",
            extra={"vertical": vertical, "was": str(self._positions[vertical]), "now": str(now)},
        )
        self._positions[vertical] = now
        self._layer.publish(
            group_of(vertical),
            {
                "type": "feed.snapshot",
                "epoch": now.epoch,
                "number": now.number,
                "text": frames.snapshot_required(now),
            },
        )
