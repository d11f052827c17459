from __future__ import annotations

import threading

import pytest
from django.db import connections

from lepton_apps.realtime.feed import Event, announcing
from lepton_apps.realtime.models import FeedCounter, FeedEvent

pytestmark = pytest.mark.django_db(transaction=True)


class NothingToTellError(Exception):
    pass


def test_numbers_have_no_gaps_however_many_write_and_fail() -> None:
    def write(writer: int) -> None:
        for turn in range(40):
            try:
                with announcing() as announcements:
                    for part in range(1 + turn % 3):
                        body = {"writer": writer, "turn": turn, "part": part}
                        announcements.add("fintech", Event("alert.opened", body))
                    if turn % 4 == 3:
                        raise NothingToTellError
            except NothingToTellError:
                pass
        connections.close_all()

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for each in writers:
        each.start()
    for each in writers:
        each.join()

    events = list(FeedEvent.objects.order_by("number"))
    written = 4 * sum(1 + turn % 3 for turn in range(40) if turn % 4 != 3)
    assert [event.number for event in events] == list(range(1, written + 1))
    assert FeedCounter.objects.get(vertical="fintech").last_number == written
    for writer in range(4):  # the events of one writer are in the order it wrote them
        own = [(e.body["turn"], e.body["part"]) for e in events if e.body["writer"] == writer]
        assert own == sorted(own)
