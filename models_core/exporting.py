"""From a torch module to the bytes of an ONNX file. Imports torch when called."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from models_core.architectures.binary import BinaryModule

OPSET = 18
INPUT, OUTPUT, DETAILS, BATCH_AXIS = "x", "logit", "detail", "B"


def export_onnx(module: BinaryModule) -> bytes:
    """One self-contained ONNX file: float32 ``x`` ``(B, F)`` to float32 ``logit`` ``(B,)``,
    and ``detail`` ``(B, D)`` where the module has details.

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
        x_BF = torch.zeros(2, module.num_features)
        outputs = [OUTPUT] if module.details(x_BF) is None else [OUTPUT, DETAILS]
        torch.onnx.export(
            module if outputs == [OUTPUT] else _with_details(module),
            (x_BF,),
            buffer,  # type: ignore[arg-type]  # the tracing exporter writes to files in memory
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=outputs,
            dynamic_axes={name: {0: BATCH_AXIS} for name in (INPUT, *outputs)},
        )
    return buffer.getvalue()


def _with_details(module: BinaryModule) -> Module:
    from torch.nn import Module

    class Both(Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, x_BF: Tensor) -> tuple[Tensor, Tensor | None]:
            return self.inner(x_BF), self.inner.details(x_BF)

    return Both().eval()
