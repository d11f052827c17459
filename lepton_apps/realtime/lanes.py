"""Threads for blocking work, a lane for each kind, so that one kind cannot starve another.

A thread keeps its database connection between pieces of work and closes it when the lane closes:
a pool of the standard library would leave that to the end of the process.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from django.db import close_old_connections, connections

from lepton_apps.common.errors import UnavailableError

Result = TypeVar("Result")
Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class OverloadedError(UnavailableError):
    """More work waits for a lane than it may hold."""

    code = "overloaded"


class Lane:
    """A fixed number of threads that take work in order of arrival. Belongs to one event loop."""

    def __init__(self, name: str, threads: int, *, waiting_limit: int = 1_000) -> None:
        self._name = name
        self._waiting_limit = waiting_limit
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Finish what waits, then end the threads and their database connections. Does not block."""
        for _ in self._threads:
            self._jobs.put(None)

    async def run(self, work: Callable[[], Result]) -> Result:
        """What ``work`` returns or raises, from a thread. Raises OverloadedError at once."""
        if self._jobs.qsize() >= self._waiting_limit:
            raise OverloadedError(f"{self._waiting_limit} requests wait already; try again later.")
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._jobs.put((work, done))
        return await done

    async def query(self, read: Callable[[], Result]) -> Result:
        """``run`` for database reads outside a request: a broken connection is replaced first."""

        def fresh() -> Result:
            close_old_connections()
            return read()

        return await self.run(fresh)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, done = job
            result: Any = None
            error: BaseException | None = None
            try:
                result = work()
            except BaseException as exc:  # noqa: BLE001 - handed to whoever waits for it
                error = exc
            with suppress(RuntimeError):  # the loop is gone, and with it whoever waited
                done.get_loop().call_soon_threadsafe(_settle, done, result, error)
            del job, work, done, result, error
        connections.close_all()


def _settle(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.done():  # the one who waited has gone
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
