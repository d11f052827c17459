"""Ticks of entities that no partition has brought yet."""

from __future__ import annotations

import pytest

from lepton_apps.alerts.models import Alert
from lepton_apps.streaming.models import EntityState
from tests.champions import install
from tests.weather.test_on_the_server import raws, starter, work
from tests.weather.vertical import READINGS

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_station_that_only_rest_has_brought_is_missed_too() -> None:
    install(READINGS, starter())
    messages = raws(("north-1", 0, 10.0), ("south-1", 10, 10.0), ("south-1", 400, 10.0))
    work(messages[:1])
    EntityState.objects.update(partition=None)  # as REST leaves an entity of its own
    work(messages)

    alert = Alert.objects.get(entity_key="north-1")
    assert (alert.reason, alert.outcome) == ("silence", "warn")
