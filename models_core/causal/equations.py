"""Linear structural equations: each node by what is upstream of it, fitted on usual steps.

Shape suffixes: T = steps, M = measures of a node, P = columns of its parents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models_core.causal.changes import Changes, of_blocks

_RIDGE = 1.0  # weights are believed to be within one spread of 0
_MOST_LAGS = 5  # steps back that an equation looks at where an edge has a lag


@dataclass(frozen=True, eq=False, slots=True)
class Equation:
    """What a node's measures are by its parents, and what of a fault that leaves over."""

    parents: tuple[str, ...]
    weight_of: Mapping[str, NDArray[np.float64]]  # by parent (measures of the parent, M)
    left_M: NDArray[np.float64]  # mean after ``begin`` that the parents do not account for
    own_M: NDArray[np.float64]  # the same in standard errors: how surely the node itself changed


def fit_equation(
    z_TM: NDArray[np.float64],
    parents: Mapping[str, tuple[NDArray[np.float64], float]],
    changes: Changes,
    believed: Mapping[str, NDArray[np.float64]] | None = None,
    cut: Mapping[str, NDArray[np.float64]] | None = None,
) -> Equation:
    """Ridge regression of a node on its parents over the usual steps.

    The error of a mean after ``begin`` has two parts: the noise that usual blocks have, and that of
    the weights, which grows with the distance of the parents from where the weights were learned.
    Without the second one whatever is downstream of a large change would seem to have changed itself.

    Args:
        z_TM: the node.
        parents: by name, ``(T, M)`` of the parent and the lag of the edge, in steps.
        changes: which steps are usual, and which are to be explained.
        believed: by parent, weights ``(measures of the parent, M)`` that hold as far as usual steps
            say nothing of them; 0 where left out. They are believed to be wrong by their own size.
        cut: by parent, for each measure the share of steps that stand at the end of its scale. What
            it brings may be as much again.
    """
    columns, owner = [], []
    for name, (parent_TM, lag) in parents.items():
        for back in range(1 + (min(int(lag), _MOST_LAGS) if math.isfinite(lag) else 0)):
            columns.append(_back(parent_TM, back))
            owner += [(name, m) for m in range(parent_TM.shape[1])]
    x_TP = np.concatenate(columns, axis=1) if columns else np.zeros((len(z_TM), 0))
    x_usual, z_usual = x_TP[changes.usual], z_TM[changes.usual]
    x_mean_P, z_mean_M = x_usual.mean(axis=0), z_usual.mean(axis=0)
    x_usual, z_usual = x_usual - x_mean_P, z_usual - z_mean_M
    inverse_PP = np.linalg.inv(x_usual.T @ x_usual + _RIDGE * np.eye(x_TP.shape[1]))
    believed_PM = _believed(believed or {}, parents, owner, z_TM.shape[1])
    weight_PM = believed_PM + inverse_PP @ (x_usual.T @ (z_usual - x_usual @ believed_PM))
    middle_M, spread_M = of_blocks(z_usual - x_usual @ weight_PM, changes.block)
    x_P = x_TP[changes.after].mean(axis=0) - x_mean_P
    left_M = z_TM[changes.after].mean(axis=0) - z_mean_M - x_P @ weight_PM
    lever = float(x_P @ inverse_PP @ x_P)
    cut_P = np.array([cut[name][m] if cut else 0.0 for name, m in owner])
    unsure_PM = believed_PM * (x_P * _RIDGE * np.diag(inverse_PP))[:, None]
    further_PM = weight_PM * (x_P * cut_P)[:, None]
    error_M = np.sqrt(
        spread_M**2 * (1 + changes.block * lever)
        + np.square(unsure_PM).sum(axis=0)
        + np.square(further_PM).sum(axis=0)
    )
    own_M = np.abs(left_M - middle_M) / error_M
    weight_of = {
        name: np.zeros((parent_TM.shape[1], z_TM.shape[1]))
        for name, (parent_TM, _) in parents.items()
    }
    for (name, measure), weight_M in zip(owner, weight_PM, strict=True):
        weight_of[name][measure] += weight_M
    return Equation(tuple(parents), weight_of, left_M, own_M)


def _believed(
    believed: Mapping[str, NDArray[np.float64]],
    parents: Mapping[str, tuple[NDArray[np.float64], float]],
    owner: Sequence[tuple[str, int]],
    measures: int,
) -> NDArray[np.float64]:
    """``(P, M)``. Of a parent's columns at several lags, the one without a lag is believed."""
    weight_PM = np.zeros((len(owner), measures))
    told: set[str] = set()
    for column, (name, measure) in enumerate(owner):
        if measure == 0 and name in believed and name not in told:
            told.add(name)
            weight_PM[column : column + parents[name][0].shape[1]] = believed[name]
    return weight_PM


def shares(
    equations: Mapping[str, Equation], symptom: str, measure: int, order: Sequence[str]
) -> dict[str, float]:
    """What the change of each node itself adds to the mean change of the symptom.

    Had this node alone stayed usual, the symptom would have moved by so much less: with linear
    equations the parts add up to the whole.

    Args:
        equations: of the symptom and what is upstream of it.
        symptom: the node.
        measure: which of its measures.
        order: all nodes, each one before its parents.
    """
    effect = {
        node: np.zeros(len(equation.left_M)) for node, equation in equations.items()
    }  # of one spread of each measure on the symptom
    effect[symptom][measure] = 1.0
    for node in order:
        for parent, weight_MM in equations[node].weight_of.items():
            effect[parent] += weight_MM @ effect[node]
    return {node: float(effect[node] @ equations[node].left_M) for node in order}


def _back(z_TM: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """The series so many steps ago; what is before its beginning stands at 0."""
    if not steps:
        return z_TM
    return np.concatenate([np.zeros((steps, z_TM.shape[1])), z_TM[:-steps]])
