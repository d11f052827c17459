"""From decoded records and entity states to decisions. Pure: no clock, no database, no broker.

The same functions run in the worker, over REST and when training sets are built.

Shape suffixes: B = rows, F = features, G = reasons.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lepton_apps.common.errors import LeptonError
from lepton_apps.common.identity import decision_digest
from lepton_apps.streaming.batch import Arrival, Origin
from lepton_apps.verticals.contract import Extraction, Loud, States, Stream, Tally

HOME_PARTITION = 0  # every topic has it
MAX_NAME = 100  # characters of an entity within the id of a decision that a tick made
MOST_FEATURES = 16  # of a reason: beyond, they are parts of something that only evidence can show


class Model(Protocol):
    """What the pipeline asks of a served model version."""

    @property
    def number(self) -> int: ...

    @property
    def thresholds(self) -> Mapping[str, float]: ...

    def score(self, x_BF: NDArray[np.float32]) -> NDArray[np.float64]: ...


class VerticalError(Exception):
    """A vertical raised one of the host's own errors; those are waited out, this is not."""


@contextmanager
def theirs() -> Iterator[None]:
    """Around every call of a vertical: what it raises is about the records it was given."""
    try:
        yield
    except LeptonError as exc:
        raise VerticalError(f"{type(exc).__name__}: {exc.detail}") from exc


@dataclass(slots=True)
class Working:
    """The states of a batch while it is taken through, and what has changed in them."""

    primary: dict[str, bytes]
    secondary: dict[str, dict[int, bytes]]
    knowledge: dict[str, bytes]
    due_at: dict[str, datetime | None] = field(default_factory=dict)
    partitions: dict[str, int | None] = field(default_factory=dict)
    changed_primary: dict[str, bytes] = field(default_factory=dict)
    changed_secondary: dict[tuple[str, int], bytes] = field(default_factory=dict)
    changed_due: set[str] = field(default_factory=set)
    learned: dict[str, bytes] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)

    def states(self) -> States:
        return States(self.primary, self.secondary, self.knowledge)

    def take(self, extraction: Extraction) -> None:
        """Let what an extraction changed be seen by the next one."""
        self.primary.update(extraction.primary)
        self.changed_primary.update(extraction.primary)
        for (key, shard), state in extraction.secondary.items():
            self.secondary.setdefault(key, {})[shard] = state
        self.changed_secondary.update(extraction.secondary)
        self.due_at.update(extraction.due_at)
        self.changed_due.update(extraction.due_at)
        fresh = {k: v for k, v in extraction.knowledge.items() if k not in self.knowledge}
        self.knowledge.update(fresh)
        self.learned.update(fresh)
        for id_, tally in extraction.tallies.items():
            before = self.tallies.get(id_)
            self.tallies[id_] = tally if before is None else before.plus(tally)


@dataclass(slots=True)
class TickGiven:
    """A tick of one partition, and the record it came before."""

    partition: int
    at: datetime
    before_offset: int
    by_clock: bool


@dataclass(slots=True)
class PartitionClock:
    """Event time of one partition: how far it has come, and the last tick that was given."""

    watermark: datetime | None = None
    last_tick: datetime | None = None

    def advance(self, occurred_at: datetime, every: timedelta | None) -> datetime | None:
        """Take a record's time in; the tick that falls due before this record, if any.

        However many ticks a jump passes over, only the newest is given: a clock that leaps must
        not make work without bound.
        """
        if self.watermark is not None and occurred_at <= self.watermark:
            return None
        self.watermark = occurred_at
        if every is None:
            return None
        at = floor(occurred_at, every)
        if self.last_tick is None:  # the first record starts the clock; nothing can be due yet
            self.last_tick = at
            return None
        if at <= self.last_tick:
            return None
        self.last_tick = at
        return at


def floor(at: datetime, every: timedelta) -> datetime:
    """The last multiple of ``every`` at or before ``at``."""
    epoch = datetime(1970, 1, 1, tzinfo=at.tzinfo)
    return epoch + (at - epoch) // every * every


def stacked(x_BF: NDArray[np.float32], more_BF: NDArray[np.float32]) -> NDArray[np.float32]:
    """Two feature matrices, one under the other."""
    return np.concatenate([x_BF, more_BF])


@dataclass(slots=True)
class Rows:
    """Feature rows and what each of them is about: a record, or an entity at a tick."""

    about: list[Arrival]
    x_BF: NDArray[np.float32]
    evidence: list[Any]  # of each row, None where the extractor gave none


def extract(
    stream: Stream,
    arrivals: Sequence[Arrival],
    working: Working,
    clocks: dict[int, PartitionClock],
) -> tuple[Rows, list[TickGiven]]:
    """Take arrivals in order, with the ticks that fall due between them."""
    about: list[Arrival] = []
    parts: list[NDArray[np.float32]] = []
    evidence: list[Any] = []
    ticks: list[TickGiven] = []

    def run(segment: Sequence[Arrival]) -> None:
        if not segment:
            return
        with theirs():
            extraction = stream.extractor.extract(
                [arrival.record for arrival in segment],
                [arrival.shard for arrival in segment],
                working.states(),
            )
        collect(extraction, segment)

    def collect(extraction: Extraction, sources: Sequence[Arrival]) -> None:
        check(stream, extraction)
        working.take(extraction)
        parts.append(extraction.x_BF)
        about.extend(sources[source] for source in extraction.source_B.tolist())
        evidence.extend(evidence_of(extraction))

    start = 0
    for index, arrival in enumerate(arrivals):
        if arrival.origin is None:
            continue
        clock = clocks.setdefault(arrival.origin.partition, PartitionClock())
        at = clock.advance(arrival.occurred_at, stream.tick)
        if stream.tick is not None:
            working.partitions[arrival.entity_key] = arrival.origin.partition
        if at is None:
            continue
        run(arrivals[start:index])
        start = index
        extraction, due = tick(stream, at, arrival.origin.partition, working)
        collect(extraction, [tick_arrival(stream, key, at, arrival.origin) for key in due])
        ticks.append(TickGiven(arrival.origin.partition, at, arrival.origin.offset, by_clock=False))
    run(arrivals[start:])
    width = len(stream.extractor.schema.names)
    x_BF = np.concatenate(parts) if parts else np.zeros((0, width), np.float32)
    return Rows(about, x_BF, evidence), ticks


def evidence_of(extraction: Extraction) -> Sequence[Any]:
    """One for each row."""
    return extraction.evidence or [None] * len(extraction.source_B)


def tick(
    stream: Stream, at: datetime, partition: int, working: Working
) -> tuple[Extraction, list[str]]:
    """Give a tick to the entities of a partition whose timers are due, in the order of timers.

    Entities that only REST has brought are those of HOME_PARTITION until Kafka brings them.
    """
    due = sorted(
        (due_at, key)
        for key, due_at in working.due_at.items()
        if due_at is not None and due_at <= at and home(working.partitions.get(key)) == partition
    )
    keys = [key for _, key in due]
    with theirs():
        extraction = stream.extractor.on_tick(at, keys, working.states())
    if extraction.secondary:
        raise ValueError(f"{stream.name}: on_tick may change main entities and knowledge alone.")
    return extraction, keys


def home(partition: int | None) -> int:
    """The partition whose ticks an entity is given."""
    return HOME_PARTITION if partition is None else partition


def tick_arrival(stream: Stream, entity_key: str, at: datetime, origin: Origin) -> Arrival:
    """What a decision made at a tick is recorded under: the entity and the tick's time."""
    name = entity_key
    if len(name) > MAX_NAME:  # an id has 200 characters
        name = hashlib.sha256(name.encode()).hexdigest()
    record_id = f"tick:{origin.topic_id}:{origin.partition}:{name}:{at.isoformat()}"
    payload = json.dumps({"tick": at.isoformat(), "entity_key": entity_key}).encode()
    key = decision_digest(stream.name, record_id)
    return Arrival(None, payload, record_id, key, entity_key, (), at, origin.partition, origin)


def check(stream: Stream, extraction: Extraction) -> None:
    """An extractor that breaks its word is a bug of ours, found at once and isolated."""
    rows, width = extraction.x_BF.shape
    expected = len(stream.extractor.schema.names)
    if width != expected or len(extraction.source_B) != rows:
        raise ValueError(
            f"{stream.name}: extracted {rows} x {width} features for {len(extraction.source_B)} "
            f"sources; the schema has {expected}."
        )
    if len(extraction.evidence) not in (0, rows):
        raise ValueError(
            f"{stream.name}: evidence of {len(extraction.evidence)} rows beside {rows} rows."
        )
    if not np.isfinite(extraction.x_BF).all():
        names = stream.extractor.schema.names
        column = int(np.argwhere(~np.isfinite(extraction.x_BF))[0][1])
        raise ValueError(f"{stream.name}: the feature {names[column]!r} is not finite.")


@dataclass(slots=True)
class Decided:
    """Rows with their scores and outcomes."""

    about: list[Arrival]
    x_BF: NDArray[np.float32]
    s_B: NDArray[np.float64]
    outcome_B: NDArray[np.int8]  # index into the policy's outcomes
    model_version: int  # its number, as people and clients know it
    evidence: list[Any]  # as the extractor gave it

    def loud(self) -> list[int]:
        """The rows that open or join an alert."""
        return np.flatnonzero(self.outcome_B).tolist()


def score(stream: Stream, rows: Rows, model: Model) -> NDArray[np.float64]:
    """Scores in [0, 1]; a model that answers anything else is refused here."""
    s_B = model.score(rows.x_BF) if len(rows.x_BF) else np.zeros(0)
    if s_B.shape != (len(rows.x_BF),) or not ((s_B >= 0) & (s_B <= 1)).all():
        raise ValueError(f"{stream.name}: the model gave scores outside [0, 1].")
    return s_B


def decide(stream: Stream, rows: Rows, s_B: NDArray[np.float64], model: Model) -> Decided:
    with theirs():
        outcome_B = stream.policy.decide(s_B, model.thresholds)
    return Decided(rows.about, rows.x_BF, s_B, outcome_B, model.number, rows.evidence)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a score is what it is: a code, its share in logits, and the features behind it."""

    code: str
    contribution: float
    features: tuple[dict[str, Any], ...]  # name, seen value, usual value

    def as_json(self) -> dict[str, Any]:
        return {
            "reason": self.code,
            "contribution": round(self.contribution, 4),
            "features": list(self.features),
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a row is loud. All contributions, shown or not, lead from ``base`` to ``log_odds``."""

    reasons: tuple[Reason, ...]  # the strongest
    base: float  # log odds of a usual row
    log_odds: float  # of this one


class Explainer(Model, Protocol):
    @property
    def reasons(self) -> tuple[str, ...]: ...

    @property
    def usual(self) -> NDArray[np.float32]: ...

    @property
    def base(self) -> float: ...

    def contributions(self, x_BF: NDArray[np.float32]) -> NDArray[np.float64]: ...

    def details(self, x_BF: NDArray[np.float32]) -> NDArray[np.float32]: ...


def gather(
    stream: Stream, decided: Decided, model: Explainer, knowledge: Mapping[str, bytes]
) -> dict[int, Mapping[str, Any]]:
    """What the alerts of the loud rows keep beside their reasons, by row."""
    loud = decided.loud()
    if stream.gather_evidence is None or not loud:
        return {}
    x_LF = decided.x_BF[loud]
    rows = [
        Loud(
            decided.about[row].entity_key,
            decided.about[row].occurred_at,
            decided.about[row].record,
            x_F,
            detail_D,
            decided.evidence[row],
        )
        for row, x_F, detail_D in zip(loud, x_LF, model.details(x_LF), strict=True)
    ]
    with theirs():
        return dict(zip(loud, stream.gather_evidence(rows, knowledge), strict=True))


def explain(
    stream: Stream, x_BF: NDArray[np.float32], model: Explainer, most: int = 5
) -> list[Explanation]:
    """The reasons that raise each row's score, strongest first; at least one for every row."""
    if not len(x_BF):
        return []
    schema = stream.extractor.schema
    columns: dict[str, list[int]] = {}
    for column, code in enumerate(schema.reasons):
        columns.setdefault(code, []).append(column)
    explained = []
    for x_F, c_G in zip(x_BF, model.contributions(x_BF), strict=True):
        order = np.argsort(-c_G, kind="stable")
        strongest = [int(g) for g in order[:most] if c_G[g] > 0] or [int(order[0])]
        reasons = [
            Reason(
                code,
                float(c_G[g]),
                tuple(
                    {
                        "name": schema.names[column],
                        "value": float(x_F[column]),
                        "usual": float(model.usual[column]),
                    }
                    for column in columns[code]
                    if len(columns[code]) <= MOST_FEATURES
                ),
            )
            for g in strongest
            for code in (model.reasons[g],)
        ]
        explained.append(Explanation(tuple(reasons), model.base, model.base + float(c_G.sum())))
    return explained


def repeats(arrivals: Sequence[Arrival], known: set[bytes]) -> tuple[list[Arrival], list[Arrival]]:
    """Split arrivals into first ones and repeats, of the past and of the batch itself."""
    seen = set(known)
    first: list[Arrival] = []
    again: list[Arrival] = []
    for arrival in arrivals:
        if arrival.key in seen:
            again.append(arrival)
        else:
            seen.add(arrival.key)
            first.append(arrival)
    return first, again
