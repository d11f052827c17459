"""What the pages say, with nothing, with one, with many; and what they never let through."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from lepton_apps.alerts import services
from lepton_apps.alerts.models import Alert
from lepton_apps.common import clock
from lepton_apps.model_registry.models import ModelVersion
from lepton_apps.streaming.models import DeadLetter, OffsetGap, StreamHalt
from tests.console.data import (
    STREAM,
    make_alert,
    open_alert,
    open_alerts,
    save_dead_letter,
    save_decision,
)

pytestmark = pytest.mark.django_db(transaction=True)

EMPTY_PAGES = (
    "/",
    "/overview/",
    "/streams/",
    f"/streams/{STREAM}/dead-letters/",
    "/panels/fintech/",
)
EVIL = "<script>alert(1)</script>"


def text(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, path
    return answer.content.decode()


def queries(client: Client, path: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        text(client, path)
    return len(captured)


def rows(body: str) -> list[int]:
    """The alerts of a list, in order, without the blank row for those to come."""
    return [int(number) for number in re.findall(r'data-id="([1-9][0-9]*)"', body)]


@pytest.mark.parametrize("page", EMPTY_PAGES)
def test_a_page_without_data_says_what_comes_next(page: str, console: Client) -> None:
    assert re.search(
        "Nothing to draw yet|appear here by themselves|No model is champion|Every record of this stream",
        text(console, page),
    )


def test_somebody_without_any_role_is_told_whom_to_ask(
    stranger: User, signed_in: Callable[[User], Client]
) -> None:
    assert "No area is open to you" in text(signed_in(stranger), "/")
    assert "No area is open to you" in text(signed_in(stranger), "/streams/")


def test_filters_that_match_nothing_say_so(console: Client) -> None:
    open_alert(1)
    body = text(console, "/?q=nobody")
    assert "Nothing matches" in body
    assert rows(body) == []


def test_a_filter_that_cannot_be_is_a_bad_request(console: Client) -> None:
    for query in ("status=loud", "severity=worst", "before=x", "before=0", "q=" + "x" * 300):
        assert console.get(f"/?{query}").status_code == 400, query


def test_every_vertical_is_in_the_navigation_without_a_line_of_the_host(
    admin: User, signed_in: Callable[[User], Client]
) -> None:
    client = signed_in(admin)
    assert "/panels/weather/" in text(client, "/")
    assert "weather.readings" in text(client, "/panels/weather/")


@pytest.mark.parametrize("page", ["/", "/streams/", "/panels/fintech/"])
def test_a_page_takes_the_same_queries_for_one_alert_and_for_two_hundred(
    page: str, console: Client
) -> None:
    open_alert(1)
    before = queries(console, page)
    open_alerts(*(make_alert(number) for number in range(2, 201)))
    assert queries(console, page) == before <= 20


def test_the_alert_page_takes_the_same_queries_however_long_its_history_is(
    console: Client, operator: User
) -> None:
    alert = open_alert(1)
    save_decision(alert, 1)
    path = f"/alerts/{alert.pk}/"
    before = queries(console, path)
    for _ in range(30):
        services.assign(alert.pk, operator, operator)
    assert queries(console, path) == before <= 20


def test_paging_shows_every_alert_once(console: Client) -> None:
    made = [alert.pk for alert in open_alerts(*(make_alert(number) for number in range(1, 121)))]
    seen: list[int] = []
    path = "/"
    hidden = ""
    for _ in range(3):
        body = text(console, path)
        seen += rows(body)
        ((older, hidden),) = re.findall(r'id="older" href="([^"]*)"( hidden)?', body)
        path = older.replace("&amp;", "&")
    assert seen == sorted(made, reverse=True)
    assert hidden, "nothing is older than the first alert"


def test_the_page_and_its_cursor_are_of_one_snapshot(console: Client) -> None:
    open_alert(1)
    open_alert(2)
    feeds = re.search(r'data-feeds="([^"]*)"', text(console, "/"))
    assert feeds is not None
    (feed,) = json.loads(feeds[1].replace("&quot;", '"'))
    assert feed["cursor"].endswith(":2")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {1, 2}),
        ("status=open", {1}),
        ("status=acknowledged", {2}),
        ("status=dismissed", {3}),
        ("status=all", {1, 2, 3}),
        ("mine=1", {2}),
        ("severity=high", {2}),
        ("q=TOMER-00001", {1}),
        ("stream=weather.readings", set()),
    ],
)
def test_filters_are_in_the_address(
    query: str, expected: set[int], console: Client, operator: User
) -> None:
    first, second, third = (open_alert(number).pk for number in (1, 2, 3))
    services.acknowledge(second, operator)
    services.assign(second, operator, operator)
    services.resolve(third, False, operator)
    number_of = {first: 1, second: 2, third: 3}
    assert {number_of[pk] for pk in rows(text(console, f"/?{query}"))} == expected


def test_the_alert_page_tells_what_how_sure_and_why(console: Client) -> None:
    alert = open_alert(1, score=0.973)
    save_decision(alert, 1, payload=b'{"id": "record-1", "amount": 12.30, "extra": "kept"}')
    body = text(console, f"/alerts/{alert.pk}/")
    assert alert.title in body
    assert "the score is 97.3 %" in body
    assert "raised the score by 2.41" in body
    assert "lowered the score by 0.62" in body
    assert "14.2" in body
    assert "12.30," in body, "numbers stay as they came"
    assert "record-1" in body


def test_the_threshold_is_that_of_the_version_that_decided(console: Client) -> None:
    common = {
        "model_name": "fintech.transactions",
        "stream": STREAM,
        "schema_hash": "0" * 16,
        "created_at": clock.now(),
    }
    for number, decline in ((7, 0.8), (8, 0.9)):
        ModelVersion.objects.create(
            number=number, manifest={"thresholds": {"review": 0.4, "decline": decline}}, **common
        )
        alert = open_alert(number, score=0.85, model_version=number)
        name, threshold = ("decline", "80.0 %") if number == 7 else ("review", "40.0 %")
        sentence = (
            f"at or above the {name} threshold of {threshold} (fintech.transactions v{number})."
        )
        assert sentence in text(console, f"/alerts/{alert.pk}/")


def test_an_alert_whose_decision_retention_dropped_still_has_a_page(console: Client) -> None:
    body = text(console, f"/alerts/{open_alert(1).pk}/")
    assert "older than the retention" in body


def test_acts_work_without_scripts_and_leave_their_history(console: Client) -> None:
    alert = open_alert(1)
    path = f"/alerts/{alert.pk}/"
    for act, data in (
        ("acknowledge", {}),
        ("assign", {"to": "me"}),
        ("assign", {"to": "nobody"}),
        ("resolve", {"positive": "0", "note": "Known <b>traveller</b>."}),
        ("label", {"positive": "1"}),
    ):
        answer = console.post(f"{path}{act}/", data)
        assert (answer.status_code, answer["Location"]) == (302, path), act
    body = text(console, path)
    for line in (
        "acknowledged by olga",
        "assigned to olga by olga",
        "assigned to nobody by olga",
        "dismissed as not real by olga",
        "Known &lt;b&gt;traveller&lt;/b&gt;.",
        "labelled real by olga",
    ):
        assert line in body
    assert Alert.objects.get().status == "dismissed"


def test_whoever_comes_second_is_told_who_was_first(
    console: Client, admin: User, signed_in: Callable[[User], Client]
) -> None:
    alert = open_alert(1)
    services.resolve(alert.pk, True, admin)
    path = f"/alerts/{alert.pk}/resolve/"
    answer = console.post(path, {"positive": "0"}, headers={"HX-Request": "true"})
    assert answer.status_code == 409
    assert re.search(r"was already confirmed at [\d:]+ UTC by ada", answer.content.decode())
    assert console.post(path, {"positive": "0"}).status_code == 302
    assert "was already confirmed" in text(console, f"/alerts/{alert.pk}/")


def test_an_act_from_the_list_answers_with_the_row(console: Client) -> None:
    alert = open_alert(1)
    headers = {"HX-Request": "true", "HX-Target": f"alert-{alert.pk}"}
    answer = console.post(f"/alerts/{alert.pk}/acknowledge/", headers=headers)
    body = answer.content.decode()
    assert body.strip().startswith("<li")
    assert 'data-status="acknowledged"' in body
    assert "<html" not in body


def test_nothing_from_outside_becomes_markup(console: Client) -> None:
    alert = open_alert(1, entity_key=EVIL, title=EVIL, facts=[[EVIL, EVIL]], reason=EVIL)
    save_decision(alert, 1, payload=json.dumps({"id": "</script>" + EVIL}).encode())
    letter = save_dead_letter(b'{"a": "</textarea>' + EVIL.encode() + b'"}', detail=EVIL)
    letters = f"/streams/{STREAM}/dead-letters/"
    for page in ("/", f"/?q={EVIL}", f"/alerts/{alert.pk}/", letters, f"{letters}{letter}/"):
        body = text(console, page)
        assert EVIL not in body, page
        assert "&lt;script&gt;alert(1)" in body, page


@pytest.mark.parametrize("page", ["/", "/streams/", "/sign-in/", "/alerts/1/", "/no-such-page/"])
def test_every_answer_forbids_what_is_inline_or_foreign(page: str, console: Client) -> None:
    answer = console.get(page)
    policy = answer["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    body = answer.content.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", body)
    assert not re.search(r'(?:src|href|action)="(?:https?:)?//', body)


def test_a_halt_and_a_loss_are_said_aloud_with_the_way_out(console: Client) -> None:
    now = clock.now()
    StreamHalt.objects.create(stream=STREAM, reason="Too many dead letters.", at=now)
    OffsetGap.objects.create(
        stream=STREAM,
        topic_id="00000000-0000-0000-0000-000000000001",
        partition=2,
        kind="retention",
        from_offset=10,
        to_offset=131,
        noticed_at=now - timedelta(hours=1),
    )
    body = text(console, "/streams/")
    assert "Too many dead letters." in body
    assert f"manage.py resume {STREAM}" in body
    assert "121 records lost" in body


def test_a_dead_letter_is_discarded_once(console: Client) -> None:
    letter = save_dead_letter(b"\xff\xfe\x00abc", detail="Invalid UTF-8.")
    path = f"/streams/{STREAM}/dead-letters/{letter}/"
    assert "ff fe 00 61 62 63" in text(console, path)
    assert console.post(f"{path}discard/").status_code == 302
    assert DeadLetter.objects.get().status == "discarded"
    answer = console.post(f"{path}discard/")
    assert answer.status_code == 409
    assert "was already discarded by olga" in answer.content.decode()


def test_a_dead_letter_of_another_stream_is_not_there(console: Client) -> None:
    letter = save_dead_letter(b"{}")
    assert console.get(f"/streams/fintech.labels/dead-letters/{letter}/").status_code == 404
