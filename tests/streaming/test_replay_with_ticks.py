"""Replays of a stream with ticks and knowledge: rows that silence made are among them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lepton_apps.alerts.models import Alert
from lepton_apps.streaming.models import Decision, Knowledge, Tick
from tests.champions import install
from tests.streaming.replays import everything, replayed
from tests.streaming.sources import TOPIC_ID
from tests.weather.test_on_the_server import SILENCE, raws, starter, work
from tests.weather.test_weather import NOON
from tests.weather.vertical import READINGS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("weather_champion")]
NAME = READINGS.name
SAME = {"mean": 0.0, "max": 0.0, "identical": len(SILENCE) + 1}


@pytest.fixture
def weather_champion(transactional_db: None) -> None:
    install(READINGS, starter())


def test_stored_rows_of_ticks_and_records_give_the_same_to_the_last_bit() -> None:
    work(SILENCE)
    before = everything()

    result = replayed(NAME)

    assert everything() == before
    assert result["rows"] == Decision.objects.count() == len(SILENCE) + 1
    assert result["score_difference"] == SAME
    told = result["alerts"]
    assert told["before"] == told["after"] == Alert.objects.count() == 1
    assert (told["gained"], told["lost"]) == (0, 0)
    assert result["money"] == []


def test_a_topic_is_given_the_ticks_that_the_worker_was_given() -> None:
    work(SILENCE, batch_size=2)
    before = everything()

    result = replayed(NAME, from_offset=0, log=SILENCE)

    assert everything() == before
    assert result["score_difference"] == SAME
    assert result["alerts"]["after"] == 1
    assert (result["alerts"]["gained"], result["alerts"]["lost"]) == (0, 0)


def test_a_tick_that_the_clock_gave_is_given_again_before_the_same_record() -> None:
    messages = raws(("north-1", 0, 10), ("north-2", 5, 10))
    Tick.objects.create(
        stream=NAME, topic_id=TOPIC_ID, partition=0, at=NOON + timedelta(seconds=240),
        before_offset=1, by_clock=True,
    )  # fmt: skip

    result = replayed(NAME, from_offset=0, log=messages)

    assert result["rows"] == 3  # two records, and the silence of north-1 between them
    assert result["undecided"] == 3


def test_a_topic_begins_with_what_was_known_before_its_first_message() -> None:
    work(SILENCE)
    learned_at = Knowledge.objects.get().learned_at
    later = int((learned_at + timedelta(hours=1)).timestamp() * 1000)
    earlier = int((learned_at - timedelta(hours=1)).timestamp() * 1000)

    knowing = replayed(NAME, from_offset=0, log=[m._replace(sent_ms=later) for m in SILENCE])
    new = replayed(NAME, from_offset=0, log=[m._replace(sent_ms=earlier) for m in SILENCE])

    assert new["score_difference"] == SAME
    assert knowing["rows"] == new["rows"]
    assert knowing["score_difference"]["identical"] < new["score_difference"]["identical"]
