"""From a torch module to the bytes of an ONNX file. Imports torch when called."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from models_core.architectures.binary import BinaryModule
    from models_core.model import Model

OPSET = 18
INPUT, OUTPUT, DETAILS, BATCH_AXIS = "x", "logit", "detail", "B"
ANSWER = "answer"  # the output of a model of any kind


class ExportError(RuntimeError):
    """The exported engine does not compute what the module computes."""


def export(model: Model) -> bytes:
    """A model of any architecture, inputs and task as one self-contained ONNX file.

    Inputs have the names and types of the spec (float32, or int64 for tokens), the output is
    ``answer``: what ``model.logits`` gives. The first axis of each is free and named ``B``. The
    golden rows have been answered by ONNX Runtime, together and alone, as torch answers them.

    Raises:
        ValueError: an input is called ``answer``.
        ExportError: the answers differ by more than 1e-4 and 1e-4 of their size.

    >>> from models_core import Data, FitRecipe, Spec, fit
    >>> import numpy as np
    >>> data = Data({"s": np.random.default_rng(1).normal(size=(40, 6, 2))}, np.arange(40) % 3)
    >>> model = fit(Spec.of("gru", data, width=4), data, data, FitRecipe(steps=1))
    >>> export(model)[:1]
    b'\\x08'
    """
    import torch

    from models_core.sessions import run_parts, session

    names = list(model.spec.sizes)
    if ANSWER in names:
        raise ValueError(f"An input called {ANSWER!r} has the name of the output. Rename it.")
    rows = dict(zip(names, model.golden, strict=True))
    sample = tuple(torch.from_numpy(array[:2].copy()) for array in model.golden)
    if len(sample[0]) < 2:  # one row would be taken for a size of the graph
        sample = tuple(part.repeat(2, *[1] * (part.ndim - 1)) for part in sample)
    body = _traced(model.module.eval(), sample, names, [ANSWER])
    runs = session(body)
    own = model.logits(rows)
    for at_most in (len(own), 1):
        given = run_parts(runs, rows, at_most)
        if given.shape != own.shape or not np.allclose(given, own, rtol=1e-4, atol=1e-4):
            raise ExportError(
                f"ONNX Runtime answers the golden rows of {model.spec.architecture} in another way "
                f"than torch, {at_most} at a time."
            )
    return body


def export_onnx(module: BinaryModule) -> bytes:
    """One self-contained ONNX file: float32 ``x`` ``(B, F)`` to float32 ``logit`` ``(B,)``,
    and ``detail`` ``(B, D)`` where the module has details.

    The batch axis is named ``B``, so that an engine can fix it to its chunk. The module must be
    in evaluation mode; it is exported as it stands on the CPU.
    """
    import torch

    if module.training:
        raise ValueError("The module is in training mode. Call .eval() before the export.")
    x_BF = torch.zeros(2, module.num_features)
    outputs = [OUTPUT] if module.details(x_BF) is None else [OUTPUT, DETAILS]
    traced = module if outputs == [OUTPUT] else _with_details(module)
    return _traced(traced, (x_BF,), [INPUT], outputs)


def _traced(
    module: Module, sample: tuple[Tensor, ...], inputs: list[str], outputs: list[str]
) -> bytes:
    import torch

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The tracing exporter is deprecated but writes a third of the operators of the new one
        # and needs a second less.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            sample,
            buffer,  # type: ignore[arg-type]  # the tracing exporter writes to files in memory
            dynamo=False,
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={name: {0: BATCH_AXIS} for name in (*inputs, *outputs)},
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
