"""Why a model answered as it did: how much each number of a row moved the answer.

Shape suffixes: N = rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

How = Literal["integrated_gradients", "occlusion", "attention"]
Columns = int | slice | Sequence[int] | tuple[slice | int, ...]
REST = "rest"  # the group of what is in no other


class Reason(NamedTuple):
    """One place of one input, and what it did to the answer."""

    input: str
    place: tuple[int, ...]
    share: float


@dataclass(frozen=True, eq=False, slots=True)
class Attribution:
    """What ``explain`` gives. Shares are in the unit of the answer: log odds, logits or values.

    Args:
        how: the method.
        shares: by input, of the input's shape ``(N, ...)``: how much each number raised the answer
            over ``base_N``. Of attention: how much was looked there; a row's looks sum to 1.
        base_N: the answer where every input is as in the baseline; not a number for attention.
        answer_N: the answer that is explained: logit or value, as ``Model.logits`` gives it.
        target_NK: which output it is: none for one answer, class or value, or place and token.
        steps: that the row with the most took; 0 but for integrated gradients.
    """

    how: How
    shares: Mapping[str, NDArray[np.float64]]
    base_N: NDArray[np.float64]
    answer_N: NDArray[np.float64]
    target_NK: NDArray[np.int64]
    steps: int = 0

    def __len__(self) -> int:
        return len(self.answer_N)

    @property
    def gap_N(self) -> NDArray[np.float64]:  # noqa: N802 - a shape suffix
        """Completeness gap: what of ``answer_N - base_N`` the shares do not account for.

        Near 0 for integrated gradients. Of occlusion it is what numbers do together only, which
        taking away one at a time cannot tell. Raises ``ValueError`` for attention.
        """
        if self.how == "attention":
            raise ValueError(
                "Attention says where a network looked, not what that changed: it has no gap. "
                "Take integrated_gradients for shares that add up."
            )
        whole_N = sum(_summed(share) for share in self.shares.values())
        gap_N: NDArray[np.float64] = self.answer_N - self.base_N - whole_N
        return gap_N

    def grouped(
        self, groups: Mapping[str, Columns], of: str | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """``(N,)`` for each group: reason codes whose sum is that of all shares.

        Args:
            groups: by name, places of one row of the input: columns of a table, steps of a series,
                a tuple of slices of an image.
            of: the input; the first one if left out. What is in no group, other inputs too, is
                under ``rest``, which is absent where there is nothing.

        Raises:
            ValueError: groups overlap, a place or the input does not exist, or a group is
                called ``rest``.

        >>> shares = {"x": np.array([[1.0, -2.0, 0.5]])}
        >>> one = np.zeros(1)
        >>> found = Attribution("occlusion", shares, one, one - 0.5, np.zeros((1, 0), int))
        >>> {name: share.tolist() for name, share in found.grouped({"amount": [0, 2]}).items()}
        {'amount': [1.5], 'rest': [-2.0]}
        """
        name = next(iter(self.shares)) if of is None else of
        if name not in self.shares:
            raise ValueError(f"No input {name!r}: there are {', '.join(self.shares)}.")
        if REST in groups:
            raise ValueError(f"A group cannot be called {REST!r}: that is what no group has.")
        share = self.shares[name]
        taken = np.zeros(share.shape[1:], dtype=np.int64)
        found = {}
        for group, columns in groups.items():
            index: Any = columns if isinstance(columns, int | slice | tuple) else list(columns)
            mine = np.zeros_like(taken)
            try:
                mine[index] = 1
            except IndexError as error:
                raise ValueError(f"Group {group!r} of {name!r}: {error}.") from error
            taken += mine
            found[group] = _summed(share[:, mine.astype(bool)])
        if (taken > 1).any():
            place = tuple(int(n) for n in np.argwhere(taken > 1)[0])
            raise ValueError(f"Place {place} of {name!r} is in two groups: it would count twice.")
        others = [other for key, other in self.shares.items() if key != name]
        if others or not taken.all():
            rest_N = _summed(share[:, taken == 0])
            found[REST] = rest_N + sum(_summed(other) for other in others)
        return found

    def top(self, n: int = 5) -> tuple[tuple[Reason, ...], ...]:
        """For each row the places that moved its answer most, in either direction.

        Places that did nothing are left out, so a row may have fewer than ``n``.
        """
        sizes = [math.prod(share.shape[1:]) for share in self.shares.values()]
        starts = np.cumsum([0, *sizes])
        names = list(self.shares)
        flat = [
            share.reshape(len(self), size)
            for share, size in zip(self.shares.values(), sizes, strict=True)
        ]
        flat_NP = np.concatenate(flat, axis=1)
        rows = []
        for row_P in flat_NP:
            order = np.argsort(-np.abs(row_P), kind="stable")[:n]
            reasons = []
            for place in order[row_P[order] != 0].tolist():
                which = int(np.searchsorted(starts, place, side="right")) - 1
                shape = self.shares[names[which]].shape[1:]
                at = np.unravel_index(place - int(starts[which]), shape)
                reasons.append(Reason(names[which], tuple(int(k) for k in at), float(row_P[place])))
            rows.append(tuple(reasons))
        return tuple(rows)


def _summed(share: NDArray[np.float64]) -> NDArray[np.float64]:
    summed_N: NDArray[np.float64] = share.sum(axis=tuple(range(1, share.ndim)))
    return summed_N
