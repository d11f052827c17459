"""The weather vertical through the host: worker, database, alert, console, REST, label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cache

import msgspec
import numpy as np
import pytest
from django.contrib.auth.models import User
from django.test import Client

from lepton_apps.accounts.models import Role
from lepton_apps.alerts import services as alerts
from lepton_apps.alerts.models import Alert, Label
from lepton_apps.common.db import raw_connection
from lepton_apps.streaming.labels import apply_labels
from lepton_apps.streaming.models import Decision, EntityState, Knowledge, SecondaryState, Tick
from lepton_apps.streaming.path import StreamPath
from lepton_apps.streaming.source import Raw
from lepton_apps.streaming.worker import Worker
from lepton_apps.verticals.contract import Trained
from tests.champions import install
from tests.streaming.sources import InMemorySource, log
from tests.weather.extractor import REGION, Region
from tests.weather.recipe import train
from tests.weather.records import Reading
from tests.weather.test_weather import NOON
from tests.weather.vertical import READINGS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("weather_champion")]


@cache
def starter() -> Trained:
    return train(lambda stage, done, total: None)


@pytest.fixture
def weather_champion(transactional_db: None) -> None:
    install(READINGS, starter())


@pytest.fixture
def meteorologist(person: Callable[..., User]) -> User:
    return person("mia", weather=Role.OPERATOR)


def raws(*readings: tuple[str, int, float]) -> list[Raw]:
    """Messages of one partition: station, seconds after noon, temperature."""
    return log(
        msgspec.json.encode(Reading(station, NOON + timedelta(seconds=at), celsius, "roof"))
        for station, at, celsius in readings
    )


def work(messages: Sequence[Raw], batch_size: int = 100) -> None:
    """A worker of its own takes what is not read yet."""
    path = StreamPath(READINGS.name, cache_entities=100)
    worker = Worker(path, lambda: InMemorySource(messages))
    worker.batch_size = batch_size
    worker.run_once()
    while worker.run_once():
        pass


SILENCE = raws(
    ("north-1", 0, 10), ("north-2", 5, 10), ("north-2", 100, 10), ("north-2", 190, 10),
    ("north-2", 250, 10),
)  # fmt: skip


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_silence_becomes_a_decision_and_an_alert_of_the_station(batch_size: int) -> None:
    work(SILENCE, batch_size)

    alert = Alert.objects.get()
    assert (alert.entity_key, alert.reason, alert.outcome) == ("north-1", "silence", "warn")
    assert alert.title == "A station has fallen silent"
    decision = Decision.objects.get(alert_id=alert.id)
    assert decision.occurred_at == NOON + timedelta(seconds=180)
    assert Decision.objects.count() == len(SILENCE) + 1
    assert EntityState.objects.get(entity_key="north-1").due_at is None
    assert list(Tick.objects.order_by("at").values_list("before_offset", "by_clock")) == [
        (2, False), (3, False), (4, False),
    ]  # fmt: skip


def test_a_worker_that_takes_over_knows_timers_and_knowledge_of_the_one_before() -> None:
    work(SILENCE[:2])
    work(SILENCE)

    assert Alert.objects.get().entity_key == "north-1"
    assert [bytes(row.body) for row in Knowledge.objects.all()] == [b"roof"]
    column = READINGS.extractor.schema.names.index("kind_new")
    stored = [np.frombuffer(decision.features, "<f4") for decision in Decision.objects.all()]
    assert sum(x_F[column] for x_F in stored) == 1


def test_a_broken_sensor_is_seen_and_its_confirmation_reaches_the_region(
    meteorologist: User,
) -> None:
    work(raws(("north-1", 0, 10), ("north-1", 20, 38)))
    alert = Alert.objects.get()
    assert alert.title == "+38.0 °C at north-1"

    alerts.resolve(alert.id, True, meteorologist)
    assert apply_labels(raw_connection(), READINGS) == 1

    labelled = SecondaryState.objects.get(entity_key="north", shard=-2)
    assert Region(*REGION.unpack(bytes(labelled.state))).broken == 1


def test_a_verdict_on_silence_is_kept_and_stops_no_other_label(meteorologist: User) -> None:
    work(SILENCE)
    alert = Alert.objects.get()

    alerts.resolve(alert.id, True, meteorologist)
    apply_labels(raw_connection(), READINGS)

    assert Label.objects.get().applied_at is not None


def test_its_people_see_it_and_strangers_do_not(
    client: Client, meteorologist: User, operator: User
) -> None:
    work(SILENCE)
    alert = Alert.objects.get()

    client.force_login(meteorologist)
    assert "A station has fallen silent" in client.get("/").content.decode()
    assert "north-1" in client.get(f"/alerts/{alert.id}/").content.decode()
    assert "roof, since" in client.get("/panels/weather/").content.decode()
    assert client.get(f"/api/v1/alerts/{alert.id}").json()["reason"] == "silence"
    names = {row["name"] for row in client.get("/api/v1/streams").json()["results"]}
    assert names == {"weather.readings", "weather.labels"}

    client.force_login(operator)  # of payments
    for path in (f"/alerts/{alert.id}/", "/panels/weather/", f"/api/v1/alerts/{alert.id}"):
        assert client.get(path).status_code == 404
