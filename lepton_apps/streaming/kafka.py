"""The only module that imports the Kafka client: a source to read, a producer, an admin."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from kafka import (
    ConsumerRebalanceListener,
    KafkaAdminClient,
    KafkaConsumer,
    KafkaProducer,
    OffsetAndMetadata,
    TopicPartition,
)
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic, OffsetSpec
from kafka.errors import (
    KafkaError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)

from lepton_apps.common import clock
from lepton_apps.common.errors import UnavailableError
from lepton_apps.streaming.source import Raw, TopicFacts

log = logging.getLogger(__name__)

BrokerError = KafkaError  # what callers catch; they do not import the client

JOIN_LIMIT_S = 20.0  # a healthy group lets a member in within 6 s, with a dead one in it 15


class BrokerUnavailableError(UnavailableError):
    """The broker does not answer, or refuses us; the client tells the two apart badly."""

    code = "broker_unavailable"


class AssignmentChangedError(UnavailableError):
    """The group gave the partition to somebody else while we set our place in it."""

    code = "assignment_changed"


def raw_of(record: Any) -> Raw:
    return Raw(
        record.partition, record.offset, record.key, record.value, record.headers, record.timestamp
    )


def client_options() -> dict[str, Any]:
    """Where the broker is and how to talk to it, from the settings."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.KAFKA_BOOTSTRAP_SERVERS,
        "security_protocol": settings.KAFKA_SECURITY_PROTOCOL,
        "client_id": "lepton",
        # Seconds, not half a minute: an embedded broker is back long before that.
        "reconnect_backoff_max_ms": 2_000,
    }
    if settings.KAFKA_SECURITY_PROTOCOL.startswith("SASL"):
        options |= {
            "sasl_mechanism": settings.KAFKA_SASL_MECHANISM,
            "sasl_plain_username": settings.KAFKA_SASL_USERNAME,
            "sasl_plain_password": settings.KAFKA_SASL_PASSWORD,
        }
    if settings.KAFKA_SSL_CAFILE:
        options["ssl_cafile"] = str(settings.KAFKA_SSL_CAFILE)
    return options


def unavailable(doing: str, exc: Exception) -> BrokerUnavailableError:
    servers = ",".join(settings.KAFKA_BOOTSTRAP_SERVERS)
    secured = settings.KAFKA_SECURITY_PROTOCOL != "PLAINTEXT"
    hint = " or refused the sign-in (check KAFKA_SASL_* and KAFKA_SSL_CAFILE)" if secured else ""
    return BrokerUnavailableError(
        f"{doing}: the broker at {servers} did not answer{hint}: {type(exc).__name__}: {exc}."
    )


class Admin:
    """Makes topics and asks for their ids."""

    def __init__(self, timeout_ms: int = 10_000) -> None:
        try:
            self._client = KafkaAdminClient(
                **client_options(),
                bootstrap_timeout_ms=timeout_ms,
                request_timeout_ms=timeout_ms,
            )
        except KafkaError as exc:
            raise unavailable("Connecting", exc) from exc

    def ensure_topic(self, name: str, partitions: int) -> bool:
        """Make a topic unless it is there. True when it was made."""
        topic = NewTopic(name, partitions, settings.KAFKA_REPLICATION_FACTOR)
        try:
            self._client.create_topics([topic])
        except TopicAlreadyExistsError:
            return False
        except KafkaError as exc:
            raise unavailable(f"Making the topic {name}", exc) from exc
        self._client.wait_for_topics([name])
        return True

    def delete_topic(self, name: str) -> None:
        self._client.delete_topics([name])

    def topic(self, name: str) -> tuple[UUID, int] | None:
        """The id and number of partitions of a topic; None where there is none."""
        facts = self.facts(name)
        return None if facts is None else (facts.topic_id, facts.partitions)

    def facts(self, name: str) -> TopicFacts | None:
        """What the broker says of a topic; None where there is none."""
        try:
            found = self._client.describe_topics([name])
        except UnknownTopicOrPartitionError:
            return None
        except KafkaError as exc:
            raise unavailable(f"Asking for the topic {name}", exc) from exc
        for topic in found:
            if topic["name"] == name and topic["error_code"] == 0:
                partitions = topic["partitions"]
                return TopicFacts(
                    UUID(str(topic["topic_id"])),
                    len(partitions),
                    min((len(each["replica_nodes"]) for each in partitions), default=0),
                    sum(each["leader_id"] < 0 for each in partitions),
                    sum(len(each["isr_nodes"]) < len(each["replica_nodes"]) for each in partitions),
                )
        return None

    def retention_ms(self, name: str) -> int | None:
        """How long the broker keeps the topic's records; -1: for ever; None: it does not say."""
        asked = ConfigResource(ConfigResourceType.TOPIC, name)
        try:
            found = self._client.describe_configs([asked], config_filter="all")
        except KafkaError as exc:
            raise unavailable(f"Asking for the settings of {name}", exc) from exc
        value = found.get("topic", {}).get(name, {}).get("retention.ms", {}).get("value")
        return None if value is None else int(value)

    def ends(self, name: str, partitions: int) -> dict[int, int]:
        """The offset after the last record of each partition."""
        asked = {TopicPartition(name, number): OffsetSpec.LATEST for number in range(partitions)}
        try:
            found = self._client.list_partition_offsets(asked)
        except KafkaError as exc:
            raise unavailable(f"Asking for the ends of {name}", exc) from exc
        return {partition.partition: each.offset for partition, each in found.items()}

    def delete_group(self, group: str) -> None:
        """Make the broker forget a group. Members that live join again; offsets are not there."""
        try:
            outcome = self._client.delete_groups([group])[group]
        except KafkaError as exc:
            outcome = f"{type(exc).__name__}: {exc}"
        log.warning("group made anew", extra={"group": group, "outcome": outcome})

    def close(self) -> None:
        self._client.close()


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]  # the client has no types
    """Counts assignments. Runs on the client's own thread, so it does nothing else."""

    def __init__(self) -> None:
        self.generation = 0
        self.joining_since: float | None = clock.monotonic()  # None: the group has let us in

    def on_partitions_revoked(self, revoked: Any) -> None:
        self.generation += 1
        self.joining_since = clock.monotonic()

    def on_partitions_assigned(self, assigned: Any) -> None:
        self.generation += 1
        self.joining_since = None


class KafkaSource:
    """A member of the consumer group of one stream."""

    def __init__(self, stream: str, topic: str) -> None:
        self._topic = topic
        self._group = f"{settings.KAFKA_GROUP}.{stream}"
        self.num_partitions = 0
        self._rebalances = _Rebalances()
        self._admin = Admin()
        try:
            self._consumer = KafkaConsumer(
                **client_options(),
                group_id=self._group,
                enable_auto_commit=False,  # offsets live in PostgreSQL
                auto_offset_reset="earliest",  # and are set by seek; this is for the moment before
                fetch_max_wait_ms=settings.WORKER_FETCH_WAIT_MS,
                # Small fetches interleave the partitions of a backlog, so that event time of
                # entities without a partition hardly runs backwards.
                max_partition_fetch_bytes=settings.WORKER_FETCH_BYTES,
                session_timeout_ms=settings.WORKER_SESSION_TIMEOUT_MS,
                heartbeat_interval_ms=settings.WORKER_SESSION_TIMEOUT_MS // 4,
                metrics_enabled=False,
                allow_auto_create_topics=False,
            )
            self._consumer.subscribe([topic], listener=self._rebalances)
        except KafkaError as exc:
            self._admin.close()
            raise unavailable(f"Subscribing to {topic}", exc) from exc

    @property
    def generation(self) -> int:
        return self._rebalances.generation

    def poll(self, max_records: int, timeout_s: float) -> list[Raw]:
        """What is there, at most ``max_records``; waits ``timeout_s`` when nothing is."""
        fetched = self._consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=max_records)
        if settings.KAFKA_EMBEDDED:
            self._heal()
        return [raw_of(record) for records in fetched.values() for record in records]

    def _heal(self) -> None:
        """The embedded broker waits for ever for a member that died while it was joining."""
        since = self._rebalances.joining_since
        if since is not None and clock.monotonic() - since > JOIN_LIMIT_S:
            self._admin.delete_group(self._group)
            self._rebalances.joining_since = clock.monotonic()

    def assignment(self) -> frozenset[int]:
        return frozenset(partition.partition for partition in self._consumer.assignment())

    def topic_id(self) -> UUID | None:
        """The topic's id as the broker says now; it also tells how many partitions there are."""
        found = self._admin.topic(self._topic)
        if found is None:
            return None
        self.num_partitions = found[1]
        return found[0]

    def seek(self, partition: int, offset: int) -> None:
        try:
            self._consumer.seek(TopicPartition(self._topic, partition), offset)
        except ValueError as exc:  # "Unassigned partition": rebalances run on another thread
            raise AssignmentChangedError(f"{self._topic}[{partition}]: {exc}.") from exc

    def first_offsets(self, partitions: Iterable[int]) -> dict[int, int]:
        """The oldest offset still there, by partition."""
        asked = [TopicPartition(self._topic, partition) for partition in partitions]
        found = self._consumer.beginning_offsets(asked, timeout_ms=10_000)
        return {partition.partition: offset for partition, offset in found.items()}

    def high_waters(self) -> dict[int, int]:
        """The end of each assigned partition as the last fetch told it."""
        waters = {
            partition.partition: self._consumer.highwater(partition)
            for partition in self._consumer.assignment()
        }
        return {partition: water for partition, water in waters.items() if water is not None}

    def hint(self, next_offsets: Mapping[int, int]) -> None:
        """Tell the broker where we are, for lag tools. Nothing depends on it."""
        offsets = {
            TopicPartition(self._topic, partition): OffsetAndMetadata(offset, "", -1)
            for partition, offset in next_offsets.items()
        }
        self._consumer.commit_async(offsets, callback=lambda offsets, response: None)

    def close(self) -> None:
        self._consumer.close(autocommit=False, timeout_ms=3_000)
        self._admin.close()


class Reader:
    """Reads partitions from given places. Joins no group, commits nothing, and is not seen."""

    def __init__(self, topic: str, partitions: int) -> None:
        self._parts = [TopicPartition(topic, number) for number in range(partitions)]
        try:
            self._client = KafkaConsumer(
                **client_options(),
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                fetch_max_wait_ms=100,
                metrics_enabled=False,
                allow_auto_create_topics=False,
            )
            self._client.assign(self._parts)
        except KafkaError as exc:
            raise unavailable(f"Reading {topic}", exc) from exc

    def bounds(self) -> dict[int, tuple[int, int]]:
        """The oldest offset still there and the end, by partition."""
        first = self._client.beginning_offsets(self._parts, timeout_ms=10_000)
        last = self._client.end_offsets(self._parts, timeout_ms=10_000)
        if settings.KAFKA_EMBEDDED:  # it tells where the last batch begins, plus one
            asked = [part for part in self._parts if last[part]]
            for part in asked:
                self._client.seek(part, last[part] - 1)
            until = clock.monotonic() + 10
            while clock.monotonic() < until and None in map(self._client.highwater, asked):
                self._client.poll(timeout_ms=200)
            last |= {part: max(last[part], self._client.highwater(part) or 0) for part in asked}
        return {part.partition: (first[part], last[part]) for part in self._parts}

    def offsets_at(self, at_ms: int) -> dict[int, int | None]:
        """The first message at or after a time, by partition; None where there is none."""
        asked = dict.fromkeys(self._parts, at_ms)
        found = self._client.offsets_for_times(asked, timeout_ms=10_000)
        return {p.partition: None if at is None else at.offset for p, at in found.items()}

    def begin(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions alone, from these places on."""
        self._parts = [part for part in self._parts if part.partition in offsets]
        self._places = {part: offsets[part.partition] for part in self._parts}
        self._assigned: list[TopicPartition] = []

    def poll(self, timeout_ms: int, paused: Iterable[int] = ()) -> list[Raw]:
        """What is there, but of the paused partitions nothing."""
        waiting = set(paused)
        wanted = [part for part in self._parts if part.partition not in waiting]
        if wanted != self._assigned:  # the client's own pause may leave others unread for ever
            self._client.assign(wanted)
            for part in wanted:
                self._client.seek(part, self._places[part])
            self._assigned = wanted
        fetched = self._client.poll(timeout_ms=timeout_ms)
        self._places |= {part: self._client.position(part) for part in wanted}
        return [raw_of(record) for records in fetched.values() for record in records]

    def positions(self) -> dict[int, int]:
        """The next offset of each partition; control records are passed over silently."""
        return {part.partition: place for part, place in self._places.items()}

    def close(self) -> None:
        self._client.close(autocommit=False, timeout_ms=3_000)


class Producer:
    """Sends records durably (acks of all replicas, idempotent) and says when one was refused."""

    def __init__(self, linger_ms: int = 5, compression: str | None = "lz4") -> None:
        try:
            self._client = KafkaProducer(
                **client_options(),
                acks="all",
                linger_ms=linger_ms,
                batch_size=65_536,
                compression_type=compression,
                metrics_enabled=False,
                bootstrap_timeout_ms=10_000,
                max_block_ms=15_000,
            )
        except KafkaError as exc:
            raise unavailable("Connecting", exc) from exc
        self._failures: list[Exception] = []

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> None:
        """Queue a record; its time is now, unless said. A refusal comes out of ``flush``."""
        try:
            future = self._client.send(
                topic,
                value=value,
                key=key,
                headers=list(headers),
                partition=partition,
                timestamp_ms=timestamp_ms,
            )
        except KafkaError as exc:
            raise unavailable(f"Sending to {topic}", exc) from exc
        future.add_errback(self._failures.append)

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until all that was queued is durable; raises when one record was not."""
        try:
            self._client.flush(timeout=timeout_s)
        except KafkaError as exc:
            raise unavailable("Sending", exc) from exc
        if self._failures:
            failures, self._failures = self._failures, []
            raise unavailable(f"Sending failed for {len(failures)} records", failures[0])

    def close(self) -> None:
        self._client.close(timeout=10)
