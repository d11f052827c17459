"""``manage.py simulate VERTICAL``: a small world that produces records, first its past, then live."""

from __future__ import annotations

import signal
from argparse import ArgumentParser
from datetime import datetime, timedelta
from typing import Any

from lepton_apps.common import clock
from lepton_apps.common.commands import LeptonCommand
from lepton_apps.streaming.causes.services import declare_simulated
from lepton_apps.streaming.kafka import Producer
from lepton_apps.streaming.selectors import has_decisions
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import SimulatedRecord, Simulator

SAY_EVERY = 20_000  # records of the past between two lines
# The embedded broker lists all batches of a partition at every fetch: few and large ones keep it
# quick for days (docs/operations.md).
LINGER_MS = 2_000


class Command(LeptonCommand):
    help = (
        "Produce the records of a vertical's simulated world: some days of its past as fast as "
        "possible, unless decisions are there already, then live. It runs until it is stopped."
    )
    examples = (
        "simulate fintech --rate 5 --past-days 1",
        "simulate ops --past-days 0 --records 1000",
    )
    speaks_json = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("vertical", help="a vertical with a simulator, for example fintech")
        parser.add_argument("--rate", type=float, default=1.0, help="records a second (default: 1)")
        parser.add_argument("--seed", type=int, default=7, help="of the world (default: 7)")
        parser.add_argument(
            "--past-days", type=float, default=1.0, help="days to begin with (default: 1)"
        )
        parser.add_argument(
            "--records", type=int, default=0, help="stop after as many; 0: never (default: 0)"
        )

    def handle(
        self,
        *,
        vertical: str,
        rate: float,
        seed: int,
        past_days: float,
        records: int,
        **options: Any,
    ) -> None:
        simulator = self._simulator(vertical)
        if not 0 < rate <= 100_000:
            self.refuse(f"--rate {rate} is not above 0 and at most 100000.")
        self.between("--past-days", past_days, 0, 365)
        self.between("--records", records, 0, 2**63)
        if has_decisions(vertical):
            past_days = 0
        now = clock.now()
        start = now - timedelta(days=past_days)
        self._stopping = False
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._stop)
        total = int(past_days * 86_400 * rate)
        self.stdout.write(
            f"Simulating {vertical}: about {total} records of the past, then {rate:g} a second."
        )
        for name in declare_simulated(vertical):
            self.stdout.write(f"Declared {vertical}.{name}, as it is in the simulated world.")
        producer = Producer(linger_ms=LINGER_MS)
        try:
            self._produce(
                producer, simulator, seed=seed, start=start, rate=rate, limit=records, total=total
            )
            producer.flush()
        finally:
            producer.close()
        self.stdout.write("Simulator stopped.")

    def _simulator(self, key: str) -> Simulator:
        simulators = {each.key: each.simulate for each in registry.verticals()}
        simulator = simulators[self.known("vertical", key, simulators)]
        if simulator is None:
            having = ", ".join(name for name, made in simulators.items() if made is not None)
            self.refuse(f"The vertical {key!r} has no simulator. Those that do: {having}.")
        return simulator

    def _stop(self, *_: Any) -> None:
        self._stopping = True

    def _produce(
        self,
        producer: Producer,
        simulator: Simulator,
        *,
        seed: int,
        start: datetime,
        rate: float,
        limit: int,
        total: int,
    ) -> None:
        live = False
        records = simulator(seed=seed, start=start, records_per_s=rate)
        for sent, record in enumerate(records):
            if self._stopping or (limit and sent >= limit):
                return
            if not live and record.occurred_at > clock.now():
                producer.flush()
                self.stdout.write(f"The past is told: {sent} records. Going on live.")
                live = True
            if live:
                self._wait_until(record)
            at_ms = int(record.occurred_at.timestamp() * 1000)
            producer.send(record.topic, record.value, record.key.encode(), timestamp_ms=at_ms)
            if not live and sent and sent % SAY_EVERY == 0:
                producer.flush()
                self.stdout.write(f"{sent} of about {total} records of the past.")

    def _wait_until(self, record: SimulatedRecord) -> None:
        while not self._stopping:
            left_s = (record.occurred_at - clock.now()).total_seconds()
            if left_s <= 0:
                return
            clock.sleep(min(left_s, 0.5))
