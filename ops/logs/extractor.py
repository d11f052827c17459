"""Turns log lines into windows of events: what was said, how often, how fast, and what was new.

A line changes the memory of what it belongs to; a row tells of the newest 64 events of an entity
together. It is made when 64 events wait to be told of, or when event time passes on: a minute after
the last line, five minutes after the first one that waits. A row repeats events that were told of
before, up to 64, so a session is seen whole however slowly it comes. An entity that spoke
regularly and has fallen silent gets a row too, once.

Suffixes: B = rows, F = features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec
import numpy as np

from lepton_apps.verticals.contract import (
    Extraction,
    FeatureSchema,
    LabelledRecord,
    States,
    Tally,
)
from ops.logs.masking import masked, template_hashes
from ops.logs.records import LogLine
from ops.logs.states import KEPT_BYTES, KEPT_LINES, KEPT_LOUD, WINDOW, Entity, pack, unpack

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
ONE_MS: Final = timedelta(milliseconds=1)
TICK_MS: Final = 60_000
IDLE_MS: Final = 60_000  # this long after its last line an entity's window is told of
WAIT_MS: Final = 300_000  # no line waits longer than this
REGULAR_LINES: Final = 200  # an entity that has said so much
REGULAR_MS: Final = 1_800_000  # over so long is missed when it falls silent
SILENT_GAPS: Final = 40.0  # after so many of its usual gaps
SILENT_MS: Final = 180_000  # and at least so long
GAP_WEIGHT: Final = 1 / 64  # of the newest gap in the usual one
CODES: Final = 65_536  # a template is known to the model by 16 of its 64 bits
MAX_TEMPLATES: Final = 20_000  # of a stream; further ones are one template together
OTHER: Final = "0" * 16
OTHER_TEMPLATE: Final = "(a line of a template beyond the limit)"
MAX_TEMPLATE_CHARACTERS: Final = 400

ERROR_WORDS: Final = ("error", "fatal", "critical", "severe", "emerg", "panic", "exception")
WARNING_WORDS: Final = ("warn",)

NAMES: Final = (
    *(f"event_{place:02d}" for place in range(WINDOW)),
    "judged",  # how many of the events an earlier row has told of
    "new_templates",  # log1p of fresh events whose template the stream had never seen
    "errors",  # log1p of fresh events that say error or worse
    "warnings",
    "speed",  # log of the rate of the fresh events over the entity's usual one; 0: none known
    "silence",  # log of the silence over the usual gap, in rows that tell of one
)
REASONS: Final = (
    *("sequence" for _ in range(WINDOW)),
    "sequence",
    "new_template",
    "errors",
    "errors",
    "speed",
    "silence",
)
REASON_TEXTS: Final = {
    "sequence": "These lines do not follow each other as they usually do.",
    "new_template": "Lines of a kind that was never seen before.",
    "errors": "More errors or warnings than usual.",
    "speed": "Far more, or far fewer, lines than usual.",
    "silence": "Nothing has been heard of it, though it usually speaks all the time.",
}


class Template(msgspec.Struct, array_like=True, gc=False):
    """What a stream knows of one template."""

    text: str
    loudness: int  # 2: says error or worse, 1: warns, 0: neither


class Window(NamedTuple):
    """What a person may see of a row: all events with the text of some."""

    events: tuple[int, ...]
    judged: int
    lines: dict[int, bytes]  # by place in ``events``
    waiting: int  # ms since 1970
    newest: int
    gap: float  # ms
    silent_ms: int


_encode = msgspec.msgpack.Encoder().encode
_template = msgspec.msgpack.Decoder(Template).decode


def template_of(body: bytes) -> Template:
    """A template as it is kept in the stream's knowledge."""
    return _template(body)


def loudness(template: str) -> int:
    """Whether a template's words say error (2), warn (1), or neither. Found once a template."""
    lowered = template.lower()
    if any(word in lowered for word in ERROR_WORDS):
        return 2
    return int(any(word in lowered for word in WARNING_WORDS))


class LogExtractor:
    """Windows of log events. The entity is what the line's key says; there are no secondary ones."""

    def __init__(self) -> None:
        self._schema = FeatureSchema(1, NAMES, REASONS, {"window": WINDOW, "codes": CODES})
        self._loudness: dict[str, int] = {}  # of known templates; follows from their text alone

    @property
    def schema(self) -> FeatureSchema:
        return self._schema

    def entity_keys(self, record: LogLine) -> tuple[str, tuple[str, ...]]:
        return record.key, ()

    def label_keys(self, record: LogLine) -> tuple[str, ...]:
        return ()

    def apply_labels(
        self, labelled: Sequence[LabelledRecord], shard: int, states: States
    ) -> Extraction:
        """Labels of windows change no memory."""
        return Extraction(np.empty((0, len(NAMES)), np.float32), np.empty(0, np.int64))

    def extract(
        self, records: Sequence[LogLine], shards: Sequence[int], states: States
    ) -> Extraction:
        """Take lines in; a row for each window that became full by one of them."""
        made = _Made(states)
        entities: dict[str, Entity] = {}
        hashes = template_hashes([record.text for record in records]).tolist()
        known = states.knowledge
        for index, (record, hash_) in enumerate(zip(records, hashes, strict=True)):
            entity = entities.get(record.key)
            if entity is None:
                entity = entities[record.key] = unpack(states.primary.get(record.key))
            at = (record.at - EPOCH) // ONE_MS
            id_ = f"{hash_:016x}"
            if id_ not in known and id_ not in made.knowledge:
                id_, hash_ = self._learn(id_, hash_, record.text, made)
                is_new = id_ != OTHER
            else:
                is_new = False
            made.count(id_, at)
            loud = self._loudness.get(id_)
            if loud is None:
                loud = self._loudness_of(id_, made)
            _take_in(entity, hash_, at, record.text, loud, is_new)
            if len(entity.events) == WINDOW:
                made.row(index, entity, 0)
                _start_anew(entity)
        for key, entity in entities.items():
            made.keep(key, entity)
        return made.extraction()

    def on_tick(self, at: datetime, due: Sequence[str], states: States) -> Extraction:
        """A row for each entity whose lines have waited long enough, or that has fallen silent."""
        made = _Made(states)
        now = (at - EPOCH) // ONE_MS
        for index, key in enumerate(due):
            entity = unpack(states.primary.get(key))
            if _num_waiting(entity):
                made.row(index, entity, 0)
                _judge(entity)
                made.keep(key, entity)
            else:
                made.row(index, entity, max(now - entity.newest, 1))
                made.due_at[key] = None  # its next line sets the timer again
        return made.extraction()

    def _learn(self, id_: str, hash_: int, text: bytes, made: _Made) -> tuple[str, int]:
        """A template that was never seen; all of them beyond the limit are one."""
        if len(made.known) + len(made.knowledge) >= MAX_TEMPLATES:
            id_, hash_, template = OTHER, 0, OTHER_TEMPLATE
            if id_ in made.known or id_ in made.knowledge:
                return id_, hash_
        else:
            template = masked(text).replace("\0", "")[:MAX_TEMPLATE_CHARACTERS]
        made.knowledge[id_] = _encode(Template(template, loudness(template)))
        return id_, hash_

    def _loudness_of(self, id_: str, made: _Made) -> int:
        body = made.known.get(id_) or made.knowledge[id_]
        loud = self._loudness[id_] = _template(body).loudness
        return loud


class _Made:
    """What an extraction has made so far."""

    def __init__(self, states: States) -> None:
        self.known = states.knowledge
        self.knowledge: dict[str, bytes] = {}
        self.due_at: dict[str, datetime | None] = {}
        self._tallies: dict[str, list[int]] = {}
        self._primary: dict[str, bytes] = {}
        self._rows: list[list[float]] = []
        self._sources: list[int] = []
        self._windows: list[Window] = []

    def count(self, id_: str, at: int) -> None:
        tally = self._tallies.get(id_)
        if tally is None:
            self._tallies[id_] = [1, at, at]
            return
        tally[0] += 1
        if at < tally[1]:
            tally[1] = at
        elif at > tally[2]:
            tally[2] = at

    def row(self, source: int, entity: Entity, silent_ms: int) -> None:
        # A row of silence is about nothing else: its lines have been told of.
        codes = [] if silent_ms else [1 + event % CODES for event in entity.events]
        self._rows.append(
            [
                *codes,
                *[0] * (WINDOW - len(codes)),
                0 if silent_ms else entity.judged,
                math.log1p(entity.unseen),
                math.log1p(entity.errors),
                math.log1p(entity.warnings),
                _speed(entity),
                math.log(silent_ms / max(entity.gap, 1.0) + 1.0) if silent_ms else 0.0,
            ]
        )
        self._sources.append(source)
        self._windows.append(
            Window(
                tuple(entity.events),
                entity.judged,
                entity.lines | entity.loud,
                entity.waiting,
                entity.newest,
                entity.gap,
                silent_ms,
            )
        )

    def keep(self, key: str, entity: Entity) -> None:
        self._primary[key] = pack(entity)
        self.due_at[key] = _due_at(entity)

    def extraction(self) -> Extraction:
        x_BF = np.array(self._rows, np.float32).reshape(len(self._rows), len(NAMES))
        return Extraction(
            x_BF,
            np.array(self._sources, np.int64),
            primary=self._primary,
            due_at=self.due_at,
            knowledge=self.knowledge,
            tallies={
                id_: Tally(count, EPOCH + first * ONE_MS, EPOCH + last * ONE_MS)
                for id_, (count, first, last) in self._tallies.items()
            },
            evidence=self._windows,
        )


def _take_in(entity: Entity, event: int, at: int, text: bytes, loud: int, is_new: bool) -> None:
    """Remember one more line. Lines that come out of order move no clock back."""
    if entity.seen:
        gap = max(at - entity.newest, 0)
        weight = max(GAP_WEIGHT, 1 / entity.seen)
        entity.gap += (gap - entity.gap) * weight
    else:
        entity.born = at
    entity.seen += 1
    if entity.judged == len(entity.events):
        entity.waiting = at
    entity.newest = max(entity.newest, at)
    entity.unseen += is_new
    entity.errors += loud == 2
    entity.warnings += loud == 1
    place = len(entity.events)
    entity.events.append(event)
    if (loud or is_new) and len(entity.loud) < KEPT_LOUD:
        entity.loud[place] = text[:KEPT_BYTES]
        return
    entity.lines[place] = text[:KEPT_BYTES]
    if len(entity.lines) > KEPT_LINES:
        del entity.lines[next(iter(entity.lines))]


def _num_waiting(entity: Entity) -> int:
    return len(entity.events) - entity.judged


def _judge(entity: Entity) -> None:
    """A row has told of all events; they stay, as what went before the next ones."""
    entity.judged = len(entity.events)
    entity.waiting = entity.unseen = entity.errors = entity.warnings = 0


def _start_anew(entity: Entity) -> None:
    """The window is full and told of: the next line begins another."""
    _judge(entity)
    entity.events, entity.judged, entity.lines, entity.loud = [], 0, {}, {}


def _speed(entity: Entity) -> float:
    """Log of the fresh events' rate over the usual one; 0 where too little is known of either."""
    fresh = _num_waiting(entity)
    if entity.seen < REGULAR_LINES or fresh < 2:
        return 0.0
    gap = max((entity.newest - entity.waiting) / fresh, 0.5)
    return math.log(max(entity.gap, 0.5) / gap)


def _due_at(entity: Entity) -> datetime | None:
    """When event time makes the next row of this entity, if no line does before."""
    if _num_waiting(entity):
        due = min(entity.newest + IDLE_MS, entity.waiting + WAIT_MS)
    elif entity.seen >= REGULAR_LINES and entity.newest - entity.born >= REGULAR_MS:
        due = entity.newest + int(max(SILENT_GAPS * entity.gap, SILENT_MS))
    else:
        return None
    # Ticks come by the minute; a time that stays the same costs the database no index entry.
    return EPOCH + -(-due // TICK_MS) * TICK_MS * ONE_MS
