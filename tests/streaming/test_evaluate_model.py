"""``manage.py evaluate_model``: a version on what became known of stored decisions."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from lepton_apps.alerts.models import Label
from lepton_apps.alerts.services import GivenLabel, record_labels
from lepton_apps.model_registry.models import ModelVersion
from lepton_apps.model_registry.services import register_version
from lepton_apps.streaming import services
from models_core import Report
from tests.champions import PAYMENTS, payment, payments_model

pytestmark = pytest.mark.django_db(transaction=True)

NAME = PAYMENTS.model_name
LARGE, SMALL = "4000.00", "20.00"  # surely loud, surely quiet


def run(*arguments: object) -> str:
    output = io.StringIO()
    call_command("evaluate_model", *map(str, arguments), stdout=output)
    return output.getvalue()


def decide_and_label(truth: dict[int, bool], large: set[int]) -> None:
    """Payments decided by the champion, and what became known of them."""
    bodies = [
        json.dumps(payment(n, amount=LARGE if n in large else SMALL)).encode() for n in range(40)
    ]
    services.decide(PAYMENTS.name, bodies)
    at = datetime(2026, 3, 5, tzinfo=UTC)
    given = [
        GivenLabel(PAYMENTS.name, f"p{n}", positive, "chargeback", at)
        for n, positive in truth.items()
    ]
    record_labels(given, source=Label.Source.REST, by=None)


def answer(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*arguments, "--json"))
    return found


def test_labelled_decisions_are_scored_anew_and_costs_are_counted(
    champion: ModelVersion, tmp_path: Path
) -> None:
    large = set(range(8))
    truth = {n: n in large for n in range(20)} | {0: False, 19: True}  # an alarm and a miss
    decide_and_label(truth, large)
    page = tmp_path / "v1.html"
    costs = ("--miss-cost", 100, "--false-alarm-cost", 3)
    said = answer(NAME, champion.number, *costs, "--html", page)
    assert (said["rows"], said["positives"], said["decided_by_other_versions"]) == (20, 8, 0)
    report = Report.from_json(json.dumps(said["report"]))
    assert report.confusion == ((11, 1), (1, 7))
    assert report.metrics["cost"] == 103
    assert report.settings["threshold"] == 0.5  # the version's own for reviews
    assert list(report.baselines) == ["base_rate"]
    assert page.read_text(encoding="utf-8") == report.to_html()
    told = run(NAME, champion.number)
    assert told.startswith(f"{NAME} v1 on 20 labelled decisions, 8 of them positive\n")
    assert "pr_auc" in told


def test_the_newest_label_of_a_record_counts(champion: ModelVersion) -> None:
    decide_and_label({0: True, 1: False, 2: False}, large={0})
    decide_labels = [GivenLabel(PAYMENTS.name, "p1", True, "verdict", datetime.now(UTC))]
    record_labels(decide_labels, source=Label.Source.REST, by=None)
    assert answer(NAME, champion.number)["positives"] == 2


def test_another_version_stands_beside_what_was_decided(champion: ModelVersion) -> None:
    decide_and_label({n: n < 4 for n in range(12)}, large=set(range(4)))
    other = register_version(PAYMENTS, payments_model(seed=2), by=None)
    said = answer(NAME, other.number)
    assert said["decided_by_other_versions"] == 12
    assert list(said["report"]["baselines"]) == ["base_rate", "as_decided"]


def test_what_cannot_be_judged_is_one_sentence(champion: ModelVersion) -> None:
    with pytest.raises(CommandError, match=r"No decision of fintech\.transactions .* has a label"):
        run(NAME, champion.number)
    decide_and_label({0: True, 1: True}, large={0})
    with pytest.raises(CommandError, match=r"All 2 labels of fintech\.transactions .* say yes"):
        run(NAME, champion.number)
    with pytest.raises(CommandError, match="has a label"):
        run(NAME, champion.number, "--until", "2026-01-01", "--since", "2025-01-01")
    with pytest.raises(CommandError, match="has no version 9"):
        run(NAME, 9)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--since", "yesterday"), "--since 'yesterday' is neither a time"),
        (("--since", "2026-02-01", "--until", "2026-01-01"), "before it begins"),
        (("--limit", "0"), "--limit 0"),
        (("--alert-share", "2"), "alert_share=2.0"),
        (("--html", "/nowhere/page.html"), "/nowhere/page.html cannot be written"),
    ],
)
def test_wrong_arguments_are_refused_with_their_exit_code(
    arguments: tuple[str, ...], sentence: str, champion: ModelVersion
) -> None:
    decide_and_label({0: True, 1: False}, large={0})
    with pytest.raises(CommandError, match=sentence) as refused:
        run(NAME, champion.number, *arguments)
    assert refused.value.returncode == 2
