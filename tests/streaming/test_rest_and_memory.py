"""What REST must know and keep of a stream that workers read as well."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import msgspec
import numpy as np
import pytest

from lepton_apps.common.db import raw_connection
from lepton_apps.streaming import services
from lepton_apps.streaming.batch import Decoder
from lepton_apps.streaming.models import Decision, EntityState, Knowledge
from lepton_apps.streaming.services import SharedPath
from tests.champions import install
from tests.weather.records import Reading
from tests.weather.test_on_the_server import raws, starter, work
from tests.weather.test_weather import NOON
from tests.weather.vertical import READINGS

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rest(monkeypatch: pytest.MonkeyPatch) -> SharedPath:
    """The stream of readings as REST sees it, if its records had ids."""
    install(READINGS, starter())
    path = SharedPath(READINGS.name)
    path.stream = replace(READINGS, record_id=lambda reading: reading.at.isoformat())
    path.decoder = Decoder(path.stream, 10_000)
    monkeypatch.setattr(services, "path_of", lambda name: path)
    return path


def reading(seconds: int, kind: str = "roof", station: str = "north-1") -> bytes:
    return msgspec.json.encode(Reading(station, NOON + timedelta(seconds=seconds), 10.0, kind))


def kind_is_new(at: int) -> bool:
    column = READINGS.extractor.schema.names.index("kind_new")
    decision = Decision.objects.get(occurred_at=NOON + timedelta(seconds=at))
    return bool(np.frombuffer(bytes(decision.features), "<f4")[column])


def test_rest_knows_what_a_worker_has_learned(rest: SharedPath) -> None:
    work(raws(("north-1", 0, 10)))
    services.decide(READINGS.name, [reading(10)])

    assert (kind_is_new(0), kind_is_new(10)) == (True, False)


def test_rest_takes_up_what_was_learned_since(
    rest: SharedPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "KNOWLEDGE_S", 0.0)
    services.decide(READINGS.name, [reading(0, "mast")])
    work(raws(("north-2", 5, 10)))
    services.decide(READINGS.name, [reading(10)])

    assert (kind_is_new(0), kind_is_new(5), kind_is_new(10)) == (True, True, False)
    assert Knowledge.objects.count() == 2


def test_rest_asks_for_knowledge_now_and_then_only(rest: SharedPath) -> None:
    rest.learn(raw_connection())
    known = rest.knowledge
    rest.learn(raw_connection())

    assert rest.knowledge is known


def test_an_entity_that_rest_writes_stays_in_its_partition(rest: SharedPath) -> None:
    """Else its timer would never be found again by the worker of the partition."""
    work(raws(("north-1", 0, 10), ("north-2", 10, 10), ("north-2", 190, 10)))
    silent = EntityState.objects.get(entity_key="north-1")
    assert (silent.partition, silent.due_at) == (0, None)

    services.decide(READINGS.name, [reading(200)])

    row = EntityState.objects.get(entity_key="north-1")
    assert row.due_at is not None
    assert row.partition == 0
