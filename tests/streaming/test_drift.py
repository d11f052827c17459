"""Reviews of drift on stored decisions: what is found, the alert, and what it must not touch."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import msgspec
import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from fintech import dataset
from fintech.extractor import TransactionExtractor
from lepton_apps.alerts import services as alerts
from lepton_apps.alerts.models import Alert, Label
from lepton_apps.common import clock
from lepton_apps.common.db import raw_connection
from lepton_apps.model_registry.models import ModelVersion, RoleChange
from lepton_apps.realtime.models import FeedEvent
from lepton_apps.streaming import retention
from lepton_apps.streaming.drift import selectors, services
from lepton_apps.streaming.models import Decision, DriftReview
from lepton_apps.streaming.worker import Worker
from lepton_apps.verticals.contract import Trained
from models_core.artifact import MANIFEST
from models_core.drift import drift_reference, feature_drift
from tests.champions import PAYMENTS, install, payments_model
from tests.streaming.sources import log
from tests.streaming.test_worker import drain, make_worker
from tests.unprotected import unprotected

pytestmark = pytest.mark.django_db(transaction=True)

NAMES = PAYMENTS.extractor.schema.names
WIDTH = len(NAMES)
AMOUNT = NAMES.index("amount_log")
ROWS = 1_500
Verdict = DriftReview.Verdict


@pytest.fixture
def watched(transactional_db: None) -> ModelVersion:
    """A champion that carries what its rows looked like."""
    rng = np.random.default_rng(0)
    reference = drift_reference(rows_of(rng, 6_000), rng.beta(1, 30, 6_000))
    trained = payments_model()
    manifest = json.loads(trained.files[MANIFEST]) | {"drift": msgspec.to_builtins(reference)}
    version = install(
        PAYMENTS, Trained({**trained.files, MANIFEST: json.dumps(manifest).encode()}, {}, {})
    )
    with unprotected("model_role_change"):  # champion for some days
        RoleChange.objects.update(at=clock.now() - timedelta(days=3))
    return version


def rows_of(rng: np.random.Generator, rows: int) -> Any:
    return rng.normal(size=(rows, WIDTH)).astype(np.float32)


def decide(seed: int, *, shift: float = 0.0, rows: int = ROWS, hours: float = 23.0) -> None:
    """Stored decisions of a day, whose amounts are ``shift`` standard deviations higher."""
    rng = np.random.default_rng(seed)
    x_NF, s_N = rows_of(rng, rows), rng.beta(1, 30, rows)
    x_NF[:, AMOUNT] += shift
    now = clock.now()
    Decision.objects.bulk_create(
        Decision(
            id=uuid4(),
            decided_at=now - timedelta(hours=hours * (rows - n) / rows),
            stream=PAYMENTS.name,
            record_id=f"{seed}-{n}",
            entity_key="c1",
            occurred_at=now - timedelta(hours=hours * (rows - n) / rows),
            payload=b"{}",
            features=x_NF[n].astype("<f4").tobytes(),
            model_version=1,
            score=float(s_N[n]),
            outcome="approve",
        )
        for n in range(rows)
    )


def reviewed() -> DriftReview:
    found = services.review(PAYMENTS)
    assert found is not None
    return found


@pytest.mark.usefixtures("watched")
def test_rows_like_those_it_was_made_on_are_stable_and_open_no_alert() -> None:
    decide(1)
    for _ in range(3):
        assert reviewed().verdict == Verdict.NONE
    assert reviewed().rows == ROWS
    assert not Alert.objects.exists()


@pytest.mark.usefixtures("watched")
def test_the_second_look_in_a_row_that_finds_much_opens_one_alert_and_later_ones_follow() -> None:
    decide(1, shift=3.0)
    first = reviewed()
    assert (first.verdict, first.features[0][0]) == (Verdict.MUCH, "amount_log")
    assert not Alert.objects.exists(), "one look may fall on a strange day"

    second = reviewed()
    alert = Alert.objects.get()
    assert second.alert_id == alert.pk
    assert alert.title.startswith("Drift in fintech.transactions: amount_log (PSI ")
    assert (alert.kind, alert.reason, alert.vertical) == ("model", "drift", "fintech")
    shown = Decision.objects.get(id=alert.decision_id)
    assert np.frombuffer(bytes(shown.features), "<f4")[AMOUNT] > 1, "a row that shows it"

    reviewed()
    again = Alert.objects.get()
    assert (again.pk, again.record_count, again.version) == (alert.pk, 2, 2)
    told = [
        (event.type, event.body["reason_text"]) for event in FeedEvent.objects.order_by("number")
    ]
    text = "What the model sees has moved from what it was made on."
    assert told == [("alert.opened", text), ("alert.updated", text)]


@pytest.mark.usefixtures("watched")
def test_a_resolved_alert_labels_nothing_and_stays_quiet_for_a_week(operator: User) -> None:
    decide(1, shift=3.0)
    reviewed(), reviewed()
    alert = alerts.resolve(Alert.objects.get().pk, True, operator, "A campaign.")
    assert not Label.objects.exists()
    reviewed()
    assert Alert.objects.count() == 1
    Alert.objects.update(
        opened_at=alert.opened_at - timedelta(days=8),
        resolved_at=clock.now() - timedelta(days=8),
    )
    reviewed()
    assert Alert.objects.count() == 2


@pytest.mark.usefixtures("watched")
def test_it_counts_in_no_budget_and_cannot_be_labelled(operator: User, client: Client) -> None:
    decide(1, shift=3.0)
    reviewed(), reviewed()
    out = StringIO()
    call_command("budget", PAYMENTS.name, "--json", stdout=out)
    told = json.loads(out.getvalue())
    assert told["achieved_per_day"] == 0
    assert sum(day["alerts"] for day in told["days"]) == 0
    client.force_login(operator)
    where = f"/api/v1/alerts/{Alert.objects.get().pk}/label"
    answer = client.post(where, {"verdict": "positive"}, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (409, "alert_of_model")


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize(("rows", "hours"), [(999, 23.0), (ROWS, 10.0), (0, 23.0)])
def test_too_few_rows_or_hours_say_nothing(rows: int, hours: float) -> None:
    decide(1, shift=3.0, rows=rows, hours=hours)
    found = reviewed()
    assert (found.verdict, found.rows) == (Verdict.TOO_FEW, rows)


@pytest.mark.usefixtures("watched")
def test_columns_that_move_by_themselves_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    decide(1, shift=3.0)
    monkeypatch.setattr(PAYMENTS.extractor.schema.__class__, "moving", frozenset({"amount_log"}))
    found = reviewed()
    assert found.verdict == Verdict.NONE
    assert "amount_log" not in dict(found.features)


def test_simulated_payments_of_later_days_are_stable_and_other_amounts_are_not() -> None:
    parts = dataset.build(
        dataset.DatasetParameters(payments_per_day=2_500), TransactionExtractor(), lambda *_: None
    )
    learned, later = parts.validation.x_NF, parts.test.x_NF
    reference = drift_reference(learned, np.linspace(0, 1, len(learned)))
    moving = PAYMENTS.extractor.schema.moving

    def moved(x_NF: Any) -> list[str]:
        drifts = zip(NAMES, feature_drift(reference, x_NF), strict=True)
        return [name for name, drift in drifts if drift.moved and name not in moving]

    for day_NF in np.array_split(later, 6):
        assert moved(day_NF) == []
    later = later.copy()
    later[:, AMOUNT] += np.log(100)  # units instead of hundredths
    assert "amount_log" in moved(later)


def test_a_champion_that_carries_no_reference_is_said_to(champion: ModelVersion) -> None:
    decide(1)
    assert reviewed().verdict == Verdict.NO_REFERENCE


def test_without_a_champion_there_is_nothing_to_review(transactional_db: None) -> None:
    assert services.review(PAYMENTS) is None
    out = StringIO()
    call_command("drift", PAYMENTS.name, stdout=out)
    assert out.getvalue() == "fintech.transactions: no champion.\n"


@pytest.mark.usefixtures("watched")
def test_a_worker_looks_from_time_to_time_and_another_leaves_it_alone(settings: Any) -> None:
    settings.DRIFT_REVIEW_S = 600.0
    for _ in range(2):
        worker: Worker = make_worker(log([]))
        worker._drift_at = 0.0  # its time has come
        drain(worker)
    assert DriftReview.objects.count() == 1
    settings.DRIFT_REVIEW_S = 0.0
    DriftReview.objects.all().delete()
    worker = make_worker(log([]))
    drain(worker)
    assert not DriftReview.objects.exists()


@pytest.mark.usefixtures("watched")
def test_the_command_says_what_moved_and_changes_nothing() -> None:
    decide(1, shift=3.0)
    out = StringIO()
    call_command("drift", stdout=out)
    assert "much drift" in out.getvalue()
    assert out.getvalue().index("the score") < out.getvalue().index("amount_log")
    assert "weather.readings: no champion." in out.getvalue()
    assert not DriftReview.objects.exists()
    with pytest.raises(CommandError, match=r"Did you mean fintech\.transactions"):
        call_command("drift", "fintech.transaction")


@pytest.mark.usefixtures("watched")
def test_pages_and_rest_show_the_newest_look_and_the_alert(
    viewer: User, client: Client, person: Callable[..., User]
) -> None:
    client.force_login(viewer)
    page = f"/models/?model={PAYMENTS.model_name}"
    assert "Not looked at yet" in client.get(page).content.decode()
    decide(1, shift=3.0)
    reviewed(), reviewed()
    alert = Alert.objects.get()
    body = client.get(page).content.decode()
    assert "Much drift" in body
    assert f'href="/alerts/{alert.pk}/"' in body
    body = client.get(f"/alerts/{alert.pk}/").content.decode()
    assert "amount_log" in body
    assert "A record that shows it" in body
    assert "This alert carries no explanation" not in body
    told = client.get(f"/api/v1/models/{PAYMENTS.model_name}/drift?limit=1").json()
    assert told["reviews"][0]["alert"] == alert.pk
    client.force_login(person("walter"))
    assert client.get(f"/alerts/{alert.pk}/").status_code == 404


@pytest.mark.usefixtures("watched")
def test_old_reviews_go_with_the_counts_of_scores(settings: Any) -> None:
    decide(1)
    reviewed()
    DriftReview.objects.update(at=clock.now() - timedelta(days=400))
    retention.keep_house(raw_connection())
    assert selectors.latest(PAYMENTS.name) is None
