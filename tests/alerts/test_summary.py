from __future__ import annotations

import json
from datetime import timedelta, timezone

from lepton_apps.alerts.models import Alert
from lepton_apps.alerts.summary import alert_summary
from tests.alerts.making import AT


def unsaved(reason: str, vertical: str = "fintech") -> Alert:
    elsewhere = AT.astimezone(timezone(timedelta(hours=5)))
    return Alert(
        id=7, vertical=vertical, stream="fintech.transactions", entity_key="c", reason=reason,
        severity="high", outcome="review", score=0.5, record_count=2, title="t", version=3,
        model_version=1, opened_at=elsewhere, updated_at=AT, first_occurred_at=AT,
        last_occurred_at=AT,
    )  # fmt: skip


def test_an_alert_that_is_not_saved_yet_has_a_summary_in_json() -> None:
    summary = json.loads(json.dumps(alert_summary(unsaved("x"), "olga")))

    assert (summary["id"], summary["version"], summary["assigned_to"]) == (7, 3, "olga")
    assert summary["opened_at"] == "2026-03-01T10:00:00.000000Z"
    assert summary["status"] == "open"


def test_a_reason_is_told_in_the_words_of_its_vertical() -> None:
    from lepton_apps.verticals import registry

    reason, text = next(iter(registry.vertical("fintech").reason_texts.items()))

    assert alert_summary(unsaved(reason))["reason_text"] == text


def test_a_reason_that_nobody_knows_any_more_is_shown_by_its_code() -> None:
    assert alert_summary(unsaved("gone"))["reason_text"] == "gone"
    assert alert_summary(unsaved("gone", "uninstalled"))["reason_text"] == "gone"
