"""A web process of a run, somebody who may use it, and a small HTTP client for much load."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from benchmarks.servers import (
    START_LIMIT_S,
    BenchmarkError,
    Process,
    Servers,
    answers,
    free_port,
    wait_until,
)

HOST = "127.0.0.1"


@contextmanager
def web(run: Servers) -> Iterator[tuple[Process, int]]:
    """A `manage.py web` that answers, and its port."""
    port = free_port()
    arguments = ("manage.py", "web", "--port", str(port))
    with run.running("web", *arguments, ALLOWED_HOSTS=HOST) as process:
        wait_until(lambda: answers(port), [process], "The start of web", START_LIMIT_S)
        yield process, port


def bearer_token(vertical: str = "fintech") -> str:
    """The text of a token of a new operator of the vertical."""
    from lepton_apps.accounts import services
    from lepton_apps.accounts.models import Role

    user, _ = services.create_operator(None, "benchmark", {vertical: Role.OPERATOR})
    _, text = services.create_token(None, user, "benchmark")
    return text


class Connection:
    """One kept-alive HTTP/1.1 connection; one request at a time."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._head = (
            f"Host: {HOST}:{port}\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\nAccept: application/json\r\n"
        )
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body. Reconnects once where the server closed the connection before."""
        try:
            return await self._exchange(path, body)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.close()
            return await self._exchange(path, body)

    async def _exchange(self, path: str, body: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(HOST, self._port)
        reader, writer = self._streams
        head = f"POST {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        lines = answer.decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines[1:])
        }
        if "content-length" not in headers:
            raise BenchmarkError(f"An answer without Content-Length: {lines[0]}")
        content = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return int(lines[0].split()[1]), content

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def percentiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p99 and the worst, in milliseconds."""
    if not seconds:
        raise BenchmarkError("Nothing was measured.")
    p50, p99, worst = np.percentile(np.asarray(seconds), [50, 99, 100]) * 1000
    return {
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
        "max_ms": round(float(worst), 2),
    }


def pretty(body: bytes) -> str:
    """An answer in a line of an error message."""
    try:
        return json.dumps(json.loads(body))[:300]
    except ValueError:
        return repr(body[:300])


def require_status(status: int, body: bytes, what: str) -> Any:
    if status not in (200, 201):
        raise BenchmarkError(f"{what} was answered with {status}: {pretty(body)}")
    return json.loads(body)
