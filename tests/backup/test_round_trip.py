"""A backup brought back: every row, a new epoch, and workers that go on from the stored offsets."""

from __future__ import annotations

import io
import json
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.management import call_command

from lepton_apps.accounts.models import Role
from lepton_apps.accounts.services import create_operator, create_token
from lepton_apps.alerts.models import Alert, Label
from lepton_apps.alerts.services import GivenLabel, record_labels
from lepton_apps.audit.models import AuditEntry
from lepton_apps.common import clock
from lepton_apps.common.db import raw_connection
from lepton_apps.realtime.models import FeedCounter
from lepton_apps.realtime.selectors import position
from lepton_apps.streaming.labels import apply_labels
from lepton_apps.streaming.models import (
    DeadLetter,
    Decision,
    EntityState,
    KnowledgeTally,
    RecordKey,
    StreamOffset,
    WorkerHeartbeat,
)
from lepton_apps.streaming.retention import TIME_COLUMN, days, keep_house
from ops.vertical import LOGS
from tests.backup.databases import Rows, everything, fresh_database, using
from tests.champions import PAYMENTS, install, payment
from tests.ops.models import logs_model
from tests.ops.test_on_the_server import lines, talk, work
from tests.realtime.conftest import Web, database_url, serving, session_of
from tests.streaming.sources import log
from tests.streaming.test_worker import STREAM, drain, make_worker

# The model of logs is trained once, which takes its time where other work is going on.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(400)]

LOUD: dict[str, object] = {"amount": "9000.00"}
PAYMENTS_READ: list[bytes | dict[str, object] | None] = [
    *(payment(n) for n in range(40)),
    payment(41, **LOUD),
    b"{",
    payment(42),
]
LINES_READ = lines(*talk("api", 120), ("api", 200.0, b"[ERROR] panic: index 3 out of range"))


@pytest.fixture
def fresh(transactional_db: None) -> Iterator[str]:
    with fresh_database() as name:
        yield name


@pytest.fixture
def lived_in(champion: object, person: Callable[..., User]) -> None:
    """A server that has worked in both verticals, with people, truths, a token and a bad record."""
    keep_house(raw_connection())
    install(LOGS, logs_model())
    olga = person("olga", fintech=Role.OPERATOR, ops=Role.VIEWER)
    create_token(olga, olga, "backup", expires_at=clock.now() + timedelta(days=9))
    create_operator(None, "nina", {"ops": Role.ADMIN})
    drain(make_worker(log(PAYMENTS_READ)))
    work(LINES_READ)
    record_labels(
        [GivenLabel(STREAM, "p3", True, "chargeback", clock.now())],
        source=Label.Source.REST,
        by=None,
    )
    apply_labels(raw_connection(), PAYMENTS)


def backup(file: Path, *options: str) -> dict[str, Any]:
    said = io.StringIO()
    call_command("backup", str(file), *options, "--json", stdout=said)
    facts: dict[str, Any] = json.loads(said.getvalue())
    return facts


def restore(file: Path, *options: str) -> dict[str, Any]:
    said = io.StringIO()
    call_command("restore", str(file), *options, "--json", stdout=said)
    facts: dict[str, Any] = json.loads(said.getvalue())
    return facts


def without_what_a_restore_adds(rows: Rows) -> Rows:
    """Its audit entries and the epochs; the numbers of the feed stay."""
    counters: list[tuple[object, ...]] = [
        (vertical, number) for vertical, _, number in rows["feed_counter"]
    ]
    entries = [row for row in rows["audit_auditentry"] if not ADDED & set(map(str, row))]
    return {**rows, "feed_counter": counters, "audit_auditentry": entries}


ADDED = {"backup.restored", "feed.epoch_begun"}


@pytest.mark.usefixtures("lived_in")
def test_every_row_comes_back_and_work_goes_on_where_it_stood(fresh: str, tmp_path: Path) -> None:
    file = tmp_path / "lepton.backup"
    olga = User.objects.get(username="olga")
    session_of(olga)
    before = everything()
    cursor = position("fintech")
    made = backup(file)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert made["rows"] == sum(map(len, before.values()))
    filled = {table for table, rows in before.items() if rows}
    assert filled >= {
        "alert", "audit_auditentry", "auth_user", "accounts_apitoken", "dead_letter", "decision",
        "entity_state", "feed_counter", "feed_event", "knowledge", "knowledge_tally", "label",
        "model_file", "model_role_change", "model_version", "record_key", "secondary_state",
        "stream_offset",
    }  # fmt: skip
    with using(fresh):
        told = restore(file)

        assert without_what_a_restore_adds(everything()) == without_what_a_restore_adds(before)
        assert told["rows"] == made["rows"]
        assert not Session.objects.exists()
        assert not WorkerHeartbeat.objects.exists()
        assert AuditEntry.objects.filter(action__in=ADDED).count() == 1 + len(told["new_epochs"])
        assert position("fintech").epoch != cursor.epoch
        assert position("fintech").number == cursor.number
        goes_on_exactly_once()
        numbers_go_on()


def goes_on_exactly_once() -> None:
    """Records that came after the backup, with those before it still in the log."""
    decided = Decision.objects.filter(stream=STREAM).count()
    alerts = Alert.objects.count()
    later = [payment(50, customer="c5"), payment(51, customer="c2", **LOUD), payment(52)]
    drain(make_worker(log([*PAYMENTS_READ, *later])))

    assert Decision.objects.filter(stream=STREAM).count() == decided + len(later)
    assert RecordKey.objects.count() == Decision.objects.count()
    assert set(Decision.objects.values_list("record_id", flat=True)) >= {"p50", "p51", "p52"}
    assert Alert.objects.count() == alerts + 1
    assert DeadLetter.objects.count() == 1
    place = StreamOffset.objects.get(stream=STREAM)
    assert place.next_offset == len(PAYMENTS_READ) + len(later)
    counted = sum(KnowledgeTally.objects.values_list("count", flat=True))
    work(LINES_READ)
    assert sum(KnowledgeTally.objects.values_list("count", flat=True)) == counted


def numbers_go_on() -> None:
    """No sequence gives a number a second time."""
    assert person_made() > User.objects.get(username="olga").pk
    drain(make_worker(log([*PAYMENTS_READ, payment(50), payment(51), payment(52), b"["])))
    ids = list(DeadLetter.objects.order_by("id").values_list("id", flat=True))
    assert len(ids) == len(set(ids)) == 2


def person_made() -> int:
    user, _ = create_operator(None, "zoe", {"ops": Role.VIEWER})
    return int(user.pk)


@pytest.mark.usefixtures("lived_in")
def test_a_browser_from_before_the_restore_loads_its_list_anew(
    fresh: str, tmp_path: Path, request: pytest.FixtureRequest, settings: Any
) -> None:
    from lepton_apps.asgi import application

    old = str(position("fintech"))
    file = tmp_path / "lepton.backup"
    backup(file)
    with using(fresh):
        restore(file)
        settings.LISTEN_DATABASE_URL = database_url()
        session = session_of(User.objects.get(username="olga"))
        with serving(application) as port, ExitStack() as stack:
            feed = Web(port, stack).open(session, cursor=old)
            frames = [frame["type"] for frame in feed.events(2)]
    assert frames == ["feed.hello", "snapshot_required"]


@pytest.mark.usefixtures("lived_in")
def test_days_of_the_backup_have_partitions_again(fresh: str, tmp_path: Path) -> None:
    there = days(raw_connection())
    file = tmp_path / "lepton.backup"
    backup(file)
    with using(fresh):
        raw = raw_connection()
        for table in TIME_COLUMN:
            for day in days(raw)[table]:
                raw.execute(f"DROP TABLE {table}_{day:%Y%m%d}")
        restore(file)

        assert days(raw) == there
        for table in TIME_COLUMN:
            assert raw.execute(f"SELECT count(*) FROM {table}_default").fetchone() == (0,)


@pytest.mark.usefixtures("lived_in")
def test_a_small_backup_leaves_out_the_decisions_and_still_knows_what_was_decided(
    fresh: str, tmp_path: Path
) -> None:
    whole, small = tmp_path / "whole.backup", tmp_path / "small.backup"
    assert backup(whole)["bytes"] > backup(small, "--without-decisions")["bytes"]
    known = RecordKey.objects.count()
    with using(fresh):
        assert restore(small)["with_decisions"] is False

        assert not Decision.objects.exists()
        assert RecordKey.objects.count() == known
        states = EntityState.objects.count()
        StreamOffset.objects.filter(stream=STREAM).update(next_offset=0)
        drain(make_worker(log(PAYMENTS_READ)))
        assert RecordKey.objects.count() == known
        assert EntityState.objects.count() == states


@pytest.mark.usefixtures("lived_in")
def test_what_is_there_can_be_replaced_by_who_names_the_database(tmp_path: Path) -> None:
    file = tmp_path / "lepton.backup"
    backup(file)
    before = everything()
    drain(make_worker(log([*PAYMENTS_READ, payment(70)])))
    Alert.objects.all().delete()
    FeedCounter.objects.update(last_number=10_000)

    restore(file, "--replace", str(raw_connection().info.dbname))

    assert without_what_a_restore_adds(everything()) == without_what_a_restore_adds(before)
