"""Shares of an answer: their sign, their sum, and that nothing but the row and the model counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models_core import Attribution, Data, FitRecipe, Model, Spec, Table, explain, fit
from models_core.architectures import architecture
from models_core.architectures.binary import BinaryModule
from models_core.explaining import roll_out

RECIPE = FitRecipe(
    steps=60, batch_size=64, learning_rate=5e-3, evaluate_every=30, precision="float32", seed=3
)
ROWS = slice(6, 12)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """On a busy machine two threads wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@architecture("straight_line")
class StraightLine(BinaryModule):
    """The one model whose shares are known: weight times distance from the baseline."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        self.line = torch.nn.Linear(num_features, 1)

    def prepare(self, train: Any, log_odds: float) -> None:
        torch.nn.init.constant_(self.line.bias, log_odds)

    def member_logits(self, x_BF: torch.Tensor) -> torch.Tensor:
        raw_B1: torch.Tensor = self.line(x_BF)
        return raw_B1


def table(num: int = 800, seed: int = 1) -> Table:
    """Column 0 speaks for a yes, column 1 against it, 2 says nothing, 3 is always the same."""
    random = np.random.default_rng(seed)
    x_NF = random.normal(size=(num, 4)).astype(np.float32)
    x_NF[:, 3] = 7.0
    chance_N = 1 / (1 + np.exp(-(3 * x_NF[:, 0] - 3 * x_NF[:, 1])))
    return Table(x_NF, (random.random(num) < chance_N).astype(np.float32))


def series(num: int = 300) -> Data:
    """The answer is whether the last steps of channel 0 are high."""
    random = np.random.default_rng(1)
    x_NTC = random.normal(size=(num, 10, 2)).astype(np.float32)
    return Data(x_NTC, (x_NTC[:, -3:, 0].mean(axis=1) > 0).astype(np.float32))


def texts(num: int = 300) -> Data:
    """A token 3, 5 or 7 makes class 0, 1 or 2, none of them class 3; rows end in padding."""
    random = np.random.default_rng(1)
    x_NT = random.choice([1, 2, 4, 6, 8], (num, 8))
    kind_N = random.integers(0, 4, num)
    told_N = np.flatnonzero(kind_N < 3)
    x_NT[told_N, random.integers(0, 6, len(told_N))] = np.array([3, 5, 7])[kind_N[told_N]]
    x_NT[:, 6:] = 0
    return Data({"text": x_NT}, kind_N, vocabulary={"text": 9})


def images(num: int = 200) -> Data:
    random = np.random.default_rng(1)
    x_NCHW = random.normal(size=(num, 1, 8, 8)).astype(np.float32)
    bright_N = random.integers(0, 2, num)
    x_NCHW[:, 0, :4, :4] += 2 * bright_N[:, None, None]
    return Data({"image": x_NCHW}, bright_N, "classes")


def both(num: int = 200) -> Data:
    text = texts(num)
    random = np.random.default_rng(2)
    return Data(
        {"table": random.normal(size=(num, 3)).astype(np.float32), "text": text.inputs["text"]},
        text.target,
        vocabulary={"text": 9},
    )


KINDS: dict[str, tuple[Data | Table, dict[str, Any]]] = {
    "mlp": (table(), {"width": 32}),
    "tabular_ensemble": (table(), {"width": 16, "members": 4}),
    "lstm": (series(), {"width": 16}),
    "cnn": (images(), {"width": 8, "dense": 16}),
    "transformer": (texts(), {"width": 16, "heads": 2}),
    "fusion": (both(), {"width": 16, "text": "gru"}),
}
STEPS = {"transformer": 250, "lstm": 120}
_fitted: dict[str, Model] = {}


def fitted(kind: str) -> Model:
    if kind not in _fitted:
        data, params = KINDS[kind]
        spec = Spec(kind, 4, params) if isinstance(data, Table) else Spec.of(kind, data, **params)
        _fitted[kind] = fit(spec, data, recipe=replace(RECIPE, steps=STEPS.get(kind, 60)))
    return _fitted[kind]


def some(kind: str, index: slice | NDArray[np.int64] = ROWS) -> dict[str, NDArray[Any]]:
    data, _ = KINDS[kind]
    if isinstance(data, Table):
        return {"x": data.x_NF[index]}
    return {name: array[index] for name, array in data.inputs.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_shares_and_base_sum_to_the_answer_within_a_hundredth_of_the_change(kind: str) -> None:
    model, rows = fitted(kind), some(kind)
    why = explain(model, rows)
    assert {name: share.shape for name, share in why.shares.items()} == {
        name: array.shape for name, array in rows.items()
    }
    change_N = np.abs(why.answer_N - why.base_N)
    assert change_N.max() > 0.2  # there is something to explain
    assert (np.abs(why.gap_N) <= 0.01 * np.maximum(change_N, 0.1)).all()
    output = model.logits(rows)
    expected = output if output.ndim == 1 else output.max(axis=1)
    assert why.answer_N == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("how", ["integrated_gradients", "occlusion"])
@pytest.mark.parametrize("kind", ["mlp", "tabular_ensemble"])
def test_what_only_raises_the_answer_has_a_share_of_that_sign(kind: str, how: Any) -> None:
    x_NF = np.zeros((2, 4), np.float32)
    x_NF[:, 3] = 7.0
    x_NF[0, :2] = [1.5, 0.0]  # speaks for
    x_NF[1, :2] = [0.0, 1.5]  # speaks against
    usual = np.array([0.0, 0.0, 0.0, 7.0], np.float32)
    share_NF = explain(fitted(kind), x_NF, how=how, baseline=usual).shares["x"]
    assert share_NF[0, 0] > 0.2
    assert share_NF[1, 1] < -0.2
    as_usual = (float(share_NF[0, 1]), float(share_NF[1, 0]))
    assert as_usual == pytest.approx((0, 0), abs=1e-6)  # nothing to say


@pytest.mark.parametrize("how", ["integrated_gradients", "occlusion"])
def test_a_column_that_the_model_cannot_see_gets_nothing(how: Any) -> None:
    rows = some("mlp")["x"].copy()
    rows[:, 3] = np.linspace(-50, 50, len(rows))  # was constant, so its scale is 0
    unseen_N = explain(fitted("mlp"), rows, how=how).shares["x"][:, 3]
    # Occlusion compares runs of different sizes, which may differ in their last bits.
    assert unseen_N == pytest.approx(np.zeros(6), abs=1e-5 if how == "occlusion" else 0)


@pytest.mark.parametrize("kind", ["mlp", "tabular_ensemble", "lstm", "cnn", "transformer"])
def test_the_same_rows_in_any_order_get_the_same_shares(kind: str) -> None:
    order = np.random.default_rng(0).permutation(6)
    first, again = explain(fitted(kind), some(kind)), explain(fitted(kind), some(kind))
    mixed = explain(fitted(kind), some(kind, ROWS.start + order))
    for name, share in first.shares.items():
        assert (again.shares[name] == share).all()
        scale = np.abs(share).max()
        assert mixed.shares[name] == pytest.approx(share[order], abs=2e-3 * scale)


@pytest.mark.parametrize("kind", ["mlp", "lstm", "cnn"])
def test_a_little_noise_changes_shares_little(kind: str) -> None:
    random = np.random.default_rng(5)
    rows = some(kind)
    noisy = {
        name: (array + random.normal(0, 1e-3, array.shape)).astype(np.float32)
        for name, array in rows.items()
    }
    plain, moved = explain(fitted(kind), rows), explain(fitted(kind), noisy)
    for name, share in plain.shares.items():
        away = np.linalg.norm(moved.shares[name] - share) / np.linalg.norm(share)
        assert 0 < away < 0.05


def test_a_model_fitted_again_with_one_seed_gives_the_same_shares() -> None:
    data, params = KINDS["mlp"]
    again = fit(Spec("mlp", 4, params), data, recipe=RECIPE)
    rows = some("mlp")
    assert (explain(again, rows).shares["x"] == explain(fitted("mlp"), rows).shares["x"]).all()


def test_on_a_straight_line_all_methods_agree_with_the_weights() -> None:
    data = table()
    model = fit(Spec("straight_line", 4), data, recipe=replace(RECIPE, steps=30))
    rows = data.x_NF[:20]
    weight_F = model.module.state_dict()["line.weight"].numpy()[0].astype(np.float64)
    expected_NF = weight_F * (rows - model.reference_F)
    for how in ("integrated_gradients", "occlusion"):
        why = explain(model, rows, how=how)
        assert why.shares["x"] == pytest.approx(expected_NF, abs=2e-5)
        assert why.gap_N == pytest.approx(np.zeros(20), abs=2e-5)


def test_the_token_and_the_place_that_decide_lead_the_reasons() -> None:
    data, _ = KINDS["transformer"]
    assert isinstance(data, Data)
    rows = data.inputs["text"][data.target == 1][:8]
    for how in ("integrated_gradients", "occlusion"):
        why = explain(fitted("transformer"), rows, how=how, target=1)
        leading = [reasons[0] for reasons in why.top(1)]
        hits = [rows[n, reason.place[0]] == 5 for n, reason in enumerate(leading)]
        assert sum(hits) >= 7
        assert all(reason.input == "text" for reason in leading)
        assert why.shares["text"][:, 6:] == pytest.approx(np.zeros((8, 2)), abs=1e-5)  # padding


def test_reason_codes_are_additive_and_name_what_is_in_no_group() -> None:
    why = explain(fitted("fusion"), some("fusion"))
    codes = why.grouped({"first": slice(0, 2), "last": [2]}, of="table")
    assert set(codes) == {"first", "last", "rest"}
    whole_N = sum(codes.values()) + why.base_N + why.gap_N
    assert whole_N == pytest.approx(why.answer_N, abs=1e-9)
    assert codes["rest"] == pytest.approx(why.shares["text"].sum(axis=1), abs=1e-9)
    assert set(why.grouped({"all": slice(0, 8)}, of="text")) == {"all", "rest"}


def test_a_window_is_taken_away_whole_and_shared_evenly() -> None:
    why = explain(fitted("cnn"), some("cnn"), how="occlusion", window={"image": (1, 4, 3)})
    block_NHW = why.shares["image"][:, 0, :4, :3]
    assert np.ptp(block_NHW, axis=(1, 2)) == pytest.approx(np.zeros(6), abs=1e-9)
    assert np.ptp(why.shares["image"][:, 0, :4, 6:], axis=(1, 2)) == pytest.approx(
        np.zeros(6), abs=1e-9
    )  # the last window is narrower
    rows = some("cnn")["image"].copy()
    base = fitted("cnn").golden[0].mean(axis=0)
    rows[:, 0, :4, :3] = base[0, :4, :3]
    lost_N = why.answer_N - fitted("cnn").logits(rows)[np.arange(6), why.target_NK[:, 0]]
    assert block_NHW.sum(axis=(1, 2)) == pytest.approx(lost_N, abs=1e-4)


def test_looks_of_a_row_sum_to_one_and_none_goes_to_padding() -> None:
    why = explain(fitted("transformer"), some("transformer"), how="attention")
    look_NT = why.shares["text"]
    assert look_NT.sum(axis=1) == pytest.approx(np.ones(6), abs=1e-5)
    assert (look_NT[:, 6:] == 0).all()
    with pytest.raises(ValueError, match="has no gap"):
        _ = why.gap_N


def test_roll_out_of_two_blocks_is_what_the_paper_multiplies() -> None:
    one = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]]])  # two heads
    two = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    # heads: [[1, 0], [.5, .5]], with the way around [[1, 0], [.25, .75]]; then [[1, 0], [.5, .5]]
    assert roll_out([one, two])[0].tolist() == [[1.0, 0.0], [0.625, 0.375]]


def test_a_language_model_is_explained_at_a_place_and_a_token() -> None:
    random = np.random.default_rng(1)
    x_NT = (random.integers(0, 4, (200, 1)) + np.arange(6)) % 4 + 1  # counting in fours
    data = Data(x_NT, task="next")
    model = fit(Spec.of("causal_transformer", data, width=16, heads=2), data, recipe=RECIPE)
    why = explain(model, x_NT[:4], target=(2, 3))
    assert why.answer_N == pytest.approx(model.logits(x_NT[:4])[:, 2, 3], abs=1e-4)
    assert (why.shares["x"][:, 3:] == 0).all()  # it cannot see what comes later
    assert explain(model, x_NT[:4]).target_NK[:, 0].tolist() == [5] * 4


@pytest.mark.parametrize(
    ("kind", "arguments", "said"),
    [
        ("mlp", {"how": "guessing"}, "none of integrated_gradients"),
        ("mlp", {"target": 1}, "has one answer"),
        ("mlp", {"steps": 1}, "steps=1 is not in"),
        ("mlp", {"baseline": np.zeros(3, np.float32)}, "one row of shape \\(4,\\)"),
        ("mlp", {"how": "attention"}, "mlp has no attention"),
        ("mlp", {"window": {"x": (2,)}}, "window is of occlusion"),
        ("cnn", {"target": 2}, "outside 0..1"),
        ("cnn", {"how": "occlusion", "window": {"image": (4, 4)}}, "one row has the shape"),
        ("cnn", {"how": "occlusion", "window": {"sound": (4,)}}, "inputs are image"),
        ("transformer", {"baseline": {"words": np.zeros(8)}}, "inputs are text"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    kind: str, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        explain(fitted(kind), some(kind), **arguments)


def test_groups_that_overlap_or_do_not_exist_are_refused() -> None:
    why = Attribution(
        "occlusion", {"x": np.ones((2, 3))}, np.zeros(2), np.ones(2), np.zeros((2, 0), np.int64)
    )
    with pytest.raises(ValueError, match=r"\(1,\) of 'x' is in two groups"):
        why.grouped({"a": [0, 1], "b": slice(1, 3)})
    with pytest.raises(ValueError, match="Group 'a' of 'x'"):
        why.grouped({"a": [3]})
    with pytest.raises(ValueError, match="cannot be called 'rest'"):
        why.grouped({"rest": [0]})
    with pytest.raises(ValueError, match="No input 'y'"):
        why.grouped({}, of="y")


def test_no_rows_have_no_shares() -> None:
    for how in ("integrated_gradients", "occlusion"):
        why = explain(fitted("mlp"), np.zeros((0, 4), np.float32), how=how)
        assert len(why) == 0
        assert why.top() == ()


def test_a_model_of_codes_is_explained_by_occlusion_alone() -> None:
    from models_core.architectures.event_windows import EventWindows

    module, spec = EventWindows(12, window=4, classes=8), Spec("event_windows", 12)
    usual_F = np.zeros(12, np.float32)
    codes = replace(
        fitted("mlp"), module=module, spec=spec, reference_F=usual_F, golden=(usual_F[None],)
    )
    with pytest.raises(ValueError, match="reads codes and counts"):
        explain(codes, np.zeros((1, 12), np.float32))
    why = explain(codes, np.ones((1, 12), np.float32), how="occlusion")
    assert np.isfinite(why.shares["x"]).all()
