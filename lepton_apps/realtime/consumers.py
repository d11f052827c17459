"""``/ws/alerts/?vertical=&cursor=``: the events of one vertical, for one socket.

No database write, no decision: the page applies the events to the list it loaded over REST. The
socket joins the group first and reads where the feed is second, so that no event falls between
what it replays from the table and what comes live; numbers tell which ones come twice.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

from channels.exceptions import ChannelFull
from django.conf import settings
from django.db import Error as DatabaseError

from lepton_apps.accounts import tokens
from lepton_apps.accounts.credentials import (
    Credential,
    SessionCredential,
    TokenCredential,
    holders,
)
from lepton_apps.common.errors import UnavailableError
from lepton_apps.common.metrics import FEED_CLOSED, FEED_SOCKETS
from lepton_apps.realtime import cursor as cursors
from lepton_apps.realtime import frames, selectors
from lepton_apps.realtime.closing import CloseCode, ClosedError
from lepton_apps.realtime.cursor import NOTHING_YET, Cursor
from lepton_apps.realtime.guard import refusal
from lepton_apps.realtime.layer import Message, group_of
from lepton_apps.realtime.live import LiveFeed
from lepton_apps.realtime.origin import is_known_host, is_own_origin
from lepton_apps.verticals import registry
from lepton_apps.web import WRITE_NOW

MAX_FRAME = 1_024  # characters of a client's frame; it has nothing to say but ping
CLOSE_WAIT_S = 5.0  # that a slow client gets to take the close frame

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Coroutine[Any, Any, None]]
WriteNow = Callable[[bytes], bool]

WHY = {  # label of the metric by close code
    CloseCode.SLOW: "slow",
    CloseCode.UNAUTHENTICATED: "signed_out",
    CloseCode.TRY_LATER: "unavailable",
}


async def refuse_unknown_path(scope: Scope, receive: Receive, send: Send) -> None:
    """The end of the websocket routes."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": CloseCode.UNKNOWN, "reason": "No such path."})


class AlertFeedConsumer:
    """One socket. Not Channels' consumer class: that takes a thread hop for every frame."""

    credential: Credential
    vertical: str

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._feed: LiveFeed = scope["state"]["feed"]
        self._layer = self._feed.layer
        self._channel = ""
        self._epoch: UUID = NOTHING_YET.epoch
        self._number = 0  # of the last event sent
        # Another server has no such extension; then all goes through the queue.
        self._write_now: WriteNow | None = (scope.get("extensions") or {}).get(WRITE_NOW)
        self._ending: asyncio.Future[ClosedError] = asyncio.get_running_loop().create_future()

    @classmethod
    async def as_asgi(cls, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application: one instance a socket."""
        await cls(scope, receive, send).serve()

    async def serve(self) -> None:
        """From the handshake to the end of the socket."""
        if (await self._receive())["type"] != "websocket.connect":
            return
        try:
            await self._send({"type": "websocket.accept"})
            try:
                resume_from = await self._admit()
                await self._converse(resume_from)
            except (DatabaseError, UnavailableError):
                raise ClosedError(CloseCode.TRY_LATER, "The database does not answer.") from None
        except ClosedError as exc:
            FEED_CLOSED.labels(why=WHY.get(exc.code, "refused")).inc()
            await self._close(exc)
        except OSError:
            pass  # the client went away in the middle of a send
        finally:
            if self._channel:
                self._layer.drop(self._channel)
                self._feed.guard.forget(self)
                FEED_SOCKETS.labels(vertical=self.vertical).dec()

    def end(self, why: ClosedError) -> None:
        """Have the socket closed soon. The first reason stays."""
        if not self._ending.done():
            self._ending.set_result(why)

    # --- at the door

    async def _admit(self) -> Cursor | None:
        """Take the socket in and return the client's cursor. Raises ClosedError."""
        headers = dict(self._scope["headers"])
        text = tokens.bearer(headers.get(b"authorization", b"").decode("latin-1"))
        session_key = self._scope["cookies"].get(settings.SESSION_COOKIE_NAME, "")
        if text is None and not (session_key.isascii() and session_key.isalnum()):
            raise ClosedError(CloseCode.UNAUTHENTICATED, "Sign in, or send a valid token.")
        _check_site(headers, by_cookie=text is None)

        query = parse_qs(self._scope["query_string"].decode("latin-1"))
        asked = query.get("vertical", [""])[0]
        resume_from = _cursor(query.get("cursor", [""])[0])

        credential: Credential
        if text is None:
            credential = SessionCredential(session_key)
        else:
            token = await self._feed.lane.query(partial(tokens.verify, text))
            credential = TokenCredential(token.digest if token else "")
        held = await self._feed.lane.query(partial(holders, [credential]))
        why = refusal(asked, held.get(credential), was_open=False)
        if why is not None:
            raise why

        self.credential = credential
        self.vertical = registry.vertical(asked).key
        self._channel = await self._layer.new_channel()
        self._layer.on_full(self._channel, self._say_slow)
        if self._write_now is not None:
            self._layer.take_at_once(self._channel, self._take_at_once)
        FEED_SOCKETS.labels(vertical=self.vertical).inc()
        self._feed.guard.watch(self)
        return resume_from

    def _say_slow(self) -> None:
        self.end(ClosedError(CloseCode.SLOW, "Too slow: resume with the last cursor."))

    # --- once inside

    async def _converse(self, resume_from: Cursor | None) -> None:
        """Read and write until the client goes or the socket has to end. Raises ClosedError."""
        tasks = [
            asyncio.create_task(self._write(resume_from)),
            asyncio.create_task(self._read()),
        ]
        waited: list[asyncio.Future[Any]] = [*tasks, self._ending]
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if self._ending.done():
                raise self._ending.result()
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> None:
        """Answer the client's frames until it goes. Answers queue up like everything else."""
        while (message := await self._receive())["type"] != "websocket.disconnect":
            try:
                await self._layer.send(
                    self._channel, {"type": "feed.answer", "text": _answer(message)}
                )
            except ChannelFull:
                return  # the queue has said so already

    async def _write(self, resume_from: Cursor | None) -> None:
        await self._begin(resume_from)
        while True:
            try:
                message = await self._layer.receive(self._channel)
            except ChannelFull:
                return  # the queue has said so already
            await self._take(message)

    async def _begin(self, resume_from: Cursor | None) -> None:
        """Say hello, then send what came after the client's cursor, or ask for a new snapshot."""
        await self._layer.group_add(group_of(self.vertical), self._channel)
        now = await self._feed.lane.query(partial(selectors.position, self.vertical))
        self._epoch, self._number = now.epoch, now.number
        await self._send_text(frames.hello(now))
        if resume_from is None:
            return
        if resume_from == NOTHING_YET:
            resume_from = Cursor(now.epoch, 0)
        missed = now.number - resume_from.number
        if resume_from.epoch != now.epoch or not 0 <= missed <= settings.FEED_REPLAY_LIMIT:
            await self._send_text(frames.snapshot_required(now))
            return
        self._number = resume_from.number
        await self._replay(now.number)

    async def _replay(self, up_to: int) -> None:
        """Send the events after the last one sent, from the table."""
        while self._number < up_to:
            known = Cursor(self._epoch, self._number)
            rows = await self._feed.lane.query(
                partial(selectors.events, self.vertical, known.number, up_to)
            )
            if not rows or not selectors.is_seamless(rows, known):
                self._number = up_to
                await self._send_text(frames.snapshot_required(Cursor(self._epoch, up_to)))
                return
            for number, type_, body, epoch in rows:
                await self._send_text(frames.event(epoch, number, type_, body))
                self._number = number

    async def _take(self, message: Message) -> None:
        """Send what came through the layer, unless the client has it already."""
        if message["type"] == "feed.event":
            if self._epoch == NOTHING_YET.epoch:
                self._epoch = message["epoch"]
            # Of an earlier epoch than the socket's: the listener is about to notice.
            if message["epoch"] != self._epoch or message["number"] <= self._number:
                return
            await self._replay(message["number"] - 1)
            self._number = message["number"]
        elif message["type"] == "feed.snapshot":
            if message["epoch"] == self._epoch and message["number"] >= self._number:
                await self._replay(message["number"])
                return
            self._epoch, self._number = message["epoch"], message["number"]
        await self._send_text(message["text"])

    def _take_at_once(self, message: Message) -> bool:
        """Write the message to a socket that has all before it and keeps up. False: ``_take`` it.

        This is the way of nearly every frame. No task wakes up for it, and the bytes are the same
        for all sockets; what needs the database or has to wait goes the long way.
        """
        wire = message.get("wire")
        if wire is None or self._write_now is None:
            return False
        if message["type"] != "feed.event":
            return self._write_now(wire)
        is_next = message["number"] == self._number + 1 and message["epoch"] == self._epoch
        if not is_next or not self._write_now(wire):
            return False
        self._number = message["number"]
        return True

    async def _send_text(self, text: str) -> None:
        await self._send({"type": "websocket.send", "text": text})

    async def _close(self, why: ClosedError) -> None:
        closing = {"type": "websocket.close", "code": int(why.code), "reason": why.reason}
        # One that takes nothing any more is dropped by the server.
        with suppress(TimeoutError, OSError):
            await asyncio.wait_for(self._send(closing), CLOSE_WAIT_S)


def _check_site(headers: Mapping[bytes, bytes], *, by_cookie: bool) -> None:
    """Another site's page must not open a socket with a visitor's cookie. Raises ClosedError.

    Browsers always send an origin and cannot send a token, so a token needs none.
    """
    host = headers.get(b"host", b"").decode("latin-1")
    if not is_known_host(host, settings.ALLOWED_HOSTS):
        raise ClosedError(CloseCode.REFUSED, "The host is not one of this site's.")
    origin = headers.get(b"origin")
    if origin is None and not by_cookie:
        return
    trusted = settings.CSRF_TRUSTED_ORIGINS
    if origin is None or not is_own_origin(origin.decode("latin-1"), host, trusted):
        raise ClosedError(CloseCode.REFUSED, "The origin is not this site's.")


def _cursor(text: str) -> Cursor | None:
    try:
        return cursors.parse(text) if text else None
    except ValueError:
        raise ClosedError(CloseCode.BAD_REQUEST, "The cursor is not <epoch>:<number>.") from None


def _answer(message: Message) -> str:
    text = message.get("text") or ""
    try:
        if len(text) <= MAX_FRAME and json.loads(text) == {"type": "ping"}:
            return frames.pong()
    except (ValueError, RecursionError):
        pass
    return frames.error("frame_refused", 'The only frame a client may send is {"type": "ping"}.')
