"""What a vertical promises to the host. With ``insight`` and ``common`` all that verticals import.

Shape suffixes: B = rows of a batch, F = features.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from lepton_apps.verticals.insight import AskedAlert, Declaration, Insight, Surroundings

if TYPE_CHECKING:
    from models_core.tuned import Tuned


class Severity(StrEnum):
    """How loud an alert is, quietest first."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class FeatureSchema:
    """The columns of a feature matrix, in order. Two schemas are one when their hashes are."""

    version: int  # raise it when the meaning of a feature changes under the same name
    names: tuple[str, ...]
    reasons: tuple[str, ...]  # the reason code that each feature speaks for, same length
    parameters: Mapping[str, Any] = field(default_factory=dict)  # what else shapes the numbers
    # Columns that move by themselves, as calendars and ages do: no drift is seen in them.
    moving: frozenset[str] = field(default=frozenset(), compare=False)
    # 16 hex digits over version, names and parameters; models and states carry it.
    hash: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.names) != len(self.reasons):
            raise ValueError(f"{len(self.names)} features but {len(self.reasons)} reasons.")
        if len(set(self.names)) != len(self.names):
            raise ValueError("Two features share a name.")
        if unknown := self.moving - set(self.names):
            raise ValueError(f"moving names {sorted(unknown)}, which are no features.")
        body = json.dumps([self.version, self.names, dict(self.parameters)], sort_keys=True)
        object.__setattr__(self, "hash", hashlib.sha256(body.encode()).hexdigest()[:16])


@dataclass(slots=True)
class States:
    """What the host remembers of the entities of one batch. Extractors read it, never write it."""

    primary: Mapping[str, bytes]  # packed state by entity key; a new entity is absent
    secondary: Mapping[str, Mapping[int, bytes]]  # by entity key, then by shard; merged on reading
    knowledge: Mapping[str, bytes]  # what the whole stream has learned, by content-made id


class Tally(NamedTuple):
    """How often something known was met, and when: added up over all writers."""

    times: int
    first: datetime  # event time
    last: datetime

    def plus(self, other: Tally) -> Tally:
        return Tally(
            self.times + other.times, min(self.first, other.first), max(self.last, other.last)
        )


@dataclass(slots=True)
class Extraction:
    """What one call of an extractor made: rows to score, and what changed.

    A record need not make a row: it may only change the memory of its entity, and a later one, or
    a tick, makes the row of them all. No record makes two.
    """

    x_BF: NDArray[np.float32]
    source_B: NDArray[np.int64]  # the index of the record (or due entity) each row is about
    primary: dict[str, bytes] = field(default_factory=dict)
    secondary: dict[tuple[str, int], bytes] = field(default_factory=dict)  # (entity key, shard)
    due_at: dict[str, datetime | None] = field(default_factory=dict)  # timers set or cleared
    knowledge: dict[str, bytes] = field(default_factory=dict)  # newly learned
    tallies: dict[str, Tally] = field(default_factory=dict)  # by knowledge id: what was met
    # What a person should see of each row beside its features; empty where there is nothing.
    evidence: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class LabelledRecord:
    """A record whose truth changed: what an extractor needs to keep label risk up to date."""

    record: Any
    at: datetime  # the moment the label counts from, before the extractor's own delay
    change: int  # +1: is now known positive; -1: is known positive no longer


class Extractor(Protocol):
    """Turns records and entity states into features. Pure: no clock, no I/O, no randomness.

    ``extract`` must give the same rows and states however the records are cut into batches.
    """

    @property
    def schema(self) -> FeatureSchema: ...

    def entity_keys(self, record: Any) -> tuple[str, tuple[str, ...]]:
        """The main entity's key (also the Kafka key), and those of the secondary entities."""
        ...

    def extract(self, records: Sequence[Any], shards: Sequence[int], states: States) -> Extraction:
        """Take records in order of arrival; ``shards[i]`` is the writer's shard for record i.

        Only the shard of a record's writer may be changed in ``secondary``; all shards of an
        entity are merged for reading, so the merge must be commutative.
        """
        ...

    def on_tick(self, at: datetime, due: Sequence[str], states: States) -> Extraction:
        """Event time reached ``at``; ``due`` are the entities whose timer is at or before it.

        It may change these entities, their timers and knowledge, and no secondary entity: those
        belong to records, which have a shard.
        """
        ...

    def apply_labels(
        self, labelled: Sequence[LabelledRecord], shard: int, states: States
    ) -> Extraction:
        """Change label-risk state; returns no rows. Streams without label features change nothing."""
        ...

    def label_keys(self, record: Any) -> tuple[str, ...]:
        """The secondary entities of a record that ``apply_labels`` writes, and nothing else does.

        They are loaded for ``extract`` too, beside those that ``entity_keys`` names.
        """
        ...


class Policy(Protocol):
    """From score to outcome: total (answers every score in [0, 1]) and monotone."""

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Mildest first. The first one opens no alert, every other does."""
        ...

    @property
    def thresholds(self) -> tuple[str, ...]:
        """Names of the thresholds that a model version must bring, loosest first."""
        ...

    def decide(self, s_B: NDArray[np.float64], thresholds: Mapping[str, float]) -> NDArray[np.int8]:
        """The index into ``outcomes`` for each score."""
        ...

    def severity(self, outcome: str, score: float) -> Severity: ...


class Message(NamedTuple):
    """What came over Kafka, or in a request, which has neither key nor time."""

    value: bytes
    key: bytes | None = None
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Loud:
    """A row that opens or joins an alert."""

    entity_key: str
    at: datetime  # event time
    record: Any  # None: a tick made the row
    x_F: NDArray[np.float32]
    detail_D: NDArray[np.float32]  # what the model says beside its score; empty for most
    evidence: Any  # as the extractor gave it, or None


@dataclass(frozen=True, slots=True)
class AlertText:
    """How an alert reads to a person: one line, and a sentence for each reason code."""

    title: str
    facts: tuple[tuple[str, str], ...]  # label and value, the most telling first


@dataclass(frozen=True, slots=True)
class Panel:
    """A vertical's block on a console page: a template and the function that fills it."""

    key: str
    title: str
    template: str
    load: Callable[[], Mapping[str, Any]]  # a fixed number of queries, whatever the data


@dataclass(frozen=True, slots=True)
class EvidenceView:
    """How the page of an alert shows its evidence: a template, and what fills it."""

    template: str
    context: Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Trained:
    """What a recipe hands to the registry: an artifact's files and what is said of it."""

    files: Mapping[str, bytes]  # manifest.json, model.safetensors, model.onnx, ...
    metrics: Mapping[str, float]
    baseline: Mapping[str, Mapping[str, float]]
    # Rows decided from then on, in seconds since 1970, were only measured: a fair comparison begins
    # there. None: there are none, or their time is not this server's.
    measured_from: float | None = None


class Progress(Protocol):
    """How long work tells what it does: a stage's name, and how much of it is done."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


@dataclass(frozen=True, eq=False, slots=True)
class History:
    """Rows of a stream as they were decided, in that order, and what became known of them.

    Shape suffixes: N = rows, F = features of the stream's schema.
    """

    x_NF: NDArray[np.float32]
    at_N: NDArray[np.float64]  # of the decision, seconds since 1970
    entity_N: Sequence[str]
    positive_N: NDArray[np.bool_]  # by the newest label; without one, not
    # Of a file's rows: whether it says. Of decisions only those are there whose delay is over.
    known_N: NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class Fitting:
    """What a recipe is run with. Called, it tells progress."""

    progress: Progress
    device: str = "auto"  # "cpu", "cuda": as of ``models_core.FitRecipe``
    history: History | None = None  # of a recipe that learns from it
    settings: Mapping[str, Any] = field(default_factory=dict)  # found by a search: by name

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.progress(stage, done, total)


@dataclass(frozen=True, slots=True)
class Search:
    """How a recipe's settings are searched: see ``models_core.tune``."""

    trials: int
    study: str
    storage: str | Path | None


@dataclass(frozen=True, slots=True)
class TrainingRecipe:
    """A declared way to make a model. ``run`` may take minutes and tells its progress."""

    name: str
    stream: str
    summary: str
    run: Callable[[Fitting], Trained]
    learns_history: bool = False  # from the server's own rows, which ``Fitting.history`` has
    # Of a recipe that learns from history: a row without a label is known to be nothing after it.
    label_delay: timedelta = timedelta(days=7)
    tune: Callable[[Fitting, Search], Tuned] | None = None  # None: there is nothing to search


class Money(NamedTuple):
    """What a record is worth. Sums keep the decimals, so give those of the currency's own unit."""

    amount: Decimal  # in units of the currency, with all of its decimals: 12.50, not 12.5
    currency: str


@dataclass(frozen=True, slots=True)
class Stream:
    """A topic of records to score."""

    name: str  # "<vertical>.<noun>", unique in the server
    record_type: type[msgspec.Struct]
    extractor: Extractor
    policy: Policy
    model_name: str
    record_id: Callable[[Any], str | None]  # None: the record is known by its place in the log
    occurred_at: Callable[[Any], datetime]
    partitions: int = 4
    version: int = 1
    fold: timedelta = timedelta(minutes=10)  # alerts of one entity and reason fold this long
    tick: timedelta | None = None  # event time between ticks; None: no ticks
    max_ahead: timedelta = timedelta(days=1)  # a record further in the future is refused
    # A message to a record, where JSON of ``record_type`` is not all that comes. Raises
    # ``msgspec.MsgspecError`` with the field's path, or ``UnicodeDecodeError``.
    from_message: Callable[[Message], Any] | None = None
    plain_lines: bool = False  # a message that is no JSON object is a line of text
    # What a record is worth, so that a replay can say what was caught. None: nothing to count.
    amount: Callable[[Any], Money | None] | None = None
    # Loud rows, with what the stream knows, to what their alerts keep: JSON, one for each row.
    gather_evidence: (
        Callable[[Sequence[Loud], Mapping[str, bytes]], Sequence[Mapping[str, Any]]] | None
    ) = None

    @property
    def topic(self) -> str:
        return f"{self.name}.v{self.version}"


@dataclass(frozen=True, slots=True)
class LabelStream:
    """A topic of truths about the records of a scored stream. No policy, no model."""

    name: str
    labels: str  # the scored stream whose records it names
    record_type: type[msgspec.Struct]
    record_id: Callable[[Any], str]
    is_positive: Callable[[Any], bool]
    kind: Callable[[Any], str]  # "chargeback", "verdict", ...
    labelled_at: Callable[[Any], datetime]
    partitions: int = 1
    version: int = 1

    @property
    def topic(self) -> str:
        return f"{self.name}.v{self.version}"


@dataclass(frozen=True, slots=True)
class SimulatedRecord:
    """One record as a producer would send it, in event-time order."""

    topic: str
    key: str
    value: bytes
    occurred_at: datetime


class Simulator(Protocol):
    """Makes the records of a small world: seeded, endless, in event-time order."""

    def __call__(
        self, *, seed: int, start: datetime, records_per_s: float
    ) -> Iterator[SimulatedRecord]: ...


@dataclass(frozen=True, slots=True)
class Vertical:
    """Everything the host knows of a vertical app. One value, ``VERTICAL``, in its vertical.py."""

    key: str
    title: str
    case_noun: str
    streams: tuple[Stream, ...]
    label_streams: tuple[LabelStream, ...]
    reason_texts: Mapping[str, str]  # reason code -> sentence for an operator
    # (stream name, record, evidence) -> text; no record: a tick opened the alert.
    render_alert: Callable[[str, Any, Mapping[str, Any]], AlertText]
    recipes: tuple[TrainingRecipe, ...] = ()
    panels: tuple[Panel, ...] = ()
    evidence_view: EvidenceView | None = None
    api_urls: str | None = None  # dotted path of a urlconf, mounted under /api/v1/<key>/
    simulate: Simulator | None = None  # feeds the demo, the tests and the starter model
    fixtures: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)  # stream -> payloads
    declarations: tuple[Declaration, ...] = ()  # what people tell it that no record says
    # Called when somebody looks at an alert: its likely origin, and steps to take. Pure but for
    # what it reads through ``Surroundings``, a fixed number of calls; within some 300 ms.
    look_into: Callable[[AskedAlert, Surroundings], Insight] | None = None

    @property
    def all_streams(self) -> tuple[Stream | LabelStream, ...]:
        """Streams of both kinds, those to score first."""
        return (*self.streams, *self.label_streams)
