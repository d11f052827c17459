"""Where an alert comes from: what is declared, what is answered over REST and on the alert's page."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from lepton_apps.accounts.models import Role
from lepton_apps.alerts.models import Alert
from lepton_apps.audit.models import AuditEntry
from lepton_apps.streaming.causes.selectors import around
from lepton_apps.streaming.causes.services import declare_simulated
from lepton_apps.verticals.models import DeclaredDocument
from tests.api.conftest import ClientOf, client_of
from tests.console.data import open_alert
from tests.ops.around import calls, ops_alert, save_world

__all__ = ["client_of"]  # a fixture

pytestmark = pytest.mark.django_db(transaction=True)

TOPOLOGY = "/api/v1/ops/topology"
SHOP = calls(
    gateway="checkout inventory @node-1",
    checkout="payments inventory @node-2",
    payments="@node-3",
    inventory="@node-1",
)


@pytest.fixture
def warden(person: Callable[..., User]) -> User:
    return person("otto", ops=Role.OPERATOR)


@pytest.fixture
def rest(client_of: ClientOf, warden: User) -> APIClient:
    return client_of(warden)


@pytest.fixture
def page(client: Client, warden: User) -> Client:
    client.force_login(warden)
    return client


def declare(rest: APIClient, body: str = SHOP) -> dict[str, Any]:
    answer = rest.put(TOPOLOGY, body, content_type="application/json")
    assert answer.status_code == 200, answer.json()
    found: dict[str, Any] = answer.json()
    return found


def causes(rest: APIClient, alert: Alert) -> dict[str, Any]:
    answer = rest.get(f"/api/v1/alerts/{alert.pk}/causes")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def fragment(page: Client, alert: Alert) -> str:
    answer = page.get(f"/alerts/{alert.pk}/causes/", headers={"HX-Request": "true"})
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.mark.parametrize("kind", ["slow_dependency", "silence", "crash_loop"])
def test_a_fault_of_a_called_service_is_first_on_the_alert_of_its_caller(
    kind: str, rest: APIClient, page: Client
) -> None:
    save_world(kind, "payments@node-3")
    declare(rest)
    beside = ops_alert("payments@node-3", 2, title="payments@node-3 is in trouble")
    alert = ops_alert("checkout@node-2")

    found = causes(rest, alert)

    first = found["origins"][0]
    assert first["entity_key"] == "payments@node-3"
    assert first["way"] == ["payments@node-3", "checkout@node-2"]
    assert first["began"].startswith("2026-03-02T12:0")
    assert [near["id"] for near in first["alerts"]] == [beside.pk]
    assert "payments@node-3" in found["summary"]
    html = fragment(page, alert)
    assert first["sentence"].split(":")[0] in html
    assert f'href="/alerts/{beside.pk}/"' in html
    assert (
        f'hx-get="/alerts/{alert.pk}/causes/"' in page.get(f"/alerts/{alert.pk}/").content.decode()
    )


def test_a_fault_of_the_alerts_own_entity_is_its_own_and_nothing_upstream_is_blamed(
    rest: APIClient,
) -> None:
    save_world("error_burst", "checkout@node-2")
    declare(rest)

    found = causes(rest, ops_alert("checkout@node-2"))

    assert found["origins"][0]["entity_key"] == "checkout@node-2"
    assert found["summary"].startswith("No upstream change explains this one")


def test_where_nothing_changed_nobody_is_blamed(rest: APIClient, page: Client) -> None:
    save_world("", "")
    declare(rest)
    alert = ops_alert("checkout@node-2")

    found = causes(rest, alert)

    assert found["origins"] == []
    assert found["summary"].startswith("No upstream change explains this one")
    assert "No upstream change explains this one" in fragment(page, alert)


def test_names_of_entities_and_units_of_metrics_change_nothing(
    rest: APIClient, transactional_db: None
) -> None:
    save_world("slow_dependency", "payments@node-3")
    declare(rest)
    plain = causes(rest, ops_alert("checkout@node-2"))["origins"]

    others = {"payments": "zebra", "checkout": "apple", "gateway": "mango", "inventory": "kiwi"}

    def named(key: str) -> str:
        service, _, host = key.partition("@")
        return f"{others[service]}@{host}"

    units = {"latency_p95_ms": 0.001, "memory_mb": 1024.0**2}
    save_world("slow_dependency", "payments@node-3", named=named, scaled=units)
    renamed = SHOP
    for name, other in others.items():
        renamed = renamed.replace(f'"{name}"', f'"{other}"')
    declare(rest, renamed)
    again = causes(rest, ops_alert("apple@node-2"))["origins"]

    assert [each["entity_key"] for each in again] == [named(each["entity_key"]) for each in plain]
    assert [each["score"] for each in again] == pytest.approx(
        [each["score"] for each in plain], rel=0.02
    )


def test_without_a_topology_the_answer_says_how_to_declare_one(
    rest: APIClient, page: Client
) -> None:
    alert = ops_alert("checkout@node-2")
    found = causes(rest, alert)
    assert found["origins"] == []
    assert "manage.py declare ops.topology FILE" in found["summary"]
    assert "manage.py declare ops.topology FILE" in fragment(page, alert)


@pytest.mark.parametrize(
    ("entity", "said"),
    [
        ("nobody@nowhere", "in no service of the declared topology"),
        ("inventory@node-1", "sent no metrics in the hours before"),
    ],
)
def test_what_cannot_be_looked_into_is_said(entity: str, said: str, rest: APIClient) -> None:
    declare(rest)
    found = causes(rest, ops_alert(entity))
    assert said in found["summary"]
    assert found["origins"] == []


def test_a_topology_of_another_version_is_said_to_be_useless_and_nothing_breaks(
    rest: APIClient,
) -> None:
    declare(rest)
    DeclaredDocument.objects.update(body={"edges": []})
    assert "cannot be used any more" in rest.get(TOPOLOGY).json()["warnings"][0]
    assert "declare it anew" in causes(rest, ops_alert("checkout@node-2"))["summary"]


def test_an_alert_too_soon_after_the_first_metrics_is_not_judged(rest: APIClient) -> None:
    save_world("slow_dependency", "payments@node-3")
    declare(rest)
    found = causes(rest, ops_alert("checkout@node-2", minutes=-170))
    assert "too little to say what is usual" in found["summary"]


def test_steps_are_suggested_with_what_suggests_them(rest: APIClient, page: Client) -> None:
    evidence = {
        "kind": "vector",
        "metrics": [{"name": "disk_used_percent", "seen": 99.0, "expected": 40.0, "share": 0.9}],
    }
    full = ops_alert("checkout@node-2", evidence=evidence)
    (advice,) = causes(rest, full)["suggested_steps"]
    assert advice["title"].startswith("The disk is full")
    assert advice["because"] == "disk_used_percent is above what was expected."
    assert all((advice["look"], advice["help"], advice["check"]))
    assert "df -h" in fragment(page, full)

    silent = ops_alert("gateway@node-1", reason="silence", evidence={"kind": "silence"})
    assert causes(rest, silent)["suggested_steps"][0]["title"] == "It fell silent"

    said = {"kind": "window", "lines": [{"text": "[ERROR] panic: index 4 out of range"}]}
    crashed = ops_alert("mailer@node-4", stream="ops.logs", evidence=said)
    titles = [each["title"] for each in causes(rest, crashed)["suggested_steps"]]
    assert titles[0] == "It starts, breaks and starts again"

    odd = ops_alert("inventory@node-1", evidence={"kind": "vector", "metrics": []})
    assert causes(rest, odd)["suggested_steps"] == []
    assert "there are steps for" in fragment(page, odd)


def test_steps_are_about_the_likely_origin_first(rest: APIClient) -> None:
    save_world("silence", "payments@node-3")
    declare(rest)
    found = causes(rest, ops_alert("checkout@node-2"))
    assert found["suggested_steps"][0]["title"] == "It fell silent"
    assert "payments@node-3" in found["suggested_steps"][0]["because"]


def test_it_takes_the_same_queries_however_many_alerts_and_services_there_are(
    rest: APIClient, page: Client
) -> None:
    save_world("slow_dependency", "payments@node-3")
    declare(rest)
    alert = ops_alert("checkout@node-2")

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            fragment(page, alert)
        return len(captured)

    before = queries()
    shop = json.loads(SHOP)["services"]
    shop["checkout"]["calls"] += [f"s{number}" for number in range(500)]
    declare(rest, json.dumps({"services": shop}))
    for number in range(30):
        ops_alert(f"s{number}", 1)

    assert queries() == before <= 12
    found = causes(rest, alert)
    assert "left out" in found["notes"][0]
    assert "No metrics of s0, s1, s10 come" in found["notes"][1]
    assert found["origins"][0]["entity_key"] == "payments@node-3"


def test_what_can_be_read_around_an_alert_is_bounded_and_of_its_own_vertical() -> None:
    alert = ops_alert("checkout@node-2")
    reach = around(alert)
    begin, end = alert.first_occurred_at, alert.first_occurred_at + timedelta(hours=25)
    with pytest.raises(ValueError, match="41 entities are more than 40"):
        reach.rows("ops.metrics", ["e"] * 41, begin, end)
    with pytest.raises(ValueError, match="is no span of up to"):
        reach.rows("ops.metrics", ["e"], begin, end)
    with pytest.raises(ValueError, match="is no stream of 'ops'"):
        reach.states("fintech.transactions", ["e"])
    with pytest.raises(LookupError, match=r"There is: ops\.topology"):
        reach.declared("calls")


def test_whoever_may_not_see_ops_sees_no_causes_and_no_topology(
    client_of: ClientOf, operator: User, client: Client, rest: APIClient
) -> None:
    declare(rest)
    alert = ops_alert("checkout@node-2")
    foreign = client_of(operator)
    client.force_login(operator)
    assert foreign.get(f"/api/v1/alerts/{alert.pk}/causes").status_code == 404
    assert foreign.get(TOPOLOGY).status_code == 404
    assert foreign.put(TOPOLOGY, SHOP, content_type="application/json").status_code == 404
    assert client.get(f"/alerts/{alert.pk}/causes/").status_code == 404


def test_a_vertical_that_does_not_look_for_origins_says_so_and_shows_no_block(
    client_of: ClientOf, operator: User, client: Client
) -> None:
    alert = open_alert(1)
    found = causes(client_of(operator), alert)
    assert (found["supported"], found["origins"]) == (False, [])
    client.force_login(operator)
    assert "alert-causes" not in client.get(f"/alerts/{alert.pk}/").content.decode()


def test_a_topology_is_kept_with_who_declared_it_and_what_is_odd_about_it(rest: APIClient) -> None:
    assert rest.get(TOPOLOGY).json()["body"] is None
    save_world("", "")
    found = declare(rest, calls(checkout="payments db @node-2", payments="checkout", db="db2"))

    assert found["body"]["services"]["checkout"]["calls"] == ["payments", "db"]
    assert found["declared_by"] == "otto"
    said = " ".join(found["warnings"])
    assert "'db' calls 'db2', of which nothing else is declared." in said
    assert "call each other in a circle" in said
    assert "No record of 'db' has come yet." in said
    assert "'checkout' has come" not in said
    assert rest.get(TOPOLOGY).json() == found
    assert AuditEntry.objects.get(action="declaration.made").vertical == "ops"


@pytest.mark.parametrize(
    ("body", "said", "path"),
    [
        ("[]", "Expected `object`, got `array`", "$"),
        ('{"services": {"a": {"call": []}}}', "unknown field `call`", "$.services"),
        ('{"services": {"a": {"calls": ["a"]}}}', "'a' calls itself", "$.services.a.calls"),
        ('{"services": {"a": {"hosts": ["h", "h"]}}}', "'h' is there twice", "$.services.a.hosts"),
        ('{"services": {"a": {"calls": ["\\u0007"]}}}', "control character", "$.services.a.calls"),
        (
            '{"services": {"a": {"entities": ["x"]}, "b": {"entities": ["x"]}}}',
            "belongs to 'a' and to 'b'",
            "$.services.b.entities",
        ),
        (
            json.dumps({"services": {"a": {"calls": [f"s{n}" for n in range(10_001)]}}}),
            "10,001 calls, hosts and entities are more than 10,000",
            "$.services",
        ),
    ],
)
def test_a_topology_that_cannot_be_is_refused_by_name(
    body: str, said: str, path: str, rest: APIClient
) -> None:
    answer = rest.put(TOPOLOGY, body, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (400, "declaration_refused")
    assert said in answer.json()["detail"]
    assert answer.json()["path"].startswith(path)
    assert rest.get(TOPOLOGY).json()["body"] is None


def test_the_command_declares_shows_and_refuses(tmp_path: Path) -> None:
    def said(*arguments: str) -> str:
        out = io.StringIO()
        call_command("declare", *arguments, stdout=out)
        return out.getvalue()

    assert "nothing is declared" in said()
    file = tmp_path / "calls.json"
    file.write_text(SHOP, encoding="utf-8")
    assert "by a command: New shop" in said("ops.topology", str(file), "--why", "New shop.")
    shown = json.loads(said("ops.topology", "--json"))
    assert shown["body"]["services"]["checkout"]["calls"] == ["payments", "inventory"]
    assert AuditEntry.objects.get().why == "New shop."

    file.write_text("{", encoding="utf-8")
    with pytest.raises(CommandError, match="is no JSON"):
        said("ops.topology", str(file))
    with pytest.raises(CommandError, match=r"Did you mean ops\.topology"):
        said("ops.topologi")
    with pytest.raises(CommandError, match="--why says why"):
        said("ops.topology", "--why", "x")


def test_the_simulated_world_declares_its_calls_once_and_never_over_what_a_person_declared(
    rest: APIClient,
) -> None:
    assert declare_simulated("ops") == ["topology"]
    assert declare_simulated("ops") == []
    body = rest.get(TOPOLOGY).json()["body"]
    assert body["services"]["checkout"]["calls"] == ["payments", "inventory"]
    declare(rest, '{"services": {}}')
    assert declare_simulated("ops") == []
    assert declare_simulated("fintech") == []
