"""Several at once: alerts of the list, and dead letters of one reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from lepton_apps.alerts import services
from lepton_apps.alerts.models import Alert
from lepton_apps.audit.models import AuditEntry
from lepton_apps.console.views import dead_letters
from lepton_apps.streaming.kafka import Producer
from lepton_apps.streaming.models import DeadLetter
from tests.console.data import STREAM, make_alert, open_alert, open_alerts, save_dead_letter
from tests.console.test_pages import text

pytestmark = pytest.mark.django_db(transaction=True)

LETTERS = f"/streams/{STREAM}/dead-letters/"


def together(client: Client, act: str, ids: list[int], **more: str) -> str:
    data = {"act": act, "id": ids, **more}
    return client.post("/alerts/together/", data, follow=True).content.decode()


def test_selected_alerts_are_settled_with_one_note_and_the_list_comes_back(
    console: Client, admin: User
) -> None:
    first, second, third = open_alerts(*(make_alert(number) for number in (1, 2, 3)))
    services.resolve(third.pk, True, admin)
    data = {"act": "dismiss", "id": [first.pk, second.pk, third.pk], "note": "A test campaign.",
            "query": "severity=low&status=open"}  # fmt: skip
    answer = console.post("/alerts/together/", data)
    assert answer["Location"] == "/?severity=low&status=open"
    body = text(console, "/")
    assert "2 dismissed. 1 had been settled by others" in body
    states = dict(Alert.objects.values_list("pk", "status"))
    assert states == {first.pk: "dismissed", second.pk: "dismissed", third.pk: "confirmed"}
    assert AuditEntry.objects.filter(why="A test campaign.").count() == 2


def test_alerts_are_acknowledged_together(console: Client) -> None:
    made = open_alerts(make_alert(1), make_alert(2))
    assert "2 acknowledged." in together(console, "acknowledge", [alert.pk for alert in made])
    assert set(Alert.objects.values_list("status", flat=True)) == {"acknowledged"}


@pytest.mark.parametrize(("act", "number"), [("explode", "1"), ("dismiss", "x"), ("dismiss", "")])
def test_nothing_happens_without_alerts_or_an_act(act: str, number: str, console: Client) -> None:
    open_alert(1)
    answer = console.post("/alerts/together/", {"act": act, "id": number}, follow=True)
    assert "Select alerts first" in answer.content.decode()
    assert Alert.objects.get().version == 1


def test_an_alert_is_given_to_a_colleague_by_name(console: Client, admin: User) -> None:
    alert = open_alert(1)
    path = f"/alerts/{alert.pk}/"
    assert '<option value="ada">' in text(console, path)
    console.post(f"{path}assign/", {"to": "ada"})
    assert Alert.objects.get().assigned_to == admin


def test_an_alert_is_not_given_to_somebody_who_cannot_work_on_it(
    console: Client, viewer: User
) -> None:
    path = f"/alerts/{open_alert(1).pk}/assign/"
    answer = console.post(path, {"to": "vera"}, headers={"HX-Request": "true"})
    assert answer.status_code == 400
    assert "does not work on these alerts" in answer.content.decode()


def test_dead_letters_are_told_apart_by_reason(console: Client) -> None:
    kept, other = save_dead_letter(b"{}"), save_dead_letter(b"[]")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE dead_letter SET reason = 'too_large' WHERE id = %s", [other])
    body = text(console, f"{LETTERS}?reason=invalid_record")
    assert f"{LETTERS}{kept}/" in body
    assert f"{LETTERS}{other}/" not in body
    assert "too_large" in body, "the other reason can be chosen"
    assert "No dead letter here has the reason nonsense" in text(
        console, f"{LETTERS}?reason=nonsense"
    )


def test_letters_of_one_reason_are_discarded_together(
    console: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "AT_ONCE", 3)
    for _ in range(5):
        save_dead_letter(b"{}")
    data = {"act": "discard", "reason": "invalid_record"}
    body = console.post(f"{LETTERS}settle/", data, follow=True).content.decode()
    assert "3 discarded; 2 still wait." in body
    assert DeadLetter.objects.filter(status="new").count() == 2
    assert AuditEntry.objects.filter(action="dead_letter.discarded").count() == 3


def test_letters_are_redriven_together_as_they_came(
    console: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes | None] = []
    send = Producer.send

    def noted(self: Producer, topic: str, value: bytes | None, *args: object, **more: int) -> None:
        sent.append(value)
        # The test's letters name a topic of their own making; its partition 0 is there.
        send(self, topic, value, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Producer, "send", noted)
    for payload in (b'{"id": "a"}', b'{"id": "b"}'):
        save_dead_letter(payload)
    body = console.post(f"{LETTERS}settle/", {"act": "redrive"}, follow=True).content.decode()
    assert "2 redriven; 0 still wait." in body
    assert sent == [b'{"id": "a"}', b'{"id": "b"}']
    assert set(DeadLetter.objects.values_list("status", flat=True)) == {"redriven"}


def test_a_viewer_settles_nothing(viewer: User, signed_in: Callable[[User], Client]) -> None:
    save_dead_letter(b"{}")
    client = signed_in(viewer)
    assert client.post(f"{LETTERS}settle/", {"act": "discard"}).status_code == 403
    assert "All of these together" not in text(client, LETTERS)
    assert DeadLetter.objects.get().status == "new"
