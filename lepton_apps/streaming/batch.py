"""A batch of records on its way: from bytes to decoded columns, or to dead letters."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from lepton_apps.common.errors import RecordRefusedError
from lepton_apps.common.identity import decision_digest
from lepton_apps.streaming.source import ORIGIN_HEADER, Raw
from lepton_apps.verticals.contract import Message, Stream

REST_SHARD = -1
LABEL_SHARD = -2
MAX_NAME = 200  # characters of a record id or an entity key
TICK_PREFIX = "tick:"  # of ids of decisions that ticks made; no record's own id has it
LABEL_AHEAD = timedelta(days=1)  # a label that says it was known later than that is refused
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST_MS = 253_370_764_800_000  # 9999-01-01
PATH = re.compile(r" - at `([^`]*)`$")


@dataclass(frozen=True, slots=True)
class Origin:
    """The place of a record in the log."""

    topic_id: UUID
    partition: int
    offset: int


@dataclass(slots=True)
class Arrival:
    """A decoded record, its bytes, and everything the host needs to know about it."""

    record: Any
    payload: bytes
    record_id: str
    key: bytes  # 16 bytes of (stream, record id): found again for ever
    entity_key: str
    secondary_keys: tuple[str, ...]
    occurred_at: datetime
    shard: int
    origin: Origin | None  # None: came over REST
    placed: bool = False  # known by its place in the log, and there for the first time

    @property
    def decision_id(self) -> UUID:
        """The key as PostgreSQL and clients know it."""
        return UUID(bytes=self.key)


@dataclass(slots=True)
class Rejected:
    """A message that no retry can help."""

    raw: Raw
    reason: str
    detail: str
    path: str


@dataclass(slots=True)
class Batch:
    """Records taken through together."""

    arrivals: list[Arrival] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


class Decoder:
    """Turns the bytes of one stream's records into arrivals. Refuses by ``RecordRefusedError``."""

    def __init__(self, stream: Stream, max_bytes: int) -> None:
        self._stream = stream
        self._decode = stream.from_message or json_of(stream.record_type)
        self._max_bytes = max_bytes

    def arrival(
        self,
        message: Message,
        now: datetime,
        shard: int,
        origin: Origin | None,
        place: str = "",
        *,
        redriven: bool = True,
    ) -> Arrival:
        """One record. ``place`` names a record that has no id of its own.

        A place that is not ``redriven`` is new: the offsets have not passed it.
        """
        stream = self._stream
        record = decode(self._decode, message, self._max_bytes)
        occurred_at = stream.occurred_at(record)
        refuse_absurd(record, "event time", occurred_at, now, stream.max_ahead)
        own_id = stream.record_id(record)
        record_id = own_id or place
        if not record_id:
            raise RecordRefusedError(
                f"Records of {stream.name} have no id to keep a decision under. Send them to the "
                f"topic {stream.topic}.",
                reason="no_id",
            )
        if record_id.startswith(TICK_PREFIX):
            raise RecordRefusedError(
                f"{record_id!r} begins with {TICK_PREFIX!r}, as ids of ticks do.",
                reason="invalid_name",
            )
        entity_key, secondary = stream.extractor.entity_keys(record)
        return Arrival(
            record,
            message.value,
            record_id,
            key_of(stream.name, record_id, entity_key),
            entity_key,
            secondary,
            occurred_at,
            shard,
            origin,
            placed=not own_id and not redriven,
        )

    def batch(self, raws: Sequence[Raw], topic_id: UUID, now: datetime) -> Batch:
        """Messages of the topic, in their order; what cannot be decoded is set aside."""
        batch = Batch()
        topic = str(topic_id)
        for raw in raws:
            origin = Origin(topic_id, raw.partition, raw.offset)
            place = f"{topic}:{raw.partition}:{raw.offset}"
            redriven = False
            for name, value in raw.headers:
                if name == ORIGIN_HEADER and value:  # others may send it empty, or null
                    place, redriven = value.decode("ascii", "replace"), True
            try:
                if raw.value is None:
                    raise RecordRefusedError("The message has no value.", reason="empty")
                message = Message(raw.value, raw.key, moment_of(raw.sent_ms))
                arrival = self.arrival(
                    message, now, raw.partition, origin, place, redriven=redriven
                )
            except RecordRefusedError as exc:
                batch.rejected.append(Rejected(raw, exc.reason, exc.detail, exc.path))
            else:
                batch.arrivals.append(arrival)
        return batch


def moment_of(ms: int | None) -> datetime | None:
    """A message's time; -1 and what no calendar holds mean that there is none."""
    if ms is None or not 0 <= ms < LATEST_MS:
        return None
    return EARLIEST + timedelta(milliseconds=ms)


def json_of(record_type: type[msgspec.Struct]) -> Callable[[Message], Any]:
    """Reads a message as JSON of one type, whatever its key and time."""
    decode_json = msgspec.json.Decoder(record_type).decode

    def from_json(message: Message) -> Any:
        message.value.decode()  # the decoder looks only at the texts that it returns
        return decode_json(message.value)

    return from_json


def is_absurd(at: datetime, now: datetime, max_ahead: timedelta) -> bool:
    """Whether a time is before 1970 or too far in the future to be meant."""
    return not EARLIEST <= at <= now + max_ahead


def refuse_absurd(
    record: msgspec.Struct, what: str, at: datetime, now: datetime, max_ahead: timedelta
) -> None:
    """Refuse a record for one of its times, and name the field that the time was taken from."""
    if not is_absurd(at, now, max_ahead):
        return
    fields = msgspec.structs.fields(record)
    path = (f"$.{field.encode_name}" for field in fields if getattr(record, field.name) is at)
    raise RecordRefusedError(
        f"The {what} {at.isoformat()} is before 1970 or more than {max_ahead} in the future.",
        reason="absurd_time",
        path=next(path, "$"),  # made of several fields
    )


def key_of(stream: str, record_id: str, entity_key: str) -> bytes:
    """The record's key, once it is sure that PostgreSQL can hold what names it."""
    for name, text in (("record id", record_id), ("entity key", entity_key)):
        if "\0" in text or not 0 < len(text) <= MAX_NAME:
            raise RecordRefusedError(
                f"The {name} must have 1 to {MAX_NAME} characters and no NUL.",
                reason="invalid_name",
            )
    try:
        entity_key.encode()
        return decision_digest(stream, record_id)
    except UnicodeEncodeError:
        raise RecordRefusedError(
            "The record id or the entity key is no valid Unicode.",
            reason="invalid_name",
        ) from None


def decode(read: Callable[[Message], Any], message: Message, max_bytes: int) -> Any:
    """A message to a typed record; whatever is wrong with it becomes one kind of error."""
    size = len(message.value)
    if size > max_bytes:
        raise RecordRefusedError(
            f"The record has {size} bytes; the limit is {max_bytes} (MAX_RECORD_BYTES).",
            reason="too_large",
        )
    try:
        return read(message)
    except msgspec.ValidationError as exc:
        text = str(exc)
        # The innermost field is named last, after the checks of the record itself.
        path = PATH.search(text)
        while path and (inner := PATH.search(text[: path.start()])):
            text, path = text[: path.start()], inner
        detail = text[: path.start()] if path else text
        raise RecordRefusedError(
            f"{detail.rstrip('.')}.",
            reason="invalid_record",
            path=path.group(1) if path else "$",
        ) from exc
    except msgspec.DecodeError as exc:
        raise RecordRefusedError(f"Not JSON: {exc}.", reason="not_json") from exc
    except UnicodeDecodeError as exc:
        raise RecordRefusedError(f"Not UTF-8 at byte {exc.start}.", reason="not_utf8") from exc
    except RecursionError:
        raise RecordRefusedError("Nested too deeply.", reason="nested_too_deep") from None
