"""The command after a restore: every client loads its list anew."""

from __future__ import annotations

from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from lepton_apps.audit.models import AuditEntry
from lepton_apps.realtime import listener as listener_module
from lepton_apps.realtime.models import FeedCounter
from tests.realtime.conftest import Web, publish, session_of

pytestmark = pytest.mark.django_db(transaction=True)


def begin(*arguments: str) -> str:
    said = StringIO()
    call_command("new_feed_epoch", *arguments, stdout=said)
    return said.getvalue()


def test_open_sockets_and_old_cursors_are_told_to_load_a_snapshot(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, operator: User
) -> None:
    monkeypatch.setattr(listener_module, "CHECK_S", 0.1)
    web: Web = request.getfixturevalue("web")
    publish("before")
    session = session_of(operator)
    feed = web.open(session)
    (hello,) = feed.events(1)

    assert begin() == "The feed of fintech has a new epoch.\n"

    (told,) = feed.events(1)
    assert told["type"] == "snapshot_required"
    late = web.open(session, cursor=hello["cursor"])
    assert [frame["type"] for frame in late.events(2)] == ["feed.hello", "snapshot_required"]


def test_one_vertical_alone_can_begin_anew_and_it_is_written_down() -> None:
    publish("a")
    publish("b", vertical="weather")
    before = dict(FeedCounter.objects.values_list("vertical", "epoch"))

    begin("weather")

    after = dict(FeedCounter.objects.values_list("vertical", "epoch"))
    assert (after["fintech"] == before["fintech"], after["weather"] == before["weather"]) == (
        True,
        False,
    )
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.vertical, entry.data) == (
        "feed.epoch_begun",
        "weather",
        {"epoch": str(after["weather"])},
    )


def test_an_unknown_vertical_is_refused_and_a_silent_feed_needs_nothing() -> None:
    with pytest.raises(
        CommandError, match=r"No vertical named 'banking'\. There are: fintech, ops, weather\."
    ):
        begin("banking")
    assert "none needs" in begin()
