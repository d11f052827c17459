from __future__ import annotations

import asyncio
import json
import threading
import uuid
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import connection, connections
from websockets.asyncio.client import connect as connect_async
from websockets.typing import Origin

from lepton_apps import web as web_module
from lepton_apps.common.metrics import FEED_SOCKETS
from lepton_apps.realtime import consumers
from lepton_apps.realtime import listener as listener_module
from lepton_apps.realtime.models import FeedCounter, FeedEvent
from tests.realtime.conftest import Socket, Web, database_url, publish, session_of, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def quick_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "CHECK_S", 0.1)


def numbers(frames: list[dict[str, Any]]) -> list[int]:
    return [frame["number"] for frame in frames]


def test_a_new_socket_hears_where_the_feed_is_and_then_every_event_in_order(
    web: Web, operator: User
) -> None:
    publish("before")
    feed = web.open(session_of(operator))
    hello = feed.next()
    publish("a", "b")
    publish("c")

    epoch = str(FeedCounter.objects.get(vertical="fintech").epoch)
    assert hello == {
        "type": "feed.hello",
        "epoch": epoch,
        "number": 1,
        "cursor": f"{epoch}:1",
    }
    frames = feed.events(3)
    assert frames[0] == {
        "type": "alert.opened",
        "number": 2,
        "cursor": f"{epoch}:2",
        "body": {"text": "a"},
    }
    assert [frame["body"]["text"] for frame in frames] == ["a", "b", "c"]


def test_the_first_event_ever_reaches_a_socket_that_was_there_before_it(
    web: Web, operator: User
) -> None:
    feed = web.open(session_of(operator))
    nothing_yet = feed.next()["cursor"]
    publish("first")

    assert numbers(feed.events(1)) == [1]
    publish("second")
    later = web.open(session_of(operator), cursor=nothing_yet)
    assert numbers(later.events(3)) == [2, 1, 2]  # hello, then both


def test_resuming_while_events_are_published_misses_none_and_doubles_none(
    web: Web, operator: User
) -> None:
    session = session_of(operator)
    publish("0")
    cursor = web.open(session).next()["cursor"]
    total = 300

    def write() -> None:
        for number in range(total):
            publish(str(number))
        connections.close_all()

    writer = threading.Thread(target=write)
    writer.start()
    seen: list[int] = []
    while len(seen) < total:
        feed = web.open(session, cursor=cursor)
        assert feed.next()["type"] == "feed.hello"
        for frame in feed.events(min(23, total - len(seen))):
            seen.append(frame["number"])
            cursor = frame["cursor"]
        feed.close()
    writer.join()

    assert seen == list(range(2, total + 2))


@pytest.mark.parametrize(
    "cursor", ["{other}:1", "{epoch}:4", "{other}:0", "{epoch}:9223372036854775807"]
)
def test_a_cursor_of_another_epoch_or_of_the_future_needs_a_snapshot(
    web: Web, operator: User, cursor: str
) -> None:
    publish("a", "b", "c")
    epoch = FeedCounter.objects.get(vertical="fintech").epoch
    asked = cursor.format(epoch=epoch, other=uuid.uuid4())

    feed = web.open(session_of(operator), cursor=asked)

    assert feed.next()["type"] == "feed.hello"
    assert feed.next() == {"type": "snapshot_required", "cursor": f"{epoch}:3"}
    publish("d")
    assert numbers(feed.events(1)) == [4]


def test_a_cursor_too_far_behind_needs_a_snapshot(web: Web, operator: User, settings: Any) -> None:
    settings.FEED_REPLAY_LIMIT = 2
    publish("a", "b", "c")
    epoch = FeedCounter.objects.get(vertical="fintech").epoch

    assert numbers(web.open(session_of(operator), cursor=f"{epoch}:1").events(3)) == [3, 2, 3]
    behind = web.open(session_of(operator), cursor=f"{epoch}:0")
    assert [frame["type"] for frame in behind.events(2)] == ["feed.hello", "snapshot_required"]


def test_a_cursor_older_than_the_events_kept_needs_a_snapshot(web: Web, operator: User) -> None:
    publish("a", "b", "c")
    epoch = FeedCounter.objects.get(vertical="fintech").epoch
    FeedEvent.objects.filter(number__lte=2).delete()

    assert numbers(web.open(session_of(operator), cursor=f"{epoch}:2").events(2)) == [3, 3]
    old = web.open(session_of(operator), cursor=f"{epoch}:1")
    assert [frame["type"] for frame in old.events(2)] == ["feed.hello", "snapshot_required"]


@pytest.mark.parametrize("cursor", ["1", "x:1", f"{uuid.UUID(int=1)}:-1", f"{uuid.UUID(int=1)}:"])
def test_a_cursor_that_is_none_is_refused(web: Web, operator: User, cursor: str) -> None:
    assert web.open(session_of(operator), cursor=cursor).close_code() == 4400


def test_a_restored_database_makes_open_sockets_load_a_snapshot(
    quick_checks: None, web: Web, operator: User
) -> None:
    publish("a", "b")
    feed = web.open(session_of(operator))
    feed.next()
    epoch = uuid.uuid4()
    FeedCounter.objects.update(epoch=epoch, last_number=1)
    FeedEvent.objects.filter(number=2).delete()

    assert feed.events(1) == [{"type": "snapshot_required", "cursor": f"{epoch}:1"}]
    publish("c")
    assert [frame["cursor"] for frame in feed.events(1)] == [f"{epoch}:2"]


def test_events_committed_while_the_listener_was_cut_off_arrive(web: Web, operator: User) -> None:
    publish("a")
    feed = web.open(session_of(operator))
    feed.next()
    end_listeners()
    for text in "bcd":
        publish(text)
        end_listeners()

    assert [frame["body"]["text"] for frame in feed.events(3)] == ["b", "c", "d"]


def end_listeners() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'lepton-feed' AND datname = current_database()"
        )


def test_an_event_without_a_notify_arrives_all_the_same(
    quick_checks: None, web: Web, operator: User
) -> None:
    publish("a")
    feed = web.open(session_of(operator))
    feed.next()
    with psycopg.connect(database_url(), autocommit=True) as silent, silent.transaction():
        silent.execute("UPDATE feed_counter SET last_number = 2")
        silent.execute(
            "INSERT INTO feed_event (vertical, number, type, body, created_at) "
            "VALUES ('fintech', 2, 'alert.updated', '{}', now())"
        )

    assert numbers(feed.events(1)) == [2]


@pytest.fixture
def short_queues(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "lepton_apps.realtime.layer.FeedLayer",
            "CONFIG": {"capacity": 8},
        }
    }


def test_a_socket_that_takes_nothing_any_more_is_dropped(
    short_queues: None, web: Web, operator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "CLOSE_WAIT_S", 0.1)
    monkeypatch.setattr(web_module, "FLUSH_S", 0.1)
    publish("first")
    asleep = web.open(session_of(operator))
    assert asleep.next()["number"] == 1
    for _ in range(150):
        publish("x" * 200_000)
    wait_until(
        lambda: not FEED_SOCKETS.labels(vertical="fintech")._value.get(), "the socket was let go"
    )

    frames, code = asleep.rest()
    assert code == 1006  # the close frame could not be sent
    assert numbers(frames) == list(range(2, len(frames) + 2))


def test_a_slow_socket_is_closed_with_its_code_and_resumes_where_it_was(
    short_queues: None, web: Web, operator: User
) -> None:
    session = session_of(operator)
    publish("first")
    slow, quick = web.open(session), web.open(session)
    assert slow.next()["number"] == quick.next()["number"] == 1
    large = "x" * 200_000
    received: list[int] = []
    reader = threading.Thread(target=lambda: received.extend(numbers(quick.events(150))))
    reader.start()
    for _ in range(150):
        publish(large)
    reader.join()

    frames, code = slow.rest()
    last = frames[-1]["number"]
    assert code == 4408
    assert 1 < last < 151
    assert numbers(frames) == list(range(2, last + 1))
    again = web.open(session, cursor=frames[-1]["cursor"])
    again.next()
    assert numbers(again.events(151 - last)) == list(range(last + 1, 152))
    assert received == list(range(2, 152))


def test_a_socket_that_pauses_gets_what_was_written_and_what_waited_in_order(
    web: Web, operator: User
) -> None:
    publish("first")
    feed = web.open(session_of(operator))
    assert feed.next()["number"] == 1
    for _ in range(2):  # more than its buffers hold, read away, and the same again
        first = FeedCounter.objects.get(vertical="fintech").last_number + 1
        for _ in range(40):
            publish("x" * 200_000)
        assert numbers(feed.events(40)) == list(range(first, first + 40))
    publish("last")
    assert feed.events(1)[0]["body"] == {"text": "last"}


def test_five_hundred_sockets_all_get_all_of_fifty_events(web: Web, operator: User) -> None:
    session = session_of(operator)
    publish("0")
    sockets, events = 500, 50
    all_open = threading.Event()

    async def follow(opened: list[int]) -> list[int]:
        async with connect_async(
            web.socket_url(),
            additional_headers={"Cookie": f"sessionid={session}"},
            origin=Origin(web.origin),
            compression=None,
            open_timeout=60,
        ) as socket:
            assert json.loads(await socket.recv())["type"] == "feed.hello"
            opened.append(1)
            if len(opened) == sockets:
                all_open.set()
            return [json.loads(await socket.recv())["number"] for _ in range(events)]

    async def follow_all() -> list[list[int]]:
        opened: list[int] = []
        return await asyncio.gather(*(follow(opened) for _ in range(sockets)))

    results: list[list[int]] = []
    reader = threading.Thread(target=lambda: results.extend(asyncio.run(follow_all())))
    reader.start()
    assert all_open.wait(60)
    for number in range(events):
        publish(str(number))
    reader.join(60)

    assert results == [list(range(2, events + 2))] * sockets


def test_a_heartbeat_says_how_far_the_feed_is(
    settings: Any, operator: User, request: pytest.FixtureRequest
) -> None:
    settings.FEED_HEARTBEAT_S = 0.1
    web: Web = request.getfixturevalue("web")
    feed = web.open(session_of(operator))
    feed.next()
    publish("a")
    heard = [feed.next()]
    while heard[-1] != {"type": "feed.heartbeat", "number": 1}:
        heard.append(feed.next())
    assert "alert.opened" in {frame["type"] for frame in heard}


@pytest.mark.parametrize(
    "text", ["", "{", '{"type":"hello"}', "[" * 1_000, '{"type":"ping"}' + " " * 2_000]
)
def test_a_frame_from_the_client_that_is_no_ping_is_refused(
    web: Web, operator: User, text: str
) -> None:
    feed = web.open(session_of(operator))
    feed.next()
    feed.raw.send(text)
    feed.raw.send('{"type": "ping"}')

    assert [frame["type"] for frame in feed.events(2)] == ["error", "pong"]


def test_a_frame_that_is_far_too_large_ends_the_socket(web: Web, operator: User) -> None:
    feed: Socket = web.open(session_of(operator))
    feed.next()
    feed.raw.send("x" * 20_000)

    assert feed.close_code() == 1009
