"""Every architecture is held to the same promises, on a small question of its own kind."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from models_core import Data, FitRecipe, Model, Spec, SpecError, fit, load, save
from models_core.architectures import architecture_names, build
from models_core.architectures.registry import class_of
from models_core.architectures.transformer import Transformer

RANDOM = np.random.default_rng(5)
ROWS = 24


def floats(*shape: int) -> np.ndarray:
    return RANDOM.normal(1.0, 2.0, (ROWS, *shape)).astype(np.float32)


def tokens(length: int, vocabulary: int) -> np.ndarray:
    array = RANDOM.integers(1, vocabulary, (ROWS, length))
    array[:, -1] = 0  # padding at the end
    return array


KINDS = RANDOM.integers(0, 3, ROWS)
YES = np.tile([0, 1], ROWS // 2)
VALUES = RANDOM.normal(100.0, 20.0, (ROWS, 2)).astype(np.float32)
TABLE, SERIES, IMAGE, WORDS = floats(5), floats(12, 3), floats(2, 8, 8), tokens(10, 9)
SOUND = floats(1600)
GRAPH = {"nodes": floats(4, 3), "edges": np.abs(floats(4, 4))}

# What each architecture is tried with, small.
CASES: dict[str, tuple[Spec, Data]] = {}


def case(name: str, architecture: str, data: Data, **params: int | float | str) -> None:
    CASES[name] = (Spec.of(architecture, data, **params), data)


case("mlp yes/no", "mlp", Data(TABLE, YES), width=32, dropout=0.0)
case("mlp classes", "mlp", Data(TABLE, KINDS), width=32, dropout=0.0)
case("mlp values", "mlp", Data(TABLE, VALUES), width=32, dropout=0.0)
case("ensemble yes/no", "tabular_ensemble", Data(TABLE, YES), width=16, members=4)
case("ensemble classes", "tabular_ensemble", Data(TABLE, KINDS), width=16, members=4)
case("ensemble values", "tabular_ensemble", Data(TABLE, VALUES), width=16, members=4)
for _kind in ("rnn", "gru", "lstm", "transformer"):
    case(f"{_kind} series", _kind, Data({"s": SERIES}, KINDS), width=16, dropout=0.0)
    case(f"{_kind} tokens", _kind, Data({"t": WORDS}, YES), width=16, dropout=0.0)
case("lstm values", "lstm", Data({"s": SERIES}, VALUES), width=16, dropout=0.0)
for _kind in ("rnn", "gru", "lstm", "causal_transformer"):
    case(f"{_kind} next", _kind, Data({"t": WORDS}, task="next"), width=16, dropout=0.0)
case("cnn images", "cnn", Data({"i": IMAGE}, KINDS), width=8, dense=16, dropout=0.0)
case("cnn sound", "cnn", Data({"sound": SOUND}, KINDS), width=4, dense=16, dropout=0.0)
case("resnet images", "resnet", Data({"i": IMAGE}, KINDS), width=8, stages=2, blocks=1)
case("resnet series", "resnet", Data({"s": SERIES}, YES), width=8, stages=2, blocks=1)
case("inception series", "inception", Data({"s": SERIES}, KINDS), width=4)
case("inception images", "inception", Data({"i": IMAGE}, VALUES), width=4)
case("autoencoder", "autoencoder", Data({"s": SERIES}, task="reconstruction"), middle=32)
case("graph", "graph_convolution", Data(GRAPH, KINDS), width=32, dropout=0.0)
case(
    "fusion",
    "fusion",
    Data({"table": TABLE, "series": SERIES, "image": IMAGE, "text": WORDS, "sound": SOUND}, KINDS),
    sound="cnn",
    dropout=0.0,
)
# These two ask for columns of codes or metrics; tests/models_core/test_strangeness.py has them.
OF_OPS = {"event_windows", "metric_vectors"}
OF_PRETRAINING = {"masked"}  # around another one: tests/models_core/test_transfer.py

every = pytest.mark.parametrize(("spec", "data"), CASES.values(), ids=CASES)


def quick(steps: int, **changes: float) -> FitRecipe:
    return FitRecipe(
        steps=steps,
        batch_size=ROWS,
        evaluate_every=steps,
        learning_rate=changes.get("learning_rate", 1e-2),
        weight_decay=0.0,
        precision="float32",
        seed=2,
    )


def train(spec: Spec, data: Data, steps: int = 3) -> Model:
    return fit(spec, data, data, quick(steps))


def tensors(data: Data) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(array) for array in data.arrays)


def test_every_architecture_has_a_case() -> None:
    # Tests and examples register their own, which are no case here.
    ships = {n for n in architecture_names() if class_of(n).__module__.startswith("models_core.")}
    assert {spec.architecture for spec, _ in CASES.values()} | OF_OPS | OF_PRETRAINING == ships


@every
def test_answers_have_the_shape_of_the_question_and_are_finite(spec: Spec, data: Data) -> None:
    answer = train(spec, data).logits(data)
    wanted: dict[str, tuple[int, ...]] = {
        "binary": (ROWS,),
        "classes": (ROWS, 3),
        "next": (ROWS, 10, 9),
        "regression": (ROWS, 2),
        "reconstruction": (ROWS, math.prod(data.arrays[0].shape[1:])),
    }
    assert answer.shape == wanted[spec.task]
    assert np.isfinite(answer).all()


@every
def test_the_gradient_reaches_every_parameter(spec: Spec, data: Data) -> None:
    torch.manual_seed(1)
    module = build(spec)
    module.prepare(data.as_table() if not spec.inputs else data, 0.0)
    module.losses(tensors(data), torch.from_numpy(data.target)).mean().backward()  # type: ignore[no-untyped-call]
    reached = {
        n: p.grad is not None and bool(p.grad.abs().sum() > 0) for n, p in module.named_parameters()
    }
    assert all(reached.values()), [name for name, touched in reached.items() if not touched]


@every
def test_a_tiny_batch_is_learned_by_heart(spec: Spec, data: Data) -> None:
    before = train(spec, data, steps=1).history[0].loss
    after = fit(spec, data, data, quick(150)).history[-1].loss
    assert after < before * (0.5 if spec.task == "next" else 0.35)


@every
def test_a_seed_gives_the_same_weights_and_a_saved_model_is_equal_to_the_bit(
    spec: Spec, data: Data, tmp_path: Path
) -> None:
    first, second = train(spec, data), train(spec, data)
    save(first, tmp_path / "model")
    for model in (second, load(tmp_path / "model")):
        state = model.module.state_dict()
        assert all(torch.equal(t, state[n]) for n, t in first.module.state_dict().items())
        assert (model.logits(data) == first.logits(data)).all()


@pytest.mark.parametrize("name", ["cnn sound", "fusion"])
def test_a_row_is_answered_alike_in_any_company(name: str) -> None:
    spec, data = CASES[name]
    model = train(spec, data)
    together = model.logits(data)
    alone = np.concatenate([model.logits(data.rows(slice(n, n + 1))) for n in range(4)])
    assert together[:4] == pytest.approx(alone, abs=1e-4)


def test_nothing_is_looked_up_in_padding() -> None:
    words = np.concatenate([tokens(6, 9), np.zeros((ROWS, 4), int)], axis=1)
    data = Data({"t": words}, YES, vocabulary={"t": 9})
    module = train(Spec.of("transformer", data, width=8, heads=2), data).module
    assert isinstance(module, Transformer)
    for weight_BATT in module.attention(torch.from_numpy(words)):
        assert weight_BATT[..., 5:].abs().max() == 0
        assert weight_BATT.sum(dim=-1).detach().numpy() == pytest.approx(1.0, abs=1e-5)


def test_what_an_architecture_cannot_take_is_refused_with_what_it_can() -> None:
    image = Data({"i": IMAGE}, KINDS)
    with pytest.raises(SpecError, match=r"'lstm': takes a series \(T, C\) or tokens \(T,\)"):
        build(Spec.of("lstm", image))
    with pytest.raises(SpecError, match="Take causal_transformer for the task next"):
        build(Spec.of("transformer", Data({"t": WORDS}, task="next")))
    with pytest.raises(SpecError, match=r"has no parameter depth\. It takes: width, dense"):
        build(Spec.of("cnn", image, depth=3))
    with pytest.raises(SpecError, match="has no input sound: i"):
        build(Spec.of("fusion", image, sound="cnn"))
