"""Alert budgets: thresholds follow from recent scores, and what was wanted comes to pass."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from lepton_apps.alerts import services as alerts
from lepton_apps.alerts.models import Alert
from lepton_apps.audit.models import AuditEntry
from lepton_apps.common.db import raw_connection
from lepton_apps.common.metrics import ACHIEVED_PER_DAY, BUDGET_PER_DAY, SCORE_THRESHOLD
from lepton_apps.console import reading
from lepton_apps.model_registry.models import ModelVersion, Role, ThresholdChange
from lepton_apps.model_registry.services import promote, register_version
from lepton_apps.streaming import services
from lepton_apps.streaming.budgets import selectors
from lepton_apps.streaming.budgets import services as budgets
from lepton_apps.streaming.models import AlertBudget, Decision, ScoreTally
from lepton_apps.streaming.retention import keep_house
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

    since = days.now - timedelta(days=2)
    loud = Decision.objects.filter(alert_id__isnull=False, decided_at__gte=since)
    assert loud.count() / 2 == pytest.approx(60, rel=0.2)
    last_day = loud.filter(decided_at__gte=days.now - timedelta(days=1)).count()
    assert budget(STREAM)["achieved_per_day"] == last_day


def test_rows_that_fold_are_one_alert_of_the_budget(days: Days) -> None:
    def in_threes(count: int) -> list[float]:
        return [amount for amount in days.amounts(count // 3) for _ in range(3)]

    days.pass_by(3, in_threes, customers=in_threes_of_one)
    budget(STREAM, "--per-day", "30")
    days.pass_by(3, in_threes, customers=in_threes_of_one)

    found = Alert.objects.filter(opened_at__gte=days.now - timedelta(days=3))
    assert found.count() / 3 == pytest.approx(30, rel=0.2)
    assert sum(alert.record_count for alert in found) > 1.5 * found.count()


def in_threes_of_one(number: int) -> int:
    return number // 3


def test_false_alarms_are_told_by_verdicts_and_until_then_all_alerts_count(
    days: Days, operator: User
) -> None:
    days.pass_by(2)
    untold = budget(STREAM, "--per-day", "20", "--kind", "false_alarms")
    assert "0 recent alerts have a verdict" in untold["note"]
    assert untold["expected_per_day"] == pytest.approx(20, rel=0.1)

    for number, alert in enumerate(Alert.objects.order_by("id")[:80]):
        alerts.resolve(alert.pk, number % 4 > 0, operator, "")  # one of four is nothing
    told = budget(STREAM, "--per-day", "20", "--kind", "false_alarms")
    assert "verdict" not in told["note"]
    assert told["thresholds"]["review"] < untold["thresholds"]["review"]
    days.pass_by(2)
    opened = opened_since(days, timedelta(days=2)) / 2
    assert opened == pytest.approx(20 / (21 / 82), rel=0.25)


def test_too_few_scores_keep_the_thresholds_of_the_model(days: Days) -> None:
    days.pass_by(0.5)
    told = budget(STREAM, "--per-day", "5")

    assert told["thresholds"] == OWN
    assert told["note"].startswith("fintech.transactions v1 has 720 scores")
    assert not ThresholdChange.objects.exists()

    days.pass_by(1)  # the worker looks again by itself
    assert budget(STREAM)["thresholds"]["review"] > OWN["review"]
    assert ThresholdChange.objects.exists()


def test_thresholds_do_not_flap_when_the_scores_hardly_change(days: Days) -> None:
    days.pass_by(4)
    budget(STREAM, "--per-day", "60")
    held = budget(STREAM)["thresholds"]
    days.pass_by(0.25)  # the rate goes up by a sixteenth for a moment
    days.worker.look_after()

    now = budget(STREAM)
    assert (now["thresholds"], len(now["ledger"])) == (held, 1)
    assert now["expected_per_day"] == pytest.approx(60, rel=0.1)


def test_thresholds_follow_when_the_scores_change(days: Days) -> None:
    days.pass_by(1)
    budget(STREAM, "--per-day", "60")
    before = budget(STREAM)["thresholds"]["review"]
    days.pass_by(2, lambda count: [4 * amount for amount in days.amounts(count)])
    assert budget(STREAM)["thresholds"]["review"] > before


def test_a_what_if_and_the_worker_decide_by_the_same_thresholds(days: Days) -> None:
    days.pass_by(3)
    budget(STREAM, "--per-day", "30")
    raised = budget(STREAM)["thresholds"]["review"]
    services.path_of.cache_clear()

    days.pass_by(0.25)
    for decision in Decision.objects.order_by("-decided_at")[:300]:
        loud = decision.score >= raised
        assert (decision.outcome != "approve") == loud
    for number, amount in enumerate(("40.00", "600.00", "900.00", "20000.00")):
        record = payment(900_000 + number, amount=amount, occurred_at=days.now.isoformat())
        (answer,) = services.score(STREAM, [json.dumps(record).encode()])
        assert (answer["outcome"] != "approve") == (answer["score"] >= raised)


def test_a_new_champion_starts_by_its_own_thresholds_and_the_old_one_keeps_its_line(
    days: Days, champion: ModelVersion
) -> None:
    days.pass_by(2)
    budget(STREAM, "--per-day", "30")
    raised = budget(STREAM)["thresholds"]
    second = register_version(PAYMENTS, payments_model(seed=2), by=None)
    promote(second, Role.CHAMPION, None, expected=1, below_baseline=True)

    told = budget(STREAM)
    assert (told["version"], told["thresholds"]) == (2, OWN)
    assert "v2 has 0 scores" in told["note"]
    promote(champion, Role.CHAMPION, None, expected=2)
    assert budget(STREAM)["thresholds"] == raised


def test_without_a_budget_the_thresholds_of_the_version_hold_again(days: Days) -> None:
    days.pass_by(2)
    budget(STREAM, "--per-day", "30")
    told = budget(STREAM, "--clear", "--why", "Holidays are over.")

    assert (told["budget"], told["thresholds"]) == (None, OWN)
    assert [line["because"] for line in told["ledger"]] == ["version", "budget"]
    acts = AuditEntry.objects.filter(target=f"stream:{STREAM}").order_by("id")
    assert [act.action for act in acts] == ["budget.set", "budget.cleared"]
    assert acts[1].why == "Holidays are over."


def test_the_moment_of_a_decision_says_which_thresholds_held(days: Days) -> None:
    days.pass_by(2)
    first = Alert.objects.order_by("id")[0]
    budget(STREAM, "--per-day", "30")
    days.pass_by(1)
    newest = Alert.objects.order_by("-id")[0]

    raised = budget(STREAM)["thresholds"]
    assert selectors.thresholds_that_decided(first) == OWN
    assert selectors.thresholds_that_decided(newest) == raised
    assert reading.verdict(first).startswith(f"Outcome {first.outcome}: the score is")
    assert "threshold of 50.0 %" in reading.verdict(first) or first.outcome == "decline"
    assert newest.score >= raised["review"] > OWN["review"]


def test_wanted_achieved_and_thresholds_are_metrics(days: Days) -> None:
    days.pass_by(2)
    budget(STREAM, "--per-day", "30")
    days.pass_by(1)

    told = budget(STREAM)
    assert BUDGET_PER_DAY.labels(STREAM)._value.get() == 30
    assert SCORE_THRESHOLD.labels(STREAM, "review")._value.get() == told["thresholds"]["review"]
    days.worker.look_after()
    assert ACHIEVED_PER_DAY.labels(STREAM)._value.get() == told["achieved_per_day"]


def test_hours_gone_by_are_added_up_and_old_ones_dropped(days: Days, settings: Any) -> None:
    days.pass_by(1)
    since = days.now - timedelta(days=2)
    before = selectors.score_distribution(STREAM, since)
    keep_house(raw_connection())

    assert set(ScoreTally.objects.values_list("writer", flat=True)) == {0}
    assert selectors.score_distribution(STREAM, since) == before
    assert sum(bar.count for bar in before) == A_DAY
    assert sum(bar.loud for bar in before) == Decision.objects.exclude(alert_id=None).count()
    settings.RETENTION_DAYS = {**settings.RETENTION_DAYS, "score_tally": 8}
    days.now += timedelta(days=10)
    keep_house(raw_connection())
    assert not ScoreTally.objects.exists()


def test_a_decision_over_rest_is_counted_as_well(days: Days) -> None:
    services.path_of.cache_clear()
    for number, amount in enumerate(("20.00", "20000.00")):  # a quiet one alone, and a loud one
        record = payment(number, amount=amount, occurred_at=days.now.isoformat())
        services.decide(STREAM, [json.dumps(record).encode()])

    bars = selectors.score_distribution(STREAM, days.now)
    assert sum(bar.count for bar in bars) == 2
    assert [(bar.count, bar.loud) for bar in (bars[0], bars[-1])] == [(1, 0), (1, 1)]
    scores = sorted(Decision.objects.values_list("score", flat=True))
    assert bars[0].low <= scores[0] < bars[0].high
    assert selectors.share_above(STREAM, 0.5, days.now) == 0.5


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["fintech.nope"], 1, "There is no scored stream"),
        (["fintech.labels"], 1, "There is no scored stream"),
        ([STREAM, "--per-day", "0"], 1, "above 0"),
        ([STREAM, "--per-day", "nan"], 1, "above 0"),
        ([STREAM, "--per-day", "3", "--clear"], 2, "exclude each other"),
        (["--per-day", "3"], 2, "which stream"),
        ([STREAM, "--kind", "alerts"], 2, "--per-day"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(arguments: list[str], code: int, said: str) -> None:
    with pytest.raises(CommandError, match=said) as caught:
        call_command("budget", *arguments)
    assert caught.value.returncode == code
    assert not AlertBudget.objects.exists()
    assert not ThresholdChange.objects.exists()


def test_the_command_reads_as_sentences_and_previews_without_setting(days: Days) -> None:
    days.pass_by(2)
    out = StringIO()
    call_command("budget", STREAM, "--per-day", "40", "--preview", stdout=out)
    assert "40 alerts a day would come to:" in out.getvalue()
    assert "the last week would have had" in out.getvalue()
    assert not AlertBudget.objects.exists()
    listed = StringIO()
    call_command("budget", stdout=listed)
    assert f"{STREAM:24} no budget" in listed.getvalue()


def test_while_one_process_reviews_another_leaves_it_alone(days: Days) -> None:
    days.pass_by(2)
    AlertBudget.objects.create(stream=STREAM, kind="alerts", per_day=30, at=days.now)
    with psycopg.connect(
        raw_connection().info.dsn, password=raw_connection().info.password
    ) as other:
        other.execute(budgets.TAKE_TURN, [STREAM])
        assert budgets.review(PAYMENTS) is False
    assert budgets.review(PAYMENTS) is True
