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
from io import StringIO
from typing import Any, Final
from urllib.parse import urlsplit

from django.core.management import call_command
from django.db import connection

from lepton_apps.accounts.models import Role, VerticalAccess
from lepton_apps.common.db import raw_connection
from lepton_apps.streaming.halting import halt
from lepton_apps.streaming.kafka import Admin
from lepton_apps.streaming.path import StreamPath
from lepton_apps.streaming.worker import Worker
from tests.champions import PAYMENTS, install, payment, payments_model
from tests.console.data import save_dead_letter
from tests.docs.api_page import Request
from tests.streaming.sources import InMemorySource, log

PATIENCE_S = 30.0
MAKERS: Final[list[tuple[re.Pattern[str], Callable[..., None]]]] = []


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any  # of JSON


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
            return Answer(answer.status, json.loads(answer.read()))
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
    said = StringIO()
    call_command("create_token", "ann", "my-program", "--quiet", stdout=said)
    install(PAYMENTS, payments_model())
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
