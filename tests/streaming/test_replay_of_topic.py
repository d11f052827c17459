"""A topic replayed gives what its worker gave; from its middle, states begin empty."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from lepton_apps.alerts.models import Alert
from lepton_apps.streaming.models import ReplayRun
from lepton_apps.streaming.replay.states import TooMuchStateError
from tests.champions import payment
from tests.streaming.replays import everything, payments, replayed
from tests.streaming.sources import log
from tests.streaming.test_worker import STREAM, drain, make_worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("champion")]


def test_a_topic_from_its_beginning_gives_what_the_worker_gave() -> None:
    messages = log([*payments(), b"{", payment(3)])
    drain(make_worker(messages, batch_size=7))
    before = everything()

    result = replayed(STREAM, from_offset=0, log=messages)

    assert everything() == before
    assert result["score_difference"] == {"mean": 0.0, "max": 0.0, "identical": 50}
    assert (result["alerts"]["gained"], result["alerts"]["lost"]) == (0, 0)
    assert result["alerts"]["after"] == Alert.objects.count()
    assert result["undecided"] == 0
    topic = result["topic"]
    assert (topic["starts"], topic["ends"]) == ({"0": 0}, {"0": 52})
    assert (topic["repeats"], topic["rejected"]) == (1, {"not_json": 1})


def test_what_a_topic_holds_beyond_the_decisions_is_counted_apart() -> None:
    drain(make_worker(log(payments(20))))

    result = replayed(STREAM, from_offset=0, log=log(payments(50)))

    assert (result["rows"], result["undecided"]) == (50, 30)
    assert result["alerts"]["undecided"] > 0
    assert result["alerts"]["gained"] == 0
    assert sum(map(sum, result["outcomes"]["rows"])) == 20


def test_a_topic_from_the_middle_begins_with_empty_states() -> None:
    messages = log(payments())
    drain(make_worker(messages))

    result = replayed(STREAM, from_offset=20, log=messages)

    assert result["rows"] == 30
    assert result["topic"]["entities"] > 0
    assert result["score_difference"]["identical"] < 30


def test_partitions_are_merged_by_the_time_of_their_messages() -> None:
    even = log(payments()[::2], partition=0)
    odd = log(payments()[1::2], partition=1)
    sent = [raw._replace(sent_ms=1_000 + 2 * raw.offset + raw.partition) for raw in (*even, *odd)]

    merged = replayed(STREAM, from_offset=0, log=sent)
    straight = replayed(STREAM, from_offset=0, log=log(payments()))

    assert merged["rows"] == 50
    assert merged["scores"] == straight["scores"]
    only = replayed(STREAM, from_offsets={1: 5}, log=sent)
    assert (only["rows"], only["topic"]["starts"]) == (20, {"1": 5})
    from_time = datetime.fromtimestamp(1.040, tz=UTC)
    assert replayed(STREAM, from_time=from_time, log=sent)["topic"]["starts"] == {"0": 20, "1": 20}


def test_states_that_outgrow_their_bound_end_the_replay_by_name(settings: Any) -> None:
    settings.REPLAY_STATE_BYTES = 2_000

    with pytest.raises(TooMuchStateError, match="REPLAY_STATE_BYTES"):
        replayed(STREAM, from_offset=0, log=log(payments()))

    run = ReplayRun.objects.get()
    assert (run.state, run.result) == ("failed", None)
    assert "REPLAY_STATE_BYTES" in run.error
