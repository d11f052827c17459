"""The population stability index, and the reference that a model carries."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from models_core.artifact import MANIFEST, ArtifactError, unpack
from models_core.drift import DriftReference, drift_reference, feature_drift, psi, score_drift
from tests.champions import PAYMENTS, payments_model

Rows = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def world(seed: int, rows: int) -> Rows:
    """A normal one, a heavy tail, a rare flag, a count, and one that never changes."""
    rng = np.random.default_rng(seed)
    columns = [
        rng.normal(size=rows),
        rng.lognormal(3, 2, rows),
        rng.uniform(size=rows) < 0.01,
        rng.poisson(2, rows),
        np.full(rows, 7.0),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


@pytest.mark.parametrize("rows", [1_000, 20_000])
def test_rows_that_differ_by_chance_alone_have_not_drifted(rows: int) -> None:
    reference = drift_reference(world(0, 8_000), np.linspace(0, 1, 8_000))
    for seed in range(1, 40):
        assert not any(drift.some for drift in feature_drift(reference, world(seed, rows)))


@pytest.mark.parametrize(
    ("feature", "change"),
    [
        (0, lambda x: x + 1.5),
        (1, lambda x: x * 10),  # another unit
        (2, lambda x: np.ones_like(x)),
        (3, lambda x: x + 3),
        (4, lambda x: x + 1),
    ],
)
def test_a_feature_that_moved_is_named_and_no_other(feature: int, change: object) -> None:
    reference = drift_reference(world(0, 8_000), np.linspace(0, 1, 8_000))
    x_NF = world(1, 4_000)
    assert callable(change)
    x_NF[:, feature] = change(x_NF[:, feature])
    moved = [place for place, drift in enumerate(feature_drift(reference, x_NF)) if drift.moved]
    assert moved == [feature]


def test_a_feature_that_is_nearly_always_zero_is_watched_too() -> None:
    rng = np.random.default_rng(0)
    x_NF = np.where(rng.random((8_000, 1)) < 0.07, rng.lognormal(1, 1, (8_000, 1)), 0.0)
    reference = drift_reference(x_NF.astype(np.float32), np.linspace(0, 1, 8_000))
    (same,) = feature_drift(reference, x_NF[::2].astype(np.float32))
    (moved,) = feature_drift(reference, np.full((4_000, 1), 50.0, np.float32))
    assert not same.some
    assert moved.moved


def test_scores_that_rise_have_drifted() -> None:
    rng = np.random.default_rng(0)
    reference = drift_reference(world(0, 4_000), rng.beta(1, 30, 4_000))
    assert not score_drift(reference, rng.beta(1, 30, 4_000)).some
    assert score_drift(reference, rng.beta(1, 8, 4_000)).moved


def test_it_is_the_sum_over_bins_of_the_differences_times_the_log_of_the_ratio() -> None:
    drift = psi([8_000, 2_000], [6_000, 4_000])
    exact = (0.6 - 0.8) * np.log(0.6 / 0.8) + (0.4 - 0.2) * np.log(0.4 / 0.2)
    assert drift.psi == pytest.approx(exact, rel=1e-3)


def test_few_rows_prove_nothing() -> None:
    drift = psi([500] * 10, [1, 0, 3, 2, 0, 1, 1, 0, 0, 2])
    assert drift.psi > 0.25
    assert not drift.moved


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"features": []}, "has 0 drift references for 47 features"),
        ({"score": {"edges": [0.1, 0.1], "counts": [1, 2, 3]}}, "do not rise"),
        ({"score": {"edges": [0.1], "counts": [1, 2, 3]}}, "do not fit"),
        ({"score": {"edges": [0.1], "counts": [-1, 2]}}, "without rows"),
        ({"score": {"edges": [0.1], "counts": [0, 0]}}, "without rows"),
        ({"score": {"edges": ["a"], "counts": [0, 1]}}, "Expected `float`"),
        ({"code": "x"}, "unknown field"),
    ],
)
def test_a_reference_that_is_none_is_refused_with_the_artifact(
    change: dict[str, object], why: str
) -> None:
    trained = payments_model()
    width = len(PAYMENTS.extractor.schema.names)
    rng = np.random.default_rng(0)
    kept = drift_reference(rng.normal(size=(500, width)).astype(np.float32), rng.random(500))
    manifest = json.loads(trained.files[MANIFEST])
    manifest["drift"] = msgspec.to_builtins(kept)
    whole = {**trained.files, MANIFEST: json.dumps(manifest).encode()}
    assert unpack(whole).manifest.drift == kept
    manifest["drift"] |= change
    with pytest.raises(ArtifactError, match=why):
        unpack({**whole, MANIFEST: json.dumps(manifest).encode()})


def test_an_artifact_from_before_it_was_kept_still_opens() -> None:
    trained = payments_model()
    manifest = json.loads(trained.files[MANIFEST])
    manifest.pop("drift", None)
    opened = unpack({**trained.files, MANIFEST: json.dumps(manifest).encode()})
    assert opened.manifest.drift is None
    assert msgspec.convert(None, DriftReference | None) is None
