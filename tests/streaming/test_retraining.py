"""Trainings by policy: when they are due, that one trainer runs each, and what they may become."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from lepton_apps.accounts.models import Role as Right
from lepton_apps.alerts.models import Label
from lepton_apps.audit.models import AuditEntry
from lepton_apps.common import clock
from lepton_apps.model_registry import selectors as models
from lepton_apps.model_registry.models import ModelVersion, Role
from lepton_apps.model_registry.services import promote, register_version
from lepton_apps.streaming.models import DriftReview, RetrainingPolicy, TrainingRun
from lepton_apps.streaming.retraining import selectors, services
from lepton_apps.verticals.contract import Trained
from tests.champions import PAYMENTS, payments_model
from tests.realtime.conftest import database_url
from tests.streaming.test_history import HISTORY, keep
from tests.unprotected import unprotected

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("champion")]

ROOT = Path(__file__).resolve().parents[2]
Then, State = RetrainingPolicy.Then, TrainingRun.State


def run(*arguments: str) -> dict[str, Any]:
    out = StringIO()
    call_command(*arguments, "--json", stdout=out)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


def policy(**changes: Any) -> RetrainingPolicy:
    asked: dict[str, Any] = {
        "every_days": 7.0,
        "on_drift": False,
        "data": "90d",
        "then": Then.PROPOSE.value,
    }
    return services.set_policy(HISTORY, None, **(asked | changes))


def a_week_passes() -> None:
    RetrainingPolicy.objects.update(at=clock.now() - timedelta(days=8))


def review(verdict: str) -> None:
    now = clock.now()
    DriftReview.objects.create(
        stream=PAYMENTS.name, at=now, version=1, since=now, rows=5_000, verdict=verdict
    )


def candidate(scale: float = 1.0) -> ModelVersion:
    trained = payments_model(2)
    own = {"pr_auc": 0.9 * scale}
    return register_version(PAYMENTS, Trained(trained.files, own, {"trees": {"pr_auc": 0.8}}), None)


def test_a_schedule_is_due_when_its_days_are_over_and_drift_when_it_is_much() -> None:
    assert selectors.due() == []
    policy()
    assert selectors.due() == [], "it has just been set"
    a_week_passes()
    assert [each.cause for each in selectors.due()] == ["schedule"]
    policy(every_days=None, on_drift=True)
    review("some")
    assert selectors.due() == []
    review("much")
    assert [each.cause for each in selectors.due()] == ["drift"]
    run("retraining", HISTORY, "--off")
    assert selectors.due() == []


def test_of_two_trainers_one_takes_the_turn_and_a_dead_run_is_marked_and_tried_again() -> None:
    policy()
    a_week_passes()
    (due,) = selectors.due()
    first = services.begin(due)
    assert first is not None
    assert services.begin(due) is None, "it runs already"
    assert selectors.due() == []

    long_ago = clock.now() - timedelta(hours=2)
    TrainingRun.objects.update(beat_at=long_ago, started_at=long_ago)
    assert selectors.state_of(TrainingRun.objects.get()) == State.INTERRUPTED
    second = services.begin(due)
    assert second is not None
    first.refresh_from_db()
    assert (first.state, first.error) == (State.INTERRUPTED, "Its process is gone.")


def test_a_run_that_failed_is_tried_again_after_an_hour() -> None:
    policy()
    a_week_passes()
    (due,) = selectors.due()
    failed = services.begin(due)
    assert failed is not None
    services.fail(failed, "Too few frauds.")
    assert selectors.due() == []
    TrainingRun.objects.update(started_at=clock.now() - timedelta(minutes=61))
    assert len(selectors.due()) == 1


@pytest.mark.parametrize("then", Then.values)
def test_a_candidate_becomes_what_the_policy_says_and_no_more(
    then: str, champion: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy(then=then)
    a_week_passes()
    (due,) = selectors.due()
    training = services.begin(due)
    assert training is not None
    made = candidate()
    better = {"champion": 0.7, "candidate": 0.75, "note": ""}
    monkeypatch.setattr(services, "compared", lambda *_: better)
    services.finish(training, due, made.number, None)
    training.refresh_from_db()
    became = {"propose": "candidate", "challenger": "challenger"}.get(then, "champion")
    assert (training.state, training.became) == (State.DONE, became)
    roles = models.roles_of(PAYMENTS.model_name)
    assert roles.get("champion") == (made.number if became == "champion" else champion.number)
    assert roles.get("challenger") == (made.number if became == "challenger" else None)
    assert AuditEntry.objects.filter(action="retraining.done").exists()


@pytest.mark.parametrize(
    ("comparison", "scale"),
    [
        ({"champion": 0.8, "candidate": 0.75, "note": ""}, 1.0),  # worse than the champion
        ({"champion": 0.7, "candidate": 0.75, "note": ""}, 0.5),  # worse than its own baseline
        ({"note": "No decision has a label."}, 1.0),  # nobody knows
        ({"champion": 0.7, "candidate": 0.9, "note": "That proves little."}, 1.0),
    ],
)
def test_no_policy_makes_a_champion_of_what_is_not_better(
    comparison: dict[str, Any], scale: float, champion: ModelVersion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    policy(then=Then.CHAMPION.value)
    a_week_passes()
    (due,) = selectors.due()
    training = services.begin(due)
    assert training is not None
    monkeypatch.setattr(services, "compared", lambda *_: comparison)
    services.finish(training, due, candidate(scale).number, None)
    training.refresh_from_db()
    assert training.became == "candidate"
    assert models.champion(PAYMENTS.model_name) == champion


def test_the_comparison_is_of_labelled_rows_that_neither_learned(champion: ModelVersion) -> None:
    made, newer = keep(1_000, days=50), candidate()
    kept_apart = (clock.now() - timedelta(days=10)).timestamp()
    assert "has a label" in services.compared(newer, champion, kept_apart)["note"], "since it is"
    assert "keeps no rows apart" in services.compared(newer, champion, None)["note"]
    assert "no champion" in services.compared(newer, None, kept_apart)["note"]
    with unprotected("model_version"):
        ModelVersion.objects.update(created_at=clock.now() - timedelta(days=100))
    champion.refresh_from_db()
    assert "say yes" in services.compared(newer, champion, kept_apart)["note"]
    now = clock.now()
    Label.objects.bulk_create(
        Label(
            stream=PAYMENTS.name, record_id=each.record_id, decision_key=each.id, positive=False,
            kind="verdict", source=Label.Source.REST, labelled_at=now, received_at=now,
        )
        for each in made[1::5]
    )  # fmt: skip
    told = services.compared(newer, champion, kept_apart)
    assert told["rows"] == pytest.approx(60, abs=2), "of the last ten days alone"
    assert told["baseline"] == 0.8
    assert 0 <= told["candidate"] <= 1
    later = (clock.now() - timedelta(days=2)).timestamp()
    assert "proves little" in services.compared(newer, champion, later)["note"]


def test_a_run_that_was_given_up_changes_nothing_when_it_ends_after_all() -> None:
    policy(then=Then.CHALLENGER.value)
    a_week_passes()
    (due,) = selectors.due()
    training = services.begin(due)
    assert training is not None
    TrainingRun.objects.update(state=State.INTERRUPTED)
    services.finish(training, due, candidate().number, None)
    assert models.roles_of(PAYMENTS.model_name) == {"champion": 1}
    assert TrainingRun.objects.get().state == State.INTERRUPTED


def test_a_challenger_is_left_alone_for_a_week() -> None:
    policy(then=Then.CHALLENGER.value)
    held = candidate()
    promote(held, Role.CHALLENGER, None, "Look.", expected=None)
    a_week_passes()
    (due,) = selectors.due()
    training = services.begin(due)
    assert training is not None
    services.finish(training, due, candidate().number, None)
    training.refresh_from_db()
    assert training.became == "candidate"
    assert "goes on" in training.comparison["note"]
    assert models.roles_of(PAYMENTS.model_name)["challenger"] == held.number


@pytest.mark.timeout(120)
def test_the_trainer_trains_what_is_due_in_a_process_of_its_own(
    champion: ModelVersion, django_db_blocker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url())
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "lepton_apps.settings")
    keep(2_000)
    policy()
    a_week_passes()
    (done,) = run("trainer", "--once")["runs"]
    assert done["state"] == State.DONE, done
    assert (done["version"], done["became"]) == (2, "candidate")
    assert models.champion(PAYMENTS.model_name) == champion
    assert run("trainer", "--once")["runs"] == []


@pytest.mark.timeout(150)
def test_two_processes_train_together_and_one_registers() -> None:
    keep(2_000)
    done = subprocess.run(
        [sys.executable, "manage.py", "train_model", HISTORY, "--processes", "2", "--device", "cpu",
         "--json"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": database_url(),
             "DJANGO_SETTINGS_MODULE": "lepton_apps.settings"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:]
    (said,) = (json.loads(line) for line in done.stdout.splitlines())
    assert said["version"] == 2
    assert [v.number for v in models.versions(PAYMENTS.model_name)] == [2, 1]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("nonsense", "--every", "7"), "No recipe named 'nonsense'"),
        ((HISTORY, "--every", "0"), "Every 0 days is not within"),
        ((HISTORY, "--every", "7", "--off"), "--off goes with neither"),
        ((HISTORY, "--every", "7", "--data", "monday"), "'monday' is no span that ends now"),
        (("fintech.transactions.starter", "--every", "7"), "makes its own data"),
        (("--every", "7"), "Name the recipe"),
    ],
)
def test_a_policy_that_cannot_be_is_refused_by_its_name(
    arguments: tuple[str, ...], why: str
) -> None:
    with pytest.raises(CommandError, match=why):
        run("retraining", *arguments)


def test_admins_set_policies_over_rest_and_viewers_see_them(
    person: Callable[..., User], client: Client
) -> None:
    where = f"/api/v1/models/{PAYMENTS.model_name}/retraining"
    asked = {"recipe": HISTORY, "every_days": 7, "then": "challenger", "why": "Weekly."}
    client.force_login(person("ada", fintech=Right.ADMIN))
    answer = client.put(where, asked, content_type="application/json")
    assert answer.status_code == 200, answer.content
    odd = client.put(where, {"recipe": "ops.logs.history"}, content_type="application/json")
    assert odd.status_code == 400
    client.force_login(person("vic", fintech=Right.VIEWER))
    (held,) = client.get(where).json()["policies"]
    assert (held["every_days"], held["then"], held["set_by"]) == (7.0, "challenger", "ada")
    body = client.get(f"/models/?model={PAYMENTS.model_name}").content.decode()
    assert "every 7 days" in body
