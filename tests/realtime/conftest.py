"""A real web server in a thread, and clients of its live feed."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from lepton_apps.common import clock
from lepton_apps.realtime.feed import Event, announcing
from lepton_apps.web import listening_socket, web_server

PATIENCE_S = 10.0
OWN = Origin("own")  # the origin of the server's own pages


@contextmanager
def serving(app: Any) -> Iterator[int]:
    """Serve an ASGI application from a thread; gives the port."""
    ready = threading.Event()
    bound = listening_socket("127.0.0.1", 0)
    server = web_server(ready.set, app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        assert ready.wait(PATIENCE_S), "The web server did not start."
        yield bound.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)


def wait_until(is_true: Callable[[], object], what: str) -> None:
    give_up_at = clock.monotonic() + PATIENCE_S
    while not is_true():
        assert clock.monotonic() < give_up_at, f"Waited in vain until {what}."
        clock.sleep(0.01)


def database_url() -> str:
    """Of the test's database, for what connects by itself."""
    database = connection.settings_dict
    return (
        f"postgresql://{database['USER']}:{database['PASSWORD']}"
        f"@{database['HOST']}:{database['PORT']}/{database['NAME']}"
    )


def publish(*texts: str, vertical: str = "fintech") -> None:
    """One transaction with an event for each text."""
    with announcing() as announcements:
        for text in texts:
            announcements.add(vertical, Event("alert.opened", {"text": text}))


def session_of(user: User) -> str:
    """The session key of somebody who has just signed in."""
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


class Socket:
    """A client of the feed that reads frames as dicts."""

    def __init__(self, raw: ClientConnection) -> None:
        self.raw = raw

    def next(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(self.raw.recv(timeout=PATIENCE_S))
        return frame

    def events(self, count: int) -> list[dict[str, Any]]:
        """The next ``count`` frames that are not heartbeats."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            frame = self.next()
            if frame["type"] != "feed.heartbeat":
                found.append(frame)
        return found

    def close_code(self) -> int:
        """The code that the server closes with; frames before it are read away."""
        return self.rest()[1]

    def first_frame_or_close(self) -> tuple[dict[str, Any] | None, int]:
        """What the server says first, or None and the code that it closes with."""
        try:
            return self.next(), 0
        except ConnectionClosed as exc:
            return None, exc.rcvd.code if exc.rcvd else 1006

    def rest(self) -> tuple[list[dict[str, Any]], int]:
        """All frames until the server closes, and its code; 1006 when it said none."""
        frames: list[dict[str, Any]] = []
        try:
            while True:
                frames.append(self.next())
        except ConnectionClosed as exc:
            return frames, exc.rcvd.code if exc.rcvd else 1006

    def close(self) -> None:
        self.raw.close()


@dataclass
class Web:
    """The running server."""

    port: int
    stack: ExitStack  # of the open sockets

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def socket_url(self, vertical: str = "fintech", cursor: str = "") -> str:
        query = urlencode({"vertical": vertical, "cursor": cursor})
        return f"ws://127.0.0.1:{self.port}/ws/alerts/?{query}"

    def open(
        self,
        session: str | None = None,
        *,
        token: str | None = None,
        vertical: str = "fintech",
        cursor: str = "",
        origin: Origin | None = OWN,
        path: str | None = None,
        sock: socket.socket | None = None,
    ) -> Socket:
        headers: Sequence[tuple[str, str]] = [
            *([("Cookie", f"sessionid={session}")] if session else []),
            *([("Authorization", f"Bearer {token}")] if token else []),
        ]
        opening = connect(
            f"ws://127.0.0.1:{self.port}{path}" if path else self.socket_url(vertical, cursor),
            additional_headers=headers,
            origin=Origin(self.origin) if origin == OWN else origin,
            compression=None,
            close_timeout=0.2,
            sock=sock,
        )
        return Socket(self.stack.enter_context(opening))


@pytest.fixture
def web(transactional_db: None, settings: Any) -> Iterator[Web]:
    """The whole application with quick checks; a test may change settings before it asks for it."""
    from lepton_apps.asgi import application

    settings.LISTEN_DATABASE_URL = database_url()
    settings.FEED_RECHECK_S = 0.2
    with serving(application) as port, ExitStack() as stack:
        yield Web(port, stack)
