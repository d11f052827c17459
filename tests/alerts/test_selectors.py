from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from pytest_django import DjangoAssertNumQueries

from lepton_apps.alerts import selectors, services
from lepton_apps.alerts.errors import CursorRefusedError, FilterRefusedError
from lepton_apps.alerts.filters import AlertFilters, alert_filters
from lepton_apps.alerts.models import Label
from lepton_apps.alerts.paging import cursor_before, row_id_of
from lepton_apps.alerts.services import GivenLabel
from lepton_apps.alerts.summary import loaded_summary
from lepton_apps.common.errors import NotFoundError
from lepton_apps.realtime.feed import Event, announcing
from lepton_apps.realtime.models import FeedEvent
from tests.alerts.making import AT, STREAM, make_alert

pytestmark = pytest.mark.django_db(transaction=True)

FINTECH = frozenset({"fintech"})


def ids(filters: AlertFilters) -> list[str]:
    return [alert.entity_key for alert in selectors.alerts(FINTECH, filters).alerts]


def test_paging_while_alerts_arrive_neither_skips_nor_doubles() -> None:
    there = [make_alert(f"t-{n}").id for n in range(7)]

    seen: list[int] = []
    cursor: str | None = None
    for turn in range(10):
        page = selectors.alerts(FINTECH, cursor=cursor, limit=2)
        seen += [alert.id for alert in page.alerts]
        make_alert(f"new-{turn}")
        cursor = page.next
        if cursor is None:
            break

    assert seen == there[::-1]


@pytest.mark.parametrize(
    "cursor", ["", "x", "YmVmb3JlOjA", "é", "YmVmb3JlOjk5OTk5OTk5OTk5OTk5OTk5OTk"]
)
def test_a_cursor_of_somebody_else_is_refused(cursor: str) -> None:
    with pytest.raises(CursorRefusedError, match="is no cursor of this list"):
        selectors.alerts(FINTECH, cursor=cursor)


def test_a_cursor_holds_its_row() -> None:
    assert row_id_of(cursor_before(2**63 - 1)) == 2**63 - 1


def test_other_verticals_are_never_read(other_operator: User) -> None:
    alert = make_alert(vertical="weather", stream="weather.readings")

    assert selectors.alerts(FINTECH).alerts == []
    assert selectors.alerts(FINTECH, AlertFilters(vertical="weather")).alerts == []
    assert selectors.alerts(frozenset()).alerts == []
    assert sum(selectors.status_counts(FINTECH).values()) == 0
    with pytest.raises(NotFoundError):
        selectors.alert(FINTECH, alert.id)
    assert selectors.alert({"weather"}, alert.id) == alert


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ["c", "b", "a"]),
        ({"status": "open"}, ["b", "a"]),
        ({"status": "open,confirmed"}, ["c", "b", "a"]),
        ({"severity": "low"}, ["b"]),
        ({"severity": "low,critical"}, ["b", "a"]),
        ({"stream": STREAM}, ["c", "b", "a"]),
        ({"stream": "fintech.other"}, []),
        ({"entity": "a"}, ["a"]),
        ({"assigned_to": "me"}, ["b"]),
        ({"assigned_to": "olga"}, ["b"]),
        ({"assigned_to": "none"}, ["c", "a"]),
        ({"reason": "device"}, ["a"]),
        ({"since": (AT + timedelta(hours=1)).isoformat()}, ["c", "b"]),
        ({"until": (AT + timedelta(hours=1)).isoformat()}, ["a"]),
        ({"q": "casino"}, ["c"]),
        ({"q": "CASINO"}, ["c"]),
        ({"q": "%"}, []),
        ({"vertical": "fintech", "status": "open", "q": "a"}, ["b", "a"]),
    ],
)
def test_filters_find(params: dict[str, str], expected: list[str], operator: User) -> None:
    make_alert("1", entity_key="a", severity="critical", reason="device", title="a shop")
    b = make_alert(
        "2", entity_key="b", severity="low", title="a shop", opened_at=AT + timedelta(hours=1)
    )
    services.assign(b.id, operator, operator)
    c = make_alert("3", entity_key="c", title="at Casino", opened_at=AT + timedelta(hours=2))
    services.resolve(c.id, True, operator)

    assert ids(alert_filters(params, "olga")) == expected


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"status": "closed"}, "status"),
        ({"severity": "open"}, "severity"),
        ({"since": "yesterday"}, "since"),
        ({"since": "9999-12-31T23:59:59-12:00"}, "since"),
        ({"until": "0001-01-01T00:00:00+14:00"}, "until"),
        ({"until": "2026-03-01T10:00:00"}, "until"),
        ({"q": "a\0b"}, "q"),
        ({"entity": "x" * 201}, "entity"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_by_name(params: dict[str, str], path: str) -> None:
    with pytest.raises(FilterRefusedError) as refused:
        alert_filters(params, "olga")

    assert [error["path"] for error in refused.value.data["errors"]] == [path]


def test_a_page_takes_the_same_queries_however_long_it_is(
    operator: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for n in range(20):
        services.assign(make_alert(f"t-{n}").id, operator, operator)

    for limit in (1, 20):
        with django_assert_num_queries(2):
            page = selectors.alerts(FINTECH, limit=limit)
            assert {loaded_summary(alert)["assigned_to"] for alert in page.alerts} == {"olga"}


@pytest.mark.parametrize(
    "filters", [AlertFilters(), AlertFilters(statuses=("open",)), AlertFilters(entity="e-5")]
)
def test_the_list_is_read_from_an_index(filters: AlertFilters) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off; SET enable_sort = off")
        rows = selectors.matching(["fintech"], filters).order_by("-id")[:50]
        plan = rows.explain()
        cursor.execute("RESET enable_seqscan; RESET enable_sort")

    assert "Index Scan using alert_" in plan
    assert "Sort" not in plan


def test_snapshot_and_events_make_the_new_snapshot(operator: User, admin: User) -> None:
    alerts = [make_alert(f"t-{n}") for n in range(4)]
    services.acknowledge(alerts[3].id, operator)  # before the snapshot: must not count twice
    before = selectors.alerts(FINTECH)
    number = int(before.feed_cursors["fintech"].partition(":")[2])

    services.acknowledge(alerts[0].id, operator)
    services.assign(alerts[0].id, admin, operator)
    services.resolve(alerts[1].id, False, admin)
    services.label(alerts[1].id, True, operator)
    with announcing() as announcements:  # as the worker opens one
        opened = make_alert("t-9")
        announcements.add("fintech", Event("alert.opened", loaded_summary(opened)))
    services.resolve(opened.id, True, operator)

    rows: dict[int, dict[str, Any]] = {alert.id: loaded_summary(alert) for alert in before.alerts}
    for event in FeedEvent.objects.filter(vertical="fintech", number__gt=number).order_by("number"):
        rows[event.body["id"]] = event.body
    after = selectors.alerts(FINTECH)
    assert [rows[id_] for id_ in sorted(rows, reverse=True)] == [
        loaded_summary(alert) for alert in after.alerts
    ]


def test_a_feed_without_events_has_the_cursor_before_all_of_them() -> None:
    cursors = selectors.alerts({"fintech", "weather"}).feed_cursors

    assert cursors == dict.fromkeys(
        ("fintech", "weather"), "00000000-0000-0000-0000-000000000000:0"
    )


def test_every_status_is_counted(operator: User) -> None:
    services.resolve(make_alert("1").id, True, operator)
    make_alert("2")

    assert selectors.status_counts(FINTECH) == {
        "open": 1, "acknowledged": 0, "confirmed": 1, "dismissed": 0,
    }  # fmt: skip


def test_labels_of_an_alert_come_by_every_way(operator: User) -> None:
    alert = make_alert("t-1")
    services.label(alert.id, True, operator)
    chargeback = GivenLabel(STREAM, "t-1", False, "chargeback", AT)
    services.record_labels([chargeback], source=Label.Source.TOPIC, by=None)

    assert [label.kind for label in selectors.labels_of(alert)] == ["verdict", "chargeback"]


def test_labels_are_listed_by_stream_and_record() -> None:
    for n in range(5):
        label = GivenLabel(STREAM, f"t-{n}", True, "chargeback", AT)
        services.record_labels([label], source=Label.Source.TOPIC, by=None)

    page = selectors.labels(FINTECH, limit=3)
    rest = selectors.labels(FINTECH, limit=3, cursor=page.next)
    one = selectors.labels(FINTECH, record_id="t-2")

    assert [row.record_id for row in page.labels + rest.labels] == [
        "t-4",
        "t-3",
        "t-2",
        "t-1",
        "t-0",
    ]
    assert [row.record_id for row in one.labels] == ["t-2"]
    assert selectors.labels({"weather"}).labels == []
    assert selectors.labels(FINTECH, stream="fintech.nope").labels == []


def test_only_active_operators_can_be_assigned(
    operator: User, viewer: User, other_operator: User, admin: User, stranger: User
) -> None:
    assert selectors.assignable("fintech") == [admin, operator]
    User.objects.filter(pk=operator.pk).update(is_active=False)
    assert selectors.assignable("fintech") == [admin]
