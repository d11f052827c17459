"""Thousands of sockets of the live feed in one process that costs little: epoll and no tasks.

Every socket gets the same bytes, so a chunk that was parsed once is known by its bytes for all the
others: what is measured is the server, and the client's own share is said beside it.
"""

from __future__ import annotations

import base64
import json
import os
import random
import select
import socket
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import nan
from multiprocessing.connection import Connection
from typing import Any

HOST = "127.0.0.1"
READ_BYTES = 262_144
KNOWN_CHUNKS = 4_096  # kept parsed; then all are forgotten
AWAY_S = (0.2, 1.5)  # how long a socket that was cut stays away
END_WAIT_S = 30.0  # for what is still on its way when the last event is committed
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA


@dataclass(frozen=True, slots=True)
class Plan:
    """What the followers do."""

    port: int
    vertical: str
    sessions: Sequence[str]  # of whom the sockets are; shared evenly
    sockets: int
    cuts_per_s: float


@dataclass(slots=True)
class Told:
    """What the followers saw. ``arrivals[i]`` are the times of the events from the first on.

    A time is nan where the event came in the replay after a cut, or was passed over.
    """

    arrivals: list[array[float]]
    missed: int  # numbers that a socket never got
    doubled: int
    resumed: int  # times that a socket came back with its cursor
    dropped: int  # by the server
    snapshots: int  # demands to load the list anew
    cpu_s: float


@dataclass(slots=True)
class Follower:
    """One socket and how far it has come."""

    session: str
    raw: socket.socket | None = None
    is_open: bool = False
    rest: bytes = b""  # of a frame that has not come whole
    cursor: str = ""  # of the last event, as the server gave it
    number: int = -1  # of the last event
    replay_to: int = 0  # where the feed was at the last hello
    arrivals: array[float] = field(default_factory=lambda: array("d"))


class Followers:
    """All of them, driven by commands of the parent over a pipe."""

    def __init__(self, plan: Plan, orders: Connection) -> None:
        self._plan = plan
        self._orders = orders
        self._poll = select.epoll()
        self._by_fd: dict[int, Follower] = {}
        self._all = [Follower(plan.sessions[n % len(plan.sessions)]) for n in range(plan.sockets)]
        self._away: list[tuple[float, Follower]] = []
        self._known: dict[bytes, list[dict[str, Any]]] = {}
        self._cut_at: float | None = None
        self.told = Told([], 0, 0, 0, 0, 0, 0.0)

    def run(self) -> None:
        self._poll.register(self._orders.fileno(), select.EPOLLIN)
        for follower in self._all:
            self._open(follower)
            self._turn(0.0)
        while not all(follower.number >= 0 for follower in self._all):
            self._turn(0.5)
        began = time.process_time()
        self._orders.send("open")
        until = self._follow()
        end = time.monotonic() + END_WAIT_S
        while time.monotonic() < end and any(f.number < until for f in self._all):
            self._turn(0.1)
        told = self.told
        told.cpu_s = time.process_time() - began
        told.missed += sum(max(0, until - follower.number) for follower in self._all)
        told.arrivals = [follower.arrivals for follower in self._all]
        self._orders.send(told)

    def _follow(self) -> int:
        """Until the parent says which number is the last one; that number."""
        while True:
            self._turn(0.05)
            now = time.monotonic()
            if self._cut_at is not None and now >= self._cut_at:
                self._cut_at = now + random.expovariate(self._plan.cuts_per_s)
                self._cut(random.choice(self._all), now)
            if self._orders.poll():
                order = self._orders.recv()
                if order != "cut":
                    return int(order)
                if self._plan.cuts_per_s:
                    self._cut_at = now

    def _turn(self, wait_s: float) -> None:
        for fd, _ in self._poll.poll(wait_s):
            if fd in self._by_fd:
                self._read(self._by_fd[fd])
        if self._away:
            now = time.monotonic()
            due = [follower for at, follower in self._away if at <= now]
            self._away = [(at, follower) for at, follower in self._away if at > now]
            for follower in due:
                self.told.resumed += 1
                self._open(follower)

    def _open(self, follower: Follower) -> None:
        plan = self._plan
        raw = socket.create_connection((HOST, plan.port))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        raw.sendall(
            f"GET /ws/alerts/?vertical={plan.vertical}&cursor={follower.cursor} HTTP/1.1\r\n"
            f"Host: {HOST}:{plan.port}\r\nOrigin: http://{HOST}:{plan.port}\r\n"
            f"Cookie: sessionid={follower.session}\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        raw.setblocking(False)
        follower.raw, follower.is_open, follower.rest = raw, False, b""
        self._by_fd[raw.fileno()] = follower
        self._poll.register(raw.fileno(), select.EPOLLIN)

    def _cut(self, follower: Follower, now: float) -> None:
        """The network is gone: no close frame, and nothing is read any more."""
        raw = follower.raw
        if raw is None:
            return
        self._poll.unregister(raw.fileno())
        del self._by_fd[raw.fileno()]
        raw.close()
        follower.raw = None
        self._away.append((now + random.uniform(*AWAY_S), follower))

    def _read(self, follower: Follower) -> None:
        assert follower.raw is not None
        try:
            data = follower.raw.recv(READ_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        at = time.monotonic()
        if not data:
            self.told.dropped += 1
            self._cut(follower, at)
            return
        frames = self._known.get(data) if follower.is_open and not follower.rest else None
        if frames is None:
            frames = self._parse(follower, data)
        for frame in frames:
            self._take(follower, frame, at)

    def _parse(self, follower: Follower, data: bytes) -> list[dict[str, Any]]:
        whole = follower.rest + data
        if not follower.is_open:
            head, end, whole = whole.partition(b"\r\n\r\n")
            if not end:
                follower.rest = head
                return []
            if not head.startswith(b"HTTP/1.1 101 "):
                raise RuntimeError(f"The handshake was answered with {head[:200]!r}.")
            follower.is_open = True
        frames: list[dict[str, Any]] = []
        are_texts, place = True, 0
        while (found := _frame(whole, place)) is not None:
            opcode, payload, place = found
            if opcode == TEXT:
                frames.append(json.loads(payload))
            else:
                are_texts = False
                self._control(follower, opcode, payload)
        if are_texts and not follower.rest and place == len(whole) == len(data):
            if len(self._known) >= KNOWN_CHUNKS:
                self._known.clear()
            self._known[data] = frames
        follower.rest = whole[place:]
        return frames

    def _control(self, follower: Follower, opcode: int, payload: bytes) -> None:
        if opcode == PING and follower.raw is not None:
            # Masked with zeros, as a client must mask and a benchmark need not hide.
            follower.raw.send(bytes((0x80 | PONG, 0x80 | len(payload), 0, 0, 0, 0)) + payload)

    def _take(self, follower: Follower, frame: dict[str, Any], at: float) -> None:
        type_ = frame["type"]
        if type_ == "feed.hello":
            follower.replay_to = frame["number"]
            if follower.number < 0:
                follower.cursor, follower.number = frame["cursor"], frame["number"]
        elif type_ == "snapshot_required":
            self.told.snapshots += 1
        elif "cursor" in frame:
            number = frame["number"]
            if number <= follower.number:
                self.told.doubled += 1
                return
            gap = number - follower.number - 1
            self.told.missed += gap
            follower.arrivals.extend([nan] * gap)
            follower.arrivals.append(at if number > follower.replay_to else nan)
            follower.cursor, follower.number = frame["cursor"], number


def _frame(data: bytes, place: int) -> tuple[int, bytes, int] | None:
    """Opcode, payload and end of the frame at a place; None while it has not come whole."""
    if len(data) < place + 2:
        return None
    opcode, size, start = data[place] & 0x0F, data[place + 1], place + 2
    if size >= 126:
        wide = 2 if size == 126 else 8
        if len(data) < start + wide:
            return None
        size = int.from_bytes(data[start : start + wide], "big")
        start += wide
    if len(data) < start + size:
        return None
    return opcode, data[start : start + size], start + size


def follow(plan: Plan, orders: Connection) -> None:
    """The whole life of the process."""
    Followers(plan, orders).run()
