"""The replay pages: the form, a run that goes on, one that ended, and one whose process is gone."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client

from lepton_apps.alerts.models import Alert
from lepton_apps.common import clock
from lepton_apps.model_registry.models import ModelVersion
from lepton_apps.streaming.models import ReplayRun
from lepton_apps.streaming.replay import running, services
from lepton_apps.streaming.replay.question import Question
from tests.champions import payment
from tests.console.data import STREAM, save_replay
from tests.streaming.replays import LONG_AGO, quiet
from tests.streaming.sources import log
from tests.streaming.test_worker import drain, make_worker

pytestmark = pytest.mark.django_db(transaction=True)


def text(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, path
    return html.unescape(answer.content.decode())


def test_without_a_model_the_page_says_what_to_do_and_without_a_run_that_none_is_there(
    console: Client,
) -> None:
    body = text(console, "/replay/")

    assert "No model version can score" in body
    assert "No replay yet" in body


def test_the_form_offers_the_versions_and_thresholds_of_the_stream(
    console: Client, champion: ModelVersion
) -> None:
    body = text(console, "/replay/")

    assert "1 (champion)" in body
    assert "Threshold review (champion: 0.5)" in body
    assert 'name="threshold-decline"' in body


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({}, "Say where to begin"),
        ({"since": "yesterday"}, "'yesterday' is no time"),
        ({"since": "1d", "threshold-review": "high"}, "'high' is no threshold review"),
        ({"since": "1d", "threshold-review": "2"}, "not between 0 and 1"),
        ({"since": "1d", "limit": "-4"}, "'-4' is no limit"),
        ({"since": "1d", "version": "9"}, "has no version 9"),
        ({"from_offset": "x"}, "'x' is no offset"),
    ],
)
def test_what_cannot_be_asked_is_said_and_what_was_typed_stays(
    typed: dict[str, str], sentence: str, console: Client, champion: ModelVersion
) -> None:
    answer = console.post("/replay/start/", {"stream": STREAM, "until": "1m", **typed})

    body = html.unescape(answer.content.decode())
    assert answer.status_code == 400
    assert sentence in body
    assert 'value="1m"' in body
    assert not ReplayRun.objects.exists()


def test_a_run_that_goes_on_renews_itself_and_may_be_cancelled(console: Client) -> None:
    run = save_replay(state="running", stage="score", done=1_500, total=20_000)

    body = text(console, f"/replay/{run.pk}/")

    assert "1,500 of 20,000 rows" in body
    assert 'hx-trigger="every 1s"' in body
    console.post(f"/replay/{run.pk}/cancel/")
    run.refresh_from_db()
    assert run.cancel_asked_at is not None
    body = text(console, f"/replay/{run.pk}/")
    assert "stopping" in body
    assert "Cancel replay" not in body


def test_a_run_whose_process_is_gone_says_so_and_asks_no_more(console: Client) -> None:
    run = save_replay(state="running", beat_at=clock.now() - timedelta(minutes=2))

    body = text(console, f"/replay/{run.pk}/")

    assert "Its process is gone" in body
    assert 'hx-trigger="every 1s"' not in body
    assert 'data-state="interrupted"' in text(console, "/replay/")


def test_a_run_that_failed_shows_its_sentence_escaped(console: Client) -> None:
    run = save_replay(state="failed", error="<script>alert(1)</script>")

    body = console.get(f"/replay/{run.pk}/").content.decode()

    assert "&lt;script&gt;alert(1)" in body
    assert "<script>alert(1)" not in body


def test_a_comparison_shows_outcomes_alerts_labels_money_and_scores(
    console: Client, champion: ModelVersion, operator: User
) -> None:
    loud = [payment(n, amount="9000.00") for n in range(3)]
    drain(make_worker(log([*loud, payment(10)])))
    asked = Question(stream=STREAM, since=LONG_AGO, thresholds={"review": 1.0, "decline": 1.0})
    run = services.ask(asked, operator)
    running.execute(run.pk, quiet)

    body = text(console, f"/replay/{run.pk}/")

    assert 'hx-trigger="every 1s"' not in body
    assert "Alerts lost (3)" in body
    for alert in Alert.objects.all():
        assert f"/alerts/{alert.pk}/" in body
    assert "No alert would have been opened that was not." in body
    assert "None of these rows has a label" in body
    assert "27,000.00" in body  # stopped before, without a label
    assert len(re.findall("<rect ", body)) == 40
    assert "style=" not in body
    row = text(console, "/replay/")
    assert "review 1.0" in row
    assert "by olga" in row


def test_a_list_of_many_runs_pages_on(viewer: User, signed_in: Callable[[User], Client]) -> None:
    runs = [save_replay(state="done") for _ in range(32)]
    client = signed_in(viewer)

    first = text(client, "/replay/")
    assert f"/replay/{runs[-1].pk}/" in first
    older = re.search(r'href="\?before=(\d+)"', first)
    assert older is not None
    assert f"/replay/{runs[0].pk}/" in text(client, f"/replay/?before={older[1]}")
