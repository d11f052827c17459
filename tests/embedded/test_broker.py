from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from lepton_apps.embedded.broker import (
    ApacheKafkaBroker,
    TansuBroker,
    choose_broker,
    find_java,
    kafka_libs,
)
from lepton_apps.embedded.logs import Tail
from lepton_apps.embedded.processes import EmbeddedServerError
from lepton_apps.embedded.testing import temporary_broker
from tests.apache_kafka import KAFKA_HOME, needs_kafka

TOPIC = "kept.or.not.v1"


def create_topic(bootstrap_servers: str) -> str:
    """Create the topic and return its id."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        admin.create_topics([NewTopic(TOPIC, 2, 1)])
        return topic_ids(bootstrap_servers)[TOPIC]
    finally:
        admin.close()


def topic_ids(bootstrap_servers: str) -> dict[str, str]:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        names = [name for name in admin.list_topics() if not name.startswith("__")]
        described = admin.describe_topics(names) if names else []
        return {each["name"]: str(each["topic_id"]) for each in described}
    finally:
        admin.close()


def produce(bootstrap_servers: str, num_records: int) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap_servers, acks="all")
    for number in range(num_records):
        producer.send(TOPIC, str(number).encode(), partition=number % 2)
    producer.flush()
    producer.close()


def num_records(bootstrap_servers: str) -> int:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap_servers)
    ends = consumer.end_offsets([TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)])
    consumer.close()
    return sum(ends.values())


def test_the_built_in_broker_comes_back_empty_at_the_same_address() -> None:
    with temporary_broker("embedded") as broker:
        address = broker.bootstrap_servers
        first = create_topic(address)
        produce(address, 10)

        broker.kill()
        broker.restart()

        assert broker.bootstrap_servers == address
        assert topic_ids(address) == {}
        assert create_topic(address) != first
        assert not broker.keeps_data
        assert "in memory only" in broker.server.describe()


@needs_kafka
@pytest.mark.kafka
def test_apache_kafka_comes_back_with_its_topics_and_records() -> None:
    with temporary_broker("kafka", KAFKA_HOME) as broker:
        address = broker.bootstrap_servers
        topic_id = create_topic(address)
        produce(address, 10)

        broker.restart()

        assert broker.bootstrap_servers == address
        assert topic_ids(address) == {TOPIC: topic_id}
        assert num_records(address) == 10
        assert broker.keeps_data
        assert str(KAFKA_HOME) in broker.server.describe()


def test_a_restart_does_not_move_to_another_port() -> None:
    with temporary_broker("embedded") as broker:
        host, port = broker.bootstrap_servers.split(":")
        broker.stop()
        with socket.socket() as stranger:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            stranger.bind((host, int(port)))
            stranger.listen()
            with pytest.raises(EmbeddedServerError, match=rf"Port {port} .* is taken"):
                broker.restart()


def test_a_kafka_home_chooses_apache_kafka(tmp_path: Path) -> None:
    assert isinstance(choose_broker(None, tmp_path, Tail()), TansuBroker)
    assert isinstance(choose_broker(tmp_path, tmp_path, Tail()), ApacheKafkaBroker)


def test_a_folder_without_broker_jars_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "libs").mkdir()
    with pytest.raises(EmbeddedServerError, match=f"LEPTON_KAFKA_HOME={tmp_path} is no unpacked"):
        kafka_libs(tmp_path)


def test_missing_java_is_said_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmbeddedServerError, match=r"Java runtime of 17 .* unset LEPTON_KAFKA_HOME"):
        find_java()


@pytest.mark.parametrize("version", ["11.0.2", "1.8.0_392"])
def test_an_old_java_is_refused(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "java"
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(EmbeddedServerError, match=r"is version (11|8)\."):
        find_java()
