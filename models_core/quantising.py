"""Int8 graphs from float32 ones, by ONNX Runtime's own tools.

*Dynamic*: weights are int8, and each matrix's inputs are scaled by their range in the batch at hand.
A row's answer then depends on its neighbours, so such a graph may not serve a stream. *Static*:
the ranges come from rows given once, and a row's answer is its own.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from models_core.graphs import plain_graph

if TYPE_CHECKING:
    from onnx import ModelProto

CALIBRATION_ROWS = 1024  # the ranges of more differ little
_PART = 128  # rows
_STATIC_OPERATORS = ["MatMul", "Gemm", "Conv"]


def quantise_dynamic(body: bytes) -> bytes:
    """The same graph with int8 weights, its inputs scaled batch by batch.

    Raises:
        ArtifactError: the file is no plain graph.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = plain_graph(body, "the graph")
    return _written(lambda to: quantize_dynamic(graph, to, weight_type=QuantType.QInt8))


def quantise_static(body: bytes, rows: Mapping[str, NDArray[Any]]) -> bytes:
    """The same graph with int8 weights and inputs, in ranges taken from ``rows``.

    Args:
        body: a float32 ONNX file.
        rows: arrays by the names of the graph's inputs; up to 1,024 rows, evenly taken.

    Raises:
        ArtifactError: the file is no plain graph.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    graph = _named(plain_graph(body, "the graph"))
    reader = _reader(rows)
    return _written(
        lambda to: quantize_static(
            graph,
            to,
            reader,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_STATIC_OPERATORS,
            nodes_to_exclude=_last(graph),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    )


def _named(graph: ModelProto) -> ModelProto:
    """Every operator with a name of its own, so that one can be left out."""
    for number, node in enumerate(graph.graph.node):
        node.name = f"{node.op_type}_{number}"
    return graph


def _last(graph: ModelProto) -> list[str]:
    """The last matrix: it is small, and in 8 bits every answer would be one of 256."""
    found = [node.name for node in graph.graph.node if node.op_type in _STATIC_OPERATORS]
    return found[-1:] if len(found) > 1 else []


def _reader(rows: Mapping[str, NDArray[Any]]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    step = max(1, len(next(iter(rows.values()))) // CALIBRATION_ROWS)
    some = {name: array[::step][:CALIBRATION_ROWS] for name, array in rows.items()}
    num_rows = len(next(iter(some.values())))

    def parts() -> Iterator[dict[str, NDArray[Any]]]:
        for n in range(0, num_rows, _PART):
            yield {name: array[n : n + _PART] for name, array in some.items()}

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # a library without types
        def __init__(self) -> None:
            self.parts = parts()

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(self.parts, None)

    return Reader()


def _written(quantise: Callable[[str], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder, _quiet():
        to = Path(folder) / "int8.onnx"
        quantise(str(to))
        return to.read_bytes()


@contextmanager
def _quiet() -> Iterator[None]:
    """The tools advise of a preparation that changes nothing for graphs exported here."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(before)
