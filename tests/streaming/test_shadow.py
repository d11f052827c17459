"""A challenger in shadow: what is counted, what it may disturb, and what labels say of it."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from lepton_apps.alerts.models import Label
from lepton_apps.common import clock
from lepton_apps.common.db import raw_connection
from lepton_apps.model_registry.models import ModelVersion, Role
from lepton_apps.model_registry.services import promote, register_version, withdraw
from lepton_apps.model_registry.serving import ServedModel
from lepton_apps.streaming import retention
from lepton_apps.streaming.models import Decision, ShadowDisagreement, ShadowTally
from lepton_apps.streaming.shadow.scoring import chosen
from lepton_apps.streaming.shadow.selectors import Sides
from lepton_apps.verticals.contract import Trained
from models_core.artifact import MANIFEST
from tests.champions import PAYMENTS, payment, payments_model
from tests.streaming.sources import log
from tests.streaming.test_worker import drain, make_worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("champion")]

MODEL = PAYMENTS.model_name
DAY = timedelta(days=1)
# Every third payment is large: loud for the champion, quiet for one that hears nothing.
RECORDS = [payment(n, amount="9000.00" if n % 3 == 0 else "12.00") for n in range(60)]
LARGE = 20


def deaf() -> Trained:
    """The champion's own weights with thresholds that nothing reaches."""
    trained = payments_model()
    manifest = json.loads(trained.files[MANIFEST])
    manifest["thresholds"] = {"review": 1.0, "decline": 1.0}
    return Trained({**trained.files, MANIFEST: json.dumps(manifest).encode()}, {}, {})


@pytest.fixture
def challenger(champion: ModelVersion) -> ModelVersion:
    version = register_version(PAYMENTS, deaf(), None)
    promote(version, Role.CHALLENGER, None, "Fewer alerts.", expected=None)
    return version


def told(*arguments: str) -> dict[str, Any]:
    out = StringIO()
    call_command("compare_models", MODEL, "--json", *arguments, stdout=out)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


def test_a_challenger_is_counted_beside_the_champion_and_decides_nothing(
    challenger: ModelVersion,
) -> None:
    drain(make_worker(log(RECORDS)))
    assert set(Decision.objects.values_list("model_version", flat=True)) == {1}
    assert Decision.objects.exclude(outcome="approve").count() == LARGE

    told_now = told()
    assert (told_now["champion"], told_now["challenger"]) == (1, challenger.number)
    assert told_now["rows"] == len(RECORDS)
    assert told_now["agreed"] == len(RECORDS) - LARGE
    assert told_now["mean_difference"] == 0  # the same weights
    assert told_now["challenger_loud_per_day"] == 0 < told_now["champion_loud_per_day"]
    assert len(told_now["different"]) == LARGE
    large = {str(d.id) for d in Decision.objects.exclude(outcome="approve")}
    assert {row["decision"] for row in told_now["different"]} == large


@pytest.mark.usefixtures("challenger")
@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_cutting_into_other_batches_changes_no_count(batch_size: int) -> None:
    drain(make_worker(log(RECORDS), batch_size))
    matrix = told()["matrix"]
    assert matrix[0][0] == len(RECORDS) - LARGE
    assert matrix[1][0] + matrix[2][0] == LARGE


@pytest.mark.usefixtures("challenger")
def test_a_repeated_record_is_compared_once() -> None:
    drain(make_worker(log([*RECORDS, *RECORDS])))
    assert told()["rows"] == len(RECORDS)


@pytest.mark.usefixtures("challenger")
def test_a_decision_over_rest_is_compared_in_its_own_transaction(
    operator: User, client: Client
) -> None:
    client.force_login(operator)
    where = f"/api/v1/streams/{PAYMENTS.name}"
    for path, rows in (("score", 0), ("decisions", 1), ("decisions", 1)):  # asked, told, repeated
        answer = client.post(f"{where}/{path}", RECORDS[0], content_type="application/json")
        assert answer.status_code == 200
        assert told()["rows"] == rows
    assert ShadowDisagreement.objects.get().decision_key == Decision.objects.get().id


def test_a_challenger_that_fails_changes_no_decision(
    challenger: ModelVersion, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    score = ServedModel.score

    def broken(self: ServedModel, x_BF: Any) -> Any:
        if self.number == challenger.number:
            raise RuntimeError("out of memory")
        return score(self, x_BF)

    monkeypatch.setattr(ServedModel, "score", broken)
    drain(make_worker(log(RECORDS), batch_size=10))
    assert Decision.objects.count() == len(RECORDS)
    assert Decision.objects.exclude(outcome="approve").count() == LARGE
    assert not ShadowTally.objects.exists()
    named = [record for record in caplog.records if "challenger failed" in record.message]
    assert len(named) == 1, "said once, not for each batch"


def test_without_a_challenger_nothing_is_counted_and_the_way_out_is_named() -> None:
    drain(make_worker(log(RECORDS)))
    assert not ShadowTally.objects.exists()
    with pytest.raises(CommandError, match=r"promote_model fintech\.transactions NUMBER --role"):
        told()
    with pytest.raises(CommandError, match=r"Did you mean fintech\.transactions"):
        call_command("compare_models", "fintech.transaction")
    with pytest.raises(CommandError, match="'yesterday'"):
        call_command("compare_models", MODEL, "--since", "yesterday")


def test_the_comparison_stays_when_the_challenger_is_withdrawn_or_promoted(
    champion: ModelVersion, challenger: ModelVersion
) -> None:
    worker = make_worker(log(RECORDS))
    drain(worker)
    withdraw(MODEL, Role.CHALLENGER, None, "Seen enough.", expected=challenger.number)
    promote(challenger, Role.CHAMPION, None, "Fewer.", expected=1, below_baseline=True)
    told_now = told()
    assert (told_now["champion"], told_now["challenger"]) == (1, challenger.number)
    assert told_now["rows"] == len(RECORDS)


def label_all(positive: bool) -> None:
    for decision in Decision.objects.exclude(outcome="approve"):
        Label.objects.create(
            stream=PAYMENTS.name, record_id=decision.record_id, decision_key=decision.id,
            positive=positive, kind="chargeback", source=Label.Source.REST,
            labelled_at=clock.now(), received_at=clock.now(),
        )  # fmt: skip


@pytest.mark.usefixtures("challenger")
def test_labels_say_which_of_the_two_was_right_and_the_newest_word_counts() -> None:
    drain(make_worker(log(RECORDS)))
    assert "Too few labels to tell: 0 labelled rows" in told()["advice"]
    label_all(positive=True)
    told_now = told()
    assert (told_now["only_champion_right"], told_now["only_challenger_right"]) == (LARGE, 0)
    assert told_now["advice"].startswith("The champion is better: right in 20 of 20")
    label_all(positive=False)
    assert told()["advice"].startswith("The challenger is better: right in 20 of 20")


def test_the_test_of_sides_is_the_exact_binomial_one() -> None:
    assert Sides(0, 0).p_value is None
    assert Sides(8, 2).p_value == pytest.approx(0.109375)  # 2 * (1 + 10 + 45) / 1024
    assert Sides(5, 5).p_value == 1
    assert "No difference that could not be chance" in Sides(8, 2).advice()


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_the_rows_is_chosen_by_their_keys(share: float) -> None:
    keys = [UUID(int=n * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128).bytes for n in range(4_000)]
    row_S = chosen(keys, share)
    assert len(row_S) == pytest.approx(share * 4_000, abs=200)
    halves = [chosen(keys[:1_000], share), chosen(keys[1_000:], share) + 1_000]
    assert row_S.tolist() == [row for half in halves for row in half.tolist()]


@pytest.mark.usefixtures("challenger")
def test_a_share_of_nothing_switches_the_shadow_off(settings: Any) -> None:
    settings.SHADOW_SHARE = 0.0
    drain(make_worker(log(RECORDS)))
    assert not ShadowTally.objects.exists()


@pytest.mark.usefixtures("challenger")
def test_counts_of_hours_gone_by_are_added_up_and_old_rows_go(settings: Any) -> None:
    drain(make_worker(log(RECORDS)))
    before = told("--since", "30d")
    ShadowTally.objects.update(hour=clock.now().replace(minute=0, second=0, microsecond=0) - DAY)
    retention.keep_house(raw_connection())
    assert set(ShadowTally.objects.values_list("writer", flat=True)) == {0}
    assert told("--since", "30d")["matrix"] == before["matrix"]
    settings.RETENTION_DAYS = {**settings.RETENTION_DAYS, "score_tally": 0, "decision": 0}
    ShadowDisagreement.objects.update(decided_at=clock.now() - DAY)
    retention.keep_house(raw_connection())
    assert not ShadowTally.objects.exists()
    assert not ShadowDisagreement.objects.exists()


def test_the_page_of_a_model_shows_the_comparison_or_how_to_get_one(
    viewer: User, client: Client, champion: ModelVersion
) -> None:
    client.force_login(viewer)
    page = f"/models/?model={MODEL}"
    assert "No version has been challenger yet" in client.get(page).content.decode()
    version = register_version(PAYMENTS, deaf(), None)
    promote(version, Role.CHALLENGER, None, "Fewer alerts.", expected=None)
    assert "no row in the last 7 days yet" in client.get(page).content.decode()
    drain(make_worker(log(RECORDS)))
    body = client.get(page).content.decode()
    assert "on the same 60 rows" in body
    decision = Decision.objects.exclude(outcome="approve").first()
    assert decision is not None
    assert f'href="/records/{decision.id}/"' in body
