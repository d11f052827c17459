"""What is asked of Kafka: whether it answers, and how the topics of the streams are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import timedelta
from uuid import UUID

from django.conf import settings

from lepton_apps.common import clock
from lepton_apps.doctor.findings import Finding, ok, problem, unreachable, warning
from lepton_apps.streaming.kafka import Admin
from lepton_apps.streaming.models import StreamOffset, WorkerHeartbeat
from lepton_apps.streaming.selectors import SILENT_AFTER
from lepton_apps.streaming.source import TopicFacts
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import LabelStream, Stream

ANSWER_MS = 8_000
SHORT, SHORTISH = timedelta(days=1), timedelta(days=3)
MUCH_LAG = 100_000  # records
# The embedded broker walks over all batches of a partition at each fetch.
EMBEDDED_LIMIT = 300_000  # messages of a partition


def streams() -> list[Stream | LabelStream]:
    return [stream for vertical in registry.verticals() for stream in vertical.all_streams]


def reachable() -> Iterator[Finding]:
    if not settings.KAFKA_BOOTSTRAP_SERVERS:
        yield unreachable(
            "KAFKA_BOOTSTRAP_SERVERS names no broker.", "Set it, or start `make run`."
        )
        return
    Admin(ANSWER_MS).close()
    kind = " (embedded: it works from memory)" if settings.KAFKA_EMBEDDED else ""
    yield ok(f"The broker at {','.join(settings.KAFKA_BOOTSTRAP_SERVERS)} answers{kind}.")


def topics() -> Iterator[Finding]:
    with closing(Admin(ANSWER_MS)) as admin:
        facts = {stream.topic: admin.facts(stream.topic) for stream in streams()}
    fine = True
    for stream in streams():
        for finding in _topic(stream, facts[stream.topic]):
            fine = False
            yield finding
    if fine:
        yield ok(f"{len(facts)} topics are there, with their partitions and all replicas.")


def _topic(stream: Stream | LabelStream, facts: TopicFacts | None) -> Iterator[Finding]:
    topic = stream.topic
    if facts is None:
        yield problem(f"The topic {topic} of {stream.name} is not there.", "manage.py setup")
        return
    if facts.partitions < stream.partitions:
        yield warning(
            f"{topic} has {facts.partitions} partitions, {stream.name} declares "
            f"{stream.partitions}: no more workers than partitions can share it.",
            "Before producers start: make the topic anew by `manage.py setup`. Adding partitions "
            "moves keys, so that states of entities are met by other workers.",
        )
    if facts.leaderless:
        yield problem(
            f"{facts.leaderless} partitions of {topic} have no leader.",
            "Start the missing brokers.",
        )
    if facts.lagging:
        yield warning(
            f"{facts.lagging} partitions of {topic} have a replica that is behind or away.",
            "Look after the brokers: one more that dies may take records with it.",
        )
    if facts.replicas < settings.KAFKA_REPLICATION_FACTOR:
        yield warning(
            f"{topic} has {facts.replicas} replicas, KAFKA_REPLICATION_FACTOR says "
            f"{settings.KAFKA_REPLICATION_FACTOR}.",
            "kafka-reassign-partitions.sh adds replicas to a topic that is there.",
        )


def retention() -> Iterator[Finding]:
    """How long an outage may be before records are gone unread."""
    if settings.KAFKA_EMBEDDED:
        yield ok("The embedded broker deletes nothing, and has nothing after a restart.")
        return
    with closing(Admin(ANSWER_MS)) as admin:
        kept = {
            stream.topic: admin.retention_ms(stream.topic)
            for stream in streams()
            if admin.topic(stream.topic)
        }
    yield from kept_for(kept)


def kept_for(kept: Mapping[str, int | None]) -> Iterator[Finding]:
    """``kept`` has the milliseconds of each topic; -1: for ever; None: the broker does not say."""
    fine = True
    for topic, ms in kept.items():
        if ms is None or ms < 0 or timedelta(milliseconds=ms) >= SHORTISH:
            continue
        fine = False
        say = problem if timedelta(milliseconds=ms) < SHORT else warning
        yield say(
            f"{topic} keeps records for {ms / 3_600_000:.1f} h: a longer outage loses them unread.",
            f"kafka-configs.sh --alter --entity-type topics --entity-name {topic} "
            "--add-config retention.ms=604800000",
        )
    unknown = [topic for topic, ms in kept.items() if ms is None]
    if unknown:
        yield ok(f"The broker does not say how long it keeps {', '.join(unknown)}.")
    elif fine:
        yield ok("All topics keep their records for three days or more.")


def positions() -> Iterator[Finding]:
    """Stored offsets beside the logs they point into."""
    fine = True
    with closing(Admin(ANSWER_MS)) as admin:
        for stream in streams():
            facts = admin.facts(stream.topic)
            if facts is None:
                continue
            ends = admin.ends(stream.topic, facts.partitions)
            for finding in _position(stream.name, stream.topic, facts.topic_id, ends):
                fine = False
                yield finding
    if fine:
        yield ok("Stored offsets point into the topics that are there, and nothing waits long.")


def _position(name: str, topic: str, topic_id: UUID, ends: Mapping[int, int]) -> Iterator[Finding]:
    newest = StreamOffset.objects.filter(stream=name).order_by("-updated_at").first()
    if newest is not None and newest.topic_id != topic_id and not settings.KAFKA_EMBEDDED:
        yield warning(
            f"{topic} was made anew since {name} last read it: reading starts at its beginning.",
            "Nothing, where it was meant. What was still unread is counted when a worker starts.",
        )
    stored = dict(
        StreamOffset.objects.filter(stream=name, topic_id=topic_id).values_list(
            "partition", "next_offset"
        )
    )
    beyond = [partition for partition, place in stored.items() if place > ends.get(partition, 0)]
    # The embedded broker tells the end of a log by the first record of its last batch.
    if beyond and not settings.KAFKA_EMBEDDED:
        yield problem(
            f"{topic}, partitions {sorted(beyond)}: the log ends before the place where {name} was.",
            "See docs/operations.md, Gaps: a replica that was behind became leader.",
        )
    lag = sum(max(0, end - stored.get(partition, 0)) for partition, end in ends.items())
    is_read = (
        WorkerHeartbeat.objects.filter(stream=name, beat_at__gte=clock.now() - SILENT_AFTER)
        .exclude(condition="stopped")
        .exists()
    )
    if lag > MUCH_LAG:
        do = "More workers, as many as partitions." if is_read else f"manage.py worker {name}"
        yield warning(f"{lag} records of {name} wait.", do)
    elif lag and not is_read:
        yield warning(
            f"{lag} records of {name} wait, and nobody reads.", f"manage.py worker {name}"
        )
    largest = max(ends.values(), default=0)
    if settings.KAFKA_EMBEDDED and largest > EMBEDDED_LIMIT:
        yield warning(
            f"A partition of {topic} has {largest} messages: the embedded broker gets slow.",
            "Restart `make run`: decided records are in PostgreSQL. Or use Apache Kafka.",
        )
