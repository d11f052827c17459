"""What arrives on ``ops.logs``: lines as programs write them, and lines as JSON.

A message that is a JSON object is read by its fields; any other message is a plain line. The
Kafka key says what the line belongs to: a session, a trace, a service, a host. Only whoever ships
the lines knows which of them makes a story that can be told from beginning to end, so the choice
is theirs; lines of one key stay in order.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from lepton_apps.verticals.contract import Message

MAX_KEY: Final = 200  # characters
FIRST_YEAR: Final = 1971
LAST_YEAR: Final = 2200

Text = Annotated[str, Meta(max_length=200)] | None
Moment = Annotated[datetime, Meta(tz=True)] | None


class JsonLine(msgspec.Struct, frozen=True, gc=False):
    """A log line as a shipper's JSON object. Fields we do not know are ignored.

    One of ``message``, ``msg`` and ``log`` is the text, one of ``time``, ``timestamp`` and
    ``@timestamp`` its time, with a zone; without any, the time is the Kafka message's.
    """

    message: str | None = None
    msg: str | None = None
    log: str | None = None
    time: Moment = None
    timestamp: Moment = None
    at_timestamp: Moment = msgspec.field(name="@timestamp", default=None)
    level: Text = None
    severity: Text = None
    service: Text = None
    host: Text = None
    trace: Text = None
    session: Text = None


class LogLine(msgspec.Struct, frozen=True, gc=False):
    """One line, ready to be looked at."""

    key: str  # what it belongs to
    at: datetime = msgspec.field(name="time")  # event time; named as the field it comes from
    text: bytes = b""  # UTF-8: level and message, without the time


_json = msgspec.json.Decoder(JsonLine)


def from_message(message: Message) -> LogLine:
    """A line from what came over Kafka, or from the JSON object of a request.

    Raises:
        msgspec.ValidationError: a field is wrong, or nothing says what the line belongs to, what
            it says or when; the message ends with the field's path.
    """
    value = message.value
    if value.lstrip()[:1] != b"{":
        return _plain(message)
    try:
        fields = _json.decode(value)
    except UnicodeDecodeError:
        fields = _json.decode(value.decode("utf-8", "replace"))
    text = fields.message or fields.msg or fields.log
    if not text:
        raise msgspec.ValidationError(
            "It says nothing: one of `message`, `msg`, `log` must - at `$`"
        )
    at = _time(fields) or message.sent_at
    if at is None:
        raise msgspec.ValidationError(
            "It has no time: none of `time`, `timestamp`, `@timestamp` - at `$`"
        )
    key = _key(message.key) or fields.session or fields.trace or fields.service or fields.host
    if not key:
        raise msgspec.ValidationError(
            "It belongs to nothing: no Kafka key, and none of `session`, `trace`, `service`, `host`"
            " - at `$`"
        )
    level = fields.level or fields.severity
    return LogLine(key, at, _storable(f"{level} {text}" if level else text))


def _time(fields: JsonLine) -> datetime | None:
    named = (
        ("time", fields.time),
        ("timestamp", fields.timestamp),
        ("@timestamp", fields.at_timestamp),
    )
    for name, at in named:
        if at is None:
            continue
        if not FIRST_YEAR <= at.year <= LAST_YEAR:
            raise msgspec.ValidationError(f"{at.isoformat()} is out of range - at `$.{name}`")
        return at
    return None


def _plain(message: Message) -> LogLine:
    line = message.value
    if not line.strip():
        raise msgspec.ValidationError("The line is empty - at `$`")
    key = _key(message.key)
    if not key:
        raise msgspec.ValidationError("A plain line needs a Kafka key to belong to - at `$`")
    if message.sent_at is None:
        raise msgspec.ValidationError("A plain line needs the time of its message - at `$`")
    return LogLine(key, message.sent_at, line)


def _key(key: bytes | None) -> str:
    """The key as text; a longer one than the host can keep is cut."""
    if not key:
        return ""
    return key.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")[:MAX_KEY]


def _storable(text: str) -> bytes:
    return text.encode("utf-8", "replace")
