"""The installation that docs/api.md speaks of: its numbers name rows that are really there.

A maker says how what an address names comes to be. All makers whose pattern is found in the
address of an example run before it, with the groups of the pattern, so ``/alerts/41`` finds an
alert 41. For a new kind of thing write a maker here; the examples themselves need nothing.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection

from lepton_apps.accounts.models import Role, VerticalAccess
from lepton_apps.common import clock
from lepton_apps.common.db import raw_connection
from lepton_apps.model_registry.services import promote, register_version
from lepton_apps.streaming.causes.services import declare_simulated
from lepton_apps.streaming.halting import halt
from lepton_apps.streaming.kafka import Admin
from lepton_apps.streaming.models import ReplayRun, ScoreTally
from lepton_apps.streaming.path import StreamPath
from lepton_apps.streaming.replay import running
from lepton_apps.streaming.replay import services as replays
from lepton_apps.streaming.replay.question import Question
from lepton_apps.streaming.tallying import bins_of
from lepton_apps.streaming.worker import Worker
from lepton_apps.verticals.contract import Trained
from tests.champions import PAYMENTS, payment, payments_model
from tests.console.data import save_dead_letter
from tests.docs.api_page import Request
from tests.ops.around import ops_alert, save_world
from tests.streaming.replays import LONG_AGO
from tests.streaming.sources import InMemorySource, log

PATIENCE_S = 30.0
STARTER: Final = "fintech.transactions.starter"
MAKERS: Final[list[tuple[re.Pattern[str], Callable[..., None]]]] = []


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any  # of JSON; else its text


@dataclass(frozen=True)
class World:
    """A running server, the people of the page, and a token of theirs."""

    port: int
    token: str

    @property
    def variables(self) -> Mapping[str, str]:
        """What the first fence of the page sets in the reader's shell."""
        return {
            "BASE": f"http://127.0.0.1:{self.port}/api/v1",
            "AUTH": f"Authorization: Bearer {self.token}",
        }

    def prepare(self, url: str) -> None:
        """Make what the address names."""
        parts = urlsplit(url)
        address = parts.path.removeprefix("/api/v1") + (f"?{parts.query}" if parts.query else "")
        for pattern, make in MAKERS:
            if found := pattern.search(address):
                make(self, *found.groups())

    def ask(self, request: Request) -> Answer:
        parts = urlsplit(request.url)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        client = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=PATIENCE_S)
        try:
            client.request(request.method, target, request.body, dict(request.headers))
            answer = client.getresponse()
            body = answer.read()
            if answer.headers.get_content_type() == "application/json":
                return Answer(answer.status, json.loads(body))
            return Answer(answer.status, body.decode())
        finally:
            client.close()

    def post(self, path: str, body: Any) -> Any:
        """By the people of the page, over the API."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        url = f"{self.variables['BASE']}{path}"
        answer = self.ask(Request("POST", url, headers, json.dumps(body).encode()))
        assert answer.status == 200, answer
        return answer.body


def people(person: Callable[..., Any]) -> str:
    """Ann, who is an admin of payments, and her token, made as the page says."""
    ann = person("ann")
    VerticalAccess.objects.create(user=ann, vertical="fintech", role=Role.ADMIN)
    number_next("accounts_apitoken", 7)
    said = StringIO()
    call_command("create_token", "ann", "my-program", "--quiet", stdout=said)
    starter = register_version(PAYMENTS, payments_model(), None, STARTER)
    promote(starter, "champion", None, "the first model", expected=None)
    return said.getvalue().strip()


def maker(pattern: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def register(make: Callable[..., None]) -> Callable[..., None]:
        MAKERS.append((re.compile(pattern), make))
        return make

    return register


def number_next(table: str, number: int) -> None:
    """The next row of the table gets this number."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT setval(coalesce(pg_get_serial_sequence(%s, 'id'), %s), %s, false)",
            [table, f"{table}_id", number],
        )


def decide(world: World, record_id: str, customer: str, second: int) -> None:
    """A payment so large that it opens an alert, or joins the one of its customer."""
    record = payment(0, id=record_id, customer=customer, amount="9000.00", channel="online")
    changes = {"terminal": "pos-7", "occurred_at": f"2026-03-01T10:00:0{second}Z"}
    world.post(f"/streams/{PAYMENTS.name}/decisions", record | changes)


@maker(r"^/alerts(?:\?|$)")
def older_alert(world: World) -> None:
    number_next("alert", 40)
    decide(world, "t-0", "c-0", 0)


@maker(r"^/alerts(?:\?|$)")
@maker(r"^/alerts/(41)\b")
def alert(world: World, number: str = "41") -> None:
    """Two payments of a customer, six seconds apart: one alert of two records."""
    number_next("alert", int(number))
    decide(world, "t-1", "c-1", 0)
    decide(world, "t-2", "c-1", 6)


@maker(r"^/alerts/(52)/causes$")
def alert_of_a_caller(world: World, number: str) -> None:
    """A service fell silent, and the one that calls it alarms."""
    topology(world)
    save_world("silence", "payments@node-3")
    declare_simulated("ops")
    ops_alert("checkout@node-2", pk=int(number))


@maker(r"^/ops/topology")
def topology(world: World) -> None:
    """Ann looks after services as well."""
    ann = User.objects.get(username="ann")
    VerticalAccess.objects.create(user=ann, vertical="ops", role=Role.OPERATOR)


@maker(r"^/labels\?.*record_id=([\w-]+)")
def label(world: World, record_id: str) -> None:
    number_next("label", 9)
    world.post(
        "/labels",
        {
            "stream": PAYMENTS.name,
            "record_id": record_id,
            "verdict": "positive",
            "kind": "chargeback",
            "labelled_at": "2026-03-20T08:00:00Z",
        },
    )


@maker(r"^/labels$")
def first_label(world: World) -> None:
    number_next("label", 9)


@maker(r"^/dead-letters(?:\?|$)")
@maker(r"^/dead-letters/(\d+)")
def dead_letter(world: World, number: str = "5") -> None:
    """A payment without an amount, and the topic that it can be sent to again."""
    number_next("dead_letter", int(number))
    save_dead_letter(b'{"id": "t-9"}', detail="Object missing required field `amount`.")
    admin = Admin()
    try:
        admin.ensure_topic(PAYMENTS.topic, PAYMENTS.partitions)
    finally:
        admin.close()


@maker(r"^/streams$")
@maker(r"^/streams/fintech\.transactions$")
def read_stream(world: World) -> None:
    """A worker has read all there is."""
    records = [payment(n, occurred_at=f"2026-03-01T10:00:{n:02}Z") for n in range(12)]
    worker = Worker(
        StreamPath(PAYMENTS.name, cache_entities=10), lambda: InMemorySource(log(records))
    )
    while worker.run_once():
        pass
    worker.run_once()


@maker(r"^/streams/([\w.]+)/resume$")
def halted_stream(world: World, name: str) -> None:
    read_stream(world)
    halt(raw_connection(), name, "512 of the newest 1000 records cannot be used.")


def better_payments_model(seed: int = 1) -> Trained:
    """As it comes from a recipe: with what simpler methods reached on the same rows."""
    trained = payments_model(seed)
    return Trained(trained.files, {"pr_auc": 0.71}, {"boosted_trees": {"pr_auc": 0.69}})


@maker(r"^/models\b")
@maker(r"/replays(?:/7)?$")
def versions(world: World) -> None:
    """Versions 2, 3 and 4 beside the starter; 3 is champion and the others have no role."""
    for seed in (1, 1, 2):
        register_version(PAYMENTS, better_payments_model(seed), None, STARTER)
    world.post(
        f"/models/{PAYMENTS.model_name}/versions/3/promote",
        {"expected": 1, "why": "Catches card testing."},
    )


@maker(r"^/models/([\w.]+)/rollback$")
def doubtful_champion(world: World, name: str) -> None:
    world.post(f"/models/{name}/versions/4/promote", {"expected": 3, "why": "Newer payments."})


@maker(r"^/models/([\w.]+)/comparison$")
@maker(r"^/models/([\w.]+)/withdraw$")
def challenger(world: World, name: str) -> None:
    asked = {"role": "challenger", "expected": None, "why": "Newer payments."}
    world.post(f"/models/{name}/versions/4/promote", asked)


def asked_replay(number: int) -> ReplayRun:
    """A run that waits for a process, over a dozen payments of which three are loud."""
    number_next("replay_run", number)
    question = Question(stream=PAYMENTS.name, since=LONG_AGO, version=4, thresholds={"review": 0.8})
    return replays.ask(question, User.objects.get(username="ann"))


@maker(r"^/replays(?:/(7))?$")
def finished_replay(world: World, number: str | None) -> None:
    """The same payments through version 4; two of the loud ones are known to be fraud."""
    amounts = {3: "9000.00", 5: "8000.00", 8: "500.00"}
    records = [payment(n, amount=amounts.get(n, "20.00"), customer=f"c-{n}") for n in range(12)]
    number_next("alert", 41)
    world.post(f"/streams/{PAYMENTS.name}/decisions", records)
    known = {"stream": PAYMENTS.name, "verdict": "positive", "labelled_at": "2026-03-20T08:00:00Z"}
    world.post(
        "/labels", [{**known, "kind": "chargeback", "record_id": id_} for id_ in ("p3", "p8")]
    )
    run = asked_replay(int(number or 7))
    running.execute(run.pk, lambda stage, done, total: None)


@maker(r"^/replays/(\d+)/cancel$")
def waiting_replay(world: World, number: str) -> None:
    versions(world)
    asked_replay(int(number))


@maker(r"^/streams/[\w.]+/budget(?:\?|$)")
def two_weeks_of_scores(world: World) -> None:
    """Ten thousand scores a day, the higher the fewer; those of 0.5 and more were loud."""
    today = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    loudest = int(bins_of(np.array([0.5]))[0])
    counts = {place: round(700 * 0.93 ** (place - 200)) for place in range(200, 330)}
    ScoreTally.objects.bulk_create(
        ScoreTally(
            stream=PAYMENTS.name,
            hour=today - timedelta(days=day),
            model_version=1,
            writer=0,
            bin=place,
            count=count,
            loud=count if place >= loudest else 0,
        )
        for day in range(14)
        for place, count in counts.items()
    )


@maker(r"^/federation/")
def lent_rows(world: World) -> None:
    """Payments may be trained on for a month, within a budget."""
    command = ("federation", "allow", PAYMENTS.name, "--epsilon", "6", "--until", "30d")
    call_command(*command, "--why", "With the banks of the region.", stdout=StringIO())


@maker(r"^/audit\b")
def acts(world: World) -> None:
    """Ann takes the alert of ``alert`` and closes it; that she does so by her token is kept."""
    alert(world)
    number_next("audit_auditentry", 8)
    world.post("/alerts/41/acknowledge", {})
    world.post("/alerts/41/resolve", {"verdict": "positive", "note": "Stolen card."})
