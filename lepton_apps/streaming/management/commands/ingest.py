"""``manage.py ingest``: rows of files into the topic of a stream."""

from __future__ import annotations

import re
import signal
from argparse import ArgumentParser
from collections import Counter
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.core.management.base import CommandError

from lepton_apps.common import clock
from lepton_apps.common.commands import LeptonCommand
from lepton_apps.common.pii import Tokeniser
from lepton_apps.streaming.files import (
    FORMATS,
    STANDARD_INPUT,
    Reading,
    check_there,
    format_of,
    opened,
)
from lepton_apps.streaming.ingesting import (
    Ingester,
    LabelRule,
    Outgoing,
    Pseudonyms,
    RowRefusedError,
    Shape,
    Times,
    time_field,
)
from lepton_apps.streaming.kafka import Producer
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import LabelStream, Stream

LINGER_MS = 200
SHOWN_REFUSALS = 5
SHOWN_DRY = 3
TELL_EVERY = 2_000  # rows
LONGEST_STEP_S = 366 * 86_400.0
FLUSH_EVERY = 200_000  # rows: a refusal of the broker comes out soon


class Command(LeptonCommand):
    help = "Read files into the topic of a stream: logs, JSON lines, CSV, Parquet, gz and zst."
    examples = (
        r"""ingest ops.logs HDFS.log.gz --key-regex "(blk_-?\d+)" \
      --time-regex "^(\d{6} \d{6})" --time-format "%y%m%d %H%M%S" --timezone UTC
      (raw log lines, a session each block)""",
        r"""ingest ops.metrics machine-1-1.txt --format csv --no-header --values-from "c*" \
      --set entity=machine-1-1 --start 2026-03-01T00:00:00Z --step 60
      (a series without times, all columns one vector)""",
        r"""ingest fintech.transactions payments.csv --map id=TX_ID --map customer=CUSTOMER \
      --map occurred_at=TX_TIME --timezone UTC --set currency=EUR --set channel=chip ... \
      --label-column FRAUD --label-set verdict=fraud --label-set kind=chargeback
      (payments, with the truth to the labels)""",
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("stream", help="a stream with records to score, see `manage.py streams`")
        add("files", nargs="+", metavar="FILE", help="- is standard input")
        add("--format", choices=["auto", *FORMATS], default="auto", help="default: by the name")
        add("--no-header", action="store_true", help="CSV without names: they are c0, c1, ...")
        add("--delimiter", help="of CSV (default: a comma; a tab for .tsv)")
        add("--map", action="append", default=[], metavar="FIELD=COLUMN",
            help="a field from a column, or from a text with {columns} in it")  # fmt: skip
        add("--set", action="append", default=[], metavar="FIELD=VALUE", help="the same for all")
        add("--values-from", metavar="COLUMNS", help='columns that become one object, as "c*"')
        add("--into", default="values", metavar="FIELD", help="its name (default: values)")
        add("--prefix", default="", help="before the names inside it")
        add("--time-column", metavar="COLUMN", help="default: the record's own time field")
        add("--time-format", help="iso, epoch_s, epoch_ms or a strptime format (default: guessed)")
        add("--time-regex", metavar="REGEX", help="finds the time in a line; its first group")
        add("--timezone", metavar="ZONE", help="of times that say none, as Europe/Berlin or UTC")
        add("--start", metavar="TIME", help="of the first row, where rows have no times")
        add("--step", type=float, default=1.0, metavar="SECONDS", help="between rows (default: 1)")
        add("--key", help="of all lines: what they belong to")
        add("--key-regex", metavar="REGEX", help="finds what a line belongs to; its first group")
        add("--label-column", metavar="COLUMN", help="says which rows are positive")
        add(
            "--label-positive", metavar="VALUE", help="default: 1, true, anomaly, fraud, fault, yes"
        )
        add("--label-stream", metavar="STREAM", help="default: the one that labels the stream")
        add("--label-set", action="append", default=[], metavar="FIELD=VALUE",
            help="the same for all labels")  # fmt: skip
        add("--pseudonymise", action="append", default=[], metavar="FIELD",
            help="leaves as a token, by PII_KEYS, before it is stored anywhere")  # fmt: skip
        add("--rate", type=float, default=0.0, help="records a second (default: as fast as it can)")
        add("--skip", type=int, default=0, help="rows of the first file to leave out")
        add("--limit", type=int, default=0, help="rows of each file; 0: all")
        add("--skip-bad", action="store_true", help="exit with 0 even where rows were refused")
        add("--dry-run", action="store_true", help="check everything and send nothing")
        super().add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        self._options = options
        for name in ("skip", "limit", "rate"):
            if not options[name] >= 0:
                self.refuse(f"--{name} {options[name]} is not 0 or above.")
        delimiter = options["delimiter"]
        if delimiter is not None and len(delimiter.replace("\\t", "\t")) != 1:
            self.refuse(f"--delimiter {delimiter!r} is not one character.")
        self._sent: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._stopping = False
        self._began = clock.monotonic()
        stream = self._stream(options["stream"])
        ingester = self._ingester(stream)
        for name in options["files"]:
            check_there(name)
            self._format_of(name)
        previous = signal.signal(signal.SIGINT, self._stop)
        try:
            self._all_files(ingester)
        finally:
            signal.signal(signal.SIGINT, previous)
        self._say_end(ingester)

    def _stop(self, *_: Any) -> None:
        self._stopping = True

    def _all_files(self, ingester: Ingester) -> None:
        options = self._options
        producer = None if options["dry_run"] else Producer(linger_ms=LINGER_MS)
        try:
            for place, name in enumerate(options["files"]):
                chosen = self._format_of(name)
                with opened(
                    name, chosen, delimiter=options["delimiter"], header=not options["no_header"]
                ) as reading:
                    self._one_file(reading, ingester, producer, options["skip"] if not place else 0)
                if self._stopping:
                    break
            if producer is not None:
                producer.flush(120)
        finally:
            if producer is not None:
                producer.close()

    def _one_file(
        self, reading: Reading, ingester: Ingester, producer: Producer | None, skip: int
    ) -> None:
        options = self._options
        limit = skip + options["limit"] if options["limit"] else None
        number = skip
        ingester.leave_out(skip)
        with self.progress() as progress:
            for number, row in enumerate(islice(reading.rows, skip, limit), start=skip + 1):
                if self._stopping:
                    number -= 1
                    break
                try:
                    for message in list(ingester.messages(row)):  # all of a row, or nothing
                        self._send(message, producer)
                except RowRefusedError as exc:
                    self._refuse(reading.name, number, str(exc))
                if number % TELL_EVERY == 0:
                    # A file whose size is not known is told of by its rows.
                    done, whole = reading.position, reading.size
                    progress(Path(reading.name).name, done if whole else number, whole)
                if producer is not None and number % FLUSH_EVERY == 0:
                    producer.flush(120)
        if self._stopping:
            self.stderr.write(
                f"Stopped: {number} rows of {reading.name} were taken. Go on with --skip {number}."
            )

    def _send(self, message: Outgoing, producer: Producer | None) -> None:
        total = sum(self._sent.values())
        rate = self._options["rate"]
        if rate:
            wait = self._began + total / rate - clock.monotonic()
            if wait > 0.001:
                clock.sleep(wait)
        self._sent[message.topic] += 1
        if producer is not None:
            ms = int(message.at.timestamp() * 1000)
            producer.send(message.topic, message.value, message.key, timestamp_ms=ms)
        elif total < SHOWN_DRY and not self.as_json:
            text = message.value[:300].decode("utf-8", "replace")
            key = message.key.decode("utf-8", "replace")
            self.stdout.write(f"{message.topic} key={key} at={message.at.isoformat()}\n  {text}")

    def _refuse(self, name: str, number: int, why: str) -> None:
        if sum(self._refused.values()) < SHOWN_REFUSALS:
            self.stderr.write(f"{name}, row {number}: {why}")
        self._refused[why[:80]] += 1

    def _say_end(self, ingester: Ingester) -> None:
        options = self._options
        seconds = clock.monotonic() - self._began
        sent, refused = sum(self._sent.values()), sum(self._refused.values())
        facts = {
            "sent": dict(self._sent),
            "refused": refused,
            "without_time": ingester.without_time,
            "seconds": round(seconds, 2),
            "dry_run": options["dry_run"],
        }
        done = "would be sent" if options["dry_run"] else "sent"
        topics = ", ".join(f"{count} to {topic}" for topic, count in self._sent.items())
        lines = [
            f"{sent} records {done}{f' ({topics})' if topics else ''} in {seconds:.1f} s, "
            f"{sent / max(seconds, 1e-9):,.0f} a second; {refused} rows refused."
        ]
        if ingester.without_time:
            lines.append(
                f"{ingester.without_time} lines had no time and kept that of the one before."
            )
        self.answer(facts, *lines)
        if refused and not options["skip_bad"]:
            raise CommandError(f"{refused} rows were refused; the others were sent (--skip-bad).")

    def _stream(self, name: str) -> Stream:
        known = {s.name: s for v in registry.verticals() for s in v.streams}
        return known[self.known("scored stream", name, known)]

    def _format_of(self, name: str) -> str:
        chosen = str(self._options["format"])
        if chosen != "auto":
            return chosen
        return "lines" if name == STANDARD_INPUT else format_of(name)

    def _ingester(self, stream: Stream) -> Ingester:
        options = self._options
        lines = any(self._format_of(name) == "lines" for name in options["files"])
        if lines and not stream.plain_lines:
            self.refuse(f"{stream.name} takes JSON records, not plain lines: --format.")
        if lines and options["label_column"]:
            self.refuse(
                f"Lines have no columns, so none is {options['label_column']!r} (--label-column)."
            )
        if lines and not (options["key"] or options["key_regex"]):
            self.refuse("Lines need --key-regex or --key: what they belong to.")
        if lines and options["pseudonymise"]:
            self.refuse("Lines have no fields that --pseudonymise could find.")
        times = self._times(stream)
        if lines and times.regex is None and times.start is None:
            self.refuse("Lines need --time-regex, or --start: when they were written.")
        shape = Shape(
            self._pairs("--map", options["map"]),
            self._pairs("--set", options["set"]),
            options["values_from"].split(",") if options["values_from"] else (),
            options["into"],
            options["prefix"],
        )
        return Ingester(
            stream,
            shape,
            times,
            key=options["key"],
            key_regex=self._pattern("--key-regex", options["key_regex"]),
            label=self._label(stream),
            pseudonyms=self._pseudonyms(stream),
            max_bytes=settings.MAX_RECORD_BYTES,
        )

    def _pseudonyms(self, stream: Stream) -> Pseudonyms | None:
        names = self._options["pseudonymise"]
        if not names:
            return None
        return Pseudonyms.of(stream, names, Tokeniser.of(settings.PII_KEYS))

    def _times(self, stream: Stream) -> Times:
        options = self._options
        zone = None
        if options["timezone"]:
            try:
                zone = ZoneInfo(options["timezone"])
            except (ZoneInfoNotFoundError, ValueError):
                self.refuse(f"--timezone {options['timezone']!r} is no zone.")
        start = None
        if options["start"]:
            try:
                start = datetime.fromisoformat(options["start"])
            except ValueError as exc:
                self.refuse(f"--start {options['start']!r}: {exc}.")
            if start.tzinfo is None:
                if zone is None:
                    self.refuse("--start says no time zone: give one by --timezone.")
                start = start.replace(tzinfo=zone)
        if not 0 < options["step"] < LONGEST_STEP_S:
            self.refuse(f"--step {options['step']} is not above 0 and below a year.")
        return Times(
            time_field(stream.record_type),
            options["time_column"],
            options["time_format"],
            zone,
            start,
            timedelta(seconds=options["step"]),
            self._pattern("--time-regex", options["time_regex"]),
        )

    def _label(self, stream: Stream) -> LabelRule | None:
        options = self._options
        if not options["label_column"]:
            if options["label_stream"]:
                self.refuse("--label-stream needs --label-column: which rows to label.")
            return None
        known: dict[str, LabelStream] = {
            s.name: s
            for v in registry.verticals()
            for s in v.label_streams
            if s.labels == stream.name
        }
        name = options["label_stream"] or next(iter(known), None)
        if name not in known:
            self.refuse(
                f"--label-stream {name!r} does not label {stream.name}. "
                f"Those that do: {', '.join(known) or 'none'}."
            )
        given = options["label_positive"]
        rule = LabelRule(
            known[name],
            options["label_column"],
            fields=self._pairs("--label-set", options["label_set"]),
        )
        if given is None:
            return rule
        return LabelRule(rule.stream, rule.column, (given.lower(),), rule.fields)

    def _pairs(self, option: str, given: list[str]) -> dict[str, str]:
        found = {}
        for text in given:
            name, sign, value = text.partition("=")
            if not sign or not name:
                self.refuse(f"{option} {text!r} is not FIELD=VALUE.")
            found[name] = value
        return found

    def _pattern(self, option: str, text: str | None) -> re.Pattern[bytes] | None:
        if text is None:
            return None
        try:
            return re.compile(text.encode())
        except re.error as exc:
            self.refuse(f"{option} {text!r} is no regular expression: {exc}.")
