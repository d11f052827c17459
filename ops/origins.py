"""Where an alert of this vertical comes from: which change of what it depends on explains it.

Suffixes: T = minutes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np

from lepton_apps.verticals.insight import (
    AskedAlert,
    DeclarationRefusedError,
    Insight,
    Neighbour,
    Origin,
    Surroundings,
)
from models_core.causal.causes import Cause, causes
from models_core.causal.changes import Changes, onset
from models_core.causal.graph import Graph
from ops.metrics.extractor import LARGEST_Z
from ops.runbooks import advice_for
from ops.series import MINUTE, NEW, Grid, Measured, by_entity
from ops.topology import Calls, read

METRICS: Final = "ops.metrics"
USUAL: Final = timedelta(hours=6)
LEAD: Final = 20  # minutes before the alert in which an origin may have begun
SHORTEST: Final = 5  # minutes of the incident that are looked at, if there are so many
LONGEST: Final = 15
NEAR: Final = timedelta(minutes=40)  # alerts of other entities before this one, and half after
MOST_ENTITIES: Final = 24
MOST_CANDIDATES: Final = 400
MOST_ORIGINS: Final = 5
MOST_ALERTS: Final = 3  # shown of one entity
# A change that none of the usual minutes can tell of is believed to pass on whole.
PASSES_ON: Final = {NEW: 1.0}
FEWEST_USUAL: Final = 30  # minutes
# Spreads of usual: of some two hundred series, three and a half are met by chance.
LEAST_CHANGE: Final = 5.0

UNDECLARED: Final = (
    "Nobody has declared who calls whom, so nothing upstream can be looked at. Declare it with "
    "`manage.py declare ops.topology FILE` or PUT /api/v1/ops/topology."
)

UNREADABLE: Final = "The declared topology cannot be used any more; declare it anew."


@dataclass(frozen=True, slots=True)
class _Scene:
    """An alert with what lies around it."""

    alert: AskedAlert
    calls: Calls
    entities: tuple[str, ...]  # the alert's own first
    near: Mapping[str, Sequence[Neighbour]]
    unmeasured: Sequence[str]  # entities with an alert and no metrics
    left_out: int


def look_into(alert: AskedAlert, around: Surroundings) -> Insight:
    """Likely origins, likeliest first, and steps to take. Five queries at most."""
    body = around.declared("topology")
    if body is None:
        return Insight(UNDECLARED, advice=advice_for(alert, ()))
    try:
        calls = Calls(read(body))
    except DeclarationRefusedError as error:  # declared to another version of this vertical
        return Insight(f"{UNREADABLE} {error.detail}", advice=advice_for(alert, ()))
    if alert.entity_key not in calls.service_of:
        return Insight(
            f"{alert.entity_key} is in no service of the declared topology, so nothing upstream of "
            "it is known. List it under `entities` of its service.",
            advice=advice_for(alert, ()),
        )
    scene = _scene(alert, calls, around)
    grid = _grid(alert)
    rows = around.rows(METRICS, scene.entities, grid.start, grid.at(grid.steps + 2))
    states = around.states(METRICS, scene.entities)
    newest = max((row.at for row in rows), default=grid.start)
    grid = _without_the_future(grid, (newest - grid.start) // MINUTE)
    return _judged(scene, grid, by_entity(rows, states, grid))


def _scene(alert: AskedAlert, calls: Calls, around: Surroundings) -> _Scene:
    candidates: list[str] = [alert.entity_key]
    for service in calls.upstream(alert.entity_key):
        own = service == calls.service_of[alert.entity_key]
        found = calls.hosts(service) if own else (*calls.entities(service), *calls.hosts(service))
        candidates += [each for each in found if each not in candidates]
    measured = around.known(METRICS, candidates[:MOST_CANDIDATES])
    first = alert.first_at
    near: defaultdict[str, list[Neighbour]] = defaultdict(list)
    for found_alert in around.alerts(candidates[:MOST_CANDIDATES], first - NEAR, first + NEAR / 2):
        near[found_alert.entity_key].append(found_alert)
    # Nearest first, but whoever has an alert of its own goes before its neighbours.
    upstream = [each for each in candidates[1:] if each in measured]
    upstream.sort(key=lambda each: each not in near)
    unmeasured = sorted(each for each in near if each not in measured)
    left_out = len(upstream[MOST_ENTITIES - 1 :]) + len(candidates[MOST_CANDIDATES:])
    entities = (alert.entity_key, *upstream[: MOST_ENTITIES - 1])
    return _Scene(alert, calls, entities, near, unmeasured, left_out)


def _grid(alert: AskedAlert) -> Grid:
    begin = alert.first_at.replace(second=0, microsecond=0) - MINUTE
    lasted = (alert.last_at - alert.first_at) // MINUTE + 1
    usual = USUAL // MINUTE
    steps = usual + LEAD + max(SHORTEST, min(lasted, LONGEST))
    return Grid(begin - (usual + LEAD) * MINUTE, steps, usual + LEAD, LEAD)


def _without_the_future(grid: Grid, known: int) -> Grid:
    steps = max(grid.begin + 1, min(grid.steps, known))
    return Grid(grid.start, steps, grid.begin, grid.lead)


def _since_warm(grid: Grid, measured: Mapping[str, Measured], symptom: str) -> Grid:
    """Without the minutes in which the alert's entity was not known well enough to be measured."""
    series = measured[symptom].series.values()
    seen_T = np.any([np.nan_to_num(value_T) != 0 for value_T in series], axis=0)
    cut = int(np.argmax(seen_T)) if seen_T.any() else 0
    return Grid(grid.at(cut), grid.steps - cut, grid.begin - cut, grid.lead)


def _judged(scene: _Scene, grid: Grid, measured: Mapping[str, Measured]) -> Insight:
    symptom = scene.alert.entity_key
    notes = []
    if scene.left_out:
        notes.append(
            f"{scene.left_out} entities upstream were left out: only the nearest "
            f"{MOST_ENTITIES} are looked at."
        )
    if scene.unmeasured:
        said = ", ".join(scene.unmeasured[:MOST_ALERTS])
        notes.append(f"No metrics of {said} come, where there were alerts near this time.")
    if symptom not in measured:
        return _nothing(scene, notes, f"{symptom} sent no metrics in the hours before this alert")
    warm = _since_warm(grid, measured, symptom)
    if warm.begin - warm.lead < FEWEST_USUAL:
        return _nothing(
            scene,
            notes,
            f"Less than {FEWEST_USUAL + LEAD} minutes of metrics of {symptom} came before this "
            "alert, which is too little to say what is usual",
        )
    cut = grid.steps - warm.steps
    changes = Changes(
        {
            entity: {name: value_T[cut:] for name, value_T in found.series.items()}
            for entity, found in measured.items()
        },
        warm.begin,
        warm.lead,
        LARGEST_Z,
    )
    graph = Graph(scene.calls.edges(list(measured)), dict.fromkeys(measured, "entity"))
    found = [
        cause
        for cause in causes(graph, changes, symptom, passes_on=PASSES_ON)
        if min(cause.unusual, cause.own) >= LEAST_CHANGE
    ]
    origins = tuple(
        _origin(cause, scene, warm, measured[cause.node], changes) for cause in found[:MOST_ORIGINS]
    )
    return Insight(
        _summary(symptom, origins, len(measured) - 1),
        origins,
        advice_for(scene.alert, origins),
        tuple(notes),
    )


def _origin(cause: Cause, scene: _Scene, grid: Grid, found: Measured, changes: Changes) -> Origin:
    _, z_TM = changes.standing()[cause.node]
    step = onset(z_TM, changes)
    began = None if step is None else grid.at(step)
    return Origin(
        cause.node,
        f"{cause.node}: {_what(cause.node, cause.measure, found, changes)}{_when(step, grid)}"
        f"{_accounts(cause)}.",
        cause.score,
        cause.way,
        began,
        {
            "change": cause.unusual,
            "own_change": cause.own,
            "explained": cause.explained,
            "invariant": cause.invariant,
            **({} if step is None else {"minutes_before": float(grid.begin - step)}),
        },
        tuple(scene.near.get(cause.node, ())[:MOST_ALERTS]),
    )


def _what(entity: str, measure: str, found: Measured, changes: Changes) -> str:
    """The change of a measure in words."""
    if measure != NEW:
        value_T = changes.series[entity][measure]
        usual_T, after_T = value_T[changes.usual], value_T[changes.after]
        by = float(np.nanmean(after_T) - np.nanmedian(usual_T))
        return f"{measure} {'rose' if by > 0 else 'fell'} by {abs(by):.2g} standard deviations"
    after = slice(-len(changes.series[entity][NEW][changes.after]), None)
    loudest = max(sorted(found.news), key=lambda name: float(found.news[name][after].mean()))
    return {
        "silence": "it stopped sending metrics",
        "restarts": "its counters began again, so it was restarted",
        "missing metrics": "metrics that usually come were missing",
    }.get(loudest, f"{loudest}, which had stood still for hours, moved")


def _when(step: int | None, grid: Grid) -> str:
    if step is None:
        return " at no clear moment"
    before = grid.begin - step
    if not before:
        return f" at {grid.at(step):%H:%M} UTC, the minute of this alert"
    side = "before" if before > 0 else "after"
    plural = "" if abs(before) == 1 else "s"
    return f" at {grid.at(step):%H:%M} UTC, {abs(before)} minute{plural} {side} this alert"


def _accounts(cause: Cause) -> str:
    percent = f"{100 * min(max(cause.explained, 0.0), 1.0):.0f} %"
    if len(cause.way) == 1:
        return f"; {percent} of this alert's change is its own"
    return f"; accounts for {percent} of it along {' > '.join(cause.way)}"


def _summary(symptom: str, origins: Sequence[Origin], upstream: int) -> str:
    if not upstream:
        return (
            f"Nothing upstream of {symptom} is measured, so it cannot be told from its own faults."
        )
    if not origins:
        return (
            f"No upstream change explains this one: none of {upstream} entities changed of itself."
        )
    first = origins[0].entity_key
    if first == symptom:
        return (
            f"No upstream change explains this one better than {symptom} itself; {upstream} "
            f"{'entity was' if upstream == 1 else 'entities were'} looked at."
        )
    return f"The likely origin is {first}, of {upstream} looked at upstream of {symptom}."


def _nothing(scene: _Scene, notes: list[str], why: str) -> Insight:
    return Insight(
        f"{why}, so no upstream change can be weighed.",
        advice=advice_for(scene.alert, ()),
        notes=tuple(notes),
    )
