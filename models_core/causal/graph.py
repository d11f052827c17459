"""A knowledge graph of entities: what can change what, and how soon."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from numpy.typing import ArrayLike


class Edge(NamedTuple):
    """A change of ``cause`` can change ``effect``, at most ``lag`` steps later.

    Of services that call each other the one that is called is the cause: its caller waits for it.
    """

    cause: str
    effect: str
    lag: float = math.inf  # in steps of the series; infinite: not known
    weight: float = 1.0  # above 0, at most 1: how sure the edge is


class Way(NamedTuple):
    """How a node reaches another one: along which nodes, how soon and how surely."""

    nodes: tuple[str, ...]  # from the cause to the effect
    lag: float
    weight: float


@dataclass(frozen=True, slots=True)
class Graph:
    """Typed nodes and directed edges; cycles are fine. A value: nothing in it changes.

    Args:
        edges: each ``(cause, effect)``, with a lag and a weight where they are known.
        kinds: what each node is ("service", "host"), for people; nodes without edges belong here.

    Raises:
        ValueError: an edge leads from a node to itself or is there twice, or a lag or weight is out
            of range.

    >>> graph = Graph([("db", "api"), ("cache", "api"), ("api", "web", 2, 0.9)], {"db": "host"})
    >>> graph.parents("api")
    ('cache', 'db')
    >>> graph.upstream("web")["db"]
    Way(nodes=('db', 'api', 'web'), lag=inf, weight=0.9)
    """

    edges: tuple[Edge, ...]
    kinds: Mapping[str, str] = field(default_factory=dict)
    _into: Mapping[str, tuple[Edge, ...]] = field(init=False, repr=False, compare=False)

    def __init__(
        self, edges: Iterable[Sequence[object]], kinds: Mapping[str, str] | None = None
    ) -> None:
        checked = sorted(_checked(edge) for edge in edges)
        pairs = [(edge.cause, edge.effect) for edge in checked]
        for one, other in itertools.pairwise(pairs):
            if one == other:
                raise ValueError(f"The edge from {one[0]!r} to {one[1]!r} is there twice.")
        nodes = {node for pair in pairs for node in pair} | set(kinds or {})
        into: dict[str, tuple[Edge, ...]] = dict.fromkeys(sorted(nodes), ())
        for edge in checked:
            into[edge.effect] += (edge,)
        set_ = object.__setattr__
        set_(self, "edges", tuple(checked))
        set_(self, "kinds", MappingProxyType({node: (kinds or {}).get(node, "") for node in into}))
        set_(self, "_into", MappingProxyType(into))

    @classmethod
    def of_matrix(cls, names: Sequence[str], weights: ArrayLike) -> Graph:
        """From a square of weights: row ``i``, column ``j`` is the edge from ``i`` to ``j``, 0 none."""
        import numpy as np

        weight_VV = np.asarray(weights, dtype=float)
        if weight_VV.shape != (len(names), len(names)):
            raise ValueError(f"{len(names)} names need a square, not {weight_VV.shape}.")
        found = [
            Edge(names[i], names[j], math.inf, float(weight_VV[i, j]))
            for i, j in np.argwhere(weight_VV != 0).tolist()
        ]
        return cls(found, dict.fromkeys(names, ""))

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(self._into)

    def parents(self, node: str) -> tuple[str, ...]:
        """What changes it directly, sorted."""
        return tuple(edge.cause for edge in self._into[node])

    def reversed(self) -> Graph:
        """Every edge the other way round: of who calls whom, who is changed by whom."""
        return Graph(
            [Edge(edge.effect, edge.cause, edge.lag, edge.weight) for edge in self.edges],
            self.kinds,
        )

    def upstream(self, node: str, depth: int | None = None) -> dict[str, Way]:
        """Every node that reaches this one in at most ``depth`` edges, itself first, by its surest way.

        Of ways as sure the shortest is taken. Raises ``ValueError`` for an unknown node.
        """
        if node not in self._into:
            raise ValueError(f"The graph has no node {node!r}.")
        limit = len(self._into) if depth is None else depth
        found: dict[str, Way] = {}
        fewest: dict[str, int] = {}
        waiting: list[tuple[float, int, tuple[str, ...], float]] = [(0.0, 0, (node,), 0.0)]
        while waiting:  # doubt, edges, way, lag: the surest first, then the shortest
            doubt, edges, way, lag = heapq.heappop(waiting)
            here = way[0]
            if here not in found:
                found[here] = Way(way, lag, math.exp(-doubt))
            # Under a limit a way that is less sure but shorter may reach further.
            if fewest.get(here, limit + 1) <= edges:
                continue
            fewest[here] = edges
            if edges < limit:
                for edge in self._into[here]:
                    if edge.cause not in way:
                        doubt_there = doubt - math.log(edge.weight)
                        step = (doubt_there, edges + 1, (edge.cause, *way), lag + edge.lag)
                        heapq.heappush(waiting, step)
        return found


def _checked(edge: Sequence[object]) -> Edge:
    if not 2 <= len(edge) <= 4:
        raise ValueError(f"{edge!r} is no edge: (cause, effect), then perhaps a lag and a weight.")
    cause, effect = edge[0], edge[1]
    if not (isinstance(cause, str) and isinstance(effect, str) and cause and effect):
        raise ValueError(f"{edge!r} is no edge: its ends are not names.")
    if cause == effect:
        raise ValueError(f"An edge leads from {cause!r} to itself.")
    numbers = [float(number) for number in edge[2:] if isinstance(number, int | float)]
    if len(numbers) != len(edge) - 2:
        raise ValueError(f"{edge!r} is no edge: lag and weight are numbers.")
    lag, weight = [*numbers, *(math.inf, 1.0)[len(numbers) :]]
    if not lag >= 0:
        raise ValueError(f"The edge from {cause!r} to {effect!r} has the lag {lag}, below 0.")
    if not 0 < weight <= 1:
        raise ValueError(
            f"The edge from {cause!r} to {effect!r} has the weight {weight}, not in (0, 1]."
        )
    return Edge(cause, effect, lag, weight)
