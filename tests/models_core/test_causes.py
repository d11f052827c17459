"""Root causes of generated worlds whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models_core import Cause, Changes, Graph, causes

USUAL, AFTER = 300, 40
Series = dict[str, NDArray[np.float64]]


def world(
    order: Mapping[str, Mapping[str, float]],
    faults: Mapping[str, float],
    seed: int = 1,
    late: Mapping[str, int] | None = None,
) -> Series:
    """Linear equations: each node is its parents by weight, and noise; a fault moves the noise."""
    random = np.random.default_rng(seed)
    found: Series = {}
    for node, parents in order.items():
        value = random.normal(size=USUAL + AFTER)
        begin = USUAL + (late or {}).get(node, 0)
        value[begin:] += faults.get(node, 0.0)
        for parent, weight in parents.items():
            value = value + weight * found[parent]
        found[node] = value
    return found


def graph_of(order: Mapping[str, Mapping[str, float]]) -> Graph:
    edges = [(parent, node) for node, parents in order.items() for parent in parents]
    return Graph(edges, dict.fromkeys(order, "service"))


CHAIN: dict[str, dict[str, float]] = {"db": {}, "api": {"db": 1.0}, "web": {"api": 1.0}}
FORK: dict[str, dict[str, float]] = {
    "net": {},
    "db": {"net": 1.0},
    "api": {"net": 1.0},
    "web": {"api": 1.0, "db": 1.0},
}
COLLIDER: dict[str, dict[str, float]] = {"db": {}, "cache": {}, "web": {"db": 1.0, "cache": 1.0}}
WIDE: dict[str, dict[str, float]] = {
    "disk": {},
    "db": {"disk": 0.8},
    "auth": {"db": 0.5},
    "cart": {"db": 0.7, "auth": 0.4},
    "ads": {},
    "web": {"cart": 0.9, "auth": 0.5, "ads": 0.3},
}


def found(
    order: Mapping[str, Mapping[str, float]], faults: Mapping[str, float], **more: Any
) -> tuple[Cause, ...]:
    return causes(graph_of(order), Changes(world(order, faults, **more), USUAL), "web")


@pytest.mark.parametrize(
    ("order", "culprit"),
    [(CHAIN, "db"), (CHAIN, "api"), (CHAIN, "web"), (FORK, "net"), (FORK, "db"), (FORK, "api")]
    + [(COLLIDER, "db"), (COLLIDER, "cache")]
    + [(WIDE, node) for node in WIDE],
)
@pytest.mark.parametrize("size", [4.0, 30.0])
def test_the_node_that_changed_itself_leads(
    order: Mapping[str, Mapping[str, float]], culprit: str, size: float
) -> None:
    hits = 0
    for seed in range(5):
        ranked = found(order, {culprit: size}, seed=seed)
        hits += bool(ranked) and ranked[0].node == culprit
    assert hits == 5


def test_what_a_common_cause_moves_is_not_blamed() -> None:
    ranked = found(FORK, {"net": 12.0})
    assert [cause.node for cause in ranked] == ["net"]  # db, api and web did what net made them do
    assert ranked[0].way in {("net", "api", "web"), ("net", "db", "web")}
    assert ranked[0].explained == pytest.approx(1, abs=0.15)


def test_two_faults_at_once_are_both_named_and_share_the_symptom() -> None:
    ranked = found(COLLIDER, {"db": 12.0, "cache": 6.0})
    assert {cause.node for cause in ranked[:2]} == {"db", "cache"}
    explained = {cause.node: cause.explained for cause in ranked}
    assert explained["db"] == pytest.approx(2 / 3, abs=0.1)
    assert explained["cache"] == pytest.approx(1 / 3, abs=0.1)
    assert ranked[0].node == "db"


def test_where_nothing_happened_nothing_is_named() -> None:
    named = [cause for seed in range(20) for cause in found(WIDE, {}, seed=seed)]
    assert len(named) <= 2  # of 120 nodes


def test_the_symptom_given_its_cause_is_as_before_and_given_another_node_is_not() -> None:
    faults = {"db": 10.0, "cache": 0.5}
    by_node = {cause.node: cause for cause in found(COLLIDER, faults)}
    assert by_node["db"].invariant > 0.01
    both = {cause.node: cause for cause in found(COLLIDER, {"db": 10.0, "cache": 10.0})}
    assert both["db"].invariant < 1e-4  # the cache is missing from the explanation
    assert both["cache"].invariant < 1e-4


def test_a_change_that_came_after_the_symptom_counts_less() -> None:
    first = {cause.node: cause for cause in found(COLLIDER, {"db": 20.0, "cache": 20.0})}
    later = {
        cause.node: cause
        for cause in found(COLLIDER, {"db": 20.0, "cache": 20.0}, late={"cache": 8})
    }
    assert later["cache"].lead == -8
    assert later["cache"].score < first["cache"].score
    assert later["db"].lead == 0


def test_an_early_change_is_seen_within_the_lead_and_a_lag_explains_it() -> None:
    random = np.random.default_rng(1)
    db = random.normal(size=USUAL + AFTER)
    db[USUAL - 3 :] += 15
    web = random.normal(size=USUAL + AFTER) + np.concatenate([np.zeros(3), db[:-3]])
    changes = Changes({"db": db, "web": web}, USUAL, lead=10)
    (cause, *_) = causes(Graph([("db", "web", 3)]), changes, "web")
    assert (cause.node, cause.lead) == ("db", 3)
    assert cause.explained == pytest.approx(1, abs=0.15)
    assert "3 steps before it" in str(cause)
    assert "db > web" in str(cause)


def test_names_and_their_order_do_not_matter() -> None:
    series = world(WIDE, {"db": 9.0})
    plain = causes(graph_of(WIDE), Changes(series, USUAL), "web")
    new = {node: f"n{place}" for place, node in enumerate(reversed(WIDE))}
    edges = [(new[edge.cause], new[edge.effect]) for edge in reversed(graph_of(WIDE).edges)]
    renamed = {new[node]: series[node] for node in reversed(series)}
    again = causes(Graph(edges), Changes(renamed, USUAL), new["web"])
    assert [cause.node for cause in again] == [new[cause.node] for cause in plain]
    assert [cause.score for cause in again] == pytest.approx([cause.score for cause in plain])


def test_units_do_not_matter() -> None:
    series = world(WIDE, {"db": 9.0})
    other = {
        node: value * 10.0 ** (place - 3) + 1000 * place
        for place, (node, value) in enumerate(series.items())
    }
    plain = causes(graph_of(WIDE), Changes(series, USUAL), "web")
    again = causes(graph_of(WIDE), Changes(other, USUAL), "web")
    assert [cause.node for cause in again] == [cause.node for cause in plain]
    assert [cause.score for cause in again] == pytest.approx([cause.score for cause in plain])


def test_a_turned_sign_does_not_matter() -> None:
    series = world(CHAIN, {"db": -9.0})
    series["api"] = -series["api"]
    (first, *_) = causes(graph_of(CHAIN), Changes(series, USUAL), "web")
    assert first.node == "db"


def test_a_node_that_measures_nothing_is_looked_through() -> None:
    series = world(CHAIN, {"db": 10.0})
    del series["api"]
    (cause,) = causes(graph_of(CHAIN), Changes(series, USUAL), "web")
    assert (cause.node, cause.way) == ("db", ("db", "api", "web"))
    series["api"] = np.full(USUAL + AFTER, np.nan)
    assert causes(graph_of(CHAIN), Changes(series, USUAL), "web") == (cause,)


def test_missing_values_are_survived() -> None:
    series = world(CHAIN, {"db": 10.0})
    random = np.random.default_rng(4)
    for value in series.values():
        value[random.random(len(value)) < 0.2] = np.nan
    assert causes(graph_of(CHAIN), Changes(series, USUAL), "web")[0].node == "db"


def test_a_series_that_never_moved_before_is_no_division_by_zero() -> None:
    series = world(CHAIN, {})
    series["db"] = np.zeros(USUAL + AFTER)
    series["db"][USUAL:] = 1
    series["web"][USUAL:] += 10
    ranked = causes(graph_of(CHAIN), Changes(series, USUAL), "web")
    assert {cause.node for cause in ranked} == {"db", "web"}
    assert all(np.isfinite(cause.score) for cause in ranked)


def test_nodes_of_a_cycle_do_not_excuse_each_other() -> None:
    series = world(CHAIN, {"api": 10.0})
    graph = Graph([("db", "api"), ("api", "db"), ("api", "web"), ("web", "web2")])
    ranked = causes(graph, Changes(series, USUAL), "web")
    assert ranked[0].node == "api"


def test_the_measure_that_changed_is_named_and_the_symptom_may_be_one() -> None:
    random = np.random.default_rng(1)
    cpu, memory = random.normal(size=(2, USUAL + AFTER))
    memory[USUAL:] += 12
    web = {"latency": memory + random.normal(size=USUAL + AFTER), "rate": cpu}
    changes = Changes({"db": {"cpu": cpu, "memory": memory}, "web": web}, USUAL)
    graph = Graph([("db", "web")])
    (cause,) = causes(graph, changes, ("web", "latency"))
    assert (cause.node, cause.measure) == ("db", "memory")
    with pytest.raises(ValueError, match=r"'web\.errors' has no series"):
        causes(graph, changes, ("web", "errors"))


def errors_of(*begins: int | None) -> Series:
    """A chain of services without any error while usual; from some step on each has ten a second."""
    steps = np.arange(USUAL + AFTER)
    return {
        f"s{place}": np.where(steps >= (USUAL + AFTER if begin is None else begin), 10.0, 0.0)
        for place, begin in enumerate(begins)
    }


def test_what_never_moved_passes_on_where_that_is_believed() -> None:
    graph = Graph([("s0", "s1"), ("s1", "s2")])
    changes = Changes({k: {"errors": v} for k, v in errors_of(USUAL, USUAL, USUAL).items()}, USUAL)

    assert causes(graph, changes, "s2")[0].node == "s2"
    believed = causes(graph, changes, "s2", passes_on={"errors": 1.0})
    assert [cause.node for cause in believed] == ["s0"]
    assert believed[0].explained == pytest.approx(1.0, abs=0.01)

    alone = Changes({k: {"errors": v} for k, v in errors_of(None, None, USUAL).items()}, USUAL)
    assert [cause.node for cause in causes(graph, alone, "s2", passes_on={"errors": 1.0})] == ["s2"]


def test_what_usual_steps_teach_outweighs_what_is_believed() -> None:
    order: dict[str, dict[str, float]] = {"db": {}, "web": {"db": 0.0}}
    series = world(order, {"db": 30.0, "web": 30.0})
    changes = Changes({name: {"latency": value} for name, value in series.items()}, USUAL)
    named = causes(graph_of(order), changes, "web", passes_on={"latency": 1.0})
    assert {cause.node for cause in named} == {"db", "web"}


def test_a_node_is_not_blamed_for_what_its_parent_hid_at_the_end_of_its_scale() -> None:
    order: dict[str, dict[str, float]] = {"db": {}, "web": {"db": 1.0}}
    series = world(order, {"db": 40.0})
    cut = {name: np.clip(value, -12.0, 40.0 if name == "web" else 12.0)
           for name, value in series.items()}  # fmt: skip
    graph = graph_of(order)

    assert "web" in {cause.node for cause in causes(graph, Changes(cut, USUAL), "web")}
    told = causes(graph, Changes(cut, USUAL, limit=12.0), "web")
    assert "db" in {cause.node for cause in told}
    assert told[0].node == "db"
    with pytest.raises(ValueError, match=r"limit=-1\.0 is no end of a scale"):
        Changes(cut, USUAL, limit=-1.0)


def test_depth_limits_how_far_is_looked() -> None:
    changes = Changes(world(CHAIN, {"db": 10.0}), USUAL)
    assert [cause.node for cause in causes(graph_of(CHAIN), changes, "web", depth=2)] == ["db"]
    assert [cause.node for cause in causes(graph_of(CHAIN), changes, "web", depth=1)] == ["api"]


@pytest.mark.parametrize(
    ("edges", "said"),
    [
        ([("a", "a")], "from 'a' to itself"),
        ([("a", "b"), ("a", "b", 2)], "there twice"),
        ([("a", "b", -1)], "the lag -1.0, below 0"),
        ([("a", "b", 1, 0)], "the weight 0.0, not in"),
        ([("a",)], "is no edge"),
        ([("a", "b", "soon")], "lag and weight are numbers"),
        ([("", "b")], "not names"),
    ],
)
def test_what_is_no_graph_is_refused(edges: list[tuple[object, ...]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Graph(edges)


def test_a_graph_is_read_from_a_matrix_and_turned_round() -> None:
    graph = Graph.of_matrix(["a", "b", "c"], np.diag([1, 0.5], k=1))
    way = graph.upstream("c")["a"]
    assert (way.nodes, way.lag) == (("a", "b", "c"), np.inf)
    assert way.weight == pytest.approx(0.5)
    assert graph.reversed().parents("a") == ("b",)
    assert graph.upstream("c", depth=1).keys() == {"c", "b"}
    with pytest.raises(ValueError, match="need a square"):
        Graph.of_matrix(["a"], [[0, 1]])
    with pytest.raises(ValueError, match="no node 'x'"):
        graph.upstream("x")


@pytest.mark.parametrize(
    ("series", "begin", "said"),
    [
        ({"a": np.zeros(50), "b": np.zeros(49)}, 40, "one length"),
        ({"a": np.zeros(50)}, 50, "one from begin on"),
        ({"a": np.zeros(50)}, 5, "at least 20 usual"),
        ({"a": np.zeros((50, 2))}, 40, "shape"),
        ({"a": np.full(50, np.inf)}, 40, "infinite at 0"),
        ({}, 40, "one length"),
    ],
)
def test_what_are_no_changes_is_refused(series: Any, begin: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Changes(series, begin)
