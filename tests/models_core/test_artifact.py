from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from models_core import (
    ArtifactError,
    Calibration,
    Model,
    Scorer,
    Table,
    load_module,
    pack,
    unpack,
)
from models_core.artifact import sha256
from models_core.engines import GoldenRowsError, OnnxEngine

Files = dict[str, bytes]


def replaced(files: Files, name: str, body: bytes) -> Files:
    """A forged artifact: the manifest vouches for the new bytes."""
    manifest = json.loads(files["manifest.json"])
    manifest["files"][name] = {"sha256": sha256(body), "size": len(body)}
    return {**files, name: body, "manifest.json": json.dumps(manifest).encode()}


def edited(files: Files, edit: Callable[[dict[str, Any]], object]) -> Files:
    manifest = json.loads(files["manifest.json"])
    edit(manifest)
    return {**files, "manifest.json": json.dumps(manifest).encode()}


def refusal(files: Files) -> str:
    with pytest.raises(ArtifactError) as caught:
        unpack(files)
    return caught.value.code


def test_a_packed_model_comes_back_equal_to_the_bit(
    files: Files, model: Model, test_table: Table
) -> None:
    module = load_module(unpack(files))
    for name, tensor in model.module.state_dict().items():
        assert torch.equal(tensor, module.state_dict()[name]), name
    with torch.inference_mode():
        again = module(torch.from_numpy(test_table.x_NF[:64])).numpy()
        first = model.module(torch.from_numpy(test_table.x_NF[:64])).numpy()
    assert np.array_equal(again, first)


def test_the_manifest_says_what_the_model_is(files: Files, model: Model, train: Table) -> None:
    artifact = unpack(files)
    assert artifact.spec == model.spec
    assert artifact.manifest.data_hash == train.hash
    assert artifact.schema_hash == "0123456789abcdef"
    assert artifact.thresholds == {"review": 0.5, "decline": 0.9}
    assert len(artifact.golden_rows) == 16
    assert np.array_equal(artifact.golden_rows, model.golden_GF)
    assert np.array_equal(artifact.reference, np.median(train.x_NF[train.y_N == 0], axis=0))


def test_the_engine_computes_what_the_module_computes(
    files: Files, model: Model, test_table: Table
) -> None:
    engine = OnnxEngine(unpack(files).engine)
    wild = np.concatenate([test_table.x_NF, -1e30 * np.ones((1, 6)), 1e30 * np.ones((1, 6))])
    wild = wild.astype(np.float32)
    assert np.abs(engine.logits(wild) - model.logits(wild)).max() < 1e-4


def test_golden_rows_detect_an_engine_with_one_changed_byte(files: Files) -> None:
    """Even when the manifest vouches for the changed file."""
    graph = onnx.load_from_string(files["model.onnx"])
    weights = max(  # the last layer: each of its weights takes part in every answer
        (t for t in graph.graph.initializer if len(t.dims) == 2), key=lambda t: -min(t.dims)
    )
    raw = bytearray(weights.raw_data)
    raw[3] ^= 0x40  # an exponent bit of the first weight
    weights.raw_data = bytes(raw)
    scorer = Scorer.from_artifact(unpack(replaced(files, "model.onnx", graph.SerializeToString())))
    with pytest.raises(GoldenRowsError, match="Golden rows differ by up to"):
        scorer.check_golden()


@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors"])
def test_a_changed_byte_is_refused(files: Files, name: str) -> None:
    body = bytearray(files[name])
    body[len(body) // 2] ^= 1
    assert refusal({**files, name: bytes(body)}) == "file_corrupted"


@pytest.mark.parametrize("name", ["model.pt", "../model.onnx", "model.onnx.data", "run.py"])
def test_a_file_without_a_place_is_refused_by_name(files: Files, name: str) -> None:
    with pytest.raises(ArtifactError, match=repr(name).replace(".", r"\.")):
        unpack({**files, name: b"x"})


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "model.safetensors"])
def test_a_missing_file_is_refused(files: Files, name: str) -> None:
    del files[name]
    assert refusal(files) == "file_missing"


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "model.safetensors"])
@pytest.mark.parametrize("body", [pickle.dumps({"w": [1.0]}), b"PK\x03\x04rest"])
def test_pickles_and_archives_are_refused(files: Files, name: str, body: bytes) -> None:
    assert refusal({**files, name: body}) == "pickle_refused"


def test_an_oversized_artifact_is_refused_before_it_is_read(files: Files) -> None:
    assert refusal({**files, "model.onnx": bytes(64 * 2**20)}) == "artifact_too_large"
    assert refusal({**files, "manifest.json": b" " * (5 * 2**20)}) == "artifact_too_large"


def set_golden_nan(manifest: dict[str, Any]) -> None:
    manifest["golden"]["rows"][0][0] = float("nan")


@pytest.mark.parametrize(
    "edit",
    [
        lambda m: m.pop("calibration"),
        lambda m: m.update(loader="os.system"),
        lambda m: m.update(format="pickle"),
        lambda m: m["calibration"].update(slope=-1.0),
        lambda m: m["calibration"].update(slope="1"),
        lambda m: m["thresholds"].update(review=1.5),
        lambda m: m["golden"].update(rows=[], scores=[]),
        lambda m: m["golden"]["rows"][0].pop(),
        lambda m: m["golden"]["rows"][0].__setitem__(0, 1e300),
        lambda m: m["golden"]["scores"].__setitem__(0, 1.0),
        lambda m: m["reference"].append(0.0),
        lambda m: m["feature_names"].__setitem__(0, "b"),
        lambda m: m["spec"].update(num_features=7),
        lambda m: m["spec"].update(params={"width": [1]}),
        lambda m: m["files"].pop("model.onnx"),
        set_golden_nan,
    ],
)
def test_a_manifest_of_another_shape_is_refused(
    files: Files, edit: Callable[[dict[str, Any]], object]
) -> None:
    assert refusal(edited(files, edit)) == "manifest_invalid"


def test_broken_and_foreign_manifests_are_refused(files: Files) -> None:
    assert refusal({**files, "manifest.json": b"{"}) == "manifest_invalid"
    assert refusal({**files, "manifest.json": b"[" * 100_000}) == "manifest_invalid"
    assert refusal(edited(files, lambda m: m.update(format_version=2))) == "format_unknown"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff" * 40,
        (2).to_bytes(8, "little") + b"{}" + b"extra",
        (2).to_bytes(8, "little") + b"[]",
        (58).to_bytes(8, "little")
        + b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}    '
        + bytes(4),
    ],
)
def test_weights_that_are_not_plain_tensors_are_refused(files: Files, body: bytes) -> None:
    assert refusal(replaced(files, "model.safetensors", body)) == "weights_invalid"


def external(graph: onnx.ModelProto) -> None:
    tensor = graph.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def external_constant(graph: onnx.ModelProto) -> None:
    constant = next(n for n in graph.graph.node if n.op_type == "Constant")
    constant.attribute[0].t.external_data.add(key="location", value="secret")


def custom_domain(graph: onnx.ModelProto) -> None:
    graph.graph.node[0].domain = "com.evil"


def custom_opset(graph: onnx.ModelProto) -> None:
    graph.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def control_flow(graph: onnx.ModelProto) -> None:
    empty = helper.make_graph([], "forever", [], [])
    graph.graph.node.append(helper.make_node("Loop", ["x"], ["y"], body=empty))


def another_width(graph: onnx.ModelProto) -> None:
    graph.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 7


def local_function(graph: onnx.ModelProto) -> None:
    graph.functions.add(name="f")


@pytest.mark.parametrize(
    "spoil",
    [
        external,
        external_constant,
        custom_domain,
        custom_opset,
        control_flow,
        another_width,
        local_function,
    ],
)
def test_an_engine_that_is_more_than_a_plain_graph_is_refused(
    files: Files, spoil: Callable[[onnx.ModelProto], None]
) -> None:
    graph = onnx.load_from_string(files["model.onnx"])
    spoil(graph)
    assert refusal(replaced(files, "model.onnx", graph.SerializeToString())) == "engine_unsafe"


def test_an_engine_that_is_no_onnx_file_is_refused(files: Files) -> None:
    assert refusal(replaced(files, "model.onnx", b"\xff" * 64)) == "engine_unsafe"
    assert refusal(replaced(files, "model.onnx", b"")) == "engine_unsafe"


def test_packing_refuses_what_unpacking_would_refuse(
    model: Model, calibration: Calibration
) -> None:
    names = ["a", "b", "c", "d", "e", "f"]
    with pytest.raises(ArtifactError, match=r"manifest\.metrics\.pr_auc is nan"):
        pack(
            model,
            calibration,
            schema_hash="0",
            feature_names=names,
            thresholds={},
            metrics={"pr_auc": float("nan")},
        )
    with pytest.raises(ArtifactError, match="5 distinct feature names for 6"):
        pack(
            model,
            calibration,
            schema_hash="0",
            feature_names=names[:5],
            thresholds={},
            metrics={},
        )
