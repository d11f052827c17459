"""The web server of ``manage.py web``: uvicorn with our settings, and sockets that can be dropped."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any, cast

import uvicorn
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

GRACE_S = 10  # for requests in flight when the server stops
MAX_CLIENT_FRAME_BYTES = 16_384
# Name of our ASGI extension that writes a frame without a task: Callable[[bytes], bool].
WRITE_NOW = "lepton.write_now"
FLUSH_S = 15.0  # that a client gets to take what was written before its socket ended


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's websocket, less its patience: a client that reads nothing cannot keep it open."""

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        # close() waits for the buffer to empty, which a client that sleeps never lets happen.
        self.loop.call_later(FLUSH_S, self.transport.abort)

    def shutdown(self) -> None:
        super().shutdown()
        self.loop.call_later(1.0, self.transport.abort)

    def keepalive_timeout(self) -> None:
        self.pong_timer = None
        self.transport.abort()

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            cast(Any, self.scope)["extensions"][WRITE_NOW] = self.write_now

    def write_now(self, frame: bytes) -> bool:
        """Write a whole frame as it goes over the wire, if the client takes what it is sent.

        False, and nothing was written, while its buffer is full or once the socket is closing.
        """
        if self.close_sent or not self.writable.is_set() or self.transport.is_closing():
            return False
        self.transport.write(frame)
        return True

    async def send(self, message: Any) -> None:
        if self.close_sent:  # by the protocol itself: a frame was too large, or no pong came
            raise ClientDisconnected
        await super().send(message)


class WebServer(uvicorn.Server):
    """Says when it is ready, and ends with status 0 when it was asked to."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn would raise the signal again at the end, and the process would die of it.
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket bound to the address; port 0 takes a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except BaseException:
        bound.close()
        raise
    return bound


def web_server(
    on_ready: Callable[[], None], app: Any = "lepton_apps.asgi:application"
) -> WebServer:
    """The server of this process; ``run(sockets=[...])`` blocks until SIGTERM or SIGINT."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws=SocketProtocol,
        ws_max_size=MAX_CLIENT_FRAME_BYTES,
        ws_per_message_deflate=False,  # 1.9 us a frame without, and no memory for each socket
        lifespan="on",
        log_config=None,  # Django has set up logging
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    return WebServer(config, on_ready)
