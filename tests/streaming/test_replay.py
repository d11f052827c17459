"""A replay gives what a worker gave, tells what would have been different, and writes nothing."""

from __future__ import annotations

import io
import json
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection

from lepton_apps.alerts import services as alerts
from lepton_apps.alerts.models import Alert, Label
from lepton_apps.alerts.services import GivenLabel, record_labels
from lepton_apps.audit.models import AuditEntry
from lepton_apps.common import clock
from lepton_apps.common.errors import UnavailableError
from lepton_apps.model_registry.models import ModelVersion
from lepton_apps.model_registry.services import register_version
from lepton_apps.streaming.models import Decision, ReplayRun
from lepton_apps.streaming.replay import running, services, starting
from lepton_apps.streaming.replay.folding import TooManyAlertsError
from lepton_apps.streaming.replay.question import Question, ReplayRefusedError
from tests.champions import PAYMENTS, payment, payments_model
from tests.streaming.replays import LONG_AGO, everything, payments, quiet, replayed
from tests.streaming.sources import log
from tests.streaming.test_worker import STREAM, drain, make_worker
from tests.unprotected import unprotected

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("champion")]


def decide(count: int = 50, batch_size: int = 7) -> None:
    drain(make_worker(log(payments(count)), batch_size=batch_size))


def cancel_elsewhere(run: ReplayRun) -> None:
    try:
        services.cancel(run, None)
    finally:
        connection.close()


def label(record_id: str, *, positive: bool) -> None:
    given = GivenLabel(STREAM, record_id, positive, "chargeback", datetime(2026, 3, 2, tzinfo=UTC))
    record_labels([given], source=Label.Source.REST, by=None)


def test_the_same_version_and_thresholds_give_the_same_to_the_last_bit_and_write_nothing() -> None:
    decide()
    before = everything()

    result = replayed(STREAM)

    assert everything() == before
    assert len(before) > 20
    assert result["rows"] == Decision.objects.count() == 50
    assert result["score_difference"] == {"mean": 0.0, "max": 0.0, "identical": 50}
    told = result["alerts"]
    assert told["before"] == told["after"] == Alert.objects.count() == 3
    assert (told["gained"], told["lost"]) == (0, 0)
    assert sum(map(sum, result["outcomes"]["rows"])) == 50
    off_the_diagonal = [
        count
        for was, counts in enumerate(result["outcomes"]["rows"])
        for would, count in enumerate(counts)
        if was != would
    ]
    assert not any(off_the_diagonal)
    assert sum(result["scores"]["after"]) == 50


def test_an_alert_that_was_resolved_takes_no_later_rows_here_either(operator: User) -> None:
    loud = [payment(n, customer="c1", amount="9000.00") for n in (1, 2, 3)]
    drain(make_worker(log(loud[:2])))
    alerts.resolve(Alert.objects.get().id, True, operator)
    drain(make_worker(log(loud)))
    assert Alert.objects.count() == 2

    told = replayed(STREAM)["alerts"]

    assert (told["before"], told["after"], told["gained"], told["lost"]) == (2, 2, 0, 0)


def test_a_span_that_begins_within_an_alert_goes_on_with_it() -> None:
    loud = [payment(n, customer="c1", amount="9000.00") for n in (1, 2, 3)]
    drain(make_worker(log(loud[:1])))
    since = clock.now()
    drain(make_worker(log(loud)))

    told = replayed(STREAM, since=since)["alerts"]

    assert (told["before"], told["after"], told["gained"], told["lost"]) == (1, 1, 0, 0)


def test_a_higher_threshold_loses_alerts_and_names_them() -> None:
    decide()
    scores = sorted(Decision.objects.exclude(alert_id=None).values_list("score", flat=True))
    between = (scores[0] + scores[-1]) / 2
    lost = Decision.objects.exclude(alert_id=None).filter(score__lt=between)

    result = replayed(STREAM, thresholds={"review": between, "decline": 1.0})

    told = result["alerts"]
    assert told["lost"] == lost.count() > 0
    assert {row["alert_id"] for row in told["lost_examples"]} == {d.alert_id for d in lost}
    assert told["gained"] == 0
    assert result["model"]["thresholds"] == {"review": between, "decline": 1.0}


def test_a_lower_threshold_gains_alerts_folded_as_a_worker_folds() -> None:
    quiet_ones = [payment(n, customer="c1") for n in (1, 2, 30)]
    drain(make_worker(log(quiet_ones)))
    assert not Alert.objects.exists()

    told = replayed(STREAM, thresholds={"review": 0.0})["alerts"]

    # Two are close in time; whether they share their strongest reason is the model's to say.
    assert (told["before"], told["lost"]) == (0, 0)
    assert 2 <= told["gained"] == told["after"] <= 3
    assert sum(row["rows"] for row in told["gained_examples"]) == 3
    assert {row["entity_key"] for row in told["gained_examples"]} == {"c1"}


def test_another_version_is_compared_with_what_the_champion_decided() -> None:
    decide()
    other = register_version(PAYMENTS, payments_model(seed=2), by=None)

    result = replayed(STREAM, version=other.number)

    assert result["model"]["version"] == 2
    assert result["versions_before"] == {"1": 50}
    assert 0 < result["score_difference"]["mean"] <= result["score_difference"]["max"] <= 1


def test_labels_and_money_are_counted_on_both_sides_by_the_newest_label() -> None:
    decide()
    label("p5", positive=True)  # loud, 9,000: caught before, missed after
    label("p12", positive=True)
    label("p12", positive=False)  # the newest word counts: wrongly stopped
    label("p1", positive=True)  # quiet and fraud: missed on both sides

    result = replayed(STREAM, thresholds={"review": 1.0, "decline": 1.0})

    labels = result["labels"]
    assert (labels["rows"], labels["positive"]) == (3, 2)
    assert (labels["before"]["precision"], labels["before"]["recall"]) == (0.5, 0.5)
    assert (labels["after"]["precision"], labels["after"]["recall"]) == (None, 0.0)
    (euro,) = result["money"]
    missed = Decimal(str(payment(1)["amount"]))
    assert euro["currency"] == "EUR"
    assert euro["before"]["caught"] == "9000.00"
    assert euro["before"]["missed"] == f"{missed:f}"
    assert euro["before"]["wrongly_stopped"] == "9000.00"
    assert Decimal(euro["before"]["stopped_unlabelled"]) > 9_000
    assert euro["after"] == {
        "caught": "0.00",
        "missed": f"{missed + 9_000:f}",
        "wrongly_stopped": "0.00",
        "stopped_unlabelled": "0.00",
    }


def test_a_span_is_half_open_and_of_either_time() -> None:
    decide()
    times = list(Decision.objects.order_by("occurred_at").values_list("occurred_at", flat=True))

    by_event = replayed(STREAM, by="occurred_at", since=times[10], until=times[20])
    first = Decision.objects.order_by("decided_at").first()
    assert first is not None
    by_decision = replayed(
        STREAM, since=first.decided_at, until=first.decided_at + timedelta(microseconds=1)
    )

    assert by_event["rows"] == 10
    assert by_decision["rows"] == 7  # one batch
    assert replayed(STREAM, limit=9)["rows"] == 9
    assert replayed(STREAM, since=clock.now() - timedelta(microseconds=1))["rows"] == 0


def test_slices_of_a_busy_minute_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    decide()
    whole = replayed(STREAM)
    monkeypatch.setattr("lepton_apps.streaming.replay.stored.SLICE", 10)

    in_slices = replayed(STREAM)

    for timed in ("seconds", "rows_per_s"):
        del whole[timed], in_slices[timed]
    assert in_slices == whole


def test_rows_of_another_feature_schema_are_counted_and_not_misread() -> None:
    decide()
    with unprotected("model_version"):
        ModelVersion.objects.update(schema_hash="0" * 16)
    same = register_version(PAYMENTS, payments_model(seed=2), by=None)

    result = replayed(STREAM, version=same.number)

    assert (result["rows"], result["other_schema"]) == (0, 50)
    with pytest.raises(ReplayRefusedError, match="Choose a version"):
        replayed(STREAM, version=1)


def test_postgresql_itself_refuses_what_a_replay_would_write() -> None:
    with running.reading_only() as raw, pytest.raises(Exception, match="read-only transaction"):
        raw.execute("UPDATE decision SET score = 0")


def test_more_alerts_than_the_bound_end_the_replay_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decide()
    monkeypatch.setattr("lepton_apps.streaming.replay.folding.MOST_ALERTS", 3)

    with pytest.raises(TooManyAlertsError, match="raise the thresholds"):
        replayed(STREAM, thresholds={"review": 0.0})


# --- asking, cancelling, dying ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "field", "match"),
    [
        ({}, "since", "Say where to begin"),
        ({"since": LONG_AGO, "until": LONG_AGO}, "until", "is empty"),
        ({"since": LONG_AGO, "thresholds": {"nope": 0.5}}, "thresholds", "it has review, decline"),
        ({"since": LONG_AGO, "thresholds": {"review": 1.5}}, "thresholds", "review=1.5"),
        ({"since": LONG_AGO, "limit": 0}, "limit", "below 1"),
        ({"since": LONG_AGO, "from_offset": 3}, "since", "of the topic"),
        ({"from_offset": -1}, "from_offset", "below 0"),
        ({"from_offset": 1, "from_time": LONG_AGO}, "from_time", "two beginnings"),
        ({"since": LONG_AGO, "stream": "fintech.labels"}, "stream", "fintech.labels"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(
    asked: dict[str, Any], field: str, match: str
) -> None:
    with pytest.raises(ReplayRefusedError, match=match) as refused:
        services.ask(Question(**{"stream": STREAM, **asked}), None)
    assert refused.value.data["field"] == field
    assert not ReplayRun.objects.exists()


def test_no_more_replays_run_than_may_and_a_dead_one_gives_its_place_away(settings: Any) -> None:
    settings.REPLAY_RUNS = 1
    dead = services.ask(Question(stream=STREAM, since=LONG_AGO), None)
    with pytest.raises(services.ReplaysBusyError, match=f"\\({dead.pk}\\)"):
        services.ask(Question(stream=STREAM, since=LONG_AGO), None)

    ReplayRun.objects.update(beat_at=clock.now() - timedelta(minutes=6))
    services.ask(Question(stream=STREAM, since=LONG_AGO), None)

    dead.refresh_from_db()
    assert (dead.state, dead.finished_at is not None) == ("interrupted", True)
    with pytest.raises(services.ReplayOverError):
        running.execute(dead.pk, quiet)


def test_a_cancelled_run_stops_between_two_chunks_and_keeps_no_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decide()
    monkeypatch.setattr("lepton_apps.streaming.replay.running.BEAT_S", 0.01)
    beats: list[running.Beats] = []
    enter = running.Beats.__enter__

    def entered(self: running.Beats) -> running.Beats:
        beats.append(self)
        return enter(self)

    monkeypatch.setattr(running.Beats, "__enter__", entered)
    run = services.ask(Question(stream=STREAM, since=LONG_AGO), None)

    def cancel(stage: str, done: int, total: int) -> None:
        if stage == "count":  # another connection: that of a replay may not write
            person = threading.Thread(target=cancel_elsewhere, args=(run,))
            person.start()
            person.join()
            while not beats[0]._stop.wait(0.01):
                pass

    with pytest.raises(running.CancelledError):
        running.execute(run.pk, cancel)

    run.refresh_from_db()
    assert (run.state, run.result) == ("cancelled", None)
    with pytest.raises(services.ReplayOverError, match="nothing is left to cancel"):
        services.cancel(run, None)


def test_a_run_that_nobody_has_taken_up_is_cancelled_at_once() -> None:
    run = services.ask(Question(stream=STREAM, since=LONG_AGO), None)

    services.cancel(run, None)

    run.refresh_from_db()
    assert run.state == "cancelled"
    acts = AuditEntry.objects.filter(target=f"replay:{run.pk}").order_by("id")
    assert [entry.action for entry in acts] == ["replay.asked", "replay.cancelled"]


@pytest.mark.parametrize(
    ("program", "state"), [("/bin/false", "interrupted"), ("/nowhere/python", "failed")]
)
def test_a_process_that_dies_or_never_lives_is_noted_at_once(
    program: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program)

    with suppress(UnavailableError):
        starting.start(Question(stream=STREAM, since=LONG_AGO), None)

    while (run := ReplayRun.objects.get()).state == "waiting":
        clock.sleep(0.02)
    assert run.state == state
    assert run.error


def test_the_command_compares_in_a_table_and_in_json() -> None:
    decide()
    out = io.StringIO()
    call_command("replay", STREAM, "--since", "1d", "--threshold", "review=1", stdout=out)
    text = out.getvalue()
    assert "before \\ after" in text
    assert "Alerts:" in text
    assert "rows/s" in text

    out = io.StringIO()
    call_command("replay", STREAM, "--since", "1d", "--json", stdout=out)
    body = json.loads(out.getvalue())
    assert (body["state"], body["result"]["rows"]) == ("done", 50)
    assert body["asked_by"] is None


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ([], "Name a stream"),
        ([STREAM], "Say where to begin"),
        (["nope.nope", "--since", "1d"], "nope.nope"),
        ([STREAM, "--since", "yesterday"], "'yesterday' is no time"),
        ([STREAM, "--since", "2026-03-01T00:00:00"], "has no zone"),
        ([STREAM, "--from-offset", "x"], "'x' is no offset"),
        ([STREAM, "--from-offset", "0:1", "--from-offset", "0:2"], "two offsets"),
        ([STREAM, "--since", "1d", "--threshold", "review"], "is no threshold"),
    ],
)
def test_wrong_arguments_are_named(arguments: list[str], match: str) -> None:
    with pytest.raises(CommandError, match=match) as refused:
        call_command("replay", *arguments)
    assert refused.value.returncode == 2


def test_a_version_that_is_not_there_is_not_found() -> None:
    with pytest.raises(CommandError, match="It has: 1") as refused:
        call_command("replay", STREAM, "--since", "1d", "--version", "9")
    assert refused.value.returncode == 1


def test_a_bug_ends_the_run_and_its_row_gives_no_internals_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decide(3)

    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret of the inside")

    monkeypatch.setattr("lepton_apps.streaming.replay.running.StoredRows", fail)

    with pytest.raises(ZeroDivisionError):
        replayed(STREAM)

    run = ReplayRun.objects.get()
    assert run.state == "failed"
    assert "ZeroDivisionError" in run.error
    assert "secret" not in run.error
