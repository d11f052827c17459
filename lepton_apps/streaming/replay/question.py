"""What a replay is asked: which records, through which model version, with which thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

import msgspec

from lepton_apps.common import clock
from lepton_apps.common.errors import LeptonError
from lepton_apps.model_registry import selectors as models
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import Stream

UNITS = {"m": "minutes", "h": "hours", "d": "days"}
BY = ("decided_at", "occurred_at")


class ReplayRefusedError(LeptonError):
    """Something about what was asked; ``field`` says which part of it."""

    code: ClassVar[str] = "replay_refused"
    status: ClassVar[int] = 400


class Question(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Either a span of stored decisions (``since``), or a topic from a place or a time on."""

    stream: str
    version: int | None = None  # None: the champion of the moment
    thresholds: dict[str, float] = {}  # those that differ from those in force
    since: datetime | None = None
    until: datetime | None = None  # exclusive; None: the moment of asking
    by: Literal["decided_at", "occurred_at"] = "decided_at"
    from_offset: int | None = None  # in every partition
    from_offsets: dict[int, int] | None = None  # in these partitions alone
    from_time: datetime | None = None  # of messages, as the broker has it
    limit: int | None = None  # rows or records, oldest first

    @property
    def reads_topic(self) -> bool:
        return any(
            each is not None for each in (self.from_offset, self.from_offsets, self.from_time)
        )


def refused(field: str, detail: str) -> ReplayRefusedError:
    return ReplayRefusedError(
        detail, field=field, errors=[{"path": field, "code": "invalid", "detail": detail}]
    )


def checked(asked: Question) -> Question:
    """The question with everything named that was left open.

    Raises:
        ReplayRefusedError: something cannot be; the sentence names the value and the way out.
        NotFoundError: there is no such model version.
    """
    try:
        _, stream = registry.stream(asked.stream)
    except LookupError as exc:
        raise refused("stream", str(exc)) from exc
    if asked.limit is not None and asked.limit < 1:
        raise refused("limit", f"limit {asked.limit} is below 1; leave it out to take all rows.")
    _check_thresholds(asked, stream)
    version = asked.version
    if version is None:
        champion = models.champion(stream.model_name)
        if champion is None:
            raise refused(
                "version", f"{stream.name} has no champion; name a version, or train one first."
            )
        version = champion.number
    found = models.version(stream.model_name, version)
    if found.schema_hash != stream.extractor.schema.hash:
        raise refused(
            "version",
            f"Version {version} was trained on features of schema {found.schema_hash}, but "
            f"{stream.name} extracts schema {stream.extractor.schema.hash}. Choose a version of "
            "that schema.",
        )
    checked_span = _topic(asked) if asked.reads_topic else _span(asked)
    return msgspec.structs.replace(checked_span, version=version)


def _check_thresholds(asked: Question, stream: Stream) -> None:
    for name, value in asked.thresholds.items():
        if name not in stream.policy.thresholds:
            there = ", ".join(stream.policy.thresholds)
            raise refused("thresholds", f"{stream.name} has no threshold {name!r}; it has {there}.")
        if not 0 <= value <= 1:
            raise refused("thresholds", f"The threshold {name}={value} is not between 0 and 1.")


def _span(asked: Question) -> Question:
    if asked.since is None:
        raise refused(
            "since",
            "Say where to begin: since, or from_offset or from_time to read the topic.",
        )
    until = asked.until or clock.now()
    if until <= asked.since:
        raise refused(
            "until",
            f"The span from {asked.since.isoformat()} to {until.isoformat()} is empty.",
        )
    return msgspec.structs.replace(asked, until=until)


def _topic(asked: Question) -> Question:
    given = [
        name for name in ("from_offset", "from_offsets", "from_time")
        if getattr(asked, name) is not None
    ]  # fmt: skip
    if len(given) > 1:
        raise refused(given[1], f"{given[0]} and {given[1]} name two beginnings; give one.")
    if asked.since is not None or asked.until is not None:
        raise refused("since", f"since and until are of stored decisions, {given[0]} of the topic.")
    offsets = list((asked.from_offsets or {}).values())
    if asked.from_offset is not None:
        offsets.append(asked.from_offset)
    if asked.from_offsets == {}:
        raise refused("from_offsets", "from_offsets names no partition.")
    if any(offset < 0 for offset in offsets):
        raise refused(given[0], f"The offset {min(offsets)} is below 0.")
    return asked


def parse_moment(field: str, text: str) -> datetime:
    """``2026-03-01T10:00:00Z``, or an age: ``90m``, ``24h``, ``7d`` ago."""
    number, unit = text[:-1], text[-1:]
    if number.isascii() and number.isdigit() and len(number) < 6 and unit in UNITS:
        return clock.now() - timedelta(**{UNITS[unit]: int(number)})
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise refused(
            field, f"{text[:40]!r} is no time; write 2026-03-01T10:00:00Z, or an age as 24h or 7d."
        ) from None
    if at.tzinfo is None:
        raise refused(field, f"{text!r} has no zone; write it as {text}Z or with an offset.")
    return at


def parse_offsets(texts: list[str]) -> dict[str, Any]:
    """``["0:500", "1:20"]`` or ``["500"]``, as fields of a ``Question``."""
    by_partition: dict[int, int] = {}
    for text in texts:
        partition, colon, offset = text.rpartition(":")
        digits = [offset, partition] if colon else [offset]
        if not all(each.isascii() and each.isdigit() and len(each) < 19 for each in digits):
            raise refused(
                "from_offset", f"{text[:40]!r} is no offset; write 500, or 0:500 for partition 0."
            )
        if not colon:
            if len(texts) > 1:
                raise refused("from_offset", f"{text} is for every partition and must stand alone.")
            return {"from_offset": int(offset)}
        if int(partition) in by_partition:
            raise refused("from_offset", f"Partition {partition} has two offsets; give one.")
        by_partition[int(partition)] = int(offset)
    return {"from_offsets": by_partition} if by_partition else {}


def parse_thresholds(texts: list[str]) -> dict[str, float]:
    """``["review=0.8"]`` as ``{"review": 0.8}``."""
    found: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            raise refused(
                "thresholds", f"{text[:60]!r} is no threshold; write it as review=0.8."
            ) from None
    return found


def as_json(question: Question) -> dict[str, Any]:
    return dict(msgspec.to_builtins(question, str_keys=True))


def from_json(body: Mapping[str, Any]) -> Question:
    return msgspec.convert(body, Question, strict=False)
