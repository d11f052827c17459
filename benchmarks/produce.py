"""Sends records from a process of its own, at a rate or as fast as it can, and notes when."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks.servers import BenchmarkError
from lepton_apps.common import clock

SPIN_S = 0.0005  # a sleep shorter than this is not worth its wake-up


class Sendable(Protocol):
    """A record as it goes out."""

    @property
    def key(self) -> bytes: ...

    @property
    def value(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Item:
    """A record with the time that its message carries."""

    key: bytes
    value: bytes
    at: datetime | None = None


@dataclass(frozen=True)
class Job:
    """What to send and how. ``make`` must be picklable and give ``num`` records."""

    make: Callable[[], Iterator[Sendable]]
    num: int
    topic: str
    rate: float = 0.0  # records/s; 0: as fast as it can
    linger_ms: int = 50
    times: Path | None = None  # where to keep the monotonic second of each send, as .npy


def send(job: Job) -> None:
    """Send every record; returns when all are durable. Raises when the broker refused one.

    At a rate the moments are fixed beforehand, so a stall is made up for and not hidden. The
    noted moment is that of the call, or of the plan when the producer itself was late.
    """
    from lepton_apps.streaming.kafka import Producer

    producer = Producer(linger_ms=job.linger_ms)
    sent = np.zeros(job.num)
    began = clock.monotonic()
    for number, item in enumerate(job.make()):
        if job.rate:
            due = began + number / job.rate
            wait = due - clock.monotonic()
            if wait > SPIN_S:
                clock.sleep(wait)
            sent[number] = min(due, clock.monotonic()) if wait <= 0 else clock.monotonic()
        else:
            sent[number] = clock.monotonic()
        at: datetime | None = getattr(item, "at", None)
        sent_ms = None if at is None else int(at.timestamp() * 1000)
        producer.send(job.topic, item.value, key=item.key, timestamp_ms=sent_ms)
    producer.flush(120)
    producer.close()
    if job.times:
        np.save(job.times, sent)


def _run(job: Job) -> None:
    import django

    django.setup()
    send(job)


@contextmanager
def sending(job: Job) -> Iterator[BaseProcess]:
    """The job in a process of its own, which is ended with the block."""
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(job,), daemon=True)
    process.start()
    try:
        yield process
    finally:
        if process.is_alive():
            process.terminate()
        process.join(10)


def finish(process: BaseProcess, limit_s: float) -> None:
    """Wait for the sender; raises when it failed or takes longer."""
    process.join(limit_s)
    if process.exitcode is None:
        raise BenchmarkError(f"The producer was not done after {limit_s:.0f} s.")
    if process.exitcode != 0:
        raise BenchmarkError(f"The producer failed with {process.exitcode}; see above.")
