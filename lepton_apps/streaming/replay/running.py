"""One replay from its question to its result, in this process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import Error as DjangoDatabaseError
from django.db import connection

from lepton_apps.common import clock
from lepton_apps.common.db import RawConnection, raw_connection
from lepton_apps.common.errors import LeptonError
from lepton_apps.model_registry.serving import ServedModel
from lepton_apps.streaming import pipeline
from lepton_apps.streaming.models import ReplayRun
from lepton_apps.streaming.pipeline import Rows
from lepton_apps.streaming.replay import question as asking
from lepton_apps.streaming.replay import services
from lepton_apps.streaming.replay.candidate import open_candidate
from lepton_apps.streaming.replay.comparing import Comparison
from lepton_apps.streaming.replay.question import Question
from lepton_apps.streaming.replay.rows import Replayed
from lepton_apps.streaming.replay.stored import StoredRows
from lepton_apps.streaming.replay.topic import Log, TopicRows, open_log
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import Stream

log = logging.getLogger(__name__)

BEAT_S = 1.0
Told = Callable[[str, int, int], None]


class CancelledError(LeptonError):
    """Somebody asked the run to stop."""

    code = "replay_cancelled"
    status = 409


class Beats:
    """Keeps the run's row alive from a thread of its own, however long a step takes."""

    def __init__(self, run_id: int) -> None:
        self._run_id = run_id
        self._over = threading.Event()
        self._stop = threading.Event()
        self._at = ("starting", 0, 0)
        self._thread = threading.Thread(target=self._beat, name=f"replay-{run_id}", daemon=True)

    def tell(self, stage: str, done: int, total: int) -> None:
        """Note how far it is.

        Raises:
            CancelledError: the run should stop.
        """
        self._at = (stage, done, total)
        if self._stop.is_set():
            raise CancelledError("The replay was cancelled.")

    def __enter__(self) -> Beats:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        try:
            while not self._over.is_set():
                try:
                    if not services.beat(raw_connection(), self._run_id, *self._at):
                        self._stop.set()
                except (psycopg.Error, DjangoDatabaseError) as exc:
                    log.warning("replay could not beat", extra={"why": str(exc)})
                self._over.wait(BEAT_S)
        finally:
            connection.close()


def execute(run_id: int, told: Told, open_topic: Callable[[Stream], Any] = open_log) -> ReplayRun:
    """Take a waiting run up and carry it to its end; its row says how it went.

    Raises:
        LeptonError: as the row's error says; also when it was cancelled.
    """
    run = services.begin(run_id)
    question = asking.from_json(run.question)
    try:
        with Beats(run_id) as beats, reading_only() as raw:

            def tell(stage: str, done: int, total: int) -> None:
                beats.tell(stage, done, total)
                told(stage, done, total)

            result = replay(raw, question, tell, open_topic)
    except CancelledError:
        services.finish(run_id, ReplayRun.State.CANCELLED)
        raise
    except LeptonError as exc:
        services.finish(run_id, ReplayRun.State.FAILED, error=exc.detail)
        raise
    except KeyboardInterrupt:
        services.finish(run_id, ReplayRun.State.INTERRUPTED, error="Stopped by hand.")
        raise
    except BaseException as exc:
        services.finish(
            run_id,
            ReplayRun.State.FAILED,
            error=f"It failed by {type(exc).__name__}. The log of its process has the whole error.",
        )
        raise
    services.finish(run_id, ReplayRun.State.DONE, result=result, read=result["read"])
    return ReplayRun.objects.get(id=run_id)


@contextmanager
def reading_only() -> Iterator[RawConnection]:
    """A connection on which PostgreSQL itself refuses to write."""
    raw = raw_connection()
    raw.execute("SET default_transaction_read_only = on")
    try:
        yield raw
    finally:
        if not raw.closed:
            raw.execute("RESET default_transaction_read_only")


def replay(
    raw: RawConnection,
    question: Question,
    tell: Told,
    open_topic: Callable[[Stream], Any] = open_log,
) -> dict[str, Any]:
    """What a checked question comes to. Writes nothing."""
    started = clock.monotonic()
    _, stream = registry.stream(question.stream)
    tell("load", 0, 0)
    model = open_candidate(stream, question)
    comparison = Comparison(stream)
    tell("count", 0, 0)
    facts: dict[str, Any]
    if question.reads_topic:
        topic, topic_id = open_topic(stream)
        try:
            facts = _take_topic(raw, stream, question, topic, topic_id, comparison, model, tell)
        finally:
            topic.close()
    else:
        stored = StoredRows(raw, stream, question)
        if stored.oldest is not None:
            comparison.folding.begin(raw, stored.begins_at, stored.oldest)
        read = _take(raw, stream, stored.chunks(), stored.total, comparison, model, tell)
        facts = {"read": read, "topic": None, "other_schema": stored.other_schema}
    seconds = clock.monotonic() - started
    return {
        **comparison.result(),
        **facts,
        "model": {
            "name": stream.model_name,
            "version": model.number,
            "thresholds": dict(model.thresholds),
        },
        "seconds": round(seconds, 3),
        "rows_per_s": round(comparison.rows / seconds) if seconds else None,
    }


def _take_topic(
    raw: RawConnection,
    stream: Stream,
    question: Question,
    topic: Log,
    topic_id: Any,
    comparison: Comparison,
    model: ServedModel,
    tell: Told,
) -> dict[str, Any]:
    rows = TopicRows(raw, stream, question, topic, topic_id)
    read = _take(raw, stream, rows.chunks(), rows.total, comparison, model, tell)
    return {"read": read, "topic": rows.facts(), "other_schema": 0}


def _take(
    raw: RawConnection,
    stream: Stream,
    chunks: Iterator[tuple[Replayed, int]],
    total: int,
    comparison: Comparison,
    model: ServedModel,
    tell: Told,
) -> int:
    """Returns the number of rows or records read."""
    done = 0
    tell("score", done, total)
    for chunk, read in chunks:
        if len(chunk):
            _score(raw, stream, chunk, comparison, model)
        done += read
        tell("score", min(done, total), total)
    if done < total:  # retention was faster, or a topic began later than its broker said
        tell("score", total, total)
    return done


def _score(
    raw: RawConnection, stream: Stream, chunk: Replayed, comparison: Comparison, model: ServedModel
) -> None:
    """The same two functions that decide in a worker."""
    rows = Rows([], chunk.x_BF, [])
    s_B = pipeline.score(stream, rows, model)
    decided = pipeline.decide(stream, rows, s_B, model)
    comparison.add(raw, chunk, s_B, decided.outcome_B, model)
