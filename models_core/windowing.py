"""A long series to rows for forecasting: what was, and what came next.

Shape suffixes: S = steps of the series, N = windows, T = steps of a window, C = channels,
H = steps ahead.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from models_core.data import Data, Split

INPUT = "series"  # the name of the input that windows make


def windows(
    series: ArrayLike,
    length: int,
    horizon: int = 1,
    step: int = 1,
    *,
    channel: int = 0,
    times: ArrayLike | None = None,
    first: int = 0,
    last: int | None = None,
) -> Data:
    """Cut a series into rows: ``length`` steps as input, the ``horizon`` steps after them asked for.

    A window over a gap is left out. A gap is a step with a value that is not finite, or with
    ``times`` a distance between two steps that is not the usual (the median) one.

    Args:
        series: ``(S,)`` or ``(S, C)``, evenly spaced, oldest first.
        length, horizon: steps of the input and of the answer, each at least 1.
        step: steps from one window's begin to the next; ``horizon`` makes answers meet once.
        channel: which one is asked for. All of them are inputs.
        times: ``(S,)`` numbers or ``datetime64``, rising.
        first, last: windows whose answers all lie in steps ``first`` to ``last - 1``.

    Returns:
        ``series`` ``(N, length, C)`` with the target ``(N, horizon)``, a regression, oldest first.
        Windows overlap: ``length / step`` times the memory of the series.

    Raises:
        ValueError: a number is out of range, times do not rise, or no window is left.

    >>> data = windows([1.0, 2, 3, np.nan, 5, 6, 7, 8], length=2, horizon=1)
    >>> data.inputs["series"][:, :, 0].tolist(), data.target.tolist()
    ([[1.0, 2.0], [5.0, 6.0], [6.0, 7.0]], [[3.0], [7.0], [8.0]])
    """
    x_SC = _checked(series, channel)
    if min(length, horizon, step) < 1:
        raise ValueError(f"{length=}, {horizon=} and {step=} must be at least 1.")
    end = len(x_SC) if last is None else last
    if not 0 <= first < end <= len(x_SC):
        raise ValueError(f"Steps {first} to {end} are no part of a series of {len(x_SC)}.")
    begin_N = np.arange(max(0, first - length), end - length - horizon + 1, step)
    begin_N = begin_N[_whole(x_SC, times, begin_N, length + horizon)]
    if not len(begin_N):
        raise ValueError(
            f"No window of {length} + {horizon} steps without a gap has its answers in steps "
            f"{first} to {end - 1}."
        )
    every_NCT = sliding_window_view(x_SC, length, axis=0)
    asked_NH = sliding_window_view(x_SC[:, channel], horizon)
    rows_NTC = every_NCT[begin_N].transpose(0, 2, 1)
    return Data({INPUT: rows_NTC}, asked_NH[begin_N + length], "regression")


def split_windows(
    series: ArrayLike,
    length: int,
    horizon: int = 1,
    step: int = 1,
    *,
    channel: int = 0,
    times: ArrayLike | None = None,
    train: float = 0.7,
    validation: float = 0.15,
) -> Split:
    """The windows of a series in three parts by time, none of which knows answers of a later one.

    Windows overlap, so cutting their list would put steps that are asked for in training among the
    answers of the test too. Here the series is cut and a window belongs to the part that holds
    all of its answers; a window with answers on both sides of a cut belongs to none. Inputs may
    reach back over the cut: that past is known when the forecast is made.

    >>> parts = split_windows(np.arange(20.0), length=3, horizon=2, train=0.5, validation=0.25)
    >>> [part.target[[0, -1]].tolist() for part in parts]
    [[[3.0, 4.0], [8.0, 9.0]], [[10.0, 11.0], [13.0, 14.0]], [[15.0, 16.0], [18.0, 19.0]]]
    """
    if not (0 < train < 1 and 0 < validation < 1 and train + validation < 1):
        raise ValueError(f"{train=} and {validation=} leave nothing to test on.")
    x_SC = _checked(series, channel)
    # A little is added before rounding down: 0.7 + 0.15 is a little less than 0.85.
    cuts = [0, *(int(len(x_SC) * share + 1e-9) for share in (train, train + validation))]
    parts = (
        windows(x_SC, length, horizon, step, channel=channel, times=times, first=first, last=last)
        for first, last in zip(cuts, [*cuts[1:], len(x_SC)], strict=True)
    )
    return Split(*parts)


def _checked(series: ArrayLike, channel: int) -> NDArray[np.float32]:
    x = np.asarray(series, dtype=np.float32)
    x_SC = x[:, None] if x.ndim == 1 else x
    if x_SC.ndim != 2 or not x_SC.size:
        raise ValueError(f"A series has the shape (S,) or (S, C), not {x.shape}.")
    if not 0 <= channel < x_SC.shape[1]:
        raise ValueError(f"{channel=} is not in 0..{x_SC.shape[1] - 1}.")
    return x_SC


def _whole(
    x_SC: NDArray[np.float32], times: ArrayLike | None, begin_N: NDArray[np.int64], span: int
) -> NDArray[np.bool_]:
    """Which windows of ``span`` steps have no gap in them."""
    lost_S = ~np.isfinite(x_SC).all(axis=1)
    jump_S = np.zeros(len(x_SC), dtype=bool)  # between this step and the one before
    if times is not None:
        when_S = np.asarray(times)
        if when_S.shape != lost_S.shape:
            raise ValueError(f"times has the shape {when_S.shape}, the series {len(x_SC)} steps.")
        apart = np.diff(when_S).astype(np.float64)
        if not (apart > 0).all():  # refuses NaT and NaN too
            place = int(np.flatnonzero(~(apart > 0))[0]) + 1
            raise ValueError(f"times do not rise at step {place}: {when_S[place]}.")
        if len(apart):
            jump_S[1:] = ~np.isclose(apart, np.median(apart), rtol=1e-3, atol=0)
    lost_before = np.concatenate([[0], np.cumsum(lost_S)])
    jump_before = np.concatenate([[0], np.cumsum(jump_S)])
    # A jump at a window's first step is before the window.
    jumps_N = jump_before[begin_N + span] - jump_before[begin_N + 1]
    free: NDArray[np.bool_] = (lost_before[begin_N + span] == lost_before[begin_N]) & (jumps_N == 0)
    return free
