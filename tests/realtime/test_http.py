from __future__ import annotations

import http.client
import io
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from lepton_apps.onehop import OneHop
from tests.realtime.conftest import Web, serving, session_of, wait_until

LIMIT = 10_000


def ask(
    port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    client.request(method, path, body=body, headers=headers or {})
    answer = client.getresponse()
    found = answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read()
    client.close()
    return found


class EchoApp:
    """A WSGI application that answers with what it was given."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self.sent = 0

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/long":
            start("200 OK", [("Content-Type", "application/octet-stream")])
            return self.chunks()
        body = environ["wsgi.input"].read()
        told = {name: value for name, value in environ.items() if isinstance(value, str)}
        told["body"] = body.decode("latin-1")
        told["thread"] = threading.current_thread().name
        text = json.dumps(told).encode()
        start("200 OK", [("Content-Length", str(len(text))), ("X-Name", "Zo\xeb")])
        return io.BytesIO(text)

    def chunks(self) -> Iterator[bytes]:
        try:
            for _ in range(2_000):
                self.sent += 1
                yield b"x" * 50_000
        finally:
            self.closed.set()


class Streaming:
    """An iterable of unknown length, as Django's streaming responses are."""

    streaming = True

    def __init__(self, app: EchoApp) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        chunks = self._app(environ, start)
        return _StreamingResponse(chunks) if environ["PATH_INFO"] == "/long" else chunks


class _StreamingResponse:
    streaming = True

    def __init__(self, chunks: Any) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)

    def close(self) -> None:
        self._chunks.close()


@contextmanager
def one_hop(app: EchoApp) -> Iterator[int]:
    hop = OneHop(Streaming(app), threads=2, decision_threads=1, max_body_bytes=LIMIT)

    async def asgi(
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Any],
    ) -> None:
        if scope["type"] == "http":
            await hop(scope, receive, send)
            return
        await receive()
        hop.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        hop.close()
        await send({"type": "lifespan.shutdown.complete"})

    with serving(asgi) as port:
        yield port


@pytest.fixture
def echo() -> Iterator[tuple[EchoApp, int]]:
    app = EchoApp()
    with one_hop(app) as port:
        yield app, port


def test_a_request_arrives_as_wsgi_wants_it(echo: tuple[EchoApp, int]) -> None:
    _, port = echo
    status, headers, body = ask(
        port,
        "POST",
        "/caf%C3%A9/%ff?q=%C3%A9&q=2",
        b"\x00body",
        {"X-Many": "1", "Content-Type": "text/plain", "X_Many": "forged", "Proxy": "evil"},
    )
    told = json.loads(body)
    assert status == 200
    assert headers["x-name"] == "Zo\xeb"
    assert told["REQUEST_METHOD"] == "POST"
    assert told["PATH_INFO"].encode("latin-1") == b"/caf\xc3\xa9/\xff"
    assert told["QUERY_STRING"] == "q=%C3%A9&q=2"
    assert told["body"] == "\x00body"
    assert told["CONTENT_LENGTH"] == "5"
    assert told["CONTENT_TYPE"] == "text/plain"
    assert told["REMOTE_ADDR"] == "127.0.0.1"
    assert told["HTTP_X_MANY"] == "1"
    assert "HTTP_PROXY" not in told
    assert told["wsgi.url_scheme"] == "http"


def test_a_chunked_upload_arrives_whole(echo: tuple[EchoApp, int]) -> None:
    _, port = echo
    status, _, body = ask(port, "POST", "/", iter([b"one", b"two", b"", b"three"]))
    assert status == 200
    assert json.loads(body)["body"] == "onetwothree"


@pytest.mark.parametrize("is_chunked", [True, False])
def test_a_body_that_is_too_large_is_refused_in_the_shape_of_the_api(
    echo: tuple[EchoApp, int], is_chunked: bool
) -> None:
    _, port = echo
    body: Any = b"x" * (LIMIT + 1)
    status, _, answer = ask(port, "POST", "/", iter([body]) if is_chunked else body)
    assert status == 413
    assert json.loads(answer) == {
        "code": "body_too_large",
        "detail": f"The body is larger than {LIMIT} bytes.",
        "limit": LIMIT,
    }
    assert ask(port, "POST", "/", b"x" * LIMIT)[0] == 200


def test_a_head_request_gets_headers_and_no_body(echo: tuple[EchoApp, int]) -> None:
    _, port = echo
    status, headers, body = ask(port, "HEAD", "/")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 0


@pytest.mark.parametrize(
    ("path", "lane"),
    [
        ("/api/v1/streams/fintech.transactions/decisions", "decisions"),
        ("/api/v1/streams/fintech.transactions/score/", "decisions"),
        ("/api/v1/streams/", "web"),
        ("/api/v1/streams/a/b/decisions", "web"),
    ],
)
def test_decisions_have_threads_of_their_own(
    echo: tuple[EchoApp, int], path: str, lane: str
) -> None:
    _, port = echo
    assert json.loads(ask(port, "POST", path)[2])["thread"].rpartition("-")[0] == lane


def test_a_long_answer_is_streamed_whole(echo: tuple[EchoApp, int]) -> None:
    app, port = echo
    status, _, body = ask(port, "GET", "/long")
    assert (status, len(body)) == (200, 100_000_000)
    assert app.closed.wait(5)


def test_a_client_that_leaves_ends_a_long_answer(echo: tuple[EchoApp, int]) -> None:
    app, port = echo
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.recv(1_000)
    client.close()

    wait_until(app.closed.is_set, "the response was closed")
    assert app.sent < 2_000


def test_a_client_that_leaves_in_the_middle_of_its_body_harms_nobody(
    echo: tuple[EchoApp, int],
) -> None:
    _, port = echo
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
    client.close()

    assert ask(port, "GET", "/")[0] == 200


@pytest.mark.django_db(transaction=True)
def test_health_is_told_to_everybody_and_pages_to_nobody_else(web: Web, operator: User) -> None:
    assert ask(web.port, "GET", "/healthz")[0] == 200
    assert ask(web.port, "GET", "/api/v1/alerts/")[0] == 401
    cookie = {"Cookie": f"sessionid={session_of(operator)}"}
    assert ask(web.port, "GET", "/api/v1/alerts/", headers=cookie)[0] == 200


@pytest.mark.django_db(transaction=True)
def test_readiness_says_what_is_missing(web: Web, settings: Any) -> None:
    wait_until(lambda: ask(web.port, "GET", "/readyz")[0] == 200, "the server was ready")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE feed_counter RENAME TO hidden")
        try:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'lepton-feed' AND datname = current_database()"
            )
            wait_until(lambda: ask(web.port, "GET", "/readyz")[0] == 503, "it was not ready")
            _, _, body = ask(web.port, "GET", "/readyz")
        finally:
            cursor.execute("ALTER TABLE hidden RENAME TO feed_counter")
    assert json.loads(body) == {
        "status": "not_ready",
        "checks": {"database": True, "migrations": True, "listener": False},
    }
    wait_until(lambda: ask(web.port, "GET", "/readyz")[0] == 200, "the listener was back")
