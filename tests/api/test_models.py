"""Models over REST: reading them, and changing who has which role by compare-and-swap."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from lepton_apps.alerts.models import Alert
from lepton_apps.audit.models import AuditEntry
from lepton_apps.common import clock
from lepton_apps.common.clock import moment
from lepton_apps.model_registry import services
from lepton_apps.model_registry.models import ModelVersion, Role, RoleChange
from tests.alerts.making import make_alert
from tests.api.conftest import ClientOf
from tests.champions import PAYMENTS, install, payments_model
from tests.model_registry.conftest import of_another_schema, tiny

pytestmark = pytest.mark.django_db(transaction=True)

BASE = f"/api/v1/models/{PAYMENTS.model_name}"


@pytest.fixture
def root(client_of: ClientOf, admin: User) -> APIClient:
    return client_of(admin)


@pytest.fixture
def versions(transactional_db: None) -> list[ModelVersion]:
    """Version 1, which is champion, and version 2."""
    first = install(PAYMENTS, payments_model())
    return [
        first,
        services.register_version(PAYMENTS, tiny(1), None, "fintech.transactions.starter"),
    ]


def post(client: APIClient, path: str, **body: object) -> tuple[int, dict[str, object]]:
    response = client.post(f"{BASE}/{path}", body, format="json")
    return response.status_code, response.json()


def test_a_version_tells_all_that_is_known_of_it(
    api: APIClient, versions: list[ModelVersion]
) -> None:
    told = api.get(f"{BASE}/versions/2").json()

    assert (told["model"], told["number"], told["roles"]) == (PAYMENTS.model_name, 2, [])
    assert told["recipe"] == told["manifest"]["recipe_name"] == "fintech.transactions.starter"
    assert told["code_version"] == told["manifest"]["code_version"] != ""
    assert told["data_hash"] == told["manifest"]["data_hash"]
    assert told["manifest"]["spec"]["architecture"] == "mlp"
    assert told["baseline"] == {"boosted_trees": {"pr_auc": 0.4}}
    assert told["fits"] is True
    files = {file["name"]: file for file in told["files"]}
    assert set(files) == {"manifest.json", "model.safetensors", "model.onnx"}
    assert files["model.onnx"]["sha256"] == told["manifest"]["files"]["model.onnx"]["sha256"]
    (line,) = api.get(f"{BASE}/versions/1").json()["ledger"]
    assert (line["role"], line["act"], line["why"]) == ("champion", "promoted", "for tests")


def test_models_are_listed_with_their_holders_in_a_fixed_number_of_queries(
    api: APIClient,
    versions: list[ModelVersion],
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    (model,) = api.get("/api/v1/models").json()["results"]
    assert (model["champion"]["number"], model["challenger"]) == (1, None)
    assert [version["number"] for version in model["versions"]] == [2, 1]
    for seed in (1, 2):
        services.register_version(PAYMENTS, tiny(seed), None)
    with django_assert_num_queries(3):  # the token and its account, holders, versions
        api.get("/api/v1/models")


def test_a_promotion_a_roll_back_and_a_retirement_say_who_and_why(
    root: APIClient, versions: list[ModelVersion]
) -> None:
    status, line = post(root, "versions/2/promote", expected=1, why="Catches more.")
    assert (status, line["version"], line["by"], line["why"]) == (200, 2, "ada", "Catches more.")
    status, line = post(root, "rollback", expected=2, why="Too many reviews.")
    assert (status, line["version"], line["act"]) == (200, 1, "rolled_back")
    status, told = post(root, "versions/2/retire", why="Never good.")
    assert (status, told["retired"]) == (200, True)
    assert told["retirement"]["by"] == "ada"  # type: ignore[index]
    entries = AuditEntry.objects.filter(actor_name="ada", action__startswith="model.")
    assert [(entry.action, entry.why) for entry in entries.order_by("id")] == [
        ("model.promoted", "Catches more."),
        ("model.rolled_back", "Too many reviews."),
        ("model.retired", "Never good."),
    ]
    status, refused = post(root, "versions/2/promote", expected=1, why="Again.")
    assert (status, refused["code"]) == (409, "version_retired")


def test_who_was_slower_is_told_who_has_the_role(
    root: APIClient, versions: list[ModelVersion]
) -> None:
    for path in ("versions/2/promote", "rollback"):
        status, refused = post(root, path, expected=None, why="Mine.")
        assert (status, refused["code"], refused["holder"]) == (409, "role_already_changed", 1)
    assert RoleChange.objects.count() == 1


def test_a_challenger_comes_and_goes_and_a_champion_does_not(
    root: APIClient, versions: list[ModelVersion]
) -> None:
    post(root, "versions/2/promote", role="challenger", expected=None, why="Compare.")
    assert root.get(BASE).json()["challenger"]["number"] == 2
    status, refused = post(root, "versions/2/retire", why="Old.")
    assert (status, refused["code"], refused["roles"]) == (409, "version_in_use", ["challenger"])
    status, line = post(root, "withdraw", expected=2, why="Seen enough.")
    assert (status, line["act"], line["version"]) == (200, "withdrawn", None)
    assert root.get(BASE).json()["challenger"] is None
    status, refused = post(root, "withdraw", role="champion", expected=1, why="Off.")
    assert (status, refused["code"]) == (400, "role_refused")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"expected": 1}, "why"),
        ({"expected": 1, "why": " "}, "why"),
        ({"why": "So."}, "expected"),
        ({"expected": "one", "why": "So."}, "expected"),
        ({"expected": 1, "why": "So.", "role": "king"}, "role"),
    ],
)
def test_a_promotion_that_does_not_say_enough_names_the_field(
    root: APIClient, versions: list[ModelVersion], body: dict[str, object], path: str
) -> None:
    status, refused = post(root, "versions/2/promote", **body)
    assert (status, refused["code"]) == (400, "invalid_request")
    assert refused["errors"][0]["path"] == path  # type: ignore[index]


def test_a_version_of_other_features_or_below_its_baseline_is_refused(
    root: APIClient, versions: list[ModelVersion]
) -> None:
    metrics = {"trees": {"pr_auc": 0.9}}
    below = services.register_version(
        PAYMENTS, type(tiny(1))(tiny(1).files, tiny(1).metrics, metrics), None
    )
    status, refused = post(root, f"versions/{below.number}/promote", expected=1, why="So.")
    assert (status, refused["code"], refused["baseline"]) == (409, "baseline_not_beaten", "trees")
    of_another_schema(versions[1])
    status, refused = post(root, "versions/2/promote", expected=1, why="So.")
    assert (status, refused["code"]) == (422, "model_refused")
    assert refused["schema"] == "feedfacefeedface"
    assert refused["expected"] == PAYMENTS.extractor.schema.hash


def test_what_was_live_at_a_moment(api: APIClient, versions: list[ModelVersion]) -> None:
    second = services.promote(versions[1], Role.CHAMPION, None, "Better.", expected=1)
    first = RoleChange.objects.get(sequence=1)

    def live(at: str, **more: str) -> dict[str, object]:
        answer: dict[str, object] = api.get(f"{BASE}/live", {"at": at, **more}).json()
        return answer

    before = live(moment(first.at - timedelta(seconds=1)))
    assert (before["version"], before["line"], before["until"]) == (None, None, None)
    then = live(moment(first.at))
    assert then["version"]["number"] == 1  # type: ignore[index]
    assert then["until"] == moment(second.at)
    now = api.get(f"{BASE}/live").json()
    assert (now["version"]["number"], now["until"]) == (2, None)
    assert live(moment(second.at), role="challenger")["version"] is None
    for wrong in ({"at": "2026-03-01T10:00:00"}, {"at": "noon"}, {"role": "king"}, {"when": "x"}):
        refused = api.get(f"{BASE}/live", wrong)
        assert (refused.status_code, refused.json()["code"]) == (400, "filter_refused")


def test_an_alert_leads_to_the_version_its_recipe_and_its_data(
    api: APIClient, versions: list[ModelVersion]
) -> None:
    alert = make_alert("t-1")
    Alert.objects.filter(pk=alert.id).update(decided_at=clock.now())
    told = api.get(f"/api/v1/alerts/{alert.id}").json()["model"]
    assert (told["name"], told["version"], told["champion_then"]) == (PAYMENTS.model_name, 1, 1)
    manifest = versions[0].manifest
    assert told["recipe"] == {"name": "", "settings": manifest["recipe"]}
    assert told["data_hash"] == manifest["data_hash"]
    assert told["code_version"] == manifest["code_version"]
    assert told["schema_hash"] == PAYMENTS.extractor.schema.hash
    Alert.objects.filter(pk=alert.id).update(model_version=77)
    assert api.get(f"/api/v1/alerts/{alert.id}").json()["model"] is None
