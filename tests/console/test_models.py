"""The pages of models: what they say, what they ask before they act, and what they refuse."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from lepton_apps.alerts.models import Alert
from lepton_apps.audit.models import AuditEntry
from lepton_apps.common import clock
from lepton_apps.model_registry import selectors, services
from lepton_apps.model_registry.models import ModelVersion, Retirement, Role, RoleChange
from tests.champions import PAYMENTS, install, payments_model
from tests.console.data import open_alert
from tests.model_registry.conftest import of_another_schema, tiny

pytestmark = pytest.mark.django_db(transaction=True)

MODEL = PAYMENTS.model_name
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def root(admin: User, signed_in: Callable[[User], Client]) -> Client:
    return signed_in(admin)


@pytest.fixture
def versions(transactional_db: None) -> list[ModelVersion]:
    """Version 1, which is champion, and version 2."""
    first = install(PAYMENTS, payments_model())
    return [
        first,
        services.register_version(PAYMENTS, tiny(1), None, "fintech.transactions.starter"),
    ]


def text(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, path
    return re.sub(r"\s+", " ", answer.content.decode())


def act(client: Client, verb: str, number: int = 2, **data: object) -> tuple[int, str]:
    """The status, and what the page says in which the act ends."""
    answer = client.post(f"/models/{MODEL}/{number}/{verb}/", data)
    body = answer if answer.status_code != 302 else client.get(answer["Location"])
    return answer.status_code, re.sub(r"\s+", " ", body.content.decode())


def test_without_versions_the_page_says_how_to_get_one(console: Client) -> None:
    assert "manage.py train_starters" in text(console, "/models/")


def test_the_list_shows_holders_and_each_version_beside_its_baseline(
    console: Client, versions: list[ModelVersion]
) -> None:
    services.promote(versions[1], Role.CHALLENGER, None, "", expected=None)
    body = text(console, "/models/")
    assert f'champion <a href="/models/{MODEL}/1/">version 1</a>' in body
    assert f'challenger <a href="/models/{MODEL}/2/">version 2</a>' in body
    assert '<strong class="best">0.5</strong>' in body
    assert "boosted trees" in body
    assert "weather" not in body
    assert "Roll back to" not in body, "an operator does not act on models"


def test_a_list_asks_a_fixed_number_of_queries(
    console: Client, versions: list[ModelVersion]
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            text(console, "/models/")
        return len(captured)

    before = queries()
    for seed in (1, 2):
        services.register_version(PAYMENTS, tiny(seed), None)
    assert queries() == before


def test_a_version_of_other_features_is_told_apart(
    console: Client, versions: list[ModelVersion]
) -> None:
    of_another_schema(versions[0])
    assert "trained on other features" in text(console, "/models/")
    body = text(console, f"/models/{MODEL}/1/")
    assert "feedfacefeedface" in body
    assert PAYMENTS.extractor.schema.hash in body


def test_a_version_shows_what_made_it_and_what_it_is_worth(
    console: Client, versions: list[ModelVersion]
) -> None:
    body = text(console, f"/models/{MODEL}/2/")
    manifest = versions[1].manifest
    for told in (
        "fintech.transactions.starter", manifest["data_hash"], manifest["code_version"], "mlp", "boosted_trees",
        manifest["files"]["model.onnx"]["sha256"], "batch_size", "It has no role.",
        "manage.py train_model fintech.transactions.starter", '<td class="number">60.0 %</td>',
    ):  # fmt: skip
        assert told in body, told
    assert '<strong class="best">0.5</strong></td><td class="number">0.4</td>' in body
    assert "take the admin role" in body


def test_the_confirmation_shows_what_would_change_before_anything_does(
    root: Client, versions: list[ModelVersion]
) -> None:
    body = text(root, f"/models/{MODEL}/2/confirm/promote/?role=champion")
    assert f"Make {MODEL} v2 champion?" in body
    assert '<th scope="row">Version</th><td>1</td><td><strong>2</strong></td>' in body
    assert "<td>0.5</td><td><strong>0.6</strong></td>" in body, "the review threshold"
    assert '<input type="hidden" name="expected" value="1">' in body
    assert RoleChange.objects.count() == 1


def test_an_admin_promotes_rolls_back_and_retires_with_a_why(
    root: Client, versions: list[ModelVersion]
) -> None:
    status, body = act(root, "promote", role="champion", expected="1", why=f"Better. {EVIL}")
    assert status == 302
    assert "Champion: it decides" in body
    assert f"Make {MODEL} v2 champion: done." in body
    assert EVIL not in body
    assert "Better. &lt;script&gt;" in body
    assert "Roll back to version 1…" in body

    status, body = act(root, "rollback", expected="2", why="Too many reviews.")
    assert status == 302
    champion = selectors.champion(MODEL)
    assert champion == versions[0]
    assert "champion rolled back to version 1" in text(root, f"/models/?model={MODEL}")

    status, body = act(root, "retire", why="Never good.")
    assert status == 302
    assert "Retired: it takes no role again." in body
    assert "Never good." in body
    entries = AuditEntry.objects.filter(actor_name="ada", action__startswith="model.")
    assert [entry.action for entry in entries.order_by("id")] == [
        "model.promoted",
        "model.rolled_back",
        "model.retired",
    ]


def test_a_challenger_is_withdrawn(root: Client, versions: list[ModelVersion]) -> None:
    act(root, "promote", role="challenger", expected="", why="Compare.")
    assert "Withdraw it as challenger…" in text(root, f"/models/{MODEL}/2/")
    status, _ = act(root, "withdraw", expected="2", why="Seen enough.")
    assert status == 302
    assert selectors.roles_of(MODEL) == {"champion": 1}
    assert "challenger withdrawn" in text(root, f"/models/?model={MODEL}")


def test_who_was_slower_reads_a_sentence_and_what_would_change_now(
    root: Client, versions: list[ModelVersion]
) -> None:
    third = services.register_version(PAYMENTS, tiny(3), None)
    services.promote(third, Role.CHAMPION, None, "", expected=1)
    status, body = act(root, "promote", role="champion", expected="1", why="Mine.")
    assert status == 409
    assert f"Version 3 is champion of {MODEL}, not version 1." in body
    assert '<input type="hidden" name="expected" value="3">' in body
    assert ">Mine.</textarea>" in body, "what was typed survives"
    assert selectors.champion(MODEL) == third


def test_a_version_below_its_baseline_needs_a_tick(
    root: Client, versions: list[ModelVersion]
) -> None:
    trained = replace(tiny(2), baseline={"boosted_trees": {"pr_auc": 0.9}})
    below = services.register_version(PAYMENTS, trained, None)
    asked = {"role": "champion", "expected": "1", "why": "All the same."}
    status, body = act(root, "promote", below.number, **asked)
    assert (status, "boosted trees did better" in body) == (409, True)
    status, _ = act(root, "promote", below.number, **asked, below_baseline="1")
    assert status == 302
    assert selectors.champion(MODEL) == below


@pytest.mark.parametrize("verb", ["promote", "rollback", "withdraw", "retire"])
def test_nothing_is_done_without_a_why(
    verb: str, root: Client, versions: list[ModelVersion]
) -> None:
    status, body = act(root, verb, role="champion", expected="1", why="  ")
    assert status == 400
    assert "Say why" in body or "left to roll back to" in body
    assert (RoleChange.objects.count(), Retirement.objects.count()) == (1, 0)


def test_what_cannot_be_done_is_said_and_not_offered(
    root: Client, versions: list[ModelVersion]
) -> None:
    body = text(root, f"/models/{MODEL}/1/")
    assert "No champion before this one is left to roll back to." in body
    assert "Retire it…" not in body
    assert "left to roll back to" in text(root, f"/models/{MODEL}/1/confirm/rollback/")
    assert "nothing to change" in text(root, f"/models/{MODEL}/1/confirm/promote/?role=champion")
    status, body = act(root, "retire", 1, why="Old.")
    assert (status, f"{MODEL} v1 is champion." in body) == (409, True)
    for path in ("9/", "1/confirm/crown/", "1/confirm/promote/?role=king"):
        assert root.get(f"/models/{MODEL}/{path}").status_code == 404, path
    assert root.get("/models/?model=nonsense").status_code == 404


def test_what_was_live_at_a_moment_is_told(console: Client, versions: list[ModelVersion]) -> None:
    first = RoleChange.objects.get()
    services.promote(versions[1], Role.CHAMPION, None, "Better.", expected=1)
    body = text(console, f"/models/?at={first.at:%Y-%m-%dT%H:%M:%S.%f}")
    assert "for tests" in body
    assert f'<td>champion</td><td><a href="/models/{MODEL}/1/">version 1</a></td>' in body
    assert "Nobody had a role." in text(console, "/models/?at=2020-01-01T00:00")
    assert "is no time" in text(console, "/models/?at=yesterday")


def test_an_alert_leads_to_its_version_recipe_and_data(
    console: Client, versions: list[ModelVersion]
) -> None:
    alert = open_alert(1)
    body = text(console, f"/alerts/{alert.pk}/")
    assert f'<a href="/models/{MODEL}/1/">{MODEL} version 1</a>' in body
    assert versions[0].data_hash in body
    assert "Champion then" not in body
    services.promote(versions[1], Role.CHAMPION, None, "", expected=1)
    Alert.objects.filter(pk=alert.pk).update(decided_at=clock.now())
    assert "not taken up by the process that decided" in text(console, f"/alerts/{alert.pk}/")
    Alert.objects.filter(pk=alert.pk).update(model_version=77)
    assert "of which the registry knows nothing" in text(console, f"/alerts/{alert.pk}/")
