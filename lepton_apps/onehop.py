"""HTTP in one hop: from the event loop to a thread that runs the whole of Django as WSGI.

Django's own ASGI handler changes threads at every middleware, about thirty times a request. Here
the loop reads the request, one thread answers it, and the loop writes the answer. Decisions have
a lane of their own, so that pages cannot hold them up, and so have rounds of a federation, which
take minutes and must hold up nobody.
"""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import unquote_to_bytes

from lepton_apps.common.errors import LeptonError
from lepton_apps.common.headers import RAW_HEADERS
from lepton_apps.realtime.lanes import Lane

log = logging.getLogger(__name__)

DECISION_PATH = re.compile(r"/api/v1/streams/[^/]+/(score|decisions)/?")
FEDERATION_PATH = re.compile(r"/api/v1/federation/[^/]+/(join|update)/?")
FEDERATION_THREADS = 2  # one waits for a round of minutes, one says meanwhile that it is busy
BUFFER_BYTES = 1_048_576  # an answer of known size up to this leaves its thread at once
CHUNK_WAIT_S = 30.0  # that a client may take for one chunk of a longer one

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class BodyTooLargeError(LeptonError):
    """The request's body is larger than MAX_BODY_BYTES."""

    code = "body_too_large"
    status = 413


@dataclass(slots=True)
class Answer:
    """What a WSGI application answered: a whole body, or chunks still to be taken."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    chunks: Iterator[bytes] | None = None
    close: Callable[[], None] | None = None


class OneHop:
    """An ASGI application for ``http`` around a WSGI application."""

    def __init__(
        self, wsgi: Wsgi, *, threads: int, decision_threads: int, max_body_bytes: int
    ) -> None:
        self._wsgi = wsgi
        self._max_body_bytes = max_body_bytes
        self._pages = Lane("web", threads)
        self._decisions = Lane("decisions", decision_threads)
        self._federation = Lane("federation", FEDERATION_THREADS, waiting_limit=16)

    def start(self) -> None:
        self._pages.start()
        self._decisions.start()
        self._federation.start()

    async def warm_up(self, load: Callable[[], None]) -> None:
        """Load in the lane of decisions what they need, and take it out of garbage collection.

        What is loaded once never becomes garbage; walking it cost every request after it pauses.
        """

        def work() -> None:
            load()
            gc.collect()
            gc.freeze()

        try:
            await self._decisions.run(work)
        except Exception:
            # The outermost frame of a task: the first request will meet the same, and say so.
            log.exception("nothing was loaded beforehand")

    def close(self) -> None:
        self._pages.close()
        self._decisions.close()
        self._federation.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        lane = self._lane_of(scope["path"])
        is_head = scope["method"] == "HEAD"
        try:
            body = await self._body(scope, receive)
            if body is None:
                return  # the client went away
            environ = environ_of(scope, body)
            loop = asyncio.get_running_loop()
            answer = await lane.run(lambda: self._answer(environ, is_head=is_head))
            if answer.chunks is None:
                await send(_start(answer))
                await send({"type": "http.response.body", "body": answer.body})
            else:
                await self._stream(lane, loop, answer, receive, send)
        except LeptonError as exc:
            await _refuse(exc, send)

    def _lane_of(self, path: str) -> Lane:
        if DECISION_PATH.fullmatch(path):
            return self._decisions
        return self._federation if FEDERATION_PATH.fullmatch(path) else self._pages

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body, or None when the client left. Raises BodyTooLargeError."""
        limit = self._max_body_bytes
        announced = dict(scope["headers"]).get(b"content-length", b"")
        size = int(announced) if announced.isdigit() else 0
        parts: list[bytes] = []
        more = size <= limit
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size = sum(map(len, parts)) if len(parts) == 1 else size + len(parts[-1])
            more = message.get("more_body", False) and size <= limit
        if size > limit:
            raise BodyTooLargeError(f"The body is larger than {limit} bytes.", limit=limit)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _answer(self, environ: dict[str, Any], *, is_head: bool) -> Answer:
        """Run Django; in a thread. ``close`` of the response tells Django that it is over."""
        started: list[Any] = []
        response = self._wsgi(
            environ, lambda status, headers, _=None: started.extend((status, headers))
        )
        close = getattr(response, "close", lambda: None)
        try:
            answer = Answer(
                int(started[0][:3]),
                [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in started[1]],
            )
            length = dict(answer.headers).get(b"content-length")
            if is_head:
                pass
            elif not getattr(response, "streaming", False) or (
                length is not None and int(length) <= BUFFER_BYTES
            ):
                answer.body = b"".join(response)
            else:
                answer.chunks, answer.close = iter(response), close
        except BaseException:
            close()
            raise
        if answer.chunks is None:
            close()
        return answer

    async def _stream(
        self,
        lane: Lane,
        loop: asyncio.AbstractEventLoop,
        answer: Answer,
        receive: Receive,
        send: Send,
    ) -> None:
        """Pass the chunks on, no faster than the client takes them, until it leaves."""
        chunks = cast(Iterator[bytes], answer.chunks)
        gone = asyncio.ensure_future(receive())  # the body was read: only a disconnect is left

        def pump() -> None:
            try:
                for chunk in chunks:
                    if gone.done():
                        return
                    part = {"type": "http.response.body", "body": chunk, "more_body": True}
                    asyncio.run_coroutine_threadsafe(_send(send, part), loop).result(CHUNK_WAIT_S)
            finally:
                if answer.close is not None:
                    answer.close()

        try:
            await send(_start(answer))
            await lane.run(pump)
            if not gone.done():
                await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()


async def _send(send: Send, message: Message) -> None:
    await send(message)


def environ_of(scope: Scope, body: bytes) -> dict[str, Any]:
    """The WSGI environment of an ASGI request whose body has been read."""
    host, port = scope.get("server") or ("localhost", None)
    client_host, client_port = scope.get("client") or ("", 0)
    path = unquote_to_bytes(scope.get("raw_path") or scope["path"].encode("utf-8"))
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": path.decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port or 80),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client_host,
        "REMOTE_PORT": str(client_port),
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        # For /readyz, which answers for this process.
        "lepton.feed": scope.get("state", {}).get("feed"),
    }
    for raw_name, raw_value in scope["headers"]:
        # X_Name would arrive as X-Name does, and Proxy would become a variable that clients obey.
        if b"_" in raw_name or raw_name in {b"content-length", b"proxy", b"transfer-encoding"}:
            continue
        value = raw_value.decode("latin-1")
        name = raw_name.decode("latin-1").upper().replace("-", "_")
        name = name if name == "CONTENT_TYPE" else f"HTTP_{name}"
        if name in environ:
            value = f"{environ[name]}{'; ' if name == 'HTTP_COOKIE' else ','}{value}"
        environ[name] = value
    return environ


def _start(answer: Answer) -> Message:
    return {"type": "http.response.start", "status": answer.status, "headers": answer.headers}


async def _refuse(error: LeptonError, send: Send) -> None:
    """The one error shape of the API, from outside Django."""
    body = json.dumps({"code": error.code, "detail": error.detail, **error.data}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # what is left of the body is not read
        *RAW_HEADERS,
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
