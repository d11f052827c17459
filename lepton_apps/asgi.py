"""What the web server runs: sockets on the loop, everything else of Django in one hop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lepton_apps.settings")
wsgi = get_wsgi_application()  # before the imports that need Django's apps

from channels.routing import URLRouter  # noqa: E402
from channels.sessions import CookieMiddleware  # noqa: E402
from django.conf import settings  # noqa: E402
from django.urls import path, re_path  # noqa: E402

from lepton_apps.common.headers import RAW_HEADERS  # noqa: E402
from lepton_apps.onehop import OneHop  # noqa: E402
from lepton_apps.realtime.consumers import AlertFeedConsumer, refuse_unknown_path  # noqa: E402
from lepton_apps.realtime.live import LiveFeed  # noqa: E402
from lepton_apps.streaming import services  # noqa: E402

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

ALIVE = b'{"status":"ok"}'
SOCKETS = [
    path("ws/alerts/", AlertFeedConsumer.as_asgi),  # type: ignore[arg-type]
    re_path("", refuse_unknown_path),  # type: ignore[arg-type]
]


class Application:
    """One web process. The server must offer lifespan: the listener runs on its loop."""

    def __init__(self) -> None:
        self._sockets = CookieMiddleware(URLRouter(SOCKETS))  # type: ignore[arg-type]
        self._http: OneHop | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._sockets(scope, receive, send)  # type: ignore[arg-type]
        elif scope["path"] == "/healthz":
            await _say_alive(send)
        elif self._http is not None:
            await self._http(scope, receive, send)
        else:
            raise RuntimeError("The server offers no lifespan, so nothing was started.")

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """From the start of the server to its end."""
        await receive()
        feed = scope["state"]["feed"] = LiveFeed()
        self._http = OneHop(
            wsgi,
            threads=settings.WEB_THREADS,
            decision_threads=settings.DECISION_THREADS,
            max_body_bytes=settings.MAX_BODY_BYTES,
        )
        feed.start()
        self._http.start()
        loading = asyncio.create_task(self._http.warm_up(services.warm_up))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        loading.cancel()
        await feed.stop()
        self._http.close()
        await send({"type": "lifespan.shutdown.complete"})


async def _say_alive(send: Send) -> None:
    """Without a thread or the database: a slow database must not get the process killed."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(ALIVE)).encode()),
        *RAW_HEADERS,
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ALIVE})


application = Application()
