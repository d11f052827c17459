"""Kills and pauses at any moment: nothing may be lost, doubled or told twice.

The short forms run in ``make test``, the long ones (20 kills, and the second vertical) by
``make chaos``.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest

from tests.chaos.auditor import audit
from tests.chaos.loads import LOADS
from tests.chaos.stage import SESSION_S, Stage, stage

KILLS = [
    pytest.param(3, id="3 times"),
    pytest.param(20, id="20 times", marks=pytest.mark.chaos_long),
]


VERTICALS = ["fintech", pytest.param("ops", marks=pytest.mark.chaos_long)]


@pytest.fixture(scope="module", params=VERTICALS)
def embedded(request: pytest.FixtureRequest) -> Iterator[Stage]:
    with stage(LOADS[request.param]) as running:
        yield running


@pytest.fixture
def ground(embedded: Stage) -> Iterator[Stage]:
    """The module's stage; whatever a test started is gone after it."""
    yield embedded
    embedded.kill_all()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kills", KILLS)
def test_workers_killed_under_load_lose_and_double_nothing(ground: Stage, kills: int) -> None:
    moments = random.Random(kills)
    workers = [ground.worker(), ground.worker()]
    with ground.load(1_500 * kills, rate=400):
        for kill in range(kills):
            time.sleep(moments.uniform(1.5, 3.5))
            ground.kill(workers[kill % 2])
            workers[kill % 2] = ground.worker()
    audit(ground)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kills", [pytest.param(1, id="once"), KILLS[1]])
def test_postgresql_killed_under_load_loses_and_doubles_nothing(ground: Stage, kills: int) -> None:
    moments = random.Random(kills)
    ground.worker()
    with ground.load(1_000 * kills, rate=400):
        for _ in range(kills):
            time.sleep(moments.uniform(1.0, 2.0))
            ground.postgres.kill()
            ground.postgres.restart()
    audit(ground)


@pytest.mark.timeout(300)
def test_a_worker_that_wakes_as_a_zombie_changes_nothing(ground: Stage) -> None:
    sleeper = ground.worker()
    before = ground.taken()
    with ground.load(4_000, rate=400):
        ground.wait("the first decisions", lambda: ground.taken() > before)
        sleeper.send_signal(signal.SIGSTOP)
        ground.worker()
        at_stop = ground.taken()
        # The other one takes over once the session of the sleeper has run out.
        ground.wait("the takeover", lambda: ground.taken() > at_stop + 200, SESSION_S * 4)
        sleeper.send_signal(signal.SIGCONT)
    audit(ground)
    assert sleeper.poll() is None, "the zombie must rejoin, not die"


@pytest.mark.timeout(300)
def test_a_worker_paused_inside_its_save_holds_the_others_up_for_a_moment_only(
    ground: Stage,
) -> None:
    sleeper = ground.worker()
    before = ground.taken()
    with ground.load(4_000, rate=400):
        ground.wait("the first decisions", lambda: ground.taken() > before)
        stop_inside_a_transaction(ground, sleeper.pid)
        ground.worker()
        at_stop = ground.taken()
        ground.wait("others going on", lambda: ground.taken() > at_stop + 200, SESSION_S * 4)
        sleeper.send_signal(signal.SIGCONT)
    audit(ground)


def stop_inside_a_transaction(ground: Stage, pid: int) -> None:
    """Stop a worker at a moment when PostgreSQL says that its transaction is open."""
    import os

    with psycopg.connect(ground.postgres.url, autocommit=True) as connection:
        for _ in range(3_000):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.005)  # what it had sent is done by now
            ((inside,),) = connection.execute(
                # Within a pipeline PostgreSQL calls a session active while it waits for the client.
                "SELECT count(*) FROM pg_stat_activity WHERE xact_start IS NOT NULL"
                " AND wait_event = 'ClientRead' AND application_name = 'lepton'"
            ).fetchall()
            if inside:
                return
            os.kill(pid, signal.SIGCONT)
            time.sleep(random.uniform(0.001, 0.02))
    raise AssertionError("The worker was never seen inside a transaction.")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("vertical", VERTICALS)
def test_a_broker_that_comes_back_empty_is_counted_and_new_records_flow(vertical: str) -> None:
    with stage(LOADS[vertical]) as ground:
        worker = ground.worker()
        ground.produce(500)
        audit(ground)
        ground.kill(worker)
        kept = dict(ground.sent)
        ground.produce(300)  # nobody reads these
        reader = ground.worker()
        reader.send_signal(signal.SIGSTOP)
        lost = len(ground.sent) - len(kept)
        unread_poison = ground.poison
        # The ends of the partitions were seen before the broker died: by a beat, as always.
        with psycopg.connect(ground.postgres.url, autocommit=True) as connection:
            connection.execute("UPDATE stream_offset SET high_water = next_offset + 60")
        ground.broker.kill()
        ground.broker.restart()
        ground.manage("setup")
        ground.sent = kept
        ground.poison = ground.query("SELECT count(*) FROM dead_letter")[0][0]
        assert lost == 300
        assert unread_poison >= ground.poison
        with suppress(ProcessLookupError):
            reader.send_signal(signal.SIGCONT)
        ground.produce(400)
        audit(ground)
        gaps = ground.query("SELECT kind, sum(to_offset - from_offset) FROM offset_gap GROUP BY 1")
        partitions = ground.query("SELECT count(DISTINCT partition) FROM stream_offset")[0][0]
        assert [(kind, int(lost)) for kind, lost in gaps] == [("recreated", 60 * partitions)]
