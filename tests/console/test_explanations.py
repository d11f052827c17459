"""The alert page's reasons: how they add up, and what is normal for the entity itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.test import Client

from lepton_apps.common import clock
from lepton_apps.model_registry.models import ModelVersion
from lepton_apps.streaming.services import decide
from tests.champions import PAYMENTS, payment
from tests.console.data import STREAM, make_alert, open_alert, save_decision
from tests.console.many import SCHEMA, fill_entity
from tests.console.test_pages import queries, text
from tests.unprotected import unprotected

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def version(transactional_db: None) -> ModelVersion:
    """The version that the decisions of these tests name."""
    return ModelVersion.objects.create(
        model_name=PAYMENTS.model_name,
        number=1,
        stream=STREAM,
        schema_hash=SCHEMA.hash,
        manifest={},
        created_at=clock.now(),
    )


def total(body: str) -> list[float]:
    """The lines of the sum, the last one what they should add up to."""
    found = re.search(r'<dl class="total".*?</dl>', body, re.DOTALL)
    assert found is not None
    return [float(number) for number in re.findall(r">([+-][\d.]+)<", found[0])]


def test_what_is_far_from_the_entitys_own_normal_is_marked(
    console: Client, version: ModelVersion
) -> None:
    alert = fill_entity(5)  # forty rows near 1; seen are 9.4, and 1.02
    body = text(console, f"/alerts/{alert.pk}/")
    far, near = re.findall(r"<tr( class=\"far\")?><td class=\"mono\">(\w+)", body)
    assert far == (' class="far"', "amount_log")
    assert near == ("", "customer_mean_30d")
    assert "over its 40 records before" in body


def test_too_few_records_make_no_normal(console: Client, version: ModelVersion) -> None:
    alert = open_alert(1)
    for number in range(2, 6):
        at = alert.decided_at - timedelta(minutes=number)
        save_decision(make_alert(number, at=at, entity_key=alert.entity_key), number)
    body = text(console, f"/alerts/{alert.pk}/")
    assert "4 earlier records" in body
    assert 'class="far"' not in body


def test_rows_of_another_schema_are_not_compared(console: Client, version: ModelVersion) -> None:
    with unprotected("model_version"):
        ModelVersion.objects.update(schema_hash="0" * 16)
    alert = fill_entity(5)
    assert "No earlier records of this entity can be compared" in text(
        console, f"/alerts/{alert.pk}/"
    )


def test_later_records_do_not_move_the_normal(console: Client, version: ModelVersion) -> None:
    alert = fill_entity(5)
    row = np.full(len(SCHEMA.names), 9.4, np.float32)
    for number in range(100, 160):
        later = make_alert(number, at=clock.now(), entity_key=alert.entity_key)
        save_decision(later, number, features=row)
    assert 'class="far"' in text(console, f"/alerts/{alert.pk}/")


def test_a_champions_reasons_add_up_to_its_score(console: Client, champion: ModelVersion) -> None:
    import json

    (answer,) = decide(STREAM, [json.dumps(payment(1, amount="9000.00")).encode()])
    body = text(console, f"/alerts/{answer['alert_id']}/")
    *parts, log_odds = total(body)
    assert sum(parts) == pytest.approx(log_odds, abs=0.02)
    # Surer than that the score goes on as a logarithm; it never falls.
    expected = 1 / (1 + np.exp(-min(log_odds, 12.0)))
    assert answer["score"] >= expected - 1e-3
    assert answer["reasons"][0]["contribution"] > 0


def test_an_alert_from_before_sums_were_kept_shows_none(console: Client) -> None:
    assert 'class="total"' not in text(console, f"/alerts/{open_alert(1).pk}/")


def test_last_records_lead_to_their_pages_and_earlier_alerts_to_theirs(console: Client) -> None:
    first, second = open_alert(1), open_alert(2, entity_key="customer-00001")
    save_decision(first, 1)
    save_decision(second, 2, payload=b'{"id": "record-2", "amount": 2.50}')
    body = text(console, f"/alerts/{second.pk}/")
    assert f'href="/alerts/{first.pk}/"' in body
    assert "record-1" in body
    record = text(console, f"/records/{second.decision_id}/")
    assert "2.50" in record
    assert "amount_log" in record
    assert f'href="/alerts/{second.pk}/"' in record


def test_features_of_another_schema_get_no_names(console: Client, version: ModelVersion) -> None:
    alert = open_alert(1)
    save_decision(alert, 1)
    path = f"/records/{alert.decision_id}/"
    assert "amount_log" in text(console, path)
    with unprotected("model_version"):
        ModelVersion.objects.update(schema_hash="0" * 16)
    body = text(console, path)
    assert "amount_log" not in body
    assert "another feature schema" in body


def test_a_record_of_another_vertical_or_of_nobody_is_not_there(
    other_operator: User, console: Client, signed_in: Callable[[User], Client]
) -> None:
    alert = open_alert(1)
    save_decision(alert, 1)
    path = f"/records/{alert.decision_id}/"
    assert console.get(path).status_code == 200
    assert signed_in(other_operator).get(path).status_code == 404
    assert console.get(f"/records/{alert.fingerprint}/").status_code == 404


def test_scores_of_the_last_records_are_drawn_with_the_one_that_opened(
    console: Client, version: ModelVersion
) -> None:
    body = text(console, f"/alerts/{fill_entity(5).pk}/")
    assert "Scores of the last 41 records" in body
    assert body.count("<circle") == 1


def test_the_page_takes_the_same_queries_for_an_entity_with_a_long_past(
    console: Client, version: ModelVersion
) -> None:
    alone = open_alert(1)
    save_decision(alone, 1)
    busy = fill_entity(5)
    assert queries(console, f"/alerts/{busy.pk}/") == queries(console, f"/alerts/{alone.pk}/")
