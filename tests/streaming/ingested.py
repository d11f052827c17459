"""``manage.py ingest`` as tests call it, and what came of it to the topics of the broker."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import zstandard
from django.core.management import CommandError, call_command
from kafka import KafkaConsumer, TopicPartition

from lepton_apps.streaming.kafka import Admin, client_options
from lepton_apps.streaming.source import Raw
from lepton_apps.verticals import registry

AT = datetime(2026, 3, 1, tzinfo=UTC)
MOST_AT_ONCE = 1_000_000  # records: a batch is never taken in parts


class Topics:
    """Reads what came since the last ``mark``. Member of no group, so it leaves no trace."""

    def __init__(self) -> None:
        streams = [stream for vertical in registry.verticals() for stream in vertical.all_streams]
        self._places: list[TopicPartition] = []
        with closing(Admin()) as admin:
            for stream in streams:
                admin.ensure_topic(stream.topic, stream.partitions)
                _, partitions = admin.topic(stream.topic) or (None, 0)
                self._places += [TopicPartition(stream.topic, n) for n in range(partitions)]
        self._consumer = KafkaConsumer(
            **client_options(), metrics_enabled=False, max_poll_records=MOST_AT_ONCE
        )
        self._consumer.assign(self._places)
        # What the embedded broker calls the end is one after the beginning of the last batch.
        for place, end in self._consumer.end_offsets(self._places).items():
            self._consumer.seek(place, max(end - 1, 0))
        self._found: list[tuple[str, Raw]] = []

    def mark(self) -> None:
        """What has come until now is not to be read."""
        self._catch_up()
        self._found.clear()

    def read(self, topic: str = "") -> list[Raw]:
        """Messages of one topic, or of all, in the order of their times; those of a key as sent."""
        self._catch_up()
        found = [raw for name, raw in self._found if topic in ("", name)]
        return sorted(found, key=lambda raw: raw.sent_ms or 0)

    def close(self) -> None:
        self._consumer.close()

    def _catch_up(self) -> None:
        ends = self._consumer.end_offsets(self._places)
        while any(self._consumer.position(place) < end for place, end in ends.items()):
            for records in self._consumer.poll(timeout_ms=100).values():
                self._found += [
                    (r.topic, Raw(r.partition, r.offset, r.key, r.value, r.headers, r.timestamp))
                    for r in records
                ]


class Outcome(NamedTuple):
    """What the command said."""

    facts: dict[str, Any]
    refused: str  # on standard error, a line each
    error: str  # empty: it ended with 0


class Inlet(NamedTuple):
    """Files on the one side, the topics that they go to on the other."""

    folder: Path
    topics: Topics

    def file(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def read(self, topic: str = "") -> list[Raw]:
        return self.topics.read(topic)

    def ingest(self, stream: str, *arguments: object) -> Outcome:
        told, refused, error = io.StringIO(), io.StringIO(), ""
        options = (*map(str, arguments), "--json")
        try:
            call_command("ingest", stream, *options, stdout=told, stderr=refused)
        except CommandError as exc:
            error = str(exc)
        facts = json.loads(told.getvalue())
        assert facts.pop("error", {"detail": error})["detail"] == error
        return Outcome(facts, refused.getvalue(), error)

    def accept(self, stream: str, *arguments: object) -> dict[str, Any]:
        """What the command said of files without fault."""
        outcome = self.ingest(stream, *arguments)
        assert (outcome.error, outcome.refused, outcome.facts["refused"]) == ("", "", 0)
        return outcome.facts


def texts(raws: Sequence[Raw]) -> list[bytes | None]:
    return [raw.value for raw in raws]


def bodies(raws: Sequence[Raw]) -> list[dict[str, Any]]:
    return [json.loads(raw.value or b"") for raw in raws]


def json_lines(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def ms(after_s: float = 0.0) -> int:
    return int((AT + timedelta(seconds=after_s)).timestamp() * 1000)


def sample(second: int, **changes: object) -> dict[str, object]:
    time = (AT + timedelta(seconds=second)).isoformat()
    return {"entity": "web", "time": time, "metric": "cpu", "value": 1.5, **changes}


def zst(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)
