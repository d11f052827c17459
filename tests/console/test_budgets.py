"""The page of alert budgets: what it shows, what it previews, and who may set one."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client

from lepton_apps.accounts.models import Role
from lepton_apps.common import clock
from lepton_apps.console.views.budgets import chart
from lepton_apps.model_registry.models import ThresholdChange
from lepton_apps.streaming.models import AlertBudget, ScoreTally
from lepton_apps.streaming.tallying import EDGES_E
from tests.champions import PAYMENTS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("champion")]

STREAM = PAYMENTS.name
SignedIn = Callable[[User], Client]


@pytest.fixture
def admin_of_fintech(person: Callable[..., User]) -> User:
    return person("fred", fintech=Role.ADMIN)


def count_scores(days: float = 2) -> None:
    """So many days of 10,000 rows: the higher the score, the fewer."""
    hour = clock.now().replace(minute=0, second=0, microsecond=0) - timedelta(days=days)
    for place in range(300, 460):
        count = int(20_000 * 0.95 ** (place - 300) * 0.05)
        ScoreTally.objects.create(
            stream=STREAM, hour=hour, model_version=1, writer=0, bin=place, count=count, loud=0
        )


def page(client: Client) -> str:
    return client.get("/budgets/").content.decode()


def test_without_a_budget_the_page_says_so_and_shows_the_models_thresholds(
    console: Client,
) -> None:
    body = page(console)
    assert "no budget" in body
    assert "50.0 %" in body  # review, as the model was trained
    assert "/set/" not in body  # operators look, admins set


def test_what_less_than_a_day_says_of_a_day_is_marked(console: Client) -> None:
    assert "if all days are like" not in page(console)  # nothing was scored
    count_scores(days=0.5)
    assert re.search(r"rows a day, if all days are like its first 1[23] hours<", page(console))
    count_scores(days=2)
    assert "if all days are like" not in page(console)


def test_an_admin_sees_what_a_budget_would_mean_and_sets_it(
    admin_of_fintech: User, signed_in: SignedIn
) -> None:
    count_scores()
    client = signed_in(admin_of_fintech)
    assert f"/budgets/{STREAM}/set/" in page(client)
    asked = f"/budgets/{STREAM}/preview/?kind=alerts&per_day=40"
    preview = client.get(asked, headers={"HX-Request": "true"}).content.decode()
    assert "alerts a day" in preview
    assert "the last week would have had" in preview
    assert not AlertBudget.objects.exists()

    given = {"kind": "alerts", "per_day": "40", "why": "Night <shift>"}
    answer = client.post(f"/budgets/{STREAM}/set/", given, follow=True)
    body = answer.content.decode()
    assert "40 alerts a day from now on" in body
    assert "Night &lt;shift&gt;" in body
    line = ThresholdChange.objects.get()
    assert (line.because, line.by) == ("budget", admin_of_fintech)
    assert 20 < (line.expected_per_day or 0) <= 40
    assert line.thresholds["review"] in EDGES_E.tolist()

    client.post(f"/budgets/{STREAM}/clear/")
    assert AlertBudget.objects.order_by("-id")[0].per_day is None
    assert ThresholdChange.objects.order_by("-id")[0].thresholds["review"] == 0.5


@pytest.mark.parametrize("per_day", ["", "many", "-1", "0", "inf", "nan"])
def test_what_is_no_budget_is_refused_in_a_sentence(
    per_day: str, admin_of_fintech: User, signed_in: SignedIn
) -> None:
    client = signed_in(admin_of_fintech)
    given = {"kind": "alerts", "per_day": per_day}
    answer = client.post(f"/budgets/{STREAM}/set/", given, follow=True)
    assert 'class="failure"' in answer.content.decode()
    preview = client.get(f"/budgets/{STREAM}/preview/", given).content.decode()
    assert 'class="failure"' in preview
    assert not AlertBudget.objects.exists()


@pytest.mark.parametrize(("who", "status"), [("operator", 403), ("other_operator", 404)])
@pytest.mark.parametrize("act", ["set", "clear"])
def test_only_admins_of_the_area_may_set_or_clear(
    act: str, who: str, status: int, request: pytest.FixtureRequest, signed_in: SignedIn
) -> None:
    client = signed_in(request.getfixturevalue(who))
    given = {"kind": "alerts", "per_day": "5"}
    assert client.post(f"/budgets/{STREAM}/{act}/", given).status_code == status
    assert client.get(f"/budgets/{STREAM}/{act}/").status_code == 405
    assert client.post("/budgets/fintech.labels/set/", given).status_code == 404
    assert not AlertBudget.objects.exists()


def test_the_chart_keeps_its_line_in_sight_beside_a_day_of_storm() -> None:
    drawn = chart([("2026-01-01", 30), ("2026-01-02", 90_000)], 40.0)
    small, storm = drawn["bars"]
    assert (storm["y"], storm["over"], small["over"]) == ("0.0", True, False)
    assert float(small["height"]) == pytest.approx(48 * 30 / 120, abs=0.1)
    assert float(drawn["line"]) == pytest.approx(48 - 48 * 40 / 120, abs=0.1)
    assert chart([("2026-01-01", 0)], None)["bars"][0]["height"] == "0.0"
