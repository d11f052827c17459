"""A world to watch without having one: logs and metrics of services, with faults now and then.

Seeded and endless. ``simulate_with_truth`` also says which fault a record's entity suffers from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from lepton_apps.verticals.contract import SimulatedRecord
from ops.calls import pass_on
from ops.faults import EFFECTS, Fault, drawn
from ops.world import (
    FEWEST,
    FLOWS,
    INSTANCES,
    PLAIN,
    SHARE_OF_REQUESTS,
    Instance,
    Line,
    Minute,
    Usage,
    load,
    measured,
    requests_in,
    work,
)

LOGS_TOPIC: Final = "ops.logs.v1"
METRICS_TOPIC: Final = "ops.metrics.v1"
LINES_OF_JOBS_PER_MIN: Final = 1.5  # of one instance, about
RECORDS_PER_INSTANCE: Final = 0.25  # a second: so many instances does a rate feed
SINGLE_SAMPLES: Final = "inventory@node-4"  # sends each metric as a record of its own


@dataclass(frozen=True, slots=True)
class SimulatedOps:
    """A record, and the fault its entity suffers from at that moment, if any."""

    record: SimulatedRecord
    fault: Fault | None
    upstream: Fault | None = None  # of what it calls, where it suffers from that


def simulate(*, seed: int, start: datetime, records_per_s: float) -> Iterator[SimulatedRecord]:
    """Logs and metrics in event-time order; ``records_per_s`` of both together, over a mean day."""
    for simulated in simulate_with_truth(seed=seed, start=start, records_per_s=records_per_s):
        yield simulated.record


def simulate_with_truth(
    *, seed: int, start: datetime, records_per_s: float, faults: bool | Sequence[Fault] = True
) -> Iterator[SimulatedOps]:
    """The same, with what is wrong; ``faults=False`` gives a world where nothing ever is.

    Faults that are given, in order of start and one at a time, come instead of those drawn.
    """
    instances = INSTANCES[
        : max(FEWEST, min(len(INSTANCES), int(records_per_s / RECORDS_PER_INSTANCE)))
    ]
    mean = _requests_per_min(instances, records_per_s)
    random = Random(seed)  # noqa: S311 - a simulation
    usages = {instance.key: Usage() for instance in instances}
    coming = drawn(instances, start, seed) if faults is True else iter(faults or ())
    fault = next(coming, None)
    said_by_callers = Random(f"calls {seed}")  # noqa: S311 - a simulation
    at = start.astimezone(UTC).replace(second=0, microsecond=0)
    minute = 0
    while True:
        made: list[SimulatedOps] = []
        while fault is not None and fault.end <= at:
            fault = next(coming, None)
        hits = {each: fault if fault and fault.hits(each, at) else None for each in instances}
        spoken = {
            each: _minute(each, at, minute, mean, usages[each.key], hits[each], random)
            for each in instances
        }
        suffering = pass_on(spoken, instances, said_by_callers)
        for each in instances:
            upstream = fault if each in suffering and hits[each] is None else None
            made += [
                SimulatedOps(record, hits[each], upstream)
                for record in _records(each, at, spoken[each])
            ]
        made.sort(key=lambda simulated: simulated.record.occurred_at)
        yield from made
        at += timedelta(minutes=1)
        minute += 1


def _requests_per_min(instances: tuple[Instance, ...], records_per_s: float) -> float:
    """The mean number of requests a minute of a gateway that gives this rate in all."""
    fixed = len(instances) * (LINES_OF_JOBS_PER_MIN + 1.0)
    lines = sum(SHARE_OF_REQUESTS[i.service] * _lines_per_request(i.service) for i in instances)
    return max(0.5, (records_per_s * 60 - fixed) / lines)


def _lines_per_request(service: str) -> float:
    return sum(share * len(steps) for share, steps in FLOWS[service])


def _minute(
    instance: Instance,
    at: datetime,
    number: int,
    mean: float,
    usage: Usage,
    fault: Fault | None,
    random: Random,
) -> Minute:
    requests = requests_in(instance, mean, load(at), random)
    lines = work(instance, requests, number, random)
    spoken = Minute(lines, measured(requests, 0, usage, random))
    if fault is not None:
        EFFECTS[fault.kind](spoken, fault.progress(at), usage, random)
    return spoken


def _records(instance: Instance, at: datetime, spoken: Minute) -> Iterator[SimulatedRecord]:
    key = instance.key
    prefix = at.strftime("%Y-%m-%dT%H:%M:")
    for line in spoken.lines:
        seconds = min(line.at, 59.999)
        moment = at + timedelta(milliseconds=int(seconds * 1000))
        yield SimulatedRecord(LOGS_TOPIC, key, _log_value(instance, line, prefix, seconds), moment)
    if not spoken.values:
        return
    moment = at + timedelta(seconds=59, milliseconds=999)
    time = f"{prefix}59.999Z"
    if key == SINGLE_SAMPLES:
        for name, value in spoken.values.items():
            body = f'{{"entity":"{key}","time":"{time}","metric":"{name}","value":{value:.4f}}}'
            yield SimulatedRecord(METRICS_TOPIC, key, body.encode(), moment)
        return
    values = ",".join(f'"{name}":{value:.4f}' for name, value in spoken.values.items())
    body = f'{{"entity":"{key}","time":"{time}","values":{{{values}}}}}'
    yield SimulatedRecord(METRICS_TOPIC, key, body.encode(), moment)


def _log_value(instance: Instance, line: Line, prefix: str, seconds: float) -> bytes:
    if instance.service == PLAIN:
        return f"[{line.level}] {line.message}".encode()
    trace = f'"trace":"{line.trace}",' if line.trace else ""
    return (
        f'{{"time":"{prefix}{int(seconds):02d}.{int(seconds * 1000) % 1000:03d}Z",'
        f'"level":"{line.level}","service":"{instance.service}","host":"{instance.host}",'
        f'{trace}"message":"{line.message}"}}'
    ).encode()
