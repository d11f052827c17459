"""The filled database fits the schema, and every route of the console is looked at or named."""

from __future__ import annotations

import psycopg
import pytest
from django.contrib.auth.models import User
from django.test import Client

from benchmarks.console import looked_at
from benchmarks.pages import places
from benchmarks.seeding import Size, fill
from lepton_apps.alerts.models import Alert, Label
from lepton_apps.console.urls import urlpatterns
from lepton_apps.streaming.models import DeadLetter, Decision, RecordKey
from tests.realtime.conftest import database_url

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def session(admin: User) -> str:
    client = Client()
    client.force_login(admin)
    return str(client.cookies["sessionid"].value)


def test_every_page_of_a_filled_database_is_measured_with_its_queries(session: str) -> None:
    with psycopg.connect(database_url(), autocommit=True) as connection:
        fill(connection, Size(alerts=20, decisions=200, entities=30))
    assert (Decision.objects.count(), RecordKey.objects.count()) == (200, 200)
    assert (Label.objects.count(), DeadLetter.objects.count()) == (20, 2)
    for alert in Alert.objects.all():
        decision = Decision.objects.get(id=alert.decision_id, decided_at=alert.decided_at)
        assert (decision.alert_id, decision.entity_key) == (alert.pk, alert.entity_key)

    pages, unseen = looked_at(session)
    names = {page.name for page in pages}
    assert {"alerts", "alerts ?mine=1", "alert", "dead-letter", "panels", "sign-in"} <= names
    assert {page.session for page in pages if page.name == "sign-in"} == {""}
    assert not [page.name for page in pages if page.session and page.queries < 2]
    assert "choose-password (status 302)" in unseen


def test_a_route_that_nothing_fits_into_is_named_and_not_passed_over(session: str) -> None:
    found = {place.name: place for place in places()}
    assert set(found) >= {pattern.name or str(pattern.pattern) for pattern in urlpatterns}
    assert found["alert"].missing == "nothing to fill in for alert_id"
    assert "alert (nothing to fill in for alert_id)" in looked_at(session)[1]
