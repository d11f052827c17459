"""``manage.py ingest``: files into topics, read back from the real broker."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.conf import settings
from django.core.management import call_command

from fintech.vertical import LABELS
from lepton_apps.alerts.models import Alert, Label
from lepton_apps.streaming.labels import LabelWorker
from lepton_apps.streaming.models import DeadLetter, Decision
from ops.vertical import LOGS, METRICS
from tests.champions import PAYMENTS, payment
from tests.streaming.ingested import AT, Inlet, Topics, bodies, json_lines, ms, sample, texts, zst
from tests.streaming.sources import InMemorySource, log
from tests.streaming.test_worker import drain, make_worker

ROOT = Path(__file__).resolve().parents[2]
START = ("--start", "2026-03-01T00:00:00Z")
BESIDE = ("--key", "k", *START)  # what lines lack that say nothing of themselves
WIDE = ("--values-from", "*", "--set", "entity=e", *START)
LONGEST = settings.MAX_RECORD_BYTES


@pytest.fixture(scope="module")
def topics() -> Iterator[Topics]:
    with closing(Topics()) as topics:
        yield topics


@pytest.fixture
def inlet(topics: Topics, tmp_path: Path) -> Inlet:
    topics.mark()
    return Inlet(tmp_path, topics)


HDFS = [
    b"260301 000000 148 INFO dfs.DataNode: Receiving block blk_-16 src: /10.0.0.1",
    b"260301 000001 148 WARN blk_7 \xff\xfe\x00 caf\xc3\xa9 \x1b[0m, and blk_8",
    b"260301 000002\tINFO  blk_-16  terminating ",
]


@pytest.mark.parametrize(("zone", "ahead_h"), [("UTC", 0), ("Europe/Berlin", 1)])
def test_lines_keep_their_bytes_key_and_time(zone: str, ahead_h: int, inlet: Inlet) -> None:
    given = inlet.file("HDFS.log", HDFS[0] + b"\n" + HDFS[1] + b"\r\n" + HDFS[2])
    inlet.accept(
        LOGS.name, given, "--key-regex", r"(blk_-?\d+)", "--time-regex", r"^(\d{6} \d{6})",
        "--time-format", "%y%m%d %H%M%S", "--timezone", zone,
    )  # fmt: skip

    assert [(raw.key, raw.value, raw.sent_ms) for raw in inlet.read()] == [
        (key, line, ms(n - 3_600 * ahead_h))
        for n, (key, line) in enumerate(zip([b"blk_-16", b"blk_7", b"blk_-16"], HDFS, strict=True))
    ]


def test_a_line_without_time_keeps_that_of_the_one_before_and_the_end_says_so(inlet: Inlet) -> None:
    given = inlet.file("a.txt", b"at 1772323204 api panics\n  in api.go\n  in web.go\n")
    shape = ("--key-regex", "api|web", "--time-regex", r"\d{10}")  # without groups: the whole
    said = io.StringIO()
    call_command("ingest", LOGS.name, given, *shape, stdout=said)

    assert "3 records sent (3 to ops.logs.v1) in " in said.getvalue()
    assert "2 lines had no time and kept that of the one before." in said.getvalue()
    found = inlet.read()
    assert sorted(raw.key or b"" for raw in found) == [b"api", b"api", b"web"]
    assert [raw.sent_ms for raw in found] == [ms(4)] * 3


SAID = [
    (("--time-format", "epoch_s"), "1772323200"), (("--time-format", "epoch_ms"), "1772323200000"),
    ((), "1772323200.0"), ((), "1772323200000"), ((), "2026-03-01T01:00:00+01:00"),
    (("--timezone", "America/New_York"), "2026-02-28 19:00"),
    (("--time-format", "iso", "--timezone", "UTC"), "2026-03-01"),
    (("--time-format", "%d.%m.%Y %H:%M %z"), "01.03.2026 01:00 +0100"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "said"), SAID)
def test_times_are_read_in_many_forms(options: Sequence[str], said: str, inlet: Inlet) -> None:
    inlet.accept(METRICS.name, inlet.file("a.jsonl", json_lines(sample(0, time=said))), *options)

    assert [raw.sent_ms for raw in inlet.read()] == [ms()]
    assert datetime.fromisoformat(bodies(inlet.read())[0]["time"]) == AT


def test_json_lines_of_every_vertical_go_out_under_the_key_of_their_entity(inlet: Inlet) -> None:
    line = {"time": AT.isoformat(), "message": "up \N{SNOWMAN}", "level": "INFO", "host": "h1"}
    inlet.accept(LOGS.name, inlet.file("a.json", b"\n" + json_lines(line) + b"  \n"))
    inlet.accept(METRICS.name, inlet.file("a.ndjson", json_lines(sample(1))))
    inlet.accept(PAYMENTS.name, inlet.file("a.jsonl", json_lines(payment(1))))

    found = inlet.read()
    assert [raw.key for raw in found] == [b"h1", b"web", b"c1"]
    assert [raw.sent_ms for raw in found] == [ms(), ms(1), ms(60)]
    paid = {name: value for name, value in payment(1).items() if value is not None}
    assert bodies(found) == [line, sample(1), paid]


def test_a_row_that_is_only_a_text_goes_out_as_the_line_itself(inlet: Inlet) -> None:
    row = json_lines({"message": "blk_1 \N{SNOWMAN}", "time": AT.isoformat()})
    table = inlet.file("a.csv", b"When,Content\n1772323201,of blk_2\n")
    mapped = ("--map", "message=Content", "--time-column", "When")
    inlet.accept(LOGS.name, inlet.file("a.jsonl", row), "--key-regex", r"blk_\d")
    inlet.accept(LOGS.name, table, "--key-regex", r"blk_\d", *mapped)

    one, two = inlet.read()
    assert (one.key, one.value, one.sent_ms) == (b"blk_1", b"blk_1 \xe2\x98\x83", ms())
    assert (two.key, two.value, two.sent_ms) == (b"blk_2", b"of blk_2", ms(1))


FRAUDS = (
    b"TX,WHO,WHEN,EUROS,FRAUD\n"
    b'7,"Ann, B.",2026-03-01 00:00:00,10.50,0\n'
    b"8,bob,2026-03-01 00:01:00,9000.00,1\n"
    b"9,bob,2026-03-01 00:02:00,11.50, True \n"
)
OF_FRAUDS = (
    "--map", "id=tx-{TX}", "--map", "customer=WHO", "--map", "card={WHO}:{TX}",
    "--map", "occurred_at=WHEN", "--map", "amount=EUROS", "--timezone", "UTC",
    "--set", "terminal=t1", "--set", "currency=EUR", "--set", "channel=chip",
)  # fmt: skip
AS_LABELS = ("--label-column=FRAUD", "--label-set=verdict=fraud", "--label-set=kind=chargeback")


@pytest.mark.parametrize(("name", "delimiter"), [("csv", b","), ("tsv", b"\t"), ("csv", b"|")])
def test_columns_and_constants_become_fields(name: str, delimiter: bytes, inlet: Inlet) -> None:
    table = b"\xef\xbb\xbf" + FRAUDS.replace(b'"Ann, B."', b"ann").replace(b",", delimiter)
    options = ("--delimiter", "|") if delimiter == b"|" else ()
    inlet.accept(PAYMENTS.name, inlet.file(f"a.{name}", table), *OF_FRAUDS, *options)

    first, *others = inlet.read(PAYMENTS.topic)
    assert (first.key, first.sent_ms, len(others)) == (b"ann", ms(), 2)
    assert json.loads(first.value or b"") == {
        "id": "tx-7", "customer": "ann", "card": "ann:7", "occurred_at": AT.isoformat(),
        "amount": "10.50", "terminal": "t1", "currency": "EUR", "channel": "chip",
    }  # fmt: skip


def test_columns_without_names_become_one_vector_a_step_after_the_other(inlet: Inlet) -> None:
    first, second = inlet.file("m.txt", b"1,2.5,x\n3,,y\n"), inlet.file("n.txt", b"-4e1,0,z\n")
    options = ("--format", "csv", "--no-header", "--values-from", "c0,c1", "--prefix", "m_")
    inlet.accept(
        METRICS.name, first, second, *options, "--set", "entity=vm", *START, "--step", "0.5"
    )

    found = inlet.read()
    assert [(raw.key, raw.sent_ms) for raw in found] == [(b"vm", ms(n / 2)) for n in range(3)]
    assert [body["values"] for body in bodies(found)] == [
        {"m_c0": 1, "m_c1": 2.5}, {"m_c0": 3, "m_c1": None}, {"m_c0": -40, "m_c1": 0},
    ]  # fmt: skip


def test_parquet_keeps_its_types_and_leaves_out_what_is_null(inlet: Inlet) -> None:
    path = inlet.folder / "a.parquet"
    when = pa.array([AT, AT + timedelta(seconds=1)], pa.timestamp("us"))  # without zone
    pq.write_table(pa.table({"WHEN": when, "cpu": [1.5, 2.5], "mem": [None, 7]}), path)
    shape = ("--values-from", "cpu,mem", "--set", "entity=web", "--time-column", "WHEN")
    inlet.accept(METRICS.name, path, *shape, "--timezone", "UTC")
    pq.write_table(pa.Table.from_pylist([sample(2) | {"note": None}]), path)
    inlet.accept(METRICS.name, path)

    *wide, narrow = inlet.read()
    assert [(raw.key, raw.sent_ms) for raw in wide] == [(b"web", ms()), (b"web", ms(1))]
    assert bodies(wide)[0]["values"] == {"cpu": 1.5, "mem": None}
    assert bodies(wide)[1]["values"] == {"cpu": 2.5, "mem": 7}
    assert bodies([narrow]) == [sample(2)]


@pytest.mark.parametrize(("suffix", "packed"), [(".gz", gzip.compress), (".zst", zst)])
def test_packed_files_are_unpacked_part_after_part(
    suffix: str, packed: Callable[[bytes], bytes], inlet: Inlet
) -> None:
    whole = b"\n".join(b"%d of many" % n for n in range(2_000))
    parts = packed(whole[:9_000]) + packed(whole[9_000:])
    inlet.accept(LOGS.name, inlet.file("a.log" + suffix, parts), *BESIDE)
    assert texts(inlet.read()) == whole.splitlines()

    inlet.topics.mark()
    table = b"entity,time,metric,value\nweb,2026-03-01T00:00:01Z,cpu,1.5\n"
    inlet.accept(METRICS.name, inlet.file("a.csv" + suffix, packed(table)))  # texts become numbers
    inlet.accept(METRICS.name, inlet.file("a.jsonl" + suffix, packed(json_lines(sample(2)))))
    assert bodies(inlet.read()) == [sample(1), sample(2)]


@pytest.mark.parametrize(("positive", "named"), [("1", ["tx-8"]), ("", ["tx-8", "tx-9"])])
def test_positive_rows_bring_a_label(positive: str, named: Sequence[str], inlet: Inlet) -> None:
    options = ("--label-positive", positive) if positive else ()
    facts = inlet.accept(
        PAYMENTS.name, inlet.file("a.csv", FRAUDS), *OF_FRAUDS, *AS_LABELS, *options
    )

    assert facts["sent"] == {PAYMENTS.topic: 3, LABELS.topic: len(named)}
    records = {body["id"]: raw for raw in inlet.read(PAYMENTS.topic) for body in bodies([raw])}
    labels = inlet.read(LABELS.topic)
    assert [(raw.key or b"").decode() for raw in labels] == named
    for raw, body in zip(labels, bodies(labels), strict=True):
        record = records[body.pop("record_id")]
        assert raw.sent_ms == record.sent_ms
        at = bodies([record])[0]["occurred_at"]
        assert body == {"verdict": "fraud", "kind": "chargeback", "labelled_at": at}


def test_rows_are_skipped_in_the_first_file_and_limited_in_each(inlet: Inlet) -> None:
    one, two = inlet.file("1.log", b"a\nb\nc\nd\ne\n"), inlet.file("2.log", b"f\ng\nh\n")
    inlet.accept(LOGS.name, one, two, *BESIDE, "--skip", 2, "--limit", 2)

    given = [(b"c", ms(2)), (b"d", ms(3)), (b"f", ms(4)), (b"g", ms(5))]  # as if all were sent
    assert [(raw.value, raw.sent_ms) for raw in inlet.read()] == given


def test_a_rate_loses_nothing(inlet: Inlet) -> None:
    lines = [b"%d" % n for n in range(50)]
    inlet.accept(LOGS.name, inlet.file("a.log", b"\n".join(lines)), *BESIDE, "--rate", 1_000)
    assert texts(inlet.read()) == lines


def test_a_dry_run_shows_the_first_records_and_sends_nothing(inlet: Inlet) -> None:
    said = io.StringIO()
    given = inlet.file("a.log", b"a\nb\xff\nc\nd\n")
    call_command("ingest", LOGS.name, given, *BESIDE, "--dry-run", stdout=said)
    assert "ops.logs.v1 key=k at=2026-03-01T00:00:02+00:00\n  c\n" in said.getvalue()
    assert "\n  d" not in said.getvalue()
    assert "4 records would be sent (4 to ops.logs.v1)" in said.getvalue()

    given = inlet.file("a.csv", FRAUDS)
    facts = inlet.accept(PAYMENTS.name, given, *OF_FRAUDS, *AS_LABELS, "--dry-run")
    assert facts["sent"] == {PAYMENTS.topic: 3, LABELS.topic: 2}
    assert inlet.read() == []


LINE = (LOGS.name, "a.log", ("--key-regex", "k.", "--time-regex", r"^\d+"), b"1772323200 k1")
SAMPLE = (METRICS.name, "a.jsonl", (), json_lines(sample(0))[:-1])
ROW = (METRICS.name, "a.csv", (*WIDE, "--no-header"), b"1,2")
PAID = (PAYMENTS.name, "a.jsonl", (), json_lines(payment(1))[:-1])
MAPPED = (METRICS.name, "a.jsonl", ("--map", "entity={Host}", *WIDE[:2], *START), b'{"Host": 1}')
BAD: dict[str, tuple[tuple[str, str, tuple[str, ...], bytes], bytes, str]] = {
    "a line too long": (LINE, b"k1" * LONGEST, f"more than MAX_RECORD_BYTES = {LONGEST}"),
    "no key": (LINE, b"1772323200 j1", "no key in the line (--key-regex)"),
    "no time": (LINE, b"9" * 18 + b" k1", "'999999999999999999' is no time ("),
    "no zone": (SAMPLE, json_lines(sample(0, time="2026-03-01")), "says no time zone: give one by"),
    "broken JSON": (SAMPLE, b'{"entity": "web', "no JSON object: "),
    "no object": (SAMPLE, b"[1, 2]", "no JSON object: "),
    "no UTF-8": (SAMPLE, b'{"entity": "\xff"}', "no JSON object: "),
    "a field that is wrong": (PAID, json_lines(payment(2, amount="-1")), "($.amount)"),
    "too large": (SAMPLE, json_lines(sample(0, note="x" * LONGEST)), f"the limit is {LONGEST} ("),
    "no number": (SAMPLE, json_lines(sample(0, value="high")), "value: 'high' is no number"),
    "no number of a vector": (ROW, b"1,high", "'high' is no number"),
    "fields too many": (ROW, b"1,2,3", "3 fields, and 2 columns"),
    "fields too few": (ROW, b"1", "1 fields, and 2 columns"),
    "a field too long": (ROW, b"1," + b"2" * 200_000, "no row of CSV: "),
    "no such column": (MAPPED, b'{"host": 1}', "no column 'Host' for entity; there are: host"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "row", "why"), BAD.values(), ids=BAD)
def test_a_bad_row_is_refused_by_its_number_and_the_others_are_sent(
    kind: tuple[str, str, Sequence[str], bytes], row: bytes, why: str, inlet: Inlet
) -> None:
    stream, name, options, good = kind
    given = inlet.file(name, b"\n".join((good, row.rstrip(), good)))
    outcome = inlet.ingest(stream, given, *options)

    assert outcome.refused.startswith(f"{given}, row 2: ")
    assert why in outcome.refused
    assert outcome.error == "1 rows were refused; the others were sent (--skip-bad)."
    assert (outcome.facts["sent"], outcome.facts["refused"]) == ({f"{stream}.v1": 2}, 1)
    assert len(inlet.read()) == 2

    forgiven = inlet.ingest(stream, given, *options, "--skip-bad")
    assert (forgiven.error, forgiven.facts["refused"]) == ("", 1)


PIPED = [
    (LOGS.name, BESIDE, b"a" * LONGEST, b"b" * (LONGEST + 1)),
    (METRICS.name, ("--format", "jsonl"), SAMPLE[-1], b"{"),
    (METRICS.name, ("--format", "csv", *WIDE, "--no-header"), b"1,2", b"1"),
]


@pytest.mark.parametrize(("stream", "options", "good", "bad"), PIPED, ids=["lines", "JSON", "CSV"])
def test_standard_input_is_read_to_its_end_and_a_bad_row_is_the_exit_code(
    stream: str, options: Sequence[str], good: bytes, bad: bytes, inlet: Inlet
) -> None:
    command = [sys.executable, "manage.py", "ingest", stream, "-", *options]
    given = b"\n".join((good, bad, good))
    done = subprocess.run(command, cwd=ROOT, input=given, capture_output=True, check=False)

    assert done.returncode == 1, done.stderr
    assert b"-, row 2: " in done.stderr
    assert b"1 rows were refused; the others were sent (--skip-bad)." in done.stderr
    assert len(inlet.read(f"{stream}.v1")) == 2


def test_lines_before_any_time_are_refused_and_five_of_them_told(inlet: Inlet) -> None:
    given = inlet.file("a.log", b"no time\n" * 8 + b"1772323200 went up\n and so on\n")
    outcome = inlet.ingest(LOGS.name, given, "--key", "k", "--time-regex", r"^\d{10}")

    assert outcome.refused.splitlines() == [
        f"{given}, row {n}: no time in the line, and none before it" for n in range(1, 6)
    ]
    assert outcome.facts["refused"] == 8
    assert texts(inlet.read()) == [b"1772323200 went up", b" and so on"]


LINES = b"".join(b"%d %d\n" % (n, n * n) for n in range(5_000))
PACKED_GZ, PACKED_ZST = gzip.compress(LINES), zst(LINES)
DAMAGED = [
    ("middle.log.gz", PACKED_GZ[: len(PACKED_GZ) // 2], "ends in the middle."),
    ("body.log.gz", PACKED_GZ[:10] + b"\xff" * 99, "is damaged: "),
    ("sum.log.gz", PACKED_GZ[:-8] + bytes(8), "CRC check failed"),
    ("plain.log.gz", LINES, "Not a gzipped file"),
    ("sum.log.zst", PACKED_ZST[:-4] + bytes(4), "damaged ("),
    ("plain.log.zst", LINES, "damaged ("),
    ("plain.parquet", LINES, "is no Parquet file: "),
]


@pytest.mark.parametrize(("name", "content", "why"), DAMAGED, ids=[each[0] for each in DAMAGED])
def test_a_damaged_file_is_named(name: str, content: bytes, why: str, inlet: Inlet) -> None:
    outcome = inlet.ingest(LOGS.name, inlet.file(name, content), *BESIDE)

    assert name in outcome.error
    assert why in outcome.error
    sent = texts(inlet.read())
    assert sent == LINES.splitlines()[: len(sent)]  # what came before the damage


KEYED = ("--key", "k")
AS_JSON = ("--format", "jsonl")
LABELLED = (*AS_JSON, "--label-column", "f")
WRONG: list[tuple[str, Sequence[str], str]] = [
    ("ops.nothing", BESIDE, "No scored stream named 'ops.nothing'. "),
    ("fintech.labels", BESIDE, "No scored stream named 'fintech.labels'."),
    (LOGS.name, ("none.log", *BESIDE), "none.log: No such file or directory."),
    (LOGS.name, ("..", "--format", "lines", *BESIDE), "..: Is a directory."),
    (LOGS.name, ("a.bin", *BESIDE), "a.bin: its name does not say what it holds."),
    (LOGS.name, ("--key-regex", "(blk", *START), "--key-regex '(blk' is no regular expression"),
    (LOGS.name, (*KEYED, "--time-regex", "[0-"), "--time-regex '[0-' is no regular expression"),
    (LOGS.name, (*BESIDE, "--timezone", "Mars/Base"), "--timezone 'Mars/Base' is no zone."),
    (LOGS.name, (*KEYED, "--start", "noon"), "--start 'noon': "),
    (LOGS.name, (*KEYED, "--start", "2026-03-01"), "--start says no time zone: give one by --tim"),
    (LOGS.name, (*BESIDE, "--step", "0"), "--step 0.0 is not above 0 and"),
    (LOGS.name, START, "Lines need --key-regex or --key"),
    (LOGS.name, KEYED, "Lines need --time-regex, or --start"),
    (METRICS.name, BESIDE, "ops.metrics takes JSON records, not plain lines: --format."),
    (METRICS.name, (*AS_JSON, "--map", "entity"), "--map 'entity' is not FIELD="),
    (METRICS.name, (*AS_JSON, "--map", "=Host"), "--map '=Host' is not FIELD="),
    (METRICS.name, (*AS_JSON, "--set", "entity"), "--set 'entity' is not FIELD="),
    (METRICS.name, ("-", "--format", "parquet"), "Parquet cannot be read from standard input."),
    (METRICS.name, LABELLED, "does not label ops.metrics. Those that do: none."),
    (PAYMENTS.name, (*LABELLED, "--label-stream", "ops.labels"), "'ops.labels' does not label fin"),
    (PAYMENTS.name, (*LABELLED, "--label-set", "kind"), "--label-set 'kind' is not FIELD="),
]


@pytest.mark.parametrize(("stream", "options", "why"), WRONG)
def test_what_cannot_be_done_is_refused_by_name_before_anything_is_sent(
    stream: str, options: Sequence[str], why: str, inlet: Inlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inlet.folder)
    inlet.file("good.log", SAMPLE[-1])
    before = [] if options[0] in ("-", "a.bin") else ["good.log"]
    outcome = inlet.ingest(stream, *before, *options)

    assert why in outcome.error
    assert (outcome.facts, outcome.refused) == ({}, "")
    assert inlet.read() == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("champion")
def test_ingested_payments_become_decisions_an_alert_and_truths(inlet: Inlet) -> None:
    inlet.accept(PAYMENTS.name, inlet.file("a.csv", FRAUDS), *OF_FRAUDS, *AS_LABELS)
    drain(make_worker(log(texts(inlet.read(PAYMENTS.topic)))))
    labels = log(texts(inlet.read(LABELS.topic)))
    drain(LabelWorker(LABELS.name, lambda: InMemorySource(labels)))

    outcomes = dict(Decision.objects.values_list("record_id", "outcome"))
    assert outcomes.pop("tx-8") in {"review", "decline"}
    assert outcomes == {"tx-7": "approve", "tx-9": "approve"}
    alert = Alert.objects.get()
    assert (alert.entity_key, alert.first_occurred_at) == ("bob", AT + timedelta(minutes=1))
    assert set(Label.objects.values_list("record_id", flat=True)) == {"tx-8", "tx-9"}
    assert not DeadLetter.objects.exists()
