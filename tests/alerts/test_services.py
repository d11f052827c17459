from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection

from lepton_apps.accounts.models import Role
from lepton_apps.alerts import services
from lepton_apps.alerts.errors import (
    AlertAlreadyAcknowledgedError,
    AlertAlreadyResolvedError,
    AssigneeRefusedError,
)
from lepton_apps.alerts.models import Alert, Label
from lepton_apps.alerts.services import GivenLabel
from lepton_apps.alerts.summary import alert_summary
from lepton_apps.audit.models import AuditEntry
from lepton_apps.common import clock
from lepton_apps.common.errors import LeptonError, NotFoundError, PermissionRefusedError
from lepton_apps.common.identity import decision_key
from lepton_apps.realtime.models import FeedEvent
from tests.alerts.making import AT, STREAM, make_alert

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*acts: Callable[[], object]) -> list[object]:
    """Run acts in threads that start together; what each returned or raised, in order."""
    barrier = threading.Barrier(len(acts))
    results: list[object] = [None] * len(acts)

    def run(index: int, act: Callable[[], object]) -> None:
        barrier.wait()
        try:
            results[index] = act()
        except LeptonError as exc:
            results[index] = exc
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=item) for item in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_a_verdict_leaves_status_label_audit_entry_and_event_together(operator: User) -> None:
    alert = make_alert("t-7")

    resolved = services.resolve(alert.id, True, operator, note="Card was stolen.")

    assert (resolved.status, resolved.resolved_by, resolved.version) == ("confirmed", operator, 2)
    label = Label.objects.get()
    assert (label.record_id, label.positive, label.kind, label.by) == (
        "t-7",
        True,
        "verdict",
        operator,
    )
    assert label.decision_key == decision_key(STREAM, "t-7") == alert.decision_id
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.target, entry.why) == (
        "alert.resolved", f"alert:{alert.id}", "Card was stolen.",
    )  # fmt: skip
    event = FeedEvent.objects.get()
    assert (event.number, event.type, event.body) == (1, "alert.updated", alert_summary(resolved))


def test_a_negative_verdict_dismisses(operator: User) -> None:
    alert = services.resolve(make_alert().id, False, operator)

    assert alert.status == "dismissed"
    assert Label.objects.get().positive is False


def test_of_operators_who_resolve_at_once_one_wins_and_the_others_are_told(
    operator: User, admin: User
) -> None:
    alert = make_alert()

    results = at_once(
        lambda: services.resolve(alert.id, True, operator),
        lambda: services.resolve(alert.id, False, admin),
        lambda: services.resolve(alert.id, False, operator),
    )

    winners = [result for result in results if isinstance(result, Alert)]
    losers = [result for result in results if isinstance(result, AlertAlreadyResolvedError)]
    assert (len(winners), len(losers)) == (1, 2)
    assert losers[0].data["status"] == winners[0].status
    assert losers[0].data["resolved_by"] == winners[0].resolved_by.username  # type: ignore[union-attr]
    assert Label.objects.get().positive == (winners[0].status == "confirmed")
    assert AuditEntry.objects.count() == FeedEvent.objects.count() == 1
    assert Alert.objects.get().version == 2


def test_a_refused_act_leaves_no_trace(operator: User) -> None:
    alert = make_alert()
    services.resolve(alert.id, True, operator)

    acts: tuple[Callable[[], Alert], ...] = (
        lambda: services.acknowledge(alert.id, operator),
        lambda: services.assign(alert.id, None, operator),
        lambda: services.resolve(alert.id, False, operator),
    )
    for act in acts:
        with pytest.raises(AlertAlreadyResolvedError, match="was already confirmed at"):
            act()

    assert Alert.objects.get().version == 2
    assert Label.objects.count() == AuditEntry.objects.count() == FeedEvent.objects.count() == 1


def test_acknowledging_again_changes_nothing_and_another_operator_is_told(
    operator: User, admin: User
) -> None:
    alert = make_alert()

    first = services.acknowledge(alert.id, operator)
    again = services.acknowledge(alert.id, operator)
    with pytest.raises(AlertAlreadyAcknowledgedError, match="by olga"):
        services.acknowledge(alert.id, admin)

    assert (first.status, first.version, again.version) == ("acknowledged", 2, 2)
    assert FeedEvent.objects.count() == 1


def test_an_alert_is_assigned_to_those_who_may_work_on_it(
    operator: User, viewer: User, stranger: User, admin: User
) -> None:
    alert = make_alert()

    assert services.assign(alert.id, admin, operator).assigned_to == admin
    assert FeedEvent.objects.get().body["assigned_to"] == "ada"
    assert services.assign(alert.id, None, operator).assigned_to is None
    for person in (viewer, stranger):
        with pytest.raises(AssigneeRefusedError, match="is not an operator of fintech"):
            services.assign(alert.id, person, operator)


def test_a_label_keeps_the_status_and_tells_the_browsers(operator: User) -> None:
    alert = make_alert()
    services.resolve(alert.id, True, operator)

    labelled = services.label(alert.id, False, operator)

    assert (labelled.status, labelled.version) == ("confirmed", 3)
    assert list(Label.objects.order_by("id").values_list("positive", flat=True)) == [True, False]
    assert FeedEvent.objects.filter(number=2).get().body["version"] == 3


def test_a_clock_behind_that_of_the_worker_does_not_keep_an_alert_open(operator: User) -> None:
    ahead = clock.now() + timedelta(minutes=5)
    alert = make_alert(opened_at=ahead, updated_at=ahead)

    assert services.resolve(alert.id, True, operator).resolved_at == ahead


def test_a_verdict_counts_after_retention_has_dropped_the_decision(operator: User) -> None:
    alert = make_alert()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM decision")

    services.resolve(alert.id, True, operator)

    assert Label.objects.get().decision_key == alert.decision_id


@pytest.mark.parametrize("who", ["viewer", "stranger", "other_operator"])
def test_who_may_not_act_changes_nothing(who: str, request: pytest.FixtureRequest) -> None:
    person: User = request.getfixturevalue(who)
    alert = make_alert()
    expected = PermissionRefusedError if who == "viewer" else NotFoundError

    for act in (
        lambda: services.acknowledge(alert.id, person),
        lambda: services.assign(alert.id, None, person),
        lambda: services.resolve(alert.id, True, person),
        lambda: services.label(alert.id, True, person),
        lambda: services.record_labels([given()], source=Label.Source.REST, by=person),
    ):
        with pytest.raises(expected):
            act()

    assert Alert.objects.get().version == 1
    assert not Label.objects.exists()
    assert not AuditEntry.objects.exists()
    assert not FeedEvent.objects.exists()


def test_a_stranger_cannot_tell_a_hidden_alert_from_none(stranger: User) -> None:
    alert = make_alert()

    with pytest.raises(NotFoundError) as hidden:
        services.resolve(alert.id, True, stranger)
    with pytest.raises(NotFoundError) as absent:
        services.resolve(alert.id + 1, True, stranger)

    assert hidden.value.detail == absent.value.detail.replace(str(alert.id + 1), str(alert.id))


def given(record_id: str = "t-1", positive: bool = True, at: datetime = AT) -> GivenLabel:
    return GivenLabel(STREAM, record_id, positive, "chargeback", at)


def test_a_label_sent_again_adds_no_row_and_answers_with_the_first(operator: User) -> None:
    labels = [given("t-1"), given("t-2"), given("t-1")]

    first = services.record_labels(labels, source=Label.Source.REST, by=operator)
    again = services.record_labels(labels, source=Label.Source.REST, by=operator)

    assert [row.id for row in first] == [row.id for row in again]
    assert first[0] == first[2]
    assert Label.objects.count() == 2
    assert [entry.data for entry in AuditEntry.objects.order_by("id")] == [
        {"given": 3, "added": 2},
        {"given": 3, "added": 0},
    ]


def test_whatever_differs_is_a_label_of_its_own(operator: User) -> None:
    labels = [given(), given(positive=False), given(at=AT + timedelta(days=1))]

    services.record_labels(labels, source=Label.Source.REST, by=operator)
    services.record_labels(labels[:1], source=Label.Source.TOPIC, by=None)

    assert Label.objects.count() == 4


def test_the_same_labels_sent_twice_at_once_add_one_row_each(operator: User) -> None:
    labels = [given(f"t-{n}") for n in range(50)]

    def send() -> object:
        return services.record_labels(labels, source=Label.Source.REST, by=operator)

    at_once(send, send, send)

    assert Label.objects.count() == 50


def test_a_time_of_another_zone_is_the_same_label(operator: User) -> None:
    elsewhere = AT.astimezone(datetime.strptime("+05:30", "%z").tzinfo)

    services.record_labels([given(), given(at=elsewhere)], source=Label.Source.REST, by=operator)

    assert Label.objects.get().labelled_at == AT.astimezone(UTC)


def test_labels_of_an_unknown_stream_are_refused_whole(operator: User) -> None:
    unknown = GivenLabel("fintech.nope", "t-1", True, "chargeback", AT)

    with pytest.raises(NotFoundError, match=r"no stream 'fintech\.nope'"):
        services.record_labels([given(), unknown], source=Label.Source.REST, by=operator)

    assert not Label.objects.exists()


def test_an_operator_of_the_other_vertical_is_no_assignee(
    person: Callable[..., User], operator: User
) -> None:
    walt = person("wanda", weather=Role.ADMIN)

    with pytest.raises(AssigneeRefusedError):
        services.assign(make_alert().id, walt, operator)
