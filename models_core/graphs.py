"""Whether an ONNX file is one plain graph of numbers: the door before ONNX Runtime.

ONNX Runtime would follow a path in an external tensor, load what a custom domain names, run loops
and set aside as much memory as a shape asks for. Nothing of that gets past here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np

from models_core.refusals import ArtifactError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto

STANDARD: Final = frozenset({"", "ai.onnx"})
OF_RUNTIME: Final = "com.microsoft"  # operators that ONNX Runtime's own quantiser writes
QUANTISED: Final = frozenset({"DynamicQuantizeLSTM"})  # the only one of them that is taken
MAX_NODES: Final = 20_000
MAX_NUMBERS: Final = 2**28  # of what a constant of the graph may ask for: 1 GiB of float32
# Chance has no place in an answer that must be given again, and these fill memory from few bytes
# without any use here: masks and padding need ConstantOfShape, Expand, Range and Pad alone.
_REFUSED_OPERATORS: Final = frozenset(
    {
        "Bernoulli", "EyeLike", "ImageDecoder", "Multinomial", "OneHot", "RandomNormal",
        "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Resize", "RegexFullMatch",
        "StringConcat", "StringNormalizer", "StringSplit", "Tile", "Upsample",
    }
)  # fmt: skip
_GROWING: Final = frozenset({"ConstantOfShape", "Expand", "Pad", "Range"})


def plain_graph(body: bytes, name: str, *, quantised: bool = False) -> ModelProto:
    """The parsed file.

    Args:
        body: the file's bytes.
        name: of the file, for the message.
        quantised: also take the one operator outside the standard that int8 LSTMs need.

    Raises:
        ArtifactError: ``engine_unsafe``; the message says what the graph would do.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx import ModelProto

    model = ModelProto()
    try:
        model.ParseFromString(body)
    except DecodeError as error:
        raise _unsafe(f"{name} is not an ONNX file.") from error
    try:
        _check(model, name, quantised)
    except ValueError as error:
        if isinstance(error, ArtifactError):
            raise
        raise _unsafe(f"{name} is damaged: {error}.") from error
    return model


def _check(model: ModelProto, name: str, quantised: bool) -> None:
    _check_operators(model, name, quantised)
    for tensor in _tensors(model.graph):
        _check_tensor(tensor, name)
    if any(node.op_type in _GROWING for node in model.graph.node):
        for tensor in _tensors(model.graph):
            _check_shape_constant(tensor, name)


def _unsafe(why: str) -> ArtifactError:
    return ArtifactError("engine_unsafe", why)


def _check_operators(model: ModelProto, name: str, quantised: bool) -> None:
    foreign = {node.domain for node in model.graph.node} - STANDARD
    declared = {opset.domain for opset in model.opset_import} - STANDARD
    if quantised:
        others = {node.op_type for node in model.graph.node if node.domain == OF_RUNTIME}
        if others <= QUANTISED:
            foreign.discard(OF_RUNTIME)
        # The quantiser declares domains that it does not use.
        declared = set()
    if foreign | declared:
        raise _unsafe(
            f"{name} uses operators of the domain {', '.join(sorted(foreign | declared))}."
        )
    nodes = model.graph.node
    if model.functions or model.training_info or not nodes:
        raise _unsafe(f"{name} is not one plain graph.")
    if len(nodes) > MAX_NODES:
        raise _unsafe(f"{name} has {len(nodes)} operators. The limit is {MAX_NODES}.")
    for node in nodes:
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise _unsafe(f"{name} has control flow: {node.op_type}.")
        if node.op_type in _REFUSED_OPERATORS or node.op_type.startswith(("Sequence", "Optional")):
            raise _unsafe(f"{name} uses the operator {node.op_type}, which no model here needs.")


def _check_tensor(tensor: TensorProto, name: str) -> None:
    """Its numbers are inside, and as many as its shape says."""
    from onnx import TensorProto, helper

    if tensor.external_data or tensor.data_location == TensorProto.EXTERNAL:
        raise _unsafe(f"{name} keeps {tensor.name!r} in another file.")
    if not tensor.data_type:  # an attribute that holds no tensor
        return
    try:
        item = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, TypeError, ValueError) as error:
        raise _unsafe(f"{name} has {tensor.name!r} of an unknown type.") from error
    numbers = math.prod(tensor.dims)
    if any(size < 0 for size in tensor.dims) or numbers > MAX_NUMBERS:
        raise _unsafe(f"{name} has {tensor.name!r} of the shape {tuple(tensor.dims)}.")
    held = sum(
        len(getattr(tensor, field))
        for field in ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
    )
    if tensor.string_data or (len(tensor.raw_data) != numbers * item and held != numbers):
        raise _unsafe(f"{name} does not hold the {numbers} numbers of {tensor.name!r}.")


def _check_shape_constant(tensor: TensorProto, name: str) -> None:
    """A constant that could be a shape asks for no more than ``MAX_NUMBERS``."""
    from onnx import TensorProto, numpy_helper

    if tensor.data_type not in (TensorProto.INT64, TensorProto.INT32) or len(tensor.dims) > 1:
        return
    values = [abs(int(value)) for value in np.atleast_1d(numpy_helper.to_array(tensor))]
    # Slices end at the largest number there is; as a shape it is refused by ONNX Runtime itself.
    sizes = [value for value in values if value < 2**31 - 1]
    if len(values) <= 8 and math.prod(max(1, size) for size in sizes) > MAX_NUMBERS:
        raise _unsafe(f"{name} asks for a shape of {values}.")


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield sparse.values
                yield sparse.indices
