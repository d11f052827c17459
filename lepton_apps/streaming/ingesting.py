"""From rows of files to messages of a stream: fields, times, keys and labels. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Final, get_args, get_type_hints

import msgspec

from lepton_apps.common import clock
from lepton_apps.common.errors import LeptonError, RecordRefusedError
from lepton_apps.common.pii import Tokeniser
from lepton_apps.streaming.batch import Arrival, Decoder, decode, json_of
from lepton_apps.streaming.files import Row, Unreadable
from lepton_apps.verticals.contract import LabelStream, Message, Stream

POSITIVE: Final = ("1", "true", "anomaly", "fraud", "fault", "yes")
UNNAMED: Final = "no-id"  # what a record without an id is called while it is checked


class OptionRefusedError(LeptonError):
    """An option that does not go with the stream or the file."""

    code = "option_refused"


class RowRefusedError(Exception):
    """One row that cannot become a record; the others can."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message on its way."""

    topic: str
    key: bytes
    value: bytes
    at: datetime


@dataclass(frozen=True, slots=True)
class Times:
    """Where the time of a row comes from.

    Args:
        field: of the record that holds it.
        column: of the row; None: the field's own name.
        format: ``iso``, ``epoch_s``, ``epoch_ms`` or one of ``strptime``; None: iso, then epoch.
        zone: of times that say none.
        start, step: for rows without any time.
        regex: finds it in a line; its first group.
    """

    field: str | None
    column: str | None = None
    format: str | None = None
    zone: tzinfo | None = None
    start: datetime | None = None
    step: timedelta = timedelta(seconds=1)
    regex: re.Pattern[bytes] | None = None

    def parsed(self, value: Any) -> datetime:
        """Raises ``RowRefusedError`` for what is no time, or has no zone."""
        if isinstance(value, datetime):
            return self._zoned(value)
        text = str(value).strip()
        try:
            if self.format in ("epoch_s", "epoch_ms"):
                return _from_epoch(float(text), self.format)
            if self.format not in (None, "iso"):
                return self._zoned(datetime.strptime(text, self.format))  # noqa: DTZ007
            try:
                return self._zoned(datetime.fromisoformat(text))
            except ValueError:
                if self.format == "iso":
                    raise
                return _from_epoch(float(text), "epoch_ms" if float(text) > 1e11 else "epoch_s")
        except (ValueError, OverflowError, OSError) as exc:
            raise RowRefusedError(f"{text[:60]!r} is no time ({exc})") from exc

    def counted(self, number: int) -> datetime:
        """The time of a row without any. Raises ``RowRefusedError`` past the end of time."""
        assert self.start is not None
        try:
            return self.start + number * self.step
        except OverflowError as exc:
            raise RowRefusedError(f"row {number} would lie after the year 9999") from exc

    def _zoned(self, at: datetime) -> datetime:
        if at.tzinfo is not None:
            return at
        if self.zone is None:
            raise RowRefusedError(f"{at.isoformat()} says no time zone: give one by --timezone")
        return at.replace(tzinfo=self.zone)


def _first_group(found: re.Match[bytes]) -> bytes:
    """Of the groups that took part; all that was found where there is none."""
    return next((group for group in found.groups() if group is not None), found.group())


def _from_epoch(value: float, unit: str) -> datetime:
    return datetime.fromtimestamp(value / (1000 if unit == "epoch_ms" else 1), UTC)


@dataclass(frozen=True, slots=True)
class Shape:
    """How the columns of a row become the fields of a record."""

    mapped: Mapping[str, str] = field(default_factory=dict)  # field -> column, or a template
    constants: Mapping[str, str] = field(default_factory=dict)
    gathered: Sequence[str] = ()  # columns, globs allowed, that become one object
    into: str = "values"
    prefix: str = ""

    def fields(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Raises ``RowRefusedError`` for a column that the row lacks."""
        found = {} if self.mapped or self.gathered else dict(row)
        for name, column in self.mapped.items():
            try:
                found[name] = column.format_map(row) if "{" in column else row[column]
            except (KeyError, ValueError, IndexError, AttributeError, TypeError) as exc:
                known = ", ".join(list(row)[:20])
                raise RowRefusedError(f"no column {exc} for {name}; there are: {known}") from exc
        if self.gathered:
            names = _matching(tuple(row), tuple(self.gathered))
            found[self.into] = {self.prefix + name: _number(row[name]) for name in names}
        found.update(self.constants)
        return found


@lru_cache(maxsize=16)  # the rows of a file have the same columns
def _matching(columns: tuple[str, ...], globs: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in columns if any(fnmatchcase(name, glob) for glob in globs))


def _number(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return float(value)
    except ValueError as exc:
        raise RowRefusedError(f"{value[:40]!r} is no number") from exc


@dataclass(frozen=True, slots=True)
class LabelRule:
    """Which rows bring a label with them, and what it says."""

    stream: LabelStream
    column: str
    positive: Sequence[str] = POSITIVE
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Which fields of a record leave as tokens, before anything of it is stored anywhere."""

    names: Sequence[str]
    by: Tokeniser
    declared: Set[str]  # fields that a record may have or lack

    @classmethod
    def of(cls, stream: Stream, names: Sequence[str], by: Tokeniser) -> Pseudonyms:
        declared = (each.encode_name for each in msgspec.structs.fields(stream.record_type))
        return cls(tuple(names), by, frozenset(declared))

    def put_into(self, fields: dict[str, Any]) -> None:
        """Raises ``RowRefusedError`` also for a name that is misspelt: what it meant would leak."""
        for name in self.names:
            if name not in fields and name not in self.declared:
                raise RowRefusedError(f"no field {name!r} to pseudonymise")
            value = fields.get(name)
            if value in (None, ""):
                continue
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise RowRefusedError(f"{name} is no text that could become a token")
            try:
                fields[name] = self.by.token(name, str(value))
            except LeptonError as exc:
                raise RowRefusedError(f"{name}: {exc.detail}") from exc


class Ingester:
    """Turns the rows of one stream into messages, one after the other."""

    def __init__(
        self,
        stream: Stream,
        shape: Shape,
        times: Times,
        *,
        key: str | None = None,
        key_regex: re.Pattern[bytes] | None = None,
        label: LabelRule | None = None,
        pseudonyms: Pseudonyms | None = None,
        max_bytes: int,
    ) -> None:
        self._stream = stream
        self._shape = shape
        self._times = times
        self._key = None if key is None else key.encode()
        self._key_regex = key_regex
        self._label = label
        self._pseudonyms = pseudonyms
        self._max_bytes = max_bytes
        self._decoder = Decoder(stream, max_bytes)
        self._numbers = _number_fields(stream.record_type)
        self._now = clock.now()  # records from the future are refused, as a worker would
        self._rows = 0
        self._last: datetime | None = None
        self.without_time = 0  # lines that kept the time of the one before

    def leave_out(self, rows: int) -> None:
        """So many rows were left out: those after them keep their times."""
        self._rows += rows

    def messages(self, row: Row) -> Iterator[Outgoing]:
        """The record of a row, and its label if it has one.

        Raises:
            RowRefusedError: the row cannot become a record; says why.
        """
        number, self._rows = self._rows, self._rows + 1
        if isinstance(row, Unreadable):
            raise RowRefusedError(row.why)
        if isinstance(row, bytes):
            yield self._line(row, number)
            return
        fields = self._shape.fields(row)
        at = self._time_of(fields, row, number)
        if self._times.field is not None and at is not None:
            if self._times.column in fields and self._times.column not in self._shape.mapped:
                del fields[self._times.column]  # the same time in its own words
            fields[self._times.field] = at.isoformat()
        if self._pseudonyms is not None:
            self._pseudonyms.put_into(fields)
        if self._is_line(fields):
            yield self._line(str(fields["message"]).encode(), number, at)
            return
        value = self._encoded(fields)
        arrival = self._arrival(value, at)
        key = arrival.entity_key.encode()
        yield Outgoing(self._stream.topic, key, value, arrival.occurred_at)
        if self._label is not None:
            yield from self._labels(self._label, row, arrival)

    def _encoded(self, fields: dict[str, Any]) -> bytes:
        """The record, with texts of a file as the numbers that its fields are."""
        for name in self._numbers:
            text = fields.get(name)
            if not isinstance(text, str):
                continue
            try:
                number = msgspec.convert(text, float, strict=False) if text.strip() else None
            except msgspec.ValidationError as exc:
                raise RowRefusedError(f"{name}: {text[:40]!r} is no number") from exc
            fields[name] = number
        return msgspec.json.encode({name: v for name, v in fields.items() if v is not None})

    def _is_line(self, fields: Mapping[str, Any]) -> bool:
        """A row that is only a text, for a stream of lines: it goes out as the line itself."""
        by_key = self._key is not None or self._key_regex is not None
        text = {"message", self._times.field} >= set(fields) and "message" in fields
        is_text = isinstance(fields.get("message"), str)
        return self._stream.plain_lines and by_key and text and is_text

    def _time_of(
        self, fields: Mapping[str, Any], row: Mapping[str, Any], number: int
    ) -> datetime | None:
        times = self._times
        if times.start is not None:
            return times.counted(number)
        value = row.get(times.column) if times.column else fields.get(times.field or "")
        return None if value in (None, "") else times.parsed(value)

    def _line(self, line: bytes, number: int, at: datetime | None = None) -> Outgoing:
        if len(line) > self._max_bytes:
            raise RowRefusedError(
                f"the line has {len(line)} bytes, more than MAX_RECORD_BYTES = {self._max_bytes}"
            )
        at = at or self._time_in(line, number)
        key = self._key_in(line)
        self._arrival(line, at, key)
        return Outgoing(self._stream.topic, key, line, at)

    def _time_in(self, line: bytes, number: int) -> datetime:
        times = self._times
        if times.start is not None:
            return times.counted(number)
        found = times.regex.search(line) if times.regex else None
        if found is not None:
            self._last = times.parsed(_first_group(found).decode("utf-8", "replace"))
        elif self._last is None:
            raise RowRefusedError("no time in the line, and none before it")
        else:
            self.without_time += 1
        assert self._last is not None
        return self._last

    def _key_in(self, line: bytes) -> bytes:
        if self._key_regex is None:
            assert self._key is not None
            return self._key
        found = self._key_regex.search(line)
        if found is None:
            raise RowRefusedError("no key in the line (--key-regex)")
        return _first_group(found)

    def _arrival(self, value: bytes, at: datetime | None, key: bytes | None = None) -> Arrival:
        message = Message(value, key or self._key, at)
        try:
            return self._decoder.arrival(message, self._now, 0, None, UNNAMED)
        except RecordRefusedError as exc:
            raise RowRefusedError(f"{exc.detail} ({exc.path})") from exc

    def _labels(
        self, rule: LabelRule, row: Mapping[str, Any], arrival: Arrival
    ) -> Iterator[Outgoing]:
        if arrival.record_id == UNNAMED:
            raise OptionRefusedError(
                f"Records of {self._stream.name} have no id that a label could name."
            )
        if rule.column not in row:
            raise RowRefusedError(f"no column {rule.column!r} for the label")
        if str(row[rule.column]).strip().lower() not in rule.positive:
            return
        body = {"record_id": arrival.record_id, **rule.fields}
        moment = time_field(rule.stream.record_type)
        if moment is not None and moment not in body:
            body[moment] = arrival.occurred_at.isoformat()
        value = msgspec.json.encode(body)
        try:
            label = decode(json_of(rule.stream.record_type), Message(value), self._max_bytes)
        except RecordRefusedError as exc:
            raise RowRefusedError(f"label: {exc.detail} ({exc.path}); see --label-set") from exc
        labelled_at = rule.stream.labelled_at(label)
        yield Outgoing(rule.stream.topic, rule.stream.record_id(label).encode(), value, labelled_at)


def _number_fields(record_type: type[msgspec.Struct]) -> tuple[str, ...]:
    """The fields that are numbers, by the names they have in JSON."""
    return tuple(
        declared.encode_name
        for declared in msgspec.structs.fields(record_type)
        if _is_plain_number(declared.type)
    )


def _is_plain_number(hint: Any) -> bool:
    return hint in (int, float) or any(part in (int, float) for part in get_args(hint))


def time_field(record_type: type[msgspec.Struct]) -> str | None:
    """The first field of a record that is a time, by the name it has in JSON."""
    hints: Mapping[str, Callable[..., Any]] = get_type_hints(record_type)
    for declared in msgspec.structs.fields(record_type):
        hint = hints[declared.name]
        if hint is datetime or datetime in get_args(hint):
            return declared.encode_name
    return None
