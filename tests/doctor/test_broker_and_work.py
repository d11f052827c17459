"""What the doctor finds in a real broker, and in how the work stands."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from lepton_apps.accounts.models import OneTimePassword, Role
from lepton_apps.accounts.services import create_operator
from lepton_apps.common import clock
from lepton_apps.common.commands import REFUSED
from lepton_apps.common.db import raw_connection
from lepton_apps.doctor import broker
from lepton_apps.doctor.findings import Verdict
from lepton_apps.embedded.testing import temporary_broker
from lepton_apps.model_registry.models import ModelFile
from lepton_apps.streaming.halting import halt
from lepton_apps.streaming.heartbeat import Heartbeat
from lepton_apps.streaming.kafka import Admin, Producer
from lepton_apps.streaming.models import OffsetGap, StreamOffset, WorkerHeartbeat
from tests.champions import PAYMENTS
from tests.doctor.looking import is_well, look, only
from tests.streaming.sources import log
from tests.streaming.test_worker import STREAM, drain, make_worker
from tests.unprotected import unprotected

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def own_broker() -> Iterator[str]:
    with temporary_broker() as running:
        yield running.bootstrap_servers


@pytest.fixture
def kafka(own_broker: str, settings: Any) -> Iterator[Admin]:
    """A broker without topics."""
    settings.KAFKA_BOOTSTRAP_SERVERS = [own_broker]
    admin = Admin()
    yield admin
    for stream in broker.streams():
        if admin.topic(stream.topic):
            admin.delete_topic(stream.topic)
    admin.close()


def make_topics(admin: Admin) -> None:
    for stream in broker.streams():
        admin.ensure_topic(stream.topic, stream.partitions)


def test_a_broker_that_is_away_is_unreachable(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "ANSWER_MS", 500)
    settings.KAFKA_BOOTSTRAP_SERVERS = ["127.0.0.1:1"]
    assert "127.0.0.1:1 did not answer" in only("broker.reachable", Verdict.UNREACHABLE).found
    settings.KAFKA_BOOTSTRAP_SERVERS = []
    assert "Set it" in only("broker.reachable", Verdict.UNREACHABLE).do


def test_topics_that_are_missing_or_too_narrow_are_named(kafka: Admin) -> None:
    assert is_well("broker.reachable")
    found = look("broker.topics")
    assert {each.do for each in found} == {"manage.py setup"}
    assert len(found) == len(broker.streams())

    kafka.ensure_topic(PAYMENTS.topic, 1)
    make_topics(kafka)
    narrow = only("broker.topics", Verdict.WARNING)
    assert narrow.found.startswith(f"{PAYMENTS.topic} has 1 partitions, {STREAM} declares ")


def test_records_that_nobody_reads_and_offsets_beyond_the_log_are_told(
    kafka: Admin, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_topics(kafka)
    assert is_well("broker.topics")
    assert is_well("broker.positions")
    producer = Producer()
    for _ in range(3):
        producer.send(PAYMENTS.topic, b"{}", partition=1)
        producer.flush()
    producer.close()
    waiting = only("broker.positions", Verdict.WARNING)
    assert waiting.found == f"3 records of {STREAM} wait, and nobody reads."
    assert waiting.do == f"manage.py worker {STREAM}"

    settings.KAFKA_EMBEDDED = False  # whose answers on ends are not exact
    facts = kafka.topic(PAYMENTS.topic)
    assert facts is not None
    StreamOffset.objects.create(
        stream=STREAM, topic_id=facts[0], partition=1, next_offset=9, high_water=9,
        updated_at=clock.now(),
    )  # fmt: skip
    beyond = only("broker.positions", Verdict.PROBLEM)
    assert f"{PAYMENTS.topic}, partitions [1]: the log ends before" in beyond.found

    StreamOffset.objects.update(topic_id=uuid.uuid4())
    assert any("was made anew" in each.found for each in look("broker.positions"))
    settings.KAFKA_EMBEDDED = True
    monkeypatch.setattr(broker, "EMBEDDED_LIMIT", 2)
    assert any("has 3 messages" in each.found for each in look("broker.positions"))


def test_topics_that_forget_within_a_night_are_a_problem() -> None:
    hour = 3_600_000
    found = {
        each.found.split()[0]: each.verdict
        for each in broker.kept_for({"a": hour, "b": 48 * hour, "c": -1, "d": 999 * hour})
    }
    assert found == {"a": Verdict.PROBLEM, "b": Verdict.WARNING}
    (fine,) = broker.kept_for({"c": -1})
    assert fine.verdict is Verdict.OK


def test_a_stream_without_a_champion_or_with_a_damaged_one_is_a_problem(
    request: pytest.FixtureRequest,
) -> None:
    assert {each.verdict for each in look("work.champions")} == {Verdict.PROBLEM}
    request.getfixturevalue("champion")
    assert f"{STREAM} v1" in only("work.champions", Verdict.OK).found
    with unprotected("model_file"):
        ModelFile.objects.update(sha256="0" * 64)
    refused = [each for each in look("work.champions") if "sha256 differs" in each.found]
    assert "manage.py train_starters" in refused[0].do


def test_a_halted_stream_is_told_with_the_way_on() -> None:
    assert is_well("work.halts")
    halt(raw_connection(), STREAM, "The producer sends XML.")
    found = only("work.halts", Verdict.PROBLEM)
    assert "The producer sends XML." in found.found
    assert found.do.endswith(f"manage.py resume {STREAM}")


def test_workers_that_are_missing_silent_or_waiting_are_told() -> None:
    assert f"Nobody reads {STREAM}." in {each.found for each in look("work.workers")}
    beat = Heartbeat(STREAM, 2.0, condition="waiting", detail="the broker is away")
    beat.beat(raw_connection(), [0], {})
    assert any("waits: the broker is away" in each.found for each in look("work.workers"))
    WorkerHeartbeat.objects.update(beat_at=clock.now() - timedelta(minutes=10))
    silent = only("work.workers", Verdict.PROBLEM)
    assert "has been silent since" in silent.found
    Heartbeat(STREAM, 2.0, condition="running").beat(raw_connection(), [0], {})
    assert not [each for each in look("work.workers") if each.verdict is Verdict.PROBLEM]


def test_dead_letters_and_lost_records_are_counted(champion: object) -> None:
    assert is_well("work.dead_letters")
    assert is_well("work.gaps")
    drain(make_worker(log([b"{", b"["])))
    OffsetGap.objects.create(
        stream=STREAM, topic_id=uuid.uuid4(), partition=2, kind=OffsetGap.Kind.RETENTION,
        from_offset=5, to_offset=12, noticed_at=clock.now(),
    )  # fmt: skip
    letters = only("work.dead_letters", Verdict.WARNING)
    assert letters.found.startswith(f"2 dead letters of {STREAM} wait")
    assert f"manage.py redrive {STREAM}" in letters.do
    assert "partition 2: 7 records were lost unread" in only("work.gaps", Verdict.WARNING).found


def test_a_one_time_password_that_lies_about_is_told() -> None:
    create_operator(None, "nina", {"fintech": Role.OPERATOR})
    assert is_well("work.unused_passwords")
    OneTimePassword.objects.update(created_at=clock.now() - timedelta(days=8))
    found = only("work.unused_passwords", Verdict.WARNING)
    assert found.do.endswith("manage.py reset_password nina")
    User.objects.update(is_active=False)
    assert is_well("work.unused_passwords")


def test_the_command_ends_as_what_it_found(person: Callable[..., User]) -> None:
    out = io.StringIO()
    call_command("doctor", "--only", "work.halts", "--json", stdout=out)
    told = json.loads(out.getvalue())
    assert (told["verdict"], told["problem"]) == ("ok", 0)
    assert [each["check"] for each in told["findings"]] == ["database.reachable", "work.halts"]

    halt(raw_connection(), STREAM, "The producer sends XML.")
    out = io.StringIO()
    with pytest.raises(CommandError, match="1 problems") as caught:
        call_command("doctor", "--only", "work.halts", stdout=out)
    assert caught.value.returncode == REFUSED
    assert f"-> Mend its producer, then manage.py resume {STREAM}" in out.getvalue()
