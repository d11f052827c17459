"""Foreign bytes at every door: saved models, artifacts and graphs are refused, never run."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from onnx import TensorProto, helper, numpy_helper

from models_core import ArtifactError, Spec, load, load_module, save, unpack
from models_core.graphs import plain_graph
from models_core.sessions import EngineError, session
from models_core.weights import checked_header, module_of
from tests.models_core.test_architectures import CASES, train
from tests.models_core.test_artifact import edited, replaced

Files = dict[str, bytes]


class Kept(dict[str, bytes]):
    """Files that are not printed when a test fails: they would fill the screen."""

    def __repr__(self) -> str:
        return f"{len(self)} files"


@pytest.fixture(scope="module")
def saved_files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("saved") / "model"
    save(train(*CASES["lstm tokens"]), folder)
    return Kept({file.name: file.read_bytes() for file in folder.iterdir()})


@pytest.fixture(scope="module")
def artifact_files(packed: Files) -> Files:
    return Kept(packed)


def laid(files: Files, folder: Path, *, vouched: bool = True) -> Path:
    """The files on disk; ``vouched``: the manifest has been forged to fit them."""
    folder.mkdir(exist_ok=True)
    if vouched:
        manifest = json.loads(files["model.json"])
        for name in manifest["files"]:
            manifest["files"][name] = hashlib.sha256(files[name]).hexdigest()
        files = {**files, "model.json": json.dumps(manifest).encode()}
    for name, body in files.items():
        (folder / name).write_bytes(body)
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        load(folder)
    assert str(caught.value)
    return caught.value.code


def with_spec(files: Files, **changes: Any) -> Files:
    manifest = json.loads(files["model.json"])
    manifest["spec"] |= changes
    return {**files, "model.json": json.dumps(manifest).encode()}


@pytest.mark.parametrize("name", ["model.safetensors", "golden.safetensors"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        pickle.dumps({"w": [1.0]}),
        b"PK\x03\x04rest",
        b"\xff" * 64,
        (2**63).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (2).to_bytes(8, "little") + b"{}" + b"hidden",
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
    ],
)
def test_a_saved_model_with_other_than_plain_tensors_is_refused(
    saved_files: Files, tmp_path: Path, name: str, body: bytes
) -> None:
    assert refusal(laid({**saved_files, name: body}, tmp_path)) == "weights_invalid"


def tensor_file(header: dict[str, Any], data: bytes = bytes(4)) -> bytes:
    body = json.dumps(header).encode()
    return len(body).to_bytes(8, "little") + body + data


@pytest.mark.parametrize(
    "tensor",
    [
        {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**70]},
        {"dtype": "F64", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1]},
        {"dtype": "F32", "shape": "1", "data_offsets": [0, 4]},
        [],
    ],
)
def test_a_header_that_lies_is_refused_before_anything_is_set_aside(tensor: object) -> None:
    with pytest.raises(ArtifactError, match=r"^model\.safetensors: "):
        checked_header(tensor_file({"w": tensor}), "model.safetensors")


def test_a_header_of_any_length_is_not_read() -> None:
    body = tensor_file({"w" * 2**22: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})
    with pytest.raises(ArtifactError, match="the limit is 4194304"):
        checked_header(body, "model.safetensors")


def test_tensors_that_share_bytes_are_refused() -> None:
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    with pytest.raises(ArtifactError, match="do not fill the file"):
        checked_header(tensor_file({"a": tensor, "b": tensor}), "model.safetensors")


@pytest.mark.parametrize(
    "params",
    [
        {"width": 10**9},
        {"layers": 10**9},
        {"width": 4096, "layers": 64},
        {"width": -5},
        {"width": 16, "layers": 2},
        {"dropout": 1e300},
    ],
)
def test_a_spec_that_asks_for_more_than_its_weights_is_refused(
    saved_files: Files, tmp_path: Path, params: dict[str, float]
) -> None:
    """4096 units in 64 layers would be 34 GB: they are counted, never set aside."""
    assert refusal(laid(with_spec(saved_files, params=params), tmp_path)) in {
        "weights_invalid",
        "manifest_invalid",
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "os.system"},
        {"architecture": "../lstm"},
        {"inputs": {"t": {"shape": [2**30, 2**30], "vocabulary": 9}}},
        {"inputs": {"t": {"shape": [10], "vocabulary": 2**40}}},
        {"task": "exec"},
        {"outputs": 2**40},
        {"params": {"width": [1]}},
        {"code": "import os"},
    ],
)
def test_a_spec_of_another_kind_is_refused(
    saved_files: Files, tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert refusal(laid(with_spec(saved_files, **changes), tmp_path)) == "manifest_invalid"


def test_golden_rows_of_another_shape_or_out_of_the_vocabulary_are_refused(
    saved_files: Files, tmp_path: Path
) -> None:
    from safetensors.numpy import load as load_arrays
    from safetensors.numpy import save as save_arrays

    golden = load_arrays(saved_files["golden.safetensors"])
    for number, spoiled in enumerate(
        (
            {**golden, "input.0": golden["input.0"][:, :3].copy()},
            {**golden, "input.0": golden["input.0"] + 10**6},
            {**golden, "answer": golden["answer"] + 1},
            {"answer": golden["answer"]},
        )
    ):
        files = {**saved_files, "golden.safetensors": save_arrays(spoiled)}
        assert refusal(laid(files, tmp_path / str(number))) == "weights_invalid"


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 200_000, b'{"a":' * 50_000, b"\x80\x04K\x01."])
def test_a_manifest_of_any_depth_or_kind_is_refused(
    saved_files: Files, tmp_path: Path, body: bytes
) -> None:
    files = {**saved_files, "model.json": body}
    assert refusal(laid(files, tmp_path, vouched=False)) == "manifest_invalid"


def test_an_oversized_manifest_is_not_read(saved_files: Files, tmp_path: Path) -> None:
    folder = laid(saved_files, tmp_path)
    with (folder / "model.json").open("r+b") as file:
        file.truncate(5 * 2**20)  # a hole: no disk is filled
    assert refusal(folder) == "artifact_too_large"
    with (folder / "model.json").open("wb") as file:
        file.write(saved_files["model.json"])
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(2**33)
    assert refusal(folder) == "artifact_too_large"


def test_an_artifact_whose_spec_asks_for_more_than_its_weights_gives_no_module(
    files: Files,
) -> None:
    wide = edited(files, lambda m: m["spec"].update(params={"width": 10**9}))
    with pytest.raises(ArtifactError, match="the spec says width=1000000000"):
        load_module(unpack(wide))
    with pytest.raises(ArtifactError, match="do not fit the spec"):
        module_of(Spec("mlp", 6), files["model.safetensors"], "model.safetensors")


def bomb(operator: str, *constants: list[int], **attributes: Any) -> bytes:
    """A graph of a few bytes that asks for as much memory as its constants say."""
    inputs = [f"c{n}" for n in range(len(constants))]
    tensors = [
        numpy_helper.from_array(np.array(values, dtype=np.int64), name)
        for name, values in zip(inputs, constants, strict=True)
    ]
    node = helper.make_node(operator, inputs, ["big"], **attributes)
    graph = helper.make_graph(
        [node, helper.make_node("Identity", ["x"], ["logit"])],
        "bomb",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 6])],
        [helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["B"])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    "body",
    [
        bomb("ConstantOfShape", [2**20, 2**20]),
        bomb("ConstantOfShape", [2**29]),
        bomb("Expand", [1], [2**15, 2**15]),
        bomb("Tile", [1], [2]),
        bomb("Range", [0], [2**31 - 2], [1]),
        bomb("RandomNormal", shape=[3], seed=1.0),
        bomb("OneHot", [1], [2**20], [0, 1]),
        bomb("SequenceEmpty"),
    ],
)
def test_a_graph_that_would_fill_the_memory_or_throw_dice_is_refused(
    files: Files, body: bytes
) -> None:
    with pytest.raises(ArtifactError) as caught:
        unpack(replaced(files, "model.onnx", body))
    assert caught.value.code == "engine_unsafe"


def declared_dims(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [2**30, 2**30]


def negative_dims(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [-1]


def unknown_type(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_type = 99


def missing_numbers(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data = b""


def many_operators(model: onnx.ModelProto) -> None:
    for _ in range(20_001):
        model.graph.node.append(helper.make_node("Identity", ["x"], ["y"]))


def runtime_domain(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.microsoft"


@pytest.mark.parametrize(
    "spoil",
    [
        declared_dims,
        negative_dims,
        unknown_type,
        missing_numbers,
        many_operators,
        runtime_domain,
    ],
)
def test_a_graph_whose_tensors_lie_is_refused(
    files: Files, spoil: Callable[[onnx.ModelProto], None]
) -> None:
    graph = onnx.load_from_string(files["model.onnx"])
    spoil(graph)
    with pytest.raises(ArtifactError) as caught:
        unpack(replaced(files, "model.onnx", graph.SerializeToString()))
    assert caught.value.code == "engine_unsafe"


def test_of_the_runtimes_own_operators_only_the_one_of_int8_lstms_is_taken() -> None:
    for operator, is_taken in (("DynamicQuantizeLSTM", True), ("Attention", False)):
        graph = helper.make_graph(
            [helper.make_node(operator, ["x"], ["y"], domain="com.microsoft")], "g", [], []
        )
        body = helper.make_model(graph).SerializeToString()
        if is_taken:
            plain_graph(body, "g", quantised=True)
        else:
            with pytest.raises(ArtifactError, match=r"operators of the domain com\.microsoft"):
                plain_graph(body, "g", quantised=True)
        with pytest.raises(ArtifactError, match=r"operators of the domain com\.microsoft"):
            plain_graph(body, "g")


FUZZ = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@FUZZ
@given(data=some.data())
def test_spoiled_bytes_of_an_artifact_are_refused_or_harmless(
    artifact_files: Files, data: some.DataObject
) -> None:
    name = data.draw(some.sampled_from(sorted(artifact_files)))
    body = spoiled(artifact_files[name], data)
    if name == "manifest.json":
        files = {**artifact_files, name: body}
    else:
        files = replaced(artifact_files, name, body)
    with suppress(ArtifactError, EngineError):
        session(unpack(files).engine)


@FUZZ
@given(data=some.data())
def test_spoiled_bytes_of_a_saved_model_are_refused_or_harmless(
    saved_files: Files, tmp_path_factory: pytest.TempPathFactory, data: some.DataObject
) -> None:
    name = data.draw(some.sampled_from(sorted(saved_files)))
    body = spoiled(saved_files[name], data)
    folder = tmp_path_factory.mktemp("spoiled")
    with suppress(ArtifactError):
        load(laid({**saved_files, name: body}, folder, vouched=name != "model.json"))


def spoiled(body: bytes, data: some.DataObject) -> bytes:
    """Some bytes changed near the front, where the structure is, or cut off, or put in."""
    at = data.draw(some.integers(0, min(len(body) - 1, 600)))
    other = data.draw(some.binary(min_size=1, max_size=8))
    how = data.draw(some.sampled_from(["change", "cut", "put"]))
    if how == "cut":
        return body[:at]
    return body[:at] + other + body[at + (len(other) if how == "change" else 0) :]
