"""A site decides what others may do with its rows, and pays for it before anything leaves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import psycopg
import pytest
from django.contrib.auth.models import User
from safetensors.numpy import load

from lepton_apps.audit.models import AuditEntry
from lepton_apps.common import clock
from lepton_apps.common.db import raw_connection
from lepton_apps.common.errors import LeptonError
from lepton_apps.streaming.federation import rows, selectors, services, training
from lepton_apps.streaming.federation.errors import (
    FederationBudgetError,
    FederationBusyError,
    FederationNotAllowedError,
    FederationRefusedError,
    FederationRowsError,
    FederationTryError,
)
from lepton_apps.streaming.federation.models import FederationRound, FederationTry
from lepton_apps.streaming.federation.sealing import opened, sealed
from models_core.federation import Round
from models_core.federation_wire import Asked
from tests.champions import PAYMENTS
from tests.realtime.conftest import database_url
from tests.streaming.federations import (
    RECIPE,
    WHY,
    allow,
    coordinator,
    keys_with,
    round_of,
    save_labelled,
    weights_of,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("champion")]
PRIVATE = {"epsilon": 6.0, "delta": 1e-5, "clip": 1.0}


@pytest.fixture
def cora() -> User:
    return coordinator()[0]


def joined(round_: Round, user: User) -> Asked:
    """What the coordinator asks next."""
    key = services.join(PAYMENTS, round_, user)
    return Asked(round_, keys_with(key, round_), weights_of())


def spent() -> float:
    return selectors.spent(PAYMENTS.name)


def test_an_update_is_hidden_and_its_secret_is_gone(cora: User) -> None:
    save_labelled(120)
    allow()
    asked = joined(round_of(), cora)
    waiting = FederationTry.objects.get()
    assert bytes(waiting.sealed) != bytes(32)

    update = load(training.answer(PAYMENTS, cora, asked))["update"]

    assert update.dtype == np.int64
    bits = np.unpackbits(update.view(np.uint8)).mean()
    assert abs(bits - 0.5) < 0.02  # as uniform noise has them
    assert not FederationTry.objects.exists()
    line = FederationRound.objects.get()
    assert (line.site_name, line.rows, line.by_name, line.noise) == (
        "north", "100 to 199", "cora", None,
    )  # fmt: skip
    acts = AuditEntry.objects.filter(action__startswith="federation.").order_by("id")
    assert [(act.action, act.actor_name, act.vertical) for act in acts] == [
        ("federation.allowed", "lepton", "fintech"),
        ("federation.joined", "cora", "fintech"),
        ("federation.update_begun", "cora", "fintech"),
    ]
    assert "120" not in str(acts[2].data)
    with pytest.raises(FederationTryError, match="or was answered"):
        training.answer(PAYMENTS, cora, asked)


def test_what_private_rounds_spend_adds_up_over_federations_and_is_refused_before_training(
    cora: User,
) -> None:
    from models_core.private_steps import epsilon_of_all

    save_labelled(120)
    allow(epsilon=7.0)
    training.answer(PAYMENTS, cora, joined(round_of(privacy=PRIVATE), cora))
    half = spent()
    assert 0 < half < 6.0
    second = round_of(privacy=PRIVATE)  # of another federation
    with pytest.raises(FederationBudgetError, match=r"all 2 rounds .* of 7 .*\(delta 1e-05\)"):
        training.answer(PAYMENTS, cora, joined(second, cora))
    assert spent() == half
    assert FederationTry.objects.count() == 1  # nothing was begun

    allow(epsilon=12.0)
    training.answer(PAYMENTS, cora, joined(round_of(privacy=PRIVATE), cora))
    assert spent() == epsilon_of_all(selectors.private_rounds(PAYMENTS.name), 1e-5)
    assert half < spent() < 12.0
    budget = selectors.status(PAYMENTS)["budget"]
    assert budget == {"epsilon": 12.0, "delta": 1e-5, "spent": spent(), "left": 12.0 - spent()}


def test_what_is_spent_is_written_before_the_training_which_may_fail(
    cora: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_labelled(120)
    allow(epsilon=8.0)
    asked = joined(round_of(privacy=PRIVATE), cora)

    def killed(*_: Any) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("models_core.federation.LocalSite.update", killed)
    with pytest.raises(KeyboardInterrupt):
        training.answer(PAYMENTS, cora, asked)
    assert spent() > 0
    assert FederationRound.objects.count() == 1
    monkeypatch.undo()
    with pytest.raises(FederationTryError):
        training.answer(PAYMENTS, cora, asked)


def test_a_site_with_a_budget_takes_part_in_private_rounds_alone(cora: User) -> None:
    save_labelled(120)
    allow(epsilon=6.0)
    with pytest.raises(FederationBudgetError, match=r"private rounds alone.*epsilon 6"):
        services.join(PAYMENTS, round_of(), cora)


def test_what_no_private_fit_can_be_is_refused_before_it_costs_anything(cora: User) -> None:
    save_labelled(120)
    allow(epsilon=6.0)
    recipe = {**RECIPE.to_dict(), "optimizer": "muon"}
    asked = joined(round_of(privacy=PRIVATE, recipe=recipe), cora)
    with pytest.raises(FederationRefusedError, match="optimizer='muon' is not for a private fit"):
        training.answer(PAYMENTS, cora, asked)
    assert spent() == 0


def test_an_update_does_not_leave_when_it_was_stopped_while_it_was_trained(
    cora: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_labelled(120)
    allow()
    asked = joined(round_of(), cora)

    def stopped_meanwhile(*_: Any) -> bytes:
        services.stop(PAYMENTS, None, WHY)
        return b"learned"

    monkeypatch.setattr("models_core.federation.LocalSite.update", stopped_meanwhile)
    with pytest.raises(FederationNotAllowedError, match="it was stopped"):
        training.answer(PAYMENTS, cora, asked)


def test_one_round_is_trained_at_a_time(cora: User) -> None:
    save_labelled(120)
    allow()
    asked = joined(round_of(), cora)
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [training.LOCK])
        with pytest.raises(FederationBusyError, match="trains another round now"):
            training.answer(PAYMENTS, cora, asked)
        other.execute("SELECT pg_advisory_unlock_all()")  # a close is not waited for
    assert training.answer(PAYMENTS, cora, asked)


def test_labels_that_all_say_the_same_or_are_few_are_not_trained_on(cora: User) -> None:
    save_labelled(60)
    allow(min_rows=100)
    with pytest.raises(
        FederationRowsError, match=r"fewer labelled rows .* than the 100"
    ) as refused:
        services.join(PAYMENTS, round_of(), cora)
    assert "60" not in refused.value.detail
    allow(min_rows=50)
    raw_connection().execute("UPDATE label SET positive = true")
    with pytest.raises(FederationRowsError, match="say the same"):
        services.join(PAYMENTS, round_of(), cora)


def test_a_key_that_another_account_joined_with_is_not_for_this_one(cora: User) -> None:
    save_labelled(120)
    allow()
    other, _ = coordinator("otto")
    asked = joined(round_of(), cora)
    with pytest.raises(FederationTryError, match="was not joined by this account"):
        training.answer(PAYMENTS, other, asked)


def test_a_newer_try_forgets_the_older_one_of_its_run(cora: User) -> None:
    save_labelled(120)
    allow()
    first = round_of()
    services.join(PAYMENTS, first, cora)
    services.join(PAYMENTS, round_of(run=first.run, attempt=2), cora)
    assert [row.name for row in FederationTry.objects.all()] == [f"{first.run}/1/2"]


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"until": clock.now() - timedelta(hours=1)}, "until: .* not within the next 366 days"),
        ({"until": clock.now() + timedelta(days=400)}, "until: .* not within the next 366 days"),
        ({"epsilon": 0.0}, "epsilon: 0 is not above 0"),
        ({"epsilon": float("nan")}, "epsilon: nan"),
        ({"delta": 1.0}, "delta: 1 is not"),
        ({"min_rows": 3}, "min_rows: 3 is below 20"),
        ({"max_steps": 0}, "max_steps: 0 is not between 1 and"),
        ({"max_parameters": 10**9}, "max_parameters: 1,000,000,000 is not"),
    ],
)
def test_terms_that_cannot_be_are_refused_by_name(terms: dict[str, Any], said: str) -> None:
    with pytest.raises(FederationRefusedError, match=said):
        allow(**terms)


def test_ledgers_of_consent_and_of_rounds_only_grow(cora: User) -> None:
    save_labelled(120)
    allow()
    training.answer(PAYMENTS, cora, joined(round_of(), cora))
    for statement in (
        "UPDATE federation_round SET spent = 0",
        "DELETE FROM federation_round",
        "UPDATE federation_consent SET epsilon = 99",
    ):
        with pytest.raises(psycopg.errors.RaiseException, match="never changed or removed"):
            raw_connection().execute(statement)


def test_spending_goes_on_being_counted_at_its_delta(cora: User) -> None:
    save_labelled(120)
    allow(epsilon=8.0)
    training.answer(PAYMENTS, cora, joined(round_of(privacy=PRIVATE), cora))
    with pytest.raises(FederationRefusedError, match="another delta than the 1e-05"):
        allow(epsilon=8.0, delta=1e-6)


def test_a_secret_opens_for_its_own_try_and_key_alone(settings: Any) -> None:
    body = sealed(b"s" * 32, "a try")
    assert opened(body, "a try") == b"s" * 32
    with pytest.raises(FederationTryError, match="does not open"):
        opened(body, "another try")
    settings.SECRET_KEY = "another" * 8
    with pytest.raises(FederationTryError, match="SECRET_KEY was changed"):
        opened(body, "a try")


def test_stopping_what_is_closed_is_refused() -> None:
    with pytest.raises(LeptonError, match="nothing to stop"):
        services.stop(PAYMENTS, None, WHY)


@pytest.mark.parametrize(
    ("num", "said"), [(0, "0 to 0"), (7, "5 to 9"), (120, "100 to 199"), (5_000, "5,000 to 9,999")]
)
def test_rows_are_told_in_bands(num: int, said: str) -> None:
    assert rows.band(num) == said
