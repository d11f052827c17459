"""Alert budgets: thresholds follow from recent scores, and what was wanted comes to pass."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from lepton_apps.alerts import services as alerts
from lepton_apps.alerts.models import Alert
from lepton_apps.audit.models import AuditEntry
from lepton_apps.common.metrics import ACHIEVED_PER_DAY, BUDGET_PER_DAY, SCORE_THRESHOLD
from lepton_apps.model_registry import selectors as registered
from lepton_apps.model_registry.models import ModelVersion, Role, ThresholdChange
from lepton_apps.model_registry.services import promote, register_version
from lepton_apps.streaming import services
from lepton_apps.streaming.budgets import selectors
from lepton_apps.streaming.budgets import services as budgets
from lepton_apps.streaming.models import AlertBudget, Decision, ScoreTally
from lepton_apps.streaming.retention import keep_house
from lepton_apps.common.db import raw_connection
from tests.champions import PAYMENTS, payment, payments_model
from tests.streaming.simulated_days import A_DAY, Days

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("champion")]

STREAM = PAYMENTS.name
OWN = {"review": 0.5, "decline": 0.9}


@pytest.fixture
def days(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Days:
    settings.WORKER_MODEL_CHECK_S = 0.0  # every batch asks the ledger
    settings.WORKER_HEARTBEAT_S = 0.0  # and each is followed by a beat
    settings.BUDGET_REVIEW_S = 1e-9  # and a review
    return Days(monkeypatch)


def budget(*arguments: str) -> dict[str, Any]:
    out = StringIO()
    call_command("budget", *arguments, "--json", stdout=out)
    told: dict[str, Any] = json.loads(out.getvalue())
    return told


def opened_since(days: Days, span: timedelta) -> int:
    return Alert.objects.filter(opened_at__gte=days.now - span).count()


def test_a_skewed_stream_meets_its_budget_on_later_days(days: Days) -> None:
    days.pass_by(4)
    before = opened_since(days, timedelta(days=3)) / 3
    told = budget(STREAM, "--per-day", "60", "--why", "Two people.")

    assert before > 90  # far more than is wanted
    assert told["thresholds"]["review"] > OWN["review"]
    assert told["thresholds_because"] == "budget"
    assert told["expected_per_day"] == pytest.approx(60, rel=0.1)

    days.pass_by(3)
    assert opened_since(days, timedelta(days=3)) / 3 == pytest.approx(60, rel=0.2)
    assert Decision.objects.count() == 7 * A_DAY  # and no record was lost over it
    assert budget(STREAM)["achieved_per_day"] == opened_since(days, timedelta(days=1))


def test_a_budget_of_reviews_counts_every_loud_record(days: Days) -> None:
    days.pass_by(3)
    budget(STREAM, "--per-day", "60", "--kind", "reviews")
    days.pass_by(2)

    loud = Decision.objects.filter(alert_id__isnull=False, decided_at__gte=days.now)
    since = days.now - timedelta(days=2)
    loud = Decision.objects.filter(alert_id__isnull=False, decided_at__gte=since)
    assert loud.count() / 2 == pytest.approx(60, rel=0.2)
    assert budget(STREAM)["achieved_per_day"] == pytest.approx(
        loud.filter(decided_at__gte=days.now - timedelta(days=1)).count()
    )
