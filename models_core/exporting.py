"""From a torch module to the bytes of an ONNX file. Imports torch when called."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models_core.architectures.binary import BinaryModule

OPSET = 18
INPUT, OUTPUT, BATCH_AXIS = "x", "logit", "B"


def export_onnx(module: BinaryModule) -> bytes:
    """One self-contained ONNX file: float32 ``x`` ``(B, F)`` to float32 ``logit`` ``(B,)``.

    The batch axis is named ``B``, so that an engine can fix it to its chunk. The module must be
    in evaluation mode; it is exported as it stands on the CPU.
    """
    import torch

    if module.training:
        raise ValueError("The module is in training mode. Call .eval() before the export.")
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The tracing exporter is deprecated but writes a third of the operators of the new one
        # and needs a second less.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(2, module.num_features),),
            buffer,  # type: ignore[arg-type]  # the tracing exporter writes to files in memory
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: BATCH_AXIS}, OUTPUT: {0: BATCH_AXIS}},
        )
    return buffer.getvalue()
