"""What is sent to a vertical under chaos, and how to tell that all of it counted, once."""

from __future__ import annotations

import json
import secrets
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from lepton_apps.verticals.contract import Message, States, Stream, Trained
from ops import learning, recipes
from ops.logs.extractor import CODES, LogExtractor
from ops.logs.masking import template_hashes
from ops.logs.records import from_message
from ops.logs.states import WINDOW, unpack
from ops.replay import Replay
from ops.vertical import LOGS
from tests.champions import PAYMENTS, payment, payments_model

if TYPE_CHECKING:
    from tests.chaos.stage import Stage


@dataclass(frozen=True)
class Sent:
    """A message that counts."""

    id: str
    key: str
    value: bytes
    at: datetime | None = None  # the broker's time of the message; None: now
    loud: bool = False


class Load(ABC):
    """One vertical's messages, every tenth of them loud, and its part of the audit."""

    vertical: str
    stream: Stream
    taken_sql: str  # how many messages are durable

    @abstractmethod
    def model(self) -> Trained: ...

    @abstractmethod
    def message(self, number: int, entities: int) -> Sent: ...

    @abstractmethod
    def audit_messages(self, stage: Stage) -> None:
        """Each message counted once."""

    @abstractmethod
    def audit_contents(self, stage: Stage) -> None:
        """What was loud is in alerts, and what is remembered follows from what was sent."""


class Payments(Load):
    vertical = "fintech"
    stream = PAYMENTS
    taken_sql = "SELECT count(*) FROM decision"

    def model(self) -> Trained:
        return payments_model()

    def message(self, number: int, entities: int) -> Sent:
        customer = f"c{number % entities}"
        is_loud = number % 10 == 0
        record = payment(
            number,
            id=f"{secrets.token_hex(4)}-{number}",
            customer=customer,
            # A terminal of its own: then features follow from a customer's order alone.
            terminal=f"t-{customer}",
            amount="9000.00" if is_loud else "12.50",
        )
        return Sent(str(record["id"]), customer, json.dumps(record).encode(), loud=is_loud)

    def audit_contents(self, stage: Stage) -> None:
        self._alerts(stage)
        self._states(stage)

    def audit_messages(self, stage: Stage) -> None:
        counted = dict(stage.query("SELECT record_id, count(*) FROM decision GROUP BY record_id"))
        lost = stage.sent.keys() - counted.keys()
        assert not lost, f"{len(lost)} lost: {sorted(lost)[:5]}\n{stage.logs()}"
        assert counted.keys() == stage.sent.keys()
        ((keys,),) = stage.query("SELECT count(*) FROM record_key")
        assert keys == len(stage.sent)

    def _alerts(self, stage: Stage) -> None:
        rows = stage.query("SELECT record_id FROM decision WHERE alert_id IS NOT NULL")
        assert {row[0] for row in rows} == {sent.id for sent in stage.sent.values() if sent.loud}

    def _states(self, stage: Stage) -> None:
        """The stored features are those of the same records taken once, in the order of the log.

        A state that had missed a record or taken it twice would show in every later feature.
        """
        rows = stage.query(
            'SELECT topic_id, partition, "offset", payload, features FROM decision'
            " WHERE stream = %s AND topic_id IS NOT NULL ORDER BY min(decided_at) OVER"
            ' (PARTITION BY topic_id), partition, "offset"',
            PAYMENTS.name,
        )
        decode = msgspec.json.Decoder(PAYMENTS.record_type).decode
        records = [decode(row[3]) for row in rows]
        expected = PAYMENTS.extractor.extract(
            records, [row[1] for row in rows], States({}, {}, {})
        ).x_BF.astype("<f4")
        names = PAYMENTS.extractor.schema.names
        for (*place, payload, features), x_F in zip(rows, expected, strict=True):
            seen = np.frombuffer(features, "<f4")
            off = [names[i] for i in np.flatnonzero(seen != x_F)]
            assert not off, f"{place} {json.loads(payload)['id']}: {off}"


class Lines(Load):
    """Log lines: many make one window, so what counts is that each is in one window, in order."""

    vertical = "ops"
    stream = LOGS
    taken_sql = "SELECT coalesce(sum(count), 0) FROM knowledge_tally"
    start = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(milliseconds=1)
    steps = ("fetched", "checked", "priced", "packed", "sent", "confirmed")

    def model(self) -> Trained:
        quiet = [self.message(number, 50) for number in range(20_000)]
        replay = Replay(LogExtractor(), recipes.TICK, lambda line: line.at)
        rows = replay.take(
            [
                from_message(Message(sent.value, sent.key.encode(), sent.at))
                for sent in quiet
                if not sent.loud
            ]
        )
        method = replace(recipes.log_method(), steps=80)
        features = recipes.features_of(rows[200:])
        return learning.train(features, method, lambda *_: None, max_seconds=300.0)

    def message(self, number: int, entities: int) -> Sent:
        step = self.steps[number // entities % len(self.steps)]
        is_loud = number % entities % 10 == 0  # always the same entities: windows are of one
        text = (
            f"[ERROR] job {number} broke in step {number % 3}"
            if is_loud
            else f"[INFO] job {number} {step} in {number % 7} ms"
        )
        at = self.start + timedelta(seconds=number)
        return Sent(str(number), f"s{number % entities}", text.encode(), at, is_loud)

    def audit_messages(self, stage: Stage) -> None:
        rows = stage.query("SELECT id, sum(count) FROM knowledge_tally GROUP BY 1")
        expected = Counter(
            f"{hash_:016x}" for hashes in self._hashes(stage).values() for hash_ in hashes
        )
        assert {id_: int(count) for id_, count in rows} == expected, stage.logs()

    def audit_contents(self, stage: Stage) -> None:
        self._windows(stage, self._hashes(stage))
        self._alerts(stage)

    def _hashes(self, stage: Stage) -> Mapping[str, list[int]]:
        """Of the templates of each entity's lines, in order."""
        found: dict[str, list[int]] = defaultdict(list)
        values = [sent.value for sent in stage.sent.values()]
        for sent, hash_ in zip(stage.sent.values(), template_hashes(values).tolist(), strict=True):
            found[sent.key].append(hash_)
        return found

    def _windows(self, stage: Stage, of_key: Mapping[str, list[int]]) -> None:
        """The fresh events of an entity's windows, one after the other, are its lines."""
        told: dict[str, list[int]] = defaultdict(list)
        for key, features in stage.query(
            "SELECT entity_key, features FROM decision ORDER BY entity_key, occurred_at"
        ):
            x_F = np.frombuffer(features, "<f4")
            events = x_F[:WINDOW][x_F[:WINDOW] > 0].astype(int).tolist()
            told[key] += events[int(x_F[WINDOW]) :]
        states = dict(stage.query("SELECT entity_key, state FROM entity_state"))
        for key, hashes in of_key.items():
            entity = unpack(bytes(states[key]))
            waiting = [1 + event % CODES for event in entity.events[entity.judged :]]
            assert told[key] + waiting == [1 + hash_ % CODES for hash_ in hashes], key
            assert entity.seen == len(hashes), key

    def _alerts(self, stage: Stage) -> None:
        for outcome, has_alert in stage.query(
            "SELECT DISTINCT outcome, alert_id IS NOT NULL FROM decision"
        ):
            assert has_alert == (outcome != "quiet"), outcome
        told = {key for (key,) in stage.query("SELECT DISTINCT entity_key FROM alert")}
        assert {sent.key for sent in stage.sent.values() if sent.loud} <= told


LOADS: Mapping[str, Load] = {load.vertical: load for load in (Payments(), Lines())}
