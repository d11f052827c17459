"""Root causes in simulated worlds: whose fault it is that an entity alarms, as `ops` answers.

Worlds of three days with faults drawn by a seed. Rows come through the extractor, alerts through the
starter model, answers through what the alert's page asks. Seeds 101 to 103 were looked at while the
method was made; those that are measured were not.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from random import Random
from typing import Any, Final

import msgspec
import numpy as np

from benchmarks import report
from benchmarks.servers import command, note
from lepton_apps.common import clock
from lepton_apps.verticals.contract import Fitting
from lepton_apps.verticals.insight import AskedAlert, Insight, Neighbour, ScoredRow
from models_core.artifact import unpack
from models_core.engines import Scorer
from ops import recipes
from ops.calls import topology
from ops.faults import Fault
from ops.metrics.extractor import LARGEST_Z, PLACES, MetricExtractor
from ops.metrics.records import MetricSample
from ops.origins import look_into
from ops.replay import Replay
from ops.simulator import METRICS_TOPIC, simulate_with_truth
from ops.topology import Calls, read
from ops.vertical import METRICS

START: Final = datetime(2026, 3, 2, tzinfo=UTC)
RATE: Final = 2.5  # records a second: ten instances
FIRST_SEED: Final = 201
MINUTE: Final = timedelta(minutes=1)
MOST_MINUTES: Final = 15  # of the incident, that an answer is made of
GRACE: Final = timedelta(minutes=5)  # after a fault's end in which an alert is still about it

PROTOCOL: Final = (
    "the entity in which the fault is, ranked among the alarmed one and all upstream of it; the "
    "first alert of the starter model on each entity that a fault reaches; accuracy at 1 and 3 "
    "on alerts of callers by kind of fault, and on alerts of the broken entity itself; who ties "
    "shares the places; seeds not looked at before. The z-score is the mean of the largest of "
    "an entity's features over the same minutes, silence counts as the largest there is; of a full disk "
    "any instance on the host counts; where nothing is wrong, whoever blames nobody upstream is right"
)


@dataclass(frozen=True, slots=True)
class World:
    """Three days of rows, and who suffered from what."""

    rows: Mapping[str, Sequence[ScoredRow]]
    states: Mapping[str, bytes]
    suffered: Mapping[tuple[Fault, str], str]  # (fault, entity) -> a group of alerts


@dataclass(frozen=True, slots=True)
class Case:
    """An alert, and whose fault it is."""

    world: World
    alert: AskedAlert
    fault: Fault | None  # None: nothing is wrong anywhere
    group: str

    def is_origin(self, entity: str) -> bool:
        if self.fault is None:
            return entity == self.alert.entity_key  # at least nobody else is blamed
        host = entity.partition("@")[2]
        return self.fault.entity in (entity, f"*@{host}")


@dataclass(frozen=True, slots=True)
class Around:
    """``Surroundings`` in memory, so many minutes after the alert opened."""

    case: Case
    minutes: int  # after the alert opened: what came later is not known yet
    body: Any  # what is declared

    def declared(self, name: str) -> Any:
        return self.body

    def known(self, stream: str, entities: Sequence[str]) -> frozenset[str]:
        return frozenset(entities) & frozenset(self.case.world.rows)

    def rows(
        self, stream: str, entities: Sequence[str], since: datetime, until: datetime
    ) -> list[ScoredRow]:
        found = [
            row
            for entity in entities
            for row in self.case.world.rows.get(entity, ())
            if since <= row.at < min(until, self.case.alert.first_at + self.minutes * MINUTE)
        ]
        return sorted(found, key=lambda row: row.at)

    def states(self, stream: str, entities: Sequence[str]) -> Mapping[str, bytes]:
        return self.case.world.states

    def alerts(self, entities: Sequence[str], since: datetime, until: datetime) -> list[Neighbour]:
        return []


def main(arguments: Sequence[str] | None = None) -> None:
    options, body = _asked(arguments)
    began = clock.monotonic()
    trained = recipes.train_metrics(Fitting(_quietly))
    cases: list[Case] = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        made = world(seed, options.days)
        found = list(cases_of(made, trained))
        note(f"seed {seed}: {len(found)} alerts")
        cases += [*found, *quiet_cases_of(made, seed)]
    took_s: list[float] = []
    ranks = {
        "causes": [_rank(case, by_causes(case, options.minutes, body, took_s)) for case in cases],
        "largest z-score": [_rank(case, by_z(case, options.minutes, body)) for case in cases],
        "alarmed entity itself": [_rank(case, {case.alert.entity_key: 1.0}) for case in cases],
    }
    figures = {method: _figures(cases, found) for method, found in ranks.items()}
    note(f"an answer takes {1000 * float(np.quantile(took_s, 0.95)):.0f} ms at the 95th percentile")
    line = report.line(
        "root_cause_simulated",
        PROTOCOL,
        f"{options.seeds} worlds of {options.days:g} days of ten instances from seed "
        f"{options.first_seed}: {sum(case.fault is not None for case in cases)} alerts, of callers "
        f"{sum(case.group == 'caller' for case in cases)}, and 30 moments of each without a fault; "
        f"asked {options.minutes} minutes after the alert"
        + (f"; the call {options.forget} is not declared" if options.forget else ""),
        figures["causes"],
        clock.monotonic() - began,
        {method: figures[method] for method in list(ranks)[1:]},
    )
    report.finish(line, options.save)


def _asked(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, Any]:
    """The options, and what is declared."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.root_cause_simulated", description=__doc__
    )
    parser.add_argument("--seeds", type=int, default=8, help="How many worlds.")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="Of the first world.")
    parser.add_argument("--days", type=float, default=3.0, help="Of each world.")
    parser.add_argument(
        "--minutes",
        type=int,
        default=MOST_MINUTES,
        help=f"How long after the alert somebody asks: 1 to {MOST_MINUTES}.",
    )
    parser.add_argument(
        "--forget", metavar="CALLER:CALLED", help="Leave this call out of what is declared."
    )
    parser.add_argument("--save", help="Keep the line in benchmarks/results under this name.")
    options = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    if not 1 <= options.minutes <= MOST_MINUTES:
        parser.error(f"--minutes {options.minutes} is not between 1 and {MOST_MINUTES}.")
    body = topology()
    if options.forget:
        caller, _, called = options.forget.partition(":")
        if called not in body["services"].get(caller, {}).get("calls", ()):
            parser.error(f"--forget {options.forget} is no call of the simulated world.")
        body["services"][caller]["calls"].remove(called)
    return options, body


def _quietly(stage: str, done: int, total: int) -> None:
    """Training takes seconds."""


def world(seed: int, days: float) -> World:
    end = START + timedelta(days=days)
    made = simulate_with_truth(seed=seed, start=START, records_per_s=RATE)
    samples: list[MetricSample] = []
    suffered: dict[tuple[Fault, str], str] = {}
    for each in takewhile(lambda each: each.record.occurred_at < end, made):
        if each.record.topic != METRICS_TOPIC:
            continue
        samples.append(msgspec.json.decode(each.record.value, type=MetricSample))
        if each.fault is not None:
            suffered[each.fault, each.record.key] = "the broken one"
        elif each.upstream is not None:
            suffered.setdefault((each.upstream, each.record.key), "caller")
    replay = Replay(MetricExtractor(), timedelta(seconds=60), lambda sample: sample.time)
    rows: defaultdict[str, list[ScoredRow]] = defaultdict(list)
    for row in replay.take(samples):
        by_tick = not (row.at.second or row.at.microsecond)
        rows[row.entity_key].append(ScoredRow(row.entity_key, row.at, by_tick, row.x_F))
    return World(rows, replay.primary, suffered)


def cases_of(found: World, trained: Any) -> Iterator[Case]:
    """The first loud row of each entity that a fault reaches opens an alert there."""
    scorer = Scorer.from_artifact(unpack(trained.files))
    thresholds = scorer.thresholds
    loud: dict[str, list[datetime]] = {}
    for entity, rows in found.rows.items():
        score_N = scorer.score(np.array([row.x_F for row in rows], np.float32))
        outcome_N = METRICS.policy.decide(score_N, thresholds)
        loud[entity] = [row.at for row, outcome in zip(rows, outcome_N, strict=True) if outcome]
    for (fault, entity), group in found.suffered.items():
        within = [at for at in loud[entity] if fault.start <= at < fault.end + GRACE]
        if within:
            alert = AskedAlert(1, METRICS.name, entity, "together", "", within[0], within[-1], {})
            yield Case(found, alert, fault, group)


def quiet_cases_of(found: World, seed: int, num: int = 30) -> Iterator[Case]:
    """Alerts that are nothing: of callers, at moments with no fault for an hour and a half around."""
    random = Random(f"quiet {seed}")
    faults = {fault for fault, _ in found.suffered}
    callers = sorted(each for each in found.rows if each.startswith(("gateway@", "checkout@")))
    while num:
        entity = callers[random.randrange(len(callers))]
        row = found.rows[entity][random.randrange(500, len(found.rows[entity]) - MOST_MINUTES)]
        far = timedelta(minutes=45)
        if any(fault.start - far <= row.at < fault.end + far for fault in faults):
            continue
        num -= 1
        alert = AskedAlert(1, METRICS.name, entity, "together", "", row.at, row.at, {})
        yield Case(found, alert, None, "nothing is wrong")


def by_causes(case: Case, minutes: int, body: Any, took_s: list[float]) -> dict[str, float]:
    began = clock.monotonic()
    insight: Insight = look_into(_so_far(case.alert, minutes), Around(case, minutes, body))
    took_s.append(clock.monotonic() - began)
    named = {origin.entity_key: origin.score for origin in insight.origins}
    return named or {case.alert.entity_key: 0.0}  # "no upstream change explains this one"


def _so_far(alert: AskedAlert, minutes: int) -> AskedAlert:
    return replace(alert, last_at=min(alert.last_at, alert.first_at + (minutes - 1) * MINUTE))


def by_z(case: Case, minutes: int, body: Any) -> dict[str, float]:
    calls = Calls(read(body))
    entities = [
        entity
        for service in calls.upstream(case.alert.entity_key)
        for entity in calls.entities(service)
        if entity in case.world.rows
        and (service != calls.service_of[case.alert.entity_key] or entity == case.alert.entity_key)
    ]
    since = case.alert.first_at
    scores = {}
    for entity in entities:
        by_minute = {
            (row.at - since) // MINUTE: float(np.abs(row.x_F[:PLACES]).max())
            for row in case.world.rows[entity]
            if since <= row.at < since + minutes * MINUTE
        }
        seen = [by_minute.get(minute, LARGEST_Z) for minute in range(minutes)]
        scores[entity] = float(np.mean(seen))
    return scores


def _rank(case: Case, scores: Mapping[str, float]) -> float:
    """The place of the true origin; infinite where it is not named. Ties share their places."""
    true = max((score for entity, score in scores.items() if case.is_origin(entity)), default=None)
    if true is None:
        return float("inf")
    others = [score for entity, score in scores.items() if not case.is_origin(entity)]
    return 1 + sum(score > true for score in others) + sum(score == true for score in others) / 2


def _figures(cases: Sequence[Case], ranks: Sequence[float]) -> dict[str, Any]:
    groups: defaultdict[str, list[float]] = defaultdict(list)
    for case, rank in zip(cases, ranks, strict=True):
        if case.fault is not None and case.group == "caller":
            groups["callers"].append(rank)
            groups[f"callers: {case.fault.kind}"].append(rank)
        else:
            groups[case.group].append(rank)
    return {
        name: {
            "alerts": len(found),
            "accuracy_at_1": round(float((np.array(found) <= 1).mean()), 3),
            "accuracy_at_3": round(float((np.array(found) <= 3).mean()), 3),
        }
        for name, found in sorted(groups.items())
    }


if __name__ == "__main__":
    command(main)
