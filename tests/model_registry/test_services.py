from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection

from lepton_apps.audit.models import AuditEntry
from lepton_apps.common.errors import NotFoundError
from lepton_apps.model_registry import selectors, services
from lepton_apps.model_registry.errors import (
    BaselineNotBeatenError,
    PromotionConflictError,
    RoleRefusedError,
)
from lepton_apps.model_registry.loading import ModelRefusedError
from lepton_apps.model_registry.models import ModelVersion, Role, RoleChange
from lepton_apps.verticals.contract import Stream, Trained
from tests.model_registry.conftest import of_another_schema

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(calls: list[Callable[[], object]]) -> list[object]:
    """Each call in a thread of its own, started together; what it returned or raised."""
    barrier = threading.Barrier(len(calls))
    results: list[object] = [None] * len(calls)

    def run(place: int, call: Callable[[], object]) -> None:
        barrier.wait()
        try:
            results[place] = call()
        except Exception as exc:  # noqa: BLE001 - the test looks at it
            results[place] = exc
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=item) for item in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_versions_are_numbered_in_turn_and_written_down(
    stream: Stream, trained: Trained, admin: User
) -> None:
    first = services.register_version(stream, trained, admin)
    second = services.register_version(stream, trained, None)
    assert [first.number, second.number] == [1, 2]
    assert first.schema_hash == stream.extractor.schema.hash
    assert {file.name for file in first.files.all()} == set(trained.files)
    entry = AuditEntry.objects.get(action="model.registered", actor=admin)
    assert entry.target == "fintech.transactions v1"
    assert entry.vertical == "fintech"


def test_registrations_at_once_get_numbers_of_their_own(stream: Stream, trained: Trained) -> None:
    results = at_once([lambda: services.register_version(stream, trained, None)] * 3)
    assert {getattr(version, "number", version) for version in results} == {1, 2, 3}


def test_a_model_of_other_features_is_refused_and_both_schemas_are_named(
    stream: Stream, trained_on_other_features: Trained
) -> None:
    with pytest.raises(ModelRefusedError) as caught:
        services.register_version(stream, trained_on_other_features, None)
    assert "feedfacefeedface" in caught.value.detail
    assert stream.extractor.schema.hash in caught.value.detail
    assert not ModelVersion.objects.exists()


@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors", "manifest.json"])
def test_a_damaged_file_is_refused_by_name(stream: Stream, trained: Trained, name: str) -> None:
    content = trained.files[name]
    damaged = {**trained.files, name: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]}
    with pytest.raises(ModelRefusedError, match=name.replace(".", r"\.")):
        services.register_version(stream, replace(trained, files=damaged), None)
    assert not ModelVersion.objects.exists()


def test_a_metric_that_is_no_number_becomes_null(stream: Stream, trained: Trained) -> None:
    version = services.register_version(
        stream, replace(trained, metrics={"pr_auc": float("nan"), "recall": 0.5}), None
    )
    version.refresh_from_db()
    assert version.metrics == {"pr_auc": None, "recall": 0.5}


def test_two_promotions_at_once_make_one_champion_and_one_conflict(
    versions: list[ModelVersion],
) -> None:
    results = at_once(
        [
            lambda: services.promote(versions[0], Role.CHAMPION, None, expected=None),
            lambda: services.promote(versions[1], Role.CHAMPION, None, expected=None),
        ]
    )
    won = [result for result in results if isinstance(result, RoleChange)]
    lost = [result for result in results if isinstance(result, PromotionConflictError)]
    assert (len(won), len(lost)) == (1, 1)
    assert selectors.champion("fintech.transactions") == won[0].version
    assert RoleChange.objects.count() == 1


def test_a_promotion_over_another_champion_than_expected_names_it(
    versions: list[ModelVersion],
) -> None:
    services.promote(versions[0], Role.CHAMPION, None, expected=None)
    services.promote(versions[1], Role.CHAMPION, None, expected=1)
    with pytest.raises(PromotionConflictError, match="Version 2 is champion"):
        services.promote(versions[0], Role.CHAMPION, None, expected=1)
    assert selectors.champion("fintech.transactions") == versions[1]


def test_a_version_that_a_simpler_method_beats_is_no_champion_unless_it_is_said(
    versions: list[ModelVersion],
) -> None:
    services.promote(versions[0], Role.CHAMPION, None, expected=None)
    versions[1].metrics = {"pr_auc": 0.6}
    versions[1].baseline = {"trees": {"pr_auc": 0.7}, "guess": {"pr_auc": 0.1}}
    with pytest.raises(BaselineNotBeatenError, match=r"trees reached pr_auc 0\.7"):
        services.promote(versions[1], Role.CHAMPION, None, expected=1)
    assert selectors.champion("fintech.transactions") == versions[0]
    services.promote(versions[1], Role.CHALLENGER, None, expected=None)  # may be looked at
    services.promote(versions[1], Role.CHAMPION, None, expected=1, below_baseline=True)
    assert selectors.champion("fintech.transactions") == versions[1]


def test_rolling_back_to_a_champion_of_the_past_asks_for_no_baseline(
    versions: list[ModelVersion],
) -> None:
    versions[0].metrics, versions[0].baseline = {"pr_auc": 0.6}, {"trees": {"pr_auc": 0.7}}
    services.promote(versions[0], Role.CHAMPION, None, expected=None)
    services.promote(versions[1], Role.CHAMPION, None, expected=1, below_baseline=True)
    services.promote(versions[0], Role.CHAMPION, None, expected=2)
    assert selectors.champion("fintech.transactions") == versions[0]


def test_rolling_back_is_promoting_the_older_version(
    versions: list[ModelVersion], admin: User
) -> None:
    services.promote(versions[0], Role.CHAMPION, admin, expected=None)
    services.promote(versions[1], Role.CHAMPION, admin, expected=1)
    services.promote(versions[0], Role.CHAMPION, admin, "Too many reviews.", expected=2)
    assert selectors.champion("fintech.transactions") == versions[0]
    newest = selectors.history("fintech.transactions")[0]
    assert (newest.by, newest.why, newest.sequence) == (admin, "Too many reviews.", 3)
    entry = AuditEntry.objects.filter(action="model.promoted").latest("id")
    assert (entry.why, entry.data["replaced"]) == ("Too many reviews.", 2)


def test_promoting_the_champion_again_writes_nothing(versions: list[ModelVersion]) -> None:
    change = services.promote(versions[0], Role.CHAMPION, None, expected=None)
    assert services.promote(versions[0], Role.CHAMPION, None, expected=1) == change
    assert RoleChange.objects.count() == 1


def test_roles_do_not_touch_each_other(versions: list[ModelVersion]) -> None:
    services.promote(versions[0], Role.CHAMPION, None, expected=None)
    services.promote(versions[1], Role.CHALLENGER, None, expected=None)
    assert selectors.roles_of("fintech.transactions") == {"champion": 1, "challenger": 2}


def test_the_ledger_tells_who_had_the_role_at_a_moment(versions: list[ModelVersion]) -> None:
    first = services.promote(versions[0], Role.CHAMPION, None, expected=None)
    second = services.promote(versions[1], Role.CHAMPION, None, expected=1)
    moment = timedelta(microseconds=1)

    def champion_at(at: object) -> object:
        return selectors.role_at("fintech.transactions", Role.CHAMPION, at)  # type: ignore[arg-type]

    assert champion_at(first.at - moment) is None
    assert champion_at(first.at) == versions[0]
    assert champion_at(second.at - moment) == versions[0]
    assert champion_at(second.at) == versions[1]


def test_a_version_of_older_features_is_not_promoted(versions: list[ModelVersion]) -> None:
    of_another_schema(versions[0])
    versions[0].refresh_from_db()
    with pytest.raises(ModelRefusedError, match="feedfacefeedface"):
        services.promote(versions[0], Role.CHAMPION, None, expected=None)
    assert selectors.champion("fintech.transactions") is None


def test_a_role_that_does_not_exist_is_refused_with_those_that_do(
    versions: list[ModelVersion],
) -> None:
    with pytest.raises(RoleRefusedError, match="champion, challenger"):
        services.promote(versions[0], "king", None, expected=None)


def test_a_version_that_does_not_exist_is_refused_with_those_that_do(
    versions: list[ModelVersion],
) -> None:
    with pytest.raises(NotFoundError, match=r"It has: 2, 1\."):
        selectors.version("fintech.transactions", 9)
