"""Every frame that the server sends over a socket, as text. docs/api.md describes them."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from websockets.frames import Frame, Opcode

from lepton_apps.realtime.cursor import Cursor


def wire(text: str) -> bytes:
    """A text frame as it goes over every socket: a server masks nothing, and we compress nothing."""
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=False)


def event(epoch: UUID, number: int, type_: str, body: str) -> str:
    """One event. ``body`` is JSON text as PostgreSQL gave it: it is not decoded on the way."""
    return (
        f'{{"type":{json.dumps(type_)},"number":{number},'
        f'"cursor":"{epoch}:{number}","body":{body}}}'
    )


def hello(position: Cursor) -> str:
    """The first frame: where the feed is now."""
    return _frame(
        "feed.hello",
        epoch=str(position.epoch),
        number=position.number,
        cursor=str(position),
    )


def snapshot_required(position: Cursor) -> str:
    """What came before ``position`` cannot be told by events: load the list anew."""
    return _frame("snapshot_required", cursor=str(position))


def heartbeat(number: int) -> str:
    """Nothing is missing up to ``number``."""
    return _frame("feed.heartbeat", number=number)


def pong() -> str:
    return _frame("pong")


def error(code: str, detail: str) -> str:
    return _frame("error", code=code, detail=detail)


def _frame(type_: str, **fields: Any) -> str:
    return json.dumps({"type": type_, **fields}, separators=(",", ":"))
