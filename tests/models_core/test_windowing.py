"""Series become rows without a step of the future in the past, and without a gap in a window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_core import split_windows, windows


@given(
    steps=st.integers(30, 80),
    length=st.integers(1, 6),
    horizon=st.integers(1, 4),
    step=st.integers(1, 5),
    lost=st.sets(st.integers(0, 29), max_size=3),
)
def test_windows_are_what_a_loop_over_the_series_finds(
    steps: int, length: int, horizon: int, step: int, lost: set[int]
) -> None:
    series = np.arange(steps, dtype=np.float32)
    series[list(lost)] = np.nan
    expected = []
    for begin in range(0, steps - length - horizon + 1, step):
        window = series[begin : begin + length + horizon]
        if not np.isnan(window).any():
            expected.append(window.tolist())
    if not expected:
        with pytest.raises(ValueError, match="without a gap"):
            windows(series, length, horizon, step)
        return
    data = windows(series, length, horizon, step)
    found = np.concatenate([data.inputs["series"][:, :, 0], data.target], axis=1)
    assert found.tolist() == expected


@given(
    steps=st.integers(60, 120),
    length=st.integers(1, 6),
    horizon=st.integers(1, 4),
    step=st.integers(1, 3),
)
def test_no_part_asks_for_a_step_that_an_earlier_part_has_seen(
    steps: int, length: int, horizon: int, step: int
) -> None:
    series = np.arange(steps, dtype=np.float32)  # a value says its place
    parts = split_windows(series, length, horizon, step)
    seen = -1.0
    for part in parts:
        assert part.target.min() > seen
        assert (part.inputs["series"].max(axis=(1, 2)) < part.target.min(axis=1)).all()
        assert (np.diff(part.target[:, 0]) == step).all()
        seen = max(part.target.max(), part.inputs["series"].max())


def test_all_channels_are_inputs_and_one_is_asked_for() -> None:
    series = np.stack([np.arange(6.0), 10 * np.arange(6.0)], axis=1)
    data = windows(series, 2, 1, channel=1)
    assert data.inputs["series"].shape == (4, 2, 2)
    assert data.target[:, 0].tolist() == [20, 30, 40, 50]
    assert data.task == "regression"


def test_a_jump_in_time_is_a_gap() -> None:
    start = np.datetime64("2024-03-01T00:00")
    hours = np.array([0, 1, 2, 3, 7, 8, 9, 10])
    data = windows(np.arange(8.0), 2, 1, times=start + hours * np.timedelta64(1, "h"))
    assert data.target[:, 0].tolist() == [2, 3, 6, 7]


def test_times_that_fall_stand_or_are_missing_are_refused() -> None:
    for times in ([0, 1, 1, 2], [0, 2, 1, 3], [0, 1, np.nan, 3]):
        with pytest.raises(ValueError, match="do not rise at step"):
            windows(np.arange(4.0), 1, 1, times=times)
    with pytest.raises(ValueError, match="times has the shape"):
        windows(np.arange(4.0), 1, 1, times=[0, 1])


def test_a_series_that_is_too_short_is_told_so() -> None:
    with pytest.raises(ValueError, match=r"No window of 5 \+ 1 steps"):
        windows(np.arange(5.0), 5, 1)
    with pytest.raises(ValueError, match="must be at least 1"):
        windows(np.arange(5.0), 2, 0)
    with pytest.raises(ValueError, match="channel=1"):
        windows(np.arange(5.0), 2, 1, channel=1)
    with pytest.raises(ValueError, match="nothing to test on"):
        split_windows(np.arange(50.0), 2, 1, train=0.9, validation=0.1)
