"""Lines and samples through the host: worker, database, alert with evidence, console, REST."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client

from lepton_apps.accounts.models import Role
from lepton_apps.accounts.services import create_token
from lepton_apps.alerts.models import Alert
from lepton_apps.streaming.models import (
    DeadLetter,
    Decision,
    EntityState,
    Knowledge,
    KnowledgeTally,
    StreamOffset,
)
from lepton_apps.streaming.path import StreamPath
from lepton_apps.streaming.source import Raw
from lepton_apps.streaming.worker import Worker
from ops.logs.extractor import MAX_TEMPLATES, OTHER, template_of
from ops.simulator import METRICS_TOPIC, simulate_with_truth
from ops.vertical import LOGS, METRICS
from tests.champions import install
from tests.ops.models import logs_model, metrics_model
from tests.streaming.sources import InMemorySource

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("champions")]

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
MINUTE_MS = 60_000


@pytest.fixture
def champions(transactional_db: None) -> None:
    install(LOGS, logs_model())
    install(METRICS, metrics_model())


@pytest.fixture
def warden(person: Callable[..., User]) -> User:
    return person("otto", ops=Role.OPERATOR)


@pytest.fixture
def page(client: Client, warden: User) -> Client:
    client.force_login(warden)
    return client


def lines(*given: tuple[str, float, bytes]) -> list[Raw]:
    """Plain messages of one partition: key, seconds after the start, text."""
    start = int(START.timestamp() * 1000)
    return [
        Raw(0, offset, key.encode(), text, (), start + int(seconds * 1000))
        for offset, (key, seconds, text) in enumerate(given)
    ]


def talk(
    key: str, count: int, start: float = 0.0, gap: float = 1.0
) -> list[tuple[str, float, bytes]]:
    return [(key, start + n * gap, b"[INFO] beat %d ok" % n) for n in range(count)]


def samples(entity: str, values: Iterable[dict[str, float]], start: int = 0) -> list[Raw]:
    """A vector a minute."""
    return [
        Raw(
            0,
            minute,
            entity.encode(),
            json.dumps(
                {
                    "entity": entity,
                    "time": (START + timedelta(minutes=start + minute)).isoformat(),
                    "values": found,
                }
            ).encode(),
        )
        for minute, found in enumerate(values)
    ]


def work(messages: Sequence[Raw], stream: str = LOGS.name, batch_size: int = 500) -> None:
    """A worker of its own takes what is not read yet."""
    worker = Worker(StreamPath(stream, cache_entities=100), lambda: InMemorySource(messages))
    worker.batch_size = batch_size
    worker.run_once()
    while worker.run_once():
        pass


def counted() -> int:
    """Lines, as the templates were counted."""
    return sum(KnowledgeTally.objects.values_list("count", flat=True))


STACK = [("api", 10.0, b"[ERROR] panic: index %d out of range" % n) for n in range(20)] + [
    ("api", 11.0, b"[ERROR] cannot open the settings file: permission denied"),
    ("api", 12.0, b"\x1b[31m[FATAL]\x1b[0m <script>alert(1)</script> giving up \xff\xfe"),
    ("clock", 400.0, b"[INFO] tick"),
]


@pytest.mark.parametrize("batch_size", [1, 500])
def test_lines_that_nobody_has_seen_become_one_alert_with_the_lines_and_what_was_expected(
    batch_size: int, page: Client, warden: User
) -> None:
    work(lines(*STACK), batch_size=batch_size)

    alert = Alert.objects.get(entity_key="api")
    evidence = alert.evidence
    assert evidence["kind"] == "window"
    assert evidence["num_lines"] == 22
    shown = evidence["lines"][-1]
    assert shown["template"].endswith(
        "giving up \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"
    )
    assert "\x1b" not in shown["text"]
    assert 0 <= shown["probability"] < 0.14
    assert all(0 < other["probability"] <= 1 for other in shown["expected"])
    assert {"template": "[ERROR] panic: index * out of range", "count": 20} in evidence["counts"]

    html = page.get(f"/alerts/{alert.id}/").content.decode()
    assert "permission denied" in html
    assert "<script>alert(1)" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "api" in page.get("/").content.decode()

    _, token = create_token(None, warden, "test")
    answer = Client().get(
        f"/api/v1/alerts/{alert.id}", headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.json()["evidence"] == evidence


def test_a_service_that_talked_all_the_time_and_stops_is_an_alert(page: Client) -> None:
    talking = talk("api", 1_500, gap=2.0)
    clock = [("clock", 3_000.0 + 60 * n, b"[INFO] tick") for n in range(12)]
    work(lines(*talking, *clock))

    alert = Alert.objects.filter(entity_key="api").latest("id")
    assert alert.reason == "silence"
    assert alert.evidence["kind"] == "silence"
    assert alert.evidence["silent_s"] >= 180
    assert "has been silent for" in page.get(f"/alerts/{alert.id}/").content.decode()


def test_bad_lines_become_dead_letters_or_lines_and_the_stream_goes_on() -> None:
    good = [
        ("a", 0.0, b"[INFO] started"),
        ("a", 1.0, b"\x00\x01\x1b[2J\x07 control \x7f characters"),
        ("a", 2.0, b"\xff\xfe\xc3\x28 no UTF-8"),
        ("a", 3.0, b'{"time":"2026-03-02T08:00:03Z","message":"\xff in JSON"}'),
        ("a", 4.0, b"x" * 200_000),
        ("a", 5.0, "\N{RIGHT-TO-LEFT OVERRIDE}\N{ZERO WIDTH JOINER}\N{PILE OF POO}".encode()),
        ("\0" + "k" * 5_000, 6.0, b"[INFO] a key that no row can hold"),
    ]
    bad = [
        ("a", 7.0, b"y" * 1_000_000),
        ("a", 8.0, b'{"message": "broken'),
        ("a", 9.0, b'{"time": "1066-10-14T00:00:00Z", "message": "too long ago"}'),
        ("a", 10.0, b'{"time": "2026-03-02T08:00:00", "message": "no zone"}'),
        ("a", 11.0, b'{"level": "INFO"}'),
        ("a", 12.0, b"   "),
        ("", 13.0, b"it belongs to nothing"),
    ]
    work(lines(*good, *bad, ("a", 14.0, b"[INFO] stopped")))

    letters = DeadLetter.objects.order_by("offset")
    assert list(letters.values_list("offset", flat=True)) == [
        *range(len(good), len(good) + len(bad))
    ]
    assert [letter.path for letter in letters][2:4] == ["$.time", "$.time"]
    assert counted() == len(good) + 1
    assert StreamOffset.objects.get().next_offset == len(good) + len(bad) + 1


def test_a_host_that_never_says_the_same_twice_fills_a_bounded_memory_and_is_an_alert() -> None:
    words = ("alpha", "beta", "gamma", "delta", "eta", "zeta", "iota", "kappa", "rho", "sigma")
    most = MAX_TEMPLATES + 3_000

    def said(number: int) -> bytes:
        return " ".join(words[int(digit)] for digit in f"{number:06d}").encode()

    given = [("loud", n / 1_000, said(n)) for n in range(most)]
    work(lines(*given, ("clock", 400.0, b"[INFO] tick")), batch_size=5_000)

    assert Knowledge.objects.filter(stream=LOGS.name).count() == MAX_TEMPLATES + 1
    assert Knowledge.objects.filter(id=OTHER).exists()
    assert counted() == most + 1
    assert max(len(bytes(s.state)) for s in EntityState.objects.all()) < 8_000
    assert Alert.objects.filter(entity_key="loud").exists()


def test_two_workers_and_a_restart_name_the_templates_alike() -> None:
    given = [
        (f"host-{n % 5}", n / 2, b"[WARN] disk %d of host %d is full" % (n % 3, n))
        for n in range(300)
    ]
    work(lines(*given))
    found = {k.id: template_of(bytes(k.body)).text for k in Knowledge.objects.all()}

    for table in (Knowledge, KnowledgeTally, EntityState, StreamOffset):
        table.objects.all().delete()
    work(lines(*given)[:150])
    work(lines(*given))
    again = {k.id: template_of(bytes(k.body)).text for k in Knowledge.objects.all()}

    assert found == again == {next(iter(found)): "[WARN] disk * of host * is full"}
    assert counted() == 300


def test_a_clock_that_jumps_stops_nothing() -> None:
    jumps = [0, 10, 86_400, 20, 30 * 86_400, -3_600, 40]
    given = [("a", float(at), b"[INFO] line %d" % at) for at in jumps]
    work(lines(*given), batch_size=2)

    assert counted() == len(jumps)
    assert not DeadLetter.objects.exists()


def simulated_vectors(entity: str, count: int) -> list[dict[str, float]]:
    """The first vectors of an instance in a world where nothing breaks."""
    found: list[dict[str, float]] = []
    world = simulate_with_truth(seed=5, start=START, records_per_s=2.5, faults=False)
    while len(found) < count:
        record = next(world).record
        if record.topic == METRICS_TOPIC:
            sample = json.loads(record.value)
            if sample["entity"] == entity:
                found.append(sample["values"])
    return found


def quiet_vector(minute: int) -> dict[str, float]:
    wave = math.sin(minute / 9) + 0.2 * math.sin(minute * 2.3)
    return {"cpu": 30 + 5 * wave, "memory_mb": 512 + 20 * wave, "latency_ms": 12 + wave}


def test_a_vector_that_breaks_with_its_past_becomes_an_alert_with_shares_and_a_chart(
    page: Client,
) -> None:
    quiet = simulated_vectors("payments@node-3", 190)
    broken = [{**vector, "latency_p95_ms": 30 * vector["latency_p95_ms"]} for vector in quiet[184:]]
    work(samples("web@node-1", [*quiet[:184], *broken]), METRICS.name)

    alert = Alert.objects.latest("id")
    assert alert.entity_key == "web@node-1"
    (worst, *others) = alert.evidence["metrics"]
    assert worst["name"] == "latency_p95_ms"
    assert worst["seen"] > 10 * worst["expected"]
    assert worst["share"] > sum(other["share"] for other in others)
    assert 0.9 < worst["share"] + sum(other["share"] for other in others) <= 1.001  # the most

    html = page.get(f"/alerts/{alert.id}/").content.decode()
    assert "latency_p95_ms" in html
    assert "<polyline" in html
    panel = page.get("/panels/ops/").content.decode()
    assert "web@node-1" in panel


def test_bad_samples_become_dead_letters_with_the_path_and_the_others_count() -> None:
    good = samples("web", [quiet_vector(minute) for minute in range(5)])
    bad = [
        b'{"entity":"web","time":"2026-03-02T08:06:00Z","metric":"cpu","value":NaN}',
        b'{"entity":"web","time":"2026-03-02T08:06:00Z","metric":"cpu","value":1e999}',
        b'{"entity":"web","time":"2026-03-02T08:06:00Z","values":{"cpu":"high"}}',
        b'{"entity":"web","time":"2026-03-02T08:06:00Z","values":{}}',
        b'{"entity":"web","time":"yesterday","metric":"cpu","value":1}',
        b'{"entity":" ","time":"2026-03-02T08:06:00Z","metric":"cpu","value":1}',
    ]
    messages = [*good, *(Raw(0, len(good) + n, b"web", body) for n, body in enumerate(bad))]
    work(messages, METRICS.name)

    assert DeadLetter.objects.count() == len(bad)
    assert Decision.objects.filter(stream=METRICS.name).count() == len(good) - 1
    assert StreamOffset.objects.get().next_offset == len(messages)


def test_an_entity_whose_clock_was_far_ahead_is_heard_again_once_it_is_right() -> None:
    before = samples("web", [quiet_vector(minute) for minute in range(40)])
    ahead = samples("web", [quiet_vector(40)], start=40 + 600)
    after = samples("web", [quiet_vector(minute) for minute in range(41, 81)], start=41)
    messages = [Raw(0, n, raw.key, raw.value) for n, raw in enumerate([*before, *ahead, *after])]
    work(messages, METRICS.name)

    end = START + timedelta(minutes=80)
    told = Decision.objects.filter(stream=METRICS.name, occurred_at__lte=end)
    assert told.count() >= 39 + 25


def test_how_bad_a_line_is_belongs_to_its_template() -> None:
    work(
        lines(
            *(
                (("a", n, b"level=%s msg=done n=%d" % (level, n)))
                for n, level in enumerate((b"info", b"error", b"info", b"error"))
            )
        )
    )
    found = {template_of(bytes(k.body)).text: template_of(bytes(k.body)).loudness
             for k in Knowledge.objects.all()}  # fmt: skip
    assert found == {"level=info msg=* n=*": 0, "level=error msg=* n=*": 2}


def test_an_alert_of_an_entity_with_a_long_name_can_be_resolved(page: Client) -> None:
    name = "k" * 200
    work(lines(*((name, at, text) for key, at, text in STACK[:-1]), STACK[-1]))
    alert = Alert.objects.get(entity_key=name)
    answer = page.post(f"/alerts/{alert.id}/resolve/", {"positive": "1"}, follow=True)
    alert.refresh_from_db()
    assert (answer.status_code, alert.status) == (200, "confirmed")
