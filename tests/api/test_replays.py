"""Replays over HTTP: asked for, carried out by a process of their own, read, cancelled."""

from __future__ import annotations

import os
import time

import pytest
from django.db import connection
from rest_framework.test import APIClient

from lepton_apps.streaming.models import ReplayRun
from tests.alerts.making import STREAM
from tests.champions import payment

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("champion")]

URL = f"/api/v1/streams/{STREAM}/replays"


@pytest.fixture
def children_use_our_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that the server starts read the environment; the test's database has its own name."""
    server, _, _ = os.environ["DATABASE_URL"].rpartition("/")
    name = connection.settings_dict["NAME"]
    monkeypatch.setenv("DATABASE_URL", f"{server}/{name}")


@pytest.mark.usefixtures("children_use_our_database")
def test_a_replay_runs_in_a_process_of_its_own_and_its_row_carries_the_result(
    api: APIClient,
) -> None:
    loud = [payment(n, amount="9000.00") for n in range(3)]
    api.post(f"/api/v1/streams/{STREAM}/decisions", loud, format="json")

    asked = api.post(
        URL,
        {"since": "2020-01-01T00:00:00Z", "thresholds": {"review": 1.0, "decline": 1.0}},
        format="json",
    )

    assert asked.status_code == 201, asked.content
    url = f"/api/v1/replays/{asked.json()['id']}"
    while (body := api.get(url).json())["state"] in ("waiting", "running"):
        time.sleep(0.1)
    assert (body["state"], body["error"]) == ("done", None)
    assert body["asked_by"] == "olga"
    assert body["result"]["rows"] == 3
    assert body["result"]["alerts"]["lost"] == 3
    assert ReplayRun.objects.get().pid != os.getpid()
    (row,) = api.get(f"/api/v1/replays?stream={STREAM}").json()["results"]
    assert "result" not in row
    cancelled = api.post(f"{url}/cancel")
    assert (cancelled.status_code, cancelled.json()["code"]) == (409, "replay_over")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "since"),
        ({"since": "2026-03-01T10:00:00"}, "since"),
        ({"since": "2026-03-01T10:00:00Z", "thresholds": {"nope": 0.5}}, "thresholds"),
        ({"since": "2026-03-01T10:00:00Z", "sinse": 1}, "sinse"),
        ({"from_offsets": {"x": 1}}, "from_offsets"),
        ({"from_offset": -1}, "from_offset"),
        ({"since": "2026-03-01T10:00:00Z", "limit": 0}, "limit"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(
    body: dict[str, object], path: str, api: APIClient
) -> None:
    answer = api.post(URL, body, format="json")

    assert answer.status_code == 400, answer.content
    assert answer.json()["errors"][0]["path"].removeprefix("$.") == path
    assert not ReplayRun.objects.exists()
