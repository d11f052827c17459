"""The same promises on both brokers: the embedded one always, Apache Kafka where it is at hand."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from itertools import chain

import msgspec
import numpy as np
import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient

from lepton_apps.verticals.contract import States
from tests.apache_kafka import KAFKA_HOME, needs_kafka
from tests.champions import PAYMENTS, payment
from tests.chaos.auditor import audit, audit_records
from tests.chaos.loads import Sent
from tests.chaos.stage import ROOT, SESSION_S, Stage, stage

BEAT_OF = "SELECT 1 FROM worker_heartbeat WHERE pid = %s"


@pytest.fixture(
    scope="module",
    params=["embedded", pytest.param("kafka", marks=[needs_kafka, pytest.mark.kafka])],
)
def both(request: pytest.FixtureRequest) -> Iterator[Stage]:
    with stage(None, request.param, KAFKA_HOME) as running:
        yield running


@pytest.fixture
def ground(both: Stage) -> Iterator[Stage]:
    yield both
    both.kill_all()


def assigned(ground: Stage) -> list[list[int]]:
    """The partitions of each worker that beat a moment ago."""
    rows = ground.query(
        "SELECT assignment FROM worker_heartbeat"
        " WHERE beat_at > now() - interval '3 seconds' AND condition = 'running'"
    )
    return sorted(row[0] for row in rows)


def shared_by(ground: Stage, workers: int) -> bool:
    """Whether so many workers share all four partitions between them."""
    parts = [part for part in assigned(ground) if part]
    return len(parts) == workers and sorted(chain.from_iterable(parts)) == [0, 1, 2, 3]


@pytest.mark.timeout(240)
def test_workers_that_join_and_leave_share_the_partitions_and_lose_nothing(ground: Stage) -> None:
    ground.worker()
    with ground.load(4_000, rate=300):
        ground.wait("one worker with all", lambda: shared_by(ground, 1))
        second = ground.worker()
        ground.wait("two workers sharing", lambda: shared_by(ground, 2))
        second.send_signal(signal.SIGTERM)
        assert second.wait(20) == 0
        ground.wait("one worker again", lambda: shared_by(ground, 1), SESSION_S * 3)
    audit(ground)


@pytest.mark.timeout(240)
def test_a_worker_stopped_while_it_joins_does_not_keep_the_next_one_out(
    ground: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A group of its own: only one that nobody ever joined waits for its first member.
    monkeypatch.setitem(ground.env, "KAFKA_GROUP", f"test-{uuid.uuid4().hex[:8]}")
    first = ground.worker()
    ground.wait("its first beat", lambda: ground.query(BEAT_OF, first.pid) != [])
    first.send_signal(signal.SIGTERM)
    first.wait(20)
    ground.worker()
    ground.produce(200)
    audit(ground)


@pytest.mark.timeout(240)
def test_rest_and_the_worker_meet_on_one_customer_and_lose_nothing(ground: Stage) -> None:
    ground.worker()
    before = ground.taken()
    with ground.load(600, rate=150, entities=1):
        ground.wait("the worker", lambda: ground.taken() > before)
        sent = decide_over_services(ground, count=150)
    ground.wait("all", lambda: ground.taken() >= len(ground.sent) + len(sent))
    rows = ground.query("SELECT record_id, count(*) FROM decision GROUP BY 1")
    assert {record_id for record_id, _ in rows} == ground.sent.keys() | set(sent)
    assert all(count == 1 for _, count in rows)
    ((version,),) = ground.query("SELECT version FROM entity_state WHERE entity_key = 'c0'")
    ((batches,),) = ground.query(
        "SELECT count(DISTINCT decided_at) FROM decision WHERE entity_key = 'c0'"
    )
    assert version == batches, "a state was written by a batch that decided nothing, or not at all"
    # The other tests of this module compare with what they sent themselves.
    ground.query("WITH gone AS (DELETE FROM decision RETURNING id) SELECT count(*) FROM gone")
    clear(ground)


def decide_over_services(ground: Stage, count: int) -> list[str]:
    """A process of its own, as a web process is, that decides on the workers' customer."""
    run = uuid.uuid4().hex[:6]
    records = [payment(n, id=f"rest-{run}-{n}", customer="c0") for n in range(count)]
    code = (
        "import sys, json, django; django.setup()\n"
        "from lepton_apps.streaming.services import decide\n"
        "for record in json.load(sys.stdin):\n"
        f"    decide({PAYMENTS.name!r}, [json.dumps(record).encode()])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=ground.env, input=json.dumps(records),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return [str(record["id"]) for record in records]


def clear(ground: Stage) -> None:
    """Forget the past of the stage, but not where the stream is."""
    ground.kill_all()
    tables = "decision, record_key, entity_state, secondary_state, alert, label, feed_event,"
    tables += " feed_counter, dead_letter, offset_gap"
    ground.query(f"SELECT 1 FROM (SELECT 1) AS one; TRUNCATE {tables}; SELECT 1")
    ground.sent.clear()
    ground.poison = 0


@pytest.mark.timeout(240)
def test_two_workers_on_one_hot_terminal_count_every_payment(ground: Stage) -> None:
    clear(ground)
    ground.worker()
    ground.worker()
    ground.wait("two workers sharing", lambda: shared_by(ground, 2))
    send_to_one_terminal(ground, 2_000)
    ground.wait("all", lambda: ground.taken() >= 2_000)
    audit_records(ground)
    # What a reader sees: the merged count of the terminal in a payment that comes after all.
    rows = ground.query("SELECT shard, state FROM secondary_state WHERE entity_key = 't:hot'")
    assert len(rows) == 4
    extractor = PAYMENTS.extractor
    late = msgspec.json.decode(
        msgspec.json.encode(payment(2_001, customer="late", terminal="hot")),
        type=PAYMENTS.record_type,
    )
    merged = extractor.extract([late], [0], States({}, {"t:hot": dict(rows)}, {}))
    column = extractor.schema.names.index("terminal_count_7d")
    alone = extractor.extract([late] * 1, [0], States({}, {}, {}))
    assert merged.x_BF[0, column] == pytest.approx(float(_log1p(2_000)))
    assert alone.x_BF[0, column] == 0
    clear(ground)


def _log1p(count: int) -> float:
    return float(np.float32(np.log1p(count)))


def send_to_one_terminal(ground: Stage, count: int) -> None:
    producer = KafkaProducer(
        bootstrap_servers=ground.env["KAFKA_BOOTSTRAP_SERVERS"], acks="all", linger_ms=5
    )
    for n in range(count):
        record = payment(0, id=f"hot-{n}", customer=f"h{n % 200}", terminal="hot")
        sent = Sent(str(record["id"]), str(record["customer"]), json.dumps(record).encode())
        ground.sent[sent.id] = sent
        producer.send(PAYMENTS.topic, sent.value, sent.key.encode())
        if n % 100 == 99:
            producer.flush()
    producer.close()


@pytest.mark.timeout(240)
def test_a_redriven_dead_letter_is_decided_in_its_partition(ground: Stage) -> None:
    clear(ground)
    ground.worker()
    ground.produce(97)
    ground.wait("the dead letter", lambda: ground.query("SELECT 1 FROM dead_letter") != [])
    ((letter_id,),) = ground.query("SELECT id FROM dead_letter")
    mended = payment(500, id="mended", customer="c1", terminal="t-c1")
    code = (
        "import sys, django; django.setup()\n"
        "from lepton_apps.streaming.services import redrive\n"
        f"print(redrive({letter_id}, None, sys.stdin.buffer.read()).status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=ground.env, input=json.dumps(mended).encode(),
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == b"redriven", done.stderr
    ground.wait("its decision", lambda: ground.taken() == 98)
    assert ground.query("SELECT count(*) FROM decision WHERE record_id = 'mended'") == [(1,)]
    clear(ground)


@needs_kafka
@pytest.mark.kafka
@pytest.mark.timeout(300)
def test_apache_kafka_restarted_keeps_its_records_and_work_goes_on() -> None:
    with stage(None, "kafka", KAFKA_HOME) as ground:
        ground.worker()
        ground.produce(300)
        ground.wait("the first records", lambda: ground.taken() >= 300)
        ground.broker.stop()
        time.sleep(1)
        ground.broker.restart()
        ground.produce(300)
        audit(ground)
        assert ground.query("SELECT count(*) FROM offset_gap") == [(0,)]


@needs_kafka
@pytest.mark.kafka
@pytest.mark.timeout(300)
def test_what_retention_deletes_unread_is_counted_and_shown() -> None:
    with stage(None, "kafka", KAFKA_HOME) as ground:
        worker = ground.worker()
        ground.produce(200)
        ground.wait("the first records", lambda: ground.taken() >= 200)
        ground.kill(worker)
        ground.produce(200)
        admin = KafkaAdminClient(bootstrap_servers=ground.broker.bootstrap_servers)
        ends = dict(ground.query("SELECT partition, next_offset + 20 FROM stream_offset"))
        admin.delete_records(
            {TopicPartition(PAYMENTS.topic, p): int(end) for p, end in ends.items()}
        )
        admin.close()
        ground.worker()
        ground.wait(
            "the gaps",
            lambda: ground.query("SELECT sum(to_offset - from_offset) FROM offset_gap") == [(80,)],
        )
        total = len(ground.sent) + ground.poison
        ground.wait(
            "the rest",
            lambda: (
                ground.query(
                    "SELECT (SELECT count(*) FROM decision) + (SELECT count(*) FROM dead_letter)"
                )
                == [(total - 80,)]
            ),
        )
        kinds = ground.query("SELECT DISTINCT kind FROM offset_gap")
        assert kinds == [("retention",)]
