"""What REST, console and commands may ask of the spine: score, decide, redrive, discard, resume."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from typing import Any

from django.contrib.auth.models import User

from lepton_apps.alerts.summary import moment, reason_text
from lepton_apps.audit import services as audit
from lepton_apps.common import clock
from lepton_apps.common.db import RawConnection, raw_connection, transaction
from lepton_apps.common.errors import (
    LeptonError,
    NotFoundError,
    RecordRefusedError,
    UnavailableError,
)
from lepton_apps.common.metrics import BATCH_REDONE, RECORDS
from lepton_apps.streaming import selectors
from lepton_apps.streaming.batch import REST_SHARD, Arrival, Batch
from lepton_apps.streaming.kafka import Producer
from lepton_apps.streaming.loading import load_knowledge
from lepton_apps.streaming.loop import OUTSIDE, RECORD_FAULTS
from lepton_apps.streaming.models import DeadLetter, StreamHalt
from lepton_apps.streaming.path import StreamPath, Taken
from lepton_apps.streaming.source import ORIGIN_HEADER
from lepton_apps.streaming.store import ConflictError
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import Message

log = logging.getLogger(__name__)

ATTEMPTS = 20
KNOWLEDGE_S = 3.0  # what workers have learned is asked for again after so long
TURN_S = 0.5
WHAT_IF = "what-if"  # the place of a record that is asked about and not kept
TAKE_TURN = "SELECT pg_try_advisory_lock(hashtextextended(%s, 1))"
END_TURN = "SELECT pg_advisory_unlock(hashtextextended(%s, 1))"


class DeadLetterSettledError(LeptonError):
    """Somebody has redriven or discarded it already."""

    code = "dead_letter_already_settled"
    status = 409


class RecordNotProcessedError(LeptonError):
    """A record that decodes, and that extractor, model or database cannot take."""

    code = "record_not_processed"
    status = 422


class NotHaltedError(LeptonError):
    code = "stream_not_halted"
    status = 409


class SharedPath(StreamPath):
    """The way of a stream for all threads of a web process. It caches no states."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._knowledge_until = clock.monotonic()

    def learn(self, raw: RawConnection) -> None:
        """Take up what the whole stream has learned; a worker does so with its partitions."""
        at = clock.monotonic()
        if at >= self._knowledge_until:
            self.knowledge = load_knowledge(raw, self.stream)
            self._knowledge_until = at + KNOWLEDGE_S


@cache
def path_of(stream: str) -> SharedPath:
    return SharedPath(stream)


def warm_up() -> None:
    """Load what the first decision of each stream would wait for. Needs no champion."""
    for vertical in registry.verticals():
        for stream in vertical.streams:
            path = path_of(stream.name)
            path.warm_up()
            with suppress(UnavailableError):  # no champion yet
                path.models.current()


def score(stream: str, payloads: Sequence[bytes]) -> list[dict[str, Any]]:
    """What would be decided on these records now. Writes nothing, and repeats are scored too."""
    path = path_of(stream)
    arrivals = decode_all(path, payloads, WHAT_IF)
    raw = raw_connection()
    path.learn(raw)
    with blamed(path, arrivals):
        taken = path.take(raw, Batch(arrivals), {}, durable=False)
    return _fresh(path, taken)


def decide(stream: str, payloads: Sequence[bytes]) -> list[dict[str, Any]]:
    """Decide on these records and keep the decisions; a record decided before keeps its first.

    Raises:
        RecordRefusedError, RecordNotProcessedError: one of them cannot be used; none was decided.
        UnavailableError: no model, or other writers were faster again and again.
    """
    path = path_of(stream)
    arrivals = decode_all(path, payloads)
    raw = raw_connection()
    path.learn(raw)
    for attempt in range(ATTEMPTS):
        try:
            with blamed(path, arrivals), in_turn(raw, stream) if attempt else nullcontext():
                taken = path.take(raw, Batch(arrivals), {})
        except ConflictError:
            BATCH_REDONE.labels(stream, "conflict").inc()
            continue
        RECORDS.labels(stream, "decided").inc(len(arrivals) - len(taken.repeated))
        RECORDS.labels(stream, "repeated").inc(len(taken.repeated))
        return answers(path, taken, arrivals)
    raise UnavailableError(
        f"{stream}: other writers were faster {ATTEMPTS} times in a row. Try again.", stream=stream
    )


@contextmanager
def blamed(path: SharedPath, arrivals: Sequence[Arrival]) -> Iterator[None]:
    """What fails because of a record names it, as a worker would set it aside by itself."""
    try:
        yield
    except RECORD_FAULTS as exc:
        raise _not_processed(path, arrivals, exc) from exc
    except OUTSIDE:
        raise
    except Exception as exc:
        raise _not_processed(path, arrivals, exc) from exc


def _not_processed(
    path: SharedPath, arrivals: Sequence[Arrival], error: Exception
) -> RecordNotProcessedError:
    """The first record that fails alone; without one, the request as a whole."""
    stream = path.stream.name
    log.error("record not processed", extra={"stream": stream}, exc_info=error)
    for index, arrival in enumerate(arrivals if len(arrivals) > 1 else ()):
        try:
            path.take(raw_connection(), Batch([arrival]), {}, durable=False)
        except OUTSIDE:
            break
        except Exception as exc:  # noqa: BLE001 - as above
            return _named(arrival, exc, index=index)
    if len(arrivals) == 1:
        return _named(arrivals[0], error)
    return RecordNotProcessedError(
        f"{stream} could not take these records together: {type(error).__name__}. Send them one "
        "by one; the server's log has the whole error."
    )


def _named(arrival: Arrival, error: Exception, **where: int) -> RecordNotProcessedError:
    return RecordNotProcessedError(
        f"The record {arrival.record_id!r} could not be processed: {type(error).__name__}. The "
        "server's log has the whole error.",
        record_id=arrival.record_id,
        **where,
    )


@contextmanager
def in_turn(raw: RawConnection, stream: str) -> Iterator[None]:
    """Let those whose first try met another writer go one after the other.

    Nothing depends on the lock but fairness: after ``TURN_S`` it is tried without, so that a
    process that is paused with the turn in its hands holds nobody up.
    """
    until = clock.monotonic() + TURN_S
    ours = False
    while not ours and clock.monotonic() < until:
        (ours,) = raw.execute(TAKE_TURN, [stream]).fetchone() or (False,)
        if not ours:
            clock.sleep(0.002)
    try:
        yield
    finally:
        if ours and not raw.closed:
            raw.execute(END_TURN, [stream])


def decode_all(path: StreamPath, payloads: Sequence[bytes], place: str = "") -> list[Arrival]:
    """Decode a request's records; the first refusal names its index.

    Without a ``place`` every record must have an id of its own: a decision is kept under it.
    """
    arrivals = []
    now = clock.now()
    for index, payload in enumerate(payloads):
        try:
            arrivals.append(
                path.decoder.arrival(
                    Message(payload), now, REST_SHARD, None, place and f"{place}:{index}"
                )
            )
        except RecordRefusedError as exc:
            exc.data["index"] = index
            raise
    return arrivals


def answers(path: StreamPath, taken: Taken, arrivals: Sequence[Arrival]) -> list[dict[str, Any]]:
    """One answer for each record, in the order they were given."""
    by_key = {answer["decision_id"]: answer for answer in _fresh(path, taken)}
    before = {arrival.decision_id for arrival in taken.repeated}
    past = [key for key in before if str(key) not in by_key]
    for decision in selectors.decisions(past) if past else ():
        by_key[str(decision.id)] = _kept(path, decision)
    found = []
    given: set[str] = set()
    for arrival in arrivals:
        key = str(arrival.decision_id)
        answer = by_key.get(key)
        if answer is None:  # decided before, and dropped by retention since
            raise NotFoundError(
                f"The record {arrival.record_id!r} was decided, but the decision is past its "
                "retention.",
                record_id=arrival.record_id,
            )
        found.append({**answer, "repeated": answer["repeated"] or key in given})
        given.add(key)
    return found


def _fresh(path: StreamPath, taken: Taken) -> list[dict[str, Any]]:
    decided = taken.result.decided
    if decided is None:
        return []
    policy = path.stream.policy
    rows = []
    for row, about in enumerate(decided.about):
        outcome = policy.outcomes[int(decided.outcome_B[row])]
        value = float(decided.s_B[row])
        reasons = taken.reasons.get(row, ())
        rows.append(
            {
                "record_id": about.record_id,
                "decision_id": str(about.decision_id),
                "entity_key": about.entity_key,
                "score": value,
                "outcome": outcome,
                "severity": str(policy.severity(outcome, value)) if reasons else None,
                "reasons": [
                    {
                        "reason": reason.code,
                        "text": reason_text(path.vertical.key, reason.code),
                        "contribution": round(reason.contribution, 4),
                    }
                    for reason in reasons
                ],
                "model_version": decided.model_version,
                "decided_at": moment(taken.result.now),
                "alert_id": taken.result.alerts.alert_of_row.get(row),
                "repeated": False,
            }
        )
    return rows


def _kept(path: StreamPath, decision: Any) -> dict[str, Any]:
    """The answer of a decision made earlier. Reasons are known if it opened its alert."""
    policy = path.stream.policy
    quiet = decision.outcome == policy.outcomes[0]
    return {
        "record_id": decision.record_id,
        "decision_id": str(decision.id),
        "entity_key": decision.entity_key,
        "score": decision.score,
        "outcome": decision.outcome,
        "severity": None if quiet else str(policy.severity(decision.outcome, decision.score)),
        "reasons": selectors.reasons_of(path.vertical.key, decision),
        "model_version": decision.model_version,
        "decided_at": moment(decision.decided_at),
        "alert_id": decision.alert_id,
        "repeated": True,
    }


def redrive(dead_letter_id: int, actor: User | None, payload: bytes | None = None) -> DeadLetter:
    """Put a dead letter back into its topic, as it was or mended; once.

    The record goes out before the letter is marked: a crash in between may send it twice, which
    the record's identity makes harmless. A record without an id keeps that of its first place.
    """
    letter = _open_letter(dead_letter_id)
    producer = Producer(linger_ms=0)
    try:
        send_again(producer, letter, payload)
        producer.flush()
    finally:
        producer.close()
    return settle(letter, DeadLetter.Status.REDRIVEN, actor, edited=payload is not None)


def send_again(producer: Producer, letter: DeadLetter, payload: bytes | None = None) -> None:
    """Hand a letter's record to a producer, as it was or mended. Nothing is marked yet."""
    origin = f"{letter.topic_id}:{letter.partition}:{letter.offset}".encode()
    headers = [(name, bytes.fromhex(value)) for name, value in letter.headers]
    if not any(name == ORIGIN_HEADER and value for name, value in headers):
        headers.append((ORIGIN_HEADER, origin))
    value = payload if payload is not None else letter.payload
    key = None if letter.key is None else bytes(letter.key)
    # The same partition: records of an entity stay in one.
    producer.send(
        letter.topic,
        None if value is None else bytes(value),
        key,
        headers,
        partition=letter.partition,
    )


def discard(dead_letter_id: int, actor: User | None) -> DeadLetter:
    """Say that a dead letter needs no further work. Its bytes stay until retention."""
    return settle(_open_letter(dead_letter_id), DeadLetter.Status.DISCARDED, actor)


def _open_letter(dead_letter_id: int) -> DeadLetter:
    letter = DeadLetter.objects.filter(id=dead_letter_id).first()
    if letter is None:
        raise NotFoundError(f"There is no dead letter {dead_letter_id}.")
    if letter.status != DeadLetter.Status.NEW:
        raise _settled(letter)
    return letter


def _settled(letter: DeadLetter) -> DeadLetterSettledError:
    return DeadLetterSettledError(
        f"Dead letter {letter.id} was already {letter.status} by {letter.status_by}.",
        dead_letter_id=letter.id,
        status=letter.status,
    )


def settle(
    letter: DeadLetter, status: DeadLetter.Status, actor: User | None, **data: Any
) -> DeadLetter:
    """Mark a dead letter; raises DeadLetterSettledError when somebody was faster."""
    by = audit.SERVER if actor is None else actor.get_username()
    with transaction(raw_connection()):
        changed = DeadLetter.objects.filter(
            id=letter.id, failed_at=letter.failed_at, status=DeadLetter.Status.NEW
        ).update(status=status, status_at=clock.now(), status_by=by)
        letter = DeadLetter.objects.get(id=letter.id, failed_at=letter.failed_at)
        if changed != 1:
            raise _settled(letter)
        audit.record(
            actor,
            f"dead_letter.{status}",
            f"dead_letter:{letter.id}",
            vertical=letter.stream.partition(".")[0],
            **data,
        )
    return letter


def resume(stream: str, actor: User | None) -> StreamHalt:
    """Let a halted stream go on; what it cannot use becomes dead letters again."""
    now = clock.now()
    by = audit.SERVER if actor is None else actor.get_username()
    with transaction(raw_connection()):
        halt = StreamHalt.objects.filter(stream=stream, resumed_at=None).first()
        if halt is None:
            raise NotHaltedError(f"{stream} is not halted.", stream=stream)
        StreamHalt.objects.filter(pk=halt.pk).update(resumed_at=now, resumed_by=by)
        audit.record(actor, "stream.resumed", f"stream:{stream}", vertical=stream.partition(".")[0])
    halt.resumed_at, halt.resumed_by = now, by
    return halt
