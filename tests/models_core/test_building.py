"""Models as ONNX files, engines measured on this host, and what is kept of that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from models_core import (
    Artifact,
    Data,
    Engine,
    EngineError,
    FitRecipe,
    Model,
    Spec,
    Table,
    build,
    export,
    fit,
    unpack,
)
from models_core.chunking import CHUNKS, chunk_of, served
from models_core.graphs import plain_graph
from models_core.measuring import fastest, microseconds, timed
from models_core.plans import PlanFolder
from models_core.quantising import quantise_dynamic, quantise_static
from models_core.sessions import run_parts, session
from tests.models_core.test_architectures import CASES, every, train

Clock = Callable[[], float]


def still() -> float:
    """A clock for tests of what is chosen, not of how fast."""
    return 0.0


@every
def test_every_architecture_is_answered_by_its_graph_as_by_torch(spec: Spec, data: Data) -> None:
    model = train(spec, data)
    body = export(model)
    graph = plain_graph(body, "graph").graph
    assert [value.name for value in graph.input] == list(spec.sizes)
    assert [value.name for value in graph.output] == ["answer"]
    runs, own = session(body), model.logits(data)
    for at_most in (1, 7, len(data)):
        given = run_parts(runs, data.inputs, at_most)
        assert given == pytest.approx(own, rel=1e-4, abs=1e-4), at_most


def test_an_input_with_the_name_of_the_output_is_refused() -> None:
    data = Data({"answer": np.random.default_rng(1).normal(size=(30, 6, 2))}, np.arange(30) % 3)
    model = fit(Spec.of("gru", data, width=4), data, data, FitRecipe(steps=1))
    with pytest.raises(ValueError, match="'answer' has the name of the output"):
        export(model)


@pytest.fixture(scope="module")
def artifact(packed: dict[str, bytes]) -> Artifact:
    return unpack(packed)


@pytest.mark.parametrize("name", ["lstm tokens", "ensemble classes", "autoencoder"])
def test_an_engine_answers_what_its_model_answers_for_any_number_of_rows(name: str) -> None:
    spec, data = CASES[name]
    model = train(spec, data)
    engine = build(model, rows=data, batches=(1, 8, 96), seconds=0.0)
    own = model.logits(data)
    for count in (1, 3, 24):
        rows = data.rows(slice(0, count))
        error = np.abs(engine.logits(rows) - own[:count]).max() / max(1.0, np.abs(own).max())
        assert error < 2e-3, count
    assert len(engine.logits({key: np.tile(a, [40] + [1] * (a.ndim - 1)) for key, a in data.inputs.items()})) == 960  # fmt: skip


def test_why_names_every_engine_its_cost_at_each_batch_and_what_was_refused(
    model: Model, train: Table
) -> None:
    engine = build(model, rows=train.x_NF, batches=(1, 128), max_error=1e-6, seconds=0.0)
    for name in ("onnx fp32", "onnx int8 static", "onnx int8 dynamic", "torch cpu"):
        assert set(engine.plan.measured[name]) == {1, 128}
        assert f"| {name} |" in engine.why
    assert "| batch 1 | batch 128 |" in engine.why
    assert "| onnx int8 static | refused: answers differ by" in engine.why
    assert engine.plan.chosen[1] not in engine.plan.refused
    cheapest = min(
        by[128] for name, by in engine.plan.measured.items() if name not in engine.plan.refused
    )
    assert engine.plan.measured[engine.plan.chosen[128]][128] <= cheapest * 1.031


def test_no_engine_within_the_error_is_said(model: Model) -> None:
    with pytest.raises(EngineError, match="No engine may answer"):
        build(model, max_error=-1.0, seconds=0.0)


def test_rows_of_another_shape_or_without_an_input_are_refused() -> None:
    spec, data = CASES["graph"]
    engine = build(train(spec, data), batches=(1,), seconds=0.0)
    with pytest.raises(EngineError, match="Expected the inputs edges, nodes, got no edges"):
        engine.logits({"nodes": data.inputs["nodes"]})


def test_what_was_found_is_kept_by_content_and_host_as_json_and_graphs(
    model: Model, tmp_path: Path
) -> None:
    first = build(model, cache=tmp_path, seconds=0.0)
    kept = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert {Path(name).suffix for name in kept} <= {".json", ".onnx"}
    (plan,) = [json.loads(body) for name, body in kept.items() if name.endswith(".json")]
    for sha256 in plan["graphs"].values():
        assert hashlib.sha256(kept[f"{sha256}.onnx"]).hexdigest() == sha256

    second = build(model, cache=tmp_path, seconds=0.0)

    assert second.plan == first.plan
    assert second.id == first.id
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == kept


def test_another_model_question_or_host_has_a_plan_of_its_own(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = fit(model.spec, *small_tables(), FitRecipe(steps=2, seed=9, device="cpu"))
    plans = [
        build(model, cache=tmp_path, seconds=0.0).plan,
        build(other, cache=tmp_path, seconds=0.0).plan,
        build(model, cache=tmp_path, batches=(1,), seconds=0.0).plan,
    ]
    monkeypatch.setattr("models_core.building.host", lambda: "0" * 64)
    plans.append(build(model, cache=tmp_path, seconds=0.0).plan)
    assert len(list(tmp_path.glob("*.json"))) == 4
    assert len({plan.id for plan in plans}) == 4


def small_tables() -> tuple[Table, Table]:
    x_NF = np.random.default_rng(3).normal(size=(64, 6)).astype(np.float32)
    table = Table(x_NF, (x_NF[:, 0] > 0).astype(np.float32))
    return table, table


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b'{"version":1}', b"\x80\x04K\x01."])
def test_a_plan_that_somebody_spoiled_is_made_again(
    model: Model, tmp_path: Path, body: bytes
) -> None:
    build(model, cache=tmp_path, seconds=0.0)
    (file,) = tmp_path.glob("*.json")
    file.write_bytes(body)
    engine = build(model, cache=tmp_path, seconds=0.0)
    assert json.loads(file.read_bytes())["content"] == engine.plan.content


def test_a_graph_that_somebody_swapped_is_never_loaded(model: Model, tmp_path: Path) -> None:
    engine = build(model, cache=tmp_path, batches=(1,), seconds=0.0)
    for file in tmp_path.glob("*.onnx"):
        graph = onnx.load_from_string(file.read_bytes())
        for tensor in graph.graph.initializer:
            tensor.raw_data = bytes(len(tensor.raw_data))
        file.write_bytes(graph.SerializeToString())
    folder = PlanFolder(tmp_path)
    assert not engine.plan.graphs or folder.graphs(engine.plan) is None
    again = build(model, cache=tmp_path, batches=(1,), seconds=0.0)
    assert again.logits(model.golden_GF) == pytest.approx(model.logits(model.golden_GF), abs=1e-4)
    assert folder.graphs(again.plan) is not None


def test_fixed_ranges_keep_a_row_to_itself_and_dynamic_ones_do_not(
    model: Model, train: Table, test_table: Table
) -> None:
    """Why int8 with ranges of the batch at hand may not serve a stream."""
    body, rows = export(model), {"x": test_table.x_NF[:64]}
    for quantised, depends in (
        (quantise_static(body, {"x": train.x_NF}), False),
        (quantise_dynamic(body), True),
    ):
        assert len(quantised) < len(body) * 0.8
        runs = session(quantised)
        alone, together = run_parts(runs, rows, 1), run_parts(runs, rows, 64)
        assert (np.abs(alone - together).max() > 1e-6) == depends


def test_an_artifact_runs_in_chunks_of_one_size_for_every_batch(
    artifact: Artifact, model: Model, test_table: Table
) -> None:
    engine = build(artifact, seconds=0.0)
    assert len(set(engine.plan.chosen.values())) == 1
    assert chunk_of(engine.plan) in CHUNKS
    together = engine.logits(test_table.x_NF[:100])
    assert together == pytest.approx(model.logits(test_table.x_NF[:100]), abs=1e-4)
    for row in (0, 17, 99):
        assert (engine.logits(test_table.x_NF[row : row + 1]) == together[row]).all()


def test_processes_of_a_host_go_by_the_chunk_that_was_found_first(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, scorer = served(artifact, tmp_path, seconds=0.0, clock=still)
    (file,) = tmp_path.glob("*.json")
    found = json.loads(file.read_bytes())
    found["chosen"] = dict.fromkeys(found["chosen"], "onnx in chunks of 128")
    file.write_text(json.dumps(found))
    monkeypatch.setattr("models_core.chunking.microseconds", None)  # nothing is measured again
    plan, scorer = served(artifact, tmp_path, seconds=0.0, clock=still)
    assert (chunk_of(plan), scorer.engine.chunk) == (128, 128)


@pytest.mark.parametrize("chunk", ["onnx in chunks of 100000000", "onnx in chunks of 7", "torch"])
def test_a_kept_chunk_that_no_engine_has_is_measured_again(
    artifact: Artifact, tmp_path: Path, chunk: str
) -> None:
    served(artifact, tmp_path, seconds=0.0, clock=still)
    (file,) = tmp_path.glob("*.json")
    found = json.loads(file.read_bytes())
    found["chosen"] = dict.fromkeys(found["chosen"], chunk)
    file.write_text(json.dumps(found))
    _, scorer = served(artifact, tmp_path, seconds=0.0, clock=still)
    assert scorer.engine.chunk in CHUNKS


def test_where_nothing_can_be_kept_the_usual_chunk_serves(
    artifact: Artifact, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    plan, scorer = served(artifact, tmp_path / "file", seconds=0.0, clock=still)
    assert (scorer.engine.chunk, chunk_of(plan)) == (64, 64)


def test_a_model_too_slow_to_be_measured_has_the_usual_chunk(
    artifact: Artifact, tmp_path: Path
) -> None:
    ticks = iter(range(10**6))
    plan, scorer = served(artifact, tmp_path, seconds=0.3, clock=lambda: float(next(ticks)))
    assert scorer.engine.chunk == 64
    assert plan.measured == {}


def test_measuring_takes_turns_drops_the_first_run_and_keeps_the_least() -> None:
    calls: list[str] = []
    now = 0.0
    costs = {"a": iter([9.0, 3.0, 2.0, 5.0, 7.0]), "b": iter([1.0, 4.0, 4.0, 4.0, 4.0])}

    def clock() -> float:
        return now

    def run(name: str) -> Callable[[int], None]:
        def once(_: int) -> None:
            nonlocal now
            calls.append(name)
            now += next(costs[name])

        return once

    runs = {name: {2: timed(run(name), clock)} for name in costs}
    measured = microseconds(runs, seconds=20.0, clock=clock)
    assert calls[:6] == ["a", "b"] * 3
    assert measured == {"a": {2: 1e6}, "b": {2: 2e6}}
    assert fastest(measured, 2) == "a"
    assert fastest({"usual": {1: 1.02}, "other": {1: 1.0}}, 1) == "usual"


def test_engines_of_one_model_have_one_id(model: Model) -> None:
    engines: list[Engine] = [build(model, batches=(1,), seconds=0.0) for _ in range(2)]
    assert {len(engine.id) for engine in engines} == {64}
    assert engines[0].plan.content == engines[1].plan.content
