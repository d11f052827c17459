"""Every example of docs/api.md is run against a live server, and answers what the page says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from lepton_apps.common.errors import LeptonError
from lepton_apps.realtime.closing import CloseCode
from lepton_apps.streaming.models import ReplayRun
from tests.docs import api_page
from tests.docs.api_page import Example, differences
from tests.docs.api_world import World, people
from tests.docs.test_reference import error_codes
from tests.realtime.conftest import database_url, serving

EXAMPLES = api_page.examples()
PATIENCE_S = 20.0
REPLAY_PATIENCE_S = 120.0  # its process imports torch, on a machine that may be busy
MANY_FRAMES = 100  # heartbeats come all the while

server = pytest.mark.django_db(transaction=True)


@pytest.fixture
def world(
    person: Callable[..., Any], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    from lepton_apps.asgi import application

    monkeypatch.setenv("DATABASE_URL", database_url())  # processes that the server starts read it
    settings.LISTEN_DATABASE_URL = database_url()
    settings.FEED_HEARTBEAT_S = 0.3
    token = people(person)
    with serving(application) as port:
        yield World(port, token)
        until_replays_have_ended()


def until_replays_have_ended() -> None:
    """A replay's process reads tables that the test's end empties."""
    end = time.monotonic() + REPLAY_PATIENCE_S
    while ReplayRun.objects.filter(state__in=ReplayRun.ACTIVE).exists():
        assert time.monotonic() < end
        time.sleep(0.1)


@server
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_answers_what_the_page_says(example: Example, world: World) -> None:
    request = example.request(world.variables)
    world.prepare(request.url)

    answer = world.ask(request)

    told = example.answer
    code = told.get("code") if isinstance(told, dict) else None
    expected = api_page.error_statuses()[code] if code else (example.status or 200)
    assert answer.status == expected, f"{example.command}\n{answer.status} {answer.body}"
    if told is not None:
        found = differences(told, answer.body)
        assert not found, f"{example.command}\n{chr(10).join(found)}\n{json.dumps(answer.body)}"


def test_the_page_has_examples_and_answers_to_compare() -> None:
    assert len(EXAMPLES) > 15
    assert sum(example.answer is not None for example in EXAMPLES) >= 8
    names = [example.name for example in EXAMPLES]
    assert len(names) == len(set(names))


TOLD: dict[str, Any] = {
    "id": 41, "at": "2026-03-01T10:00:00.5Z", "score": 0.9, "by": None, "text": "a ... c",
    "day": "2026-03-01", "hash": "0f3a6c1d2b7e4f58", "rows": [{"n": 1}],
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"id": 42}, {"id": "41"}, {"at": "yesterday"}, {"score": "high"}, {"by": "ann"},
        {"text": "a b d"}, {"day": "1 March"}, {"hash": "b"}, {"rows": []}, {"rows": [{"n": 1}, {"n": 1, "new": 2}]}, {"more": True},
    ],
)  # fmt: skip
def test_a_changed_answer_is_noticed(change: dict[str, Any]) -> None:
    assert differences(TOLD, {**TOLD, **change})
    assert differences(TOLD, {key: value for key, value in TOLD.items() if key not in change}) or (
        "more" in change
    )


def test_an_answer_of_another_time_and_score_is_the_same() -> None:
    other = {**TOLD, "at": "2027-01-01T00:00:00.123456Z", "score": 0.25, "text": "a b c"}
    assert differences(TOLD, {**other, "rows": [{"n": 1}, {"n": 1}]}) == []


def test_more_keys_are_let_through_where_the_page_says_so_and_nowhere_else() -> None:
    told = {"id": 41, "...": "..."}
    assert differences(told, {"id": 41, "more": True}) == []
    assert differences(told, {"more": True})
    assert differences({"in": told, "id": 1}, {"in": {"id": 41, "more": 1}, "id": 1, "more": 1})


def statuses_of_codes() -> dict[str, int]:
    """As the code has them."""
    error_codes()  # loads all modules

    def below(cls: type[LeptonError]) -> set[type[LeptonError]]:
        return {cls}.union(*(below(each) for each in cls.__subclasses__()))

    return {
        cls.code: cls.status
        for cls in below(LeptonError)
        if cls.__module__.startswith("lepton_apps.")
    }


def test_codes_of_the_table_have_the_status_that_the_server_gives_them() -> None:
    told, real = api_page.error_statuses(), statuses_of_codes()
    assert {code: told[code] for code in told if code in real} == {
        code: real[code] for code in told if code in real
    }


def open_socket(world: World, query: str) -> ClientConnection:
    return connect(
        f"ws://127.0.0.1:{world.port}/ws/alerts/?vertical=fintech{query}",
        additional_headers={"Authorization": f"Bearer {world.token}"},
        compression=None,
    )


def frame_of(socket: ClientConnection, type_: str) -> dict[str, Any]:
    """The next frame of that type."""
    others = []
    for _ in range(MANY_FRAMES):
        frame: dict[str, Any] = json.loads(socket.recv(timeout=PATIENCE_S))
        if frame["type"] == type_:
            return frame
        others.append(frame["type"])
    raise AssertionError(f"No {type_} among {set(others)}.")


@server
def test_every_frame_of_the_table_is_sent_as_it_is_told(world: World) -> None:
    seen: list[dict[str, Any]] = []
    with open_socket(world, "") as socket:
        seen.append(frame_of(socket, "feed.hello"))
        world.prepare(f"{world.variables['BASE']}/alerts/41")
        seen.append(opened := frame_of(socket, "alert.opened"))
        seen.append(frame_of(socket, "alert.updated"))
        seen.append(frame_of(socket, "feed.heartbeat"))
        socket.send('{"type": "ping"}')
        seen.append(frame_of(socket, "pong"))
        socket.send("what?")
        seen.append(frame_of(socket, "error"))
    epoch = opened["cursor"].partition(":")[0]
    with open_socket(world, f"&cursor={epoch}:999999") as socket:
        seen.append(frame_of(socket, "snapshot_required"))
    with open_socket(world, f"&cursor={epoch}:0") as socket:
        assert frame_of(socket, "alert.opened") == opened  # what was missed comes again

    told = {name: keys for name, keys in api_page.frames().items() if name != "ping"}
    assert {frame["type"]: frozenset(frame) for frame in seen} == told


def test_every_close_code_of_the_server_is_in_the_table() -> None:
    assert api_page.close_codes() == {int(code) for code in CloseCode}


@server
def test_the_python_client_says_each_alert_that_opens(world: World, tmp_path: Path) -> None:
    program = tmp_path / "follow.py"
    program.write_text(api_page.python_example(), encoding="utf-8")
    environment = {**os.environ, "BASE": world.variables["BASE"], "TOKEN": world.token}
    with subprocess.Popen(
        [sys.executable, "-u", str(program)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert "following" in process.stdout.readline()
            world.prepare(f"{world.variables['BASE']}/alerts/41")
            line = process.stdout.readline()
        finally:
            process.kill()
    assert line.startswith("41 "), line
    assert "c-1" in line
