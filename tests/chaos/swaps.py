"""Champions that change under load: who decided each record, and whether they may have."""

from __future__ import annotations

import http.client
import json
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby

import numpy as np
import psycopg
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection

from lepton_apps.accounts.services import create_token
from lepton_apps.model_registry import selectors, services
from lepton_apps.model_registry.cache import FileCache
from lepton_apps.model_registry.loading import load_files, open_scorer
from lepton_apps.model_registry.models import ModelVersion, Role, RoleChange
from tests.champions import PAYMENTS, payment
from tests.chaos.loads import Sent
from tests.chaos.stage import Stage

MODEL = PAYMENTS.model_name


@contextmanager
def database_of(stage: Stage) -> Iterator[None]:
    """Django of this process works on the stage's database inside the block."""
    own = connection.settings_dict
    theirs = psycopg.conninfo.conninfo_to_dict(stage.postgres.url)
    kept = {name: own[name] for name in ("NAME", "USER", "PASSWORD", "HOST", "PORT")}
    connection.close()
    own.update(
        NAME=theirs["dbname"],
        USER=theirs["user"],
        PASSWORD=theirs.get("password", ""),
        HOST=theirs["host"],
        PORT=str(theirs["port"]),
    )
    try:
        yield
    finally:
        connection.close()
        own.update(kept)


def versions_in_order(stage: Stage, way: str) -> list[int]:
    """The versions that decided, in the order of time, a run of one version told once."""
    of_way = {"worker": "IS NOT NULL", "web": "IS NULL"}[way]
    rows = stage.query(
        f"SELECT model_version FROM decision WHERE topic_id {of_way} ORDER BY decided_at"
    )
    return [version for version, _ in groupby(number for (number,) in rows)]


def promote_and_roll_back(stage: Stage, swaps: int, others: list[ModelVersion]) -> None:
    """``swaps`` changes of the champion, in turn a promotion and a roll-back.

    The next one comes once worker and web have decided by the new champion: each of them served.
    """
    first = selectors.champion(MODEL)
    assert first is not None
    wait_until_all_follow(stage)
    for swap in range(swaps):
        other = others[swap // 2 % len(others)]
        if swap % 2 == 0:
            services.promote(other, Role.CHAMPION, None, f"Swap {swap}.", expected=first.number)
        else:
            services.rollback(MODEL, None, f"Swap {swap}.", expected=other.number)
        assert champions()[-1] == (other if swap % 2 == 0 else first).number
        wait_until_all_follow(stage)


def wait_until_all_follow(stage: Stage) -> None:
    """Until worker and web have each decided by the champion of the ledger's last line."""
    ledger = champions()
    for way in ("worker", "web"):
        stage.wait(
            f"decisions of the {way} by version {ledger[-1]}",
            lambda way=way: len(versions_in_order(stage, way)) >= len(ledger),
        )


def champions() -> list[int]:
    """The numbers of the champions in the order of the ledger."""
    lines = RoleChange.objects.filter(model_name=MODEL, role=Role.CHAMPION)
    return list(lines.order_by("sequence").values_list("version__number", flat=True))


def audit_versions(stage: Stage) -> None:
    """Worker and web each followed the ledger line by line, and nobody was ahead of it.

    Exact, whatever the machine's speed: one worker and one caller of web decide in order.
    """
    ledger = champions()
    assert versions_in_order(stage, "worker") == ledger
    assert versions_in_order(stage, "web") == ledger
    early = stage.query(
        "SELECT decision.record_id FROM decision WHERE NOT EXISTS (SELECT FROM model_role_change"
        " AS line JOIN model_version AS version ON version.id = line.version_id"
        " WHERE line.role = 'champion' AND line.at <= decision.decided_at"
        " AND version.number = decision.model_version)"
    )
    assert not early, f"decided by a version that had not been champion yet: {early[:5]}"


def audit_replay(stage: Stage) -> None:
    """The version that decided gives each stored feature row the same score again, to the bit."""
    cache = FileCache(settings.LEPTON_DATA_DIR / "models")
    for number in sorted(set(champions())):
        version = ModelVersion.objects.get(model_name=MODEL, number=number)
        scorer = open_scorer(load_files(version.pk, cache), PAYMENTS)
        rows = stage.query(
            "SELECT record_id, features, score FROM decision WHERE model_version = %s", number
        )
        x_BF = np.stack([np.frombuffer(features, "<f4") for _, features, _ in rows])
        stored_B = np.array([score for *_, score in rows])
        off = np.flatnonzero(scorer.score(x_BF) != stored_B)
        assert not len(off), f"version {number} scores {rows[off[0]][0]} otherwise"


@contextmanager
def under_load(stage: Stage, rate: float) -> Iterator[None]:
    """Records by Kafka, and one caller of ``POST .../decisions``, as long as the block runs."""
    done = threading.Event()
    failures: list[BaseException] = []

    def until_done(act: object) -> None:
        try:
            while not done.is_set():
                act()  # type: ignore[operator]
        except BaseException as exc:  # noqa: BLE001 - raised again below
            failures.append(exc)

    decide = caller_of_web(stage)
    acts = (lambda: stage.produce(100, rate=rate), decide)
    threads = [threading.Thread(target=until_done, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join(120)
    if failures:
        raise failures[0]


def caller_of_web(stage: Stage) -> object:
    """A web process of the stage, and a call that lets it decide one more record."""
    process = stage.start("web", "--port", "0")
    log = next(stage.folder.glob(f"web-{stage.processes.index(process)}.log"))
    found: list[str] = []

    def address() -> bool:
        found[:] = re.findall(r"http://127\.0\.0\.1:(\d+)", log.read_text(errors="replace"))
        return bool(found)

    stage.wait("the address of web", address)
    user = User.objects.create_superuser(f"caller-{secrets.token_hex(4)}")
    _, token = create_token(None, user, "chaos")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    path = f"/api/v1/streams/{PAYMENTS.name}/decisions"

    def decide() -> None:
        number = len(stage.sent)
        entity = f"r{number % 20}"
        # Entities of its own: the audit of the others' features follows from their log alone.
        record = payment(
            number,
            id=f"{secrets.token_hex(6)}-web",
            customer=entity,
            terminal=f"t-{entity}",
            amount="12.50",
        )
        body = json.dumps(record).encode()
        line = http.client.HTTPConnection("127.0.0.1", int(found[0]), timeout=60)
        line.request("POST", path, body, headers)
        answer = line.getresponse()
        said = answer.read()
        line.close()
        assert answer.status == 200, said
        stage.sent[str(record["id"])] = Sent(str(record["id"]), entity, body)
        time.sleep(0.02)

    return decide
