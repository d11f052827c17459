"""Which upstream change explains this one.

Shape suffixes: T = steps, M = measures of a node.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models_core.causal.changes import UNUSUAL, Changes, cut_off, onset, strength
from models_core.causal.equations import Equation, fit_equation, shares
from models_core.causal.graph import Graph, Way

# How the three kinds of evidence are weighed; fixed on one data set, see docs/explanation.md.
_LEAST_SHARE = 0.6  # what counts of a node that explains nothing of the symptom
_LATE = 0.5  # what counts of a node that changed after the symptom, or no one knows when

_Standing = Mapping[str, tuple[tuple[str, ...], NDArray[np.float64]]]


@dataclass(frozen=True, slots=True)
class Cause:
    """A change that may explain the symptom, and what speaks for it."""

    node: str
    measure: str  # of the node, the one that changed most
    score: float  # larger is likelier; compares causes of one symptom
    unusual: float  # the change, in spreads of usual blocks
    own: float  # what of it the node's own parents do not explain, in standard errors
    explained: float  # of the symptom's change that would not be, had this node stayed usual
    invariant: float  # chance of such a rest of the symptom, were it usual given this node alone
    lead: int | None  # steps from its onset to that of the symptom; below 0: it came later
    way: tuple[str, ...]  # from the node to the symptom

    def __str__(self) -> str:
        when = "at no clear moment" if self.lead is None else _when(self.lead)
        return (
            f"{self.node}: {self.measure} changed by {self.unusual:.3g} of its usual spreads {when}, "
            f"explains {100 * min(max(self.explained, 0.0), 1.0):.0f} % of the symptom; "
            f"{' > '.join(self.way)}"
        )


def causes(
    graph: Graph,
    changes: Changes,
    symptom: str | tuple[str, str],
    *,
    depth: int | None = None,
    passes_on: Mapping[str, float] | None = None,
) -> tuple[Cause, ...]:
    """Rank the nodes upstream of a symptom, itself included, by how well they explain it.

    A node is named if its own equation does not hold any more: what its parents do does not account
    for what it does (Li and others 2022, as an intervention is recognised). It ranks by how much it
    changed, by how much of the symptom's change goes back to it along the linear structural
    equations (either way: far from the usual the sign of a small weight is not known), by whether it
    changed first, and by how sure the way is. Nodes that never or hardly
    ever measured anything are looked through, as if their parents were next to their children. Nodes
    that are upstream of each other do not explain each other.

    Args:
        graph: what can change what.
        changes: what was measured.
        symptom: a node, or a node and the measure that is odd.
        depth: edges upstream that are looked at; left out: all.
        passes_on: by the name of a measure, how much of a node's change in it each node next to it
            is believed to show in the same measure, in usual spreads, as far as usual steps do not
            say it themselves. For what never moved while usual, as errors do, they say nothing.

    Returns:
        Likeliest first; empty where nothing changed of itself.

    Raises:
        ValueError: the graph lacks the symptom, or it has no such measure.
    """
    node, measure = symptom if isinstance(symptom, tuple) else (symptom, None)
    ways = graph.upstream(node, depth)
    standing = {name: found for name, found in changes.standing().items() if name in ways}
    if node not in standing or measure not in (None, *standing[node][0]):
        named = node if measure is None else f"{node}.{measure}"
        raise ValueError(f"The symptom {named!r} has no series, or too few values in it.")
    equations = _equations(graph, standing, changes, passes_on or {})
    measures, z_TM = standing[node]
    strength_M = strength(z_TM, changes)
    place = int(strength_M.argmax()) if measure is None else measures.index(measure)
    whole = float(z_TM[changes.after, place].mean() - z_TM[changes.usual, place].mean())
    parts = shares(equations, node, place, _downstream_first(equations))
    told = _Symptom(node, z_TM[:, [place]], onset(z_TM[:, [place]], changes), whole)
    judged = (
        _judged(ways[name], standing[name], equation, parts[name], told, changes)
        for name, equation in equations.items()
    )
    found = [cause for cause in judged if cause is not None]
    return tuple(sorted(found, key=lambda cause: (-cause.score, cause.node)))


@dataclass(frozen=True, eq=False, slots=True)
class _Symptom:
    node: str
    z_T1: NDArray[np.float64]
    began: int | None
    whole: float  # its mean change


def _judged(
    way: Way,
    standing: tuple[tuple[str, ...], NDArray[np.float64]],
    equation: Equation,
    part: float,
    symptom: _Symptom,
    changes: Changes,
) -> Cause | None:
    """A node as a cause; None where it did not change, or not of itself."""
    measures, z_TM = standing
    unusual_M = strength(z_TM, changes)
    loudest = int(np.minimum(equation.own_M, unusual_M).argmax())
    own, unusual = float(equation.own_M[loudest]), float(unusual_M[loudest])
    if min(own, unusual) < UNUSUAL:
        return None
    node = way.nodes[0]
    explained = part / symptom.whole if symptom.whole else 0.0
    began = onset(z_TM, changes)
    lead = None if began is None or symptom.began is None else symptom.began - began
    score = (
        math.log1p(unusual)
        * (_LEAST_SHARE + (1 - _LEAST_SHARE) * min(abs(explained), 1.0))
        * _in_time(lead, way.lag)
        * way.weight
    )
    invariant = 1.0 if node == symptom.node else _invariant(symptom.z_T1, z_TM, changes)
    name = measures[loudest]
    return Cause(node, name, score, unusual, own, explained, invariant, lead, way.nodes)


def _equations(
    graph: Graph, standing: _Standing, changes: Changes, passes_on: Mapping[str, float]
) -> dict[str, Equation]:
    found = {}
    for node, (measures, z_TM) in standing.items():
        parents = {
            parent: (standing[parent][1], lag)
            for parent, lag in _seen_parents(graph, node, standing).items()
        }
        believed = {
            parent: _same_measure(standing[parent][0], measures, passes_on) for parent in parents
        }
        cut = {
            parent: cut_off({m: changes.series[parent][m] for m in standing[parent][0]}, changes)
            for parent in parents
        }
        found[node] = fit_equation(z_TM, parents, changes, believed, cut)
    return found


def _same_measure(
    of_parent: Sequence[str], of_node: Sequence[str], passes_on: Mapping[str, float]
) -> NDArray[np.float64]:
    """``(measures of the parent, M)``: what is believed to pass on, from like to like."""
    return np.array(
        [
            [passes_on.get(one, 0.0) if one == other else 0.0 for other in of_node]
            for one in of_parent
        ]
    )


def _seen_parents(graph: Graph, node: str, standing: _Standing) -> dict[str, float]:
    """The nearest nodes upstream that measured something, by lag; none that this node is upstream of."""
    lag_of = {(edge.cause, edge.effect): edge.lag for edge in graph.edges}
    found: dict[str, float] = {}
    looked_through = {node}
    waiting = [(node, 0.0)]
    while waiting:
        here, so_far = waiting.pop()
        for parent in graph.parents(here):
            lag = so_far + lag_of[parent, here]
            if parent in standing:
                found[parent] = max(lag, found.get(parent, 0.0))
            elif parent not in looked_through:
                looked_through.add(parent)
                waiting.append((parent, lag))
    return {
        parent: lag
        for parent, lag in sorted(found.items())
        if parent != node and node not in graph.upstream(parent)
    }


def _downstream_first(equations: Mapping[str, Equation]) -> Sequence[str]:
    """Every node before its parents. Nodes of a cycle are no parents of each other, so there is one."""
    children = dict.fromkeys(equations, 0)
    for equation in equations.values():
        for parent in equation.parents:
            children[parent] += 1
    ready = sorted(node for node, count in children.items() if not count)
    order = []
    while ready:
        node = ready.pop()
        order.append(node)
        for parent in equations[node].parents:
            children[parent] -= 1
            if not children[parent]:
                ready.append(parent)
    return order


def _invariant(
    symptom_T1: NDArray[np.float64], cause_TM: NDArray[np.float64], changes: Changes
) -> float:
    """Whether the symptom, given this node, is as before (Peters, Bühlmann, Meinshausen 2016)."""
    rest = fit_equation(symptom_T1, {"": (cause_TM, math.inf)}, changes).own_M[0]
    return math.erfc(float(rest) / math.sqrt(2))


def _in_time(lead: int | None, lag: float) -> float:
    if lead is None or lead < 0:
        return _LATE
    # Too early is doubtful as well: by then its effect should have been seen.
    return 1.0 if lead <= lag + 1 else max(_LATE, (lag + 1) / lead)


def _when(lead: int) -> str:
    if not lead:
        return "at the same step"
    return f"{abs(lead)} steps {'before it' if lead > 0 else 'after it'}"
