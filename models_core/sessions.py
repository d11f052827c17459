"""Sessions of ONNX Runtime on one core, and rows run through them in parts.

Shape suffixes: N = rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

BATCH_AXIS = "B"  # the name that exported graphs give to their first axis
# ONNX Runtime's exceptions share no base of their own.
LOAD_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    UnicodeDecodeError,  # of a name that is no text
)


class EngineError(ValueError):
    """An engine that cannot be built, or rows that it cannot take."""


def session(body: bytes, chunk: int | None = None) -> onnxruntime.InferenceSession:
    """A session in one thread, since a worker process is the unit of scaling; no spinning, since
    an idle worker must not burn its core.

    Args:
        body: a checked ONNX file.
        chunk: rows of every run, where they are always as many.

    Raises:
        EngineError: ONNX Runtime cannot load the file.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if chunk is not None:
        options.add_free_dimension_override_by_name(BATCH_AXIS, chunk)
    options.log_severity_level = 3  # errors; a warning about a graph helps no operator
    try:
        return onnxruntime.InferenceSession(body, options, providers=["CPUExecutionProvider"])
    except LOAD_ERRORS as error:
        raise EngineError(f"ONNX Runtime cannot load the engine: {error}") from error


def run_parts(
    runs: onnxruntime.InferenceSession, rows: Mapping[str, NDArray[Any]], at_most: int
) -> NDArray[np.float32]:
    """The first output for all rows, at most so many at a time, none padded."""
    num_rows = len(next(iter(rows.values())))
    parts = [
        runs.run(None, {name: array[n : n + at_most] for name, array in rows.items()})[0]
        for n in range(0, num_rows, at_most)
    ]
    answers: NDArray[np.float32] = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return answers
