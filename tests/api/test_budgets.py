"""Alert budgets over REST."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError
from rest_framework.test import APIClient

from lepton_apps.audit.models import AuditEntry
from lepton_apps.model_registry.models import ThresholdChange
from lepton_apps.model_registry.serving import ModelSource
from lepton_apps.streaming.models import AlertBudget
from tests.api.conftest import ClientOf
from tests.champions import PAYMENTS
from tests.console.test_budgets import count_scores

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("champion")]

ADDRESS = f"/api/v1/streams/{PAYMENTS.name}/budget"


@pytest.fixture
def boss(client_of: ClientOf, admin: User) -> APIClient:
    return client_of(admin)


def test_a_budget_is_set_followed_and_cleared(boss: APIClient, settings: Any) -> None:
    count_scores()
    settings.WORKER_MODEL_CHECK_S = 0.0
    source = ModelSource(PAYMENTS)
    assert source.current().thresholds["review"] == 0.5

    body = {"kind": "reviews", "per_day": 25, "why": "Two people."}
    answer = boss.put(ADDRESS, body, format="json").json()
    assert answer["budget"]["per_day"] == 25
    assert answer["budget"]["set_by"] == "ada"
    assert answer["kind"] == "reviews"
    assert answer["thresholds_because"] == "budget"
    assert 15 < answer["expected_per_day"] <= 25
    assert source.current().thresholds == answer["thresholds"]
    assert answer["ledger"][0]["thresholds"] == answer["thresholds"]
    act = AuditEntry.objects.get(action="budget.set")
    assert (act.actor_name, act.why, act.data) == (
        "ada",
        "Two people.",
        {"kind": "reviews", "per_day": 25.0, "by_token": act.data["by_token"]},
    )

    cleared = boss.put(ADDRESS, {"per_day": None}, format="json").json()
    assert (cleared["budget"], cleared["thresholds_because"]) == (None, "version")
    assert source.current().thresholds["review"] == 0.5
    again = boss.put(ADDRESS, {"per_day": None}, format="json")
    assert (again.status_code, AlertBudget.objects.count()) == (200, 2)


def test_what_a_budget_would_come_to_is_told_without_setting_it(api: APIClient) -> None:
    count_scores()
    told = api.get(ADDRESS, {"per_day": "40", "kind": "alerts"}).json()
    preview = told["preview"]
    assert preview["thresholds"]["review"] > told["thresholds"]["review"] == 0.5
    assert preview["thresholds"]["decline"] >= preview["thresholds"]["review"]
    assert preview["last_week_would_have_had"] == pytest.approx(
        7 * preview["expected_per_day"], 0.1
    )
    assert told["expected_per_day"] > 100
    assert not AlertBudget.objects.exists()
    assert not ThresholdChange.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        {"per_day": 0},
        {"per_day": -3},
        {"per_day": 1e9},
        {"per_day": "many"},
        {"per_day": 5, "kind": "money"},
        {"per_day": 5, "why": "x" * 501},
        {},
    ],
)
def test_a_budget_that_cannot_be_is_refused(body: dict[str, Any], boss: APIClient) -> None:
    answer = boss.put(ADDRESS, body, format="json")
    assert answer.status_code == 400
    assert answer.json()["detail"].endswith(".")
    assert not AlertBudget.objects.exists()


@pytest.mark.parametrize(
    "query", [{"per_day": "x"}, {"kind": "alerts"}, {"per_day": "nan"}, {"per_dya": "3"}]
)
def test_a_question_that_makes_no_sense_is_refused(query: dict[str, str], api: APIClient) -> None:
    assert api.get(ADDRESS, query).status_code == 400


def test_lines_of_budgets_and_thresholds_are_never_changed(boss: APIClient) -> None:
    count_scores()
    boss.put(ADDRESS, {"per_day": 25}, format="json")
    for rows, changes in (
        (AlertBudget.objects.all(), {"per_day": 1.0}),
        (ThresholdChange.objects.all(), {"thresholds": {}}),
    ):
        assert rows.count() == 1
        with pytest.raises(DatabaseError, match="never changed"):
            rows.update(**changes)
        with pytest.raises(DatabaseError, match="never changed"):
            rows.delete()
