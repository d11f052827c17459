"""From a trained model to an artifact's files, and back to a module. Torch comes when called."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from models_core import artifact as files_of
from models_core.artifact import Artifact, ArtifactError, sha256, unpack
from models_core.calibration import Calibration
from models_core.drift import DriftReference
from models_core.engines import OnnxEngine, Scorer
from models_core.exporting import ExportError, export_onnx
from models_core.model import Model
from models_core.spec import SpecError
from models_core.weights import module_of

if TYPE_CHECKING:
    from models_core.architectures.binary import BinaryModule

_EXPORT_TOLERANCE = 1e-4  # logits


def pack(
    model: Model,
    calibration: Calibration,
    *,
    schema_hash: str,
    feature_names: Sequence[str],
    thresholds: Mapping[str, float],
    metrics: Mapping[str, float],
    baseline: Mapping[str, Mapping[str, float]] | None = None,
    drift: DriftReference | None = None,
) -> dict[str, bytes]:
    """The files of an artifact, already through every check of ``unpack`` and its golden rows.

    Args:
        model: from ``fit``.
        calibration: from ``fit_calibration`` on held-out logits.
        schema_hash: of the feature schema whose columns the model takes.
        feature_names: one for each column, in order.
        thresholds: by the names that the stream's policy asks for, in [0, 1].
        metrics: of the calibrated model on the test rows, finite.
        baseline: the same metrics by the name of a simpler method.
        drift: from ``drift_reference``, what later rows are held against.

    Raises:
        ExportError: ONNX Runtime and torch differ by more than 1e-4, and 1e-5 of its size, in a
            golden row's logit.
        ArtifactError: a name or number is not what an artifact may hold.
    """
    from safetensors.torch import save

    engine_bytes = export_onnx(model.binary)
    engine = OnnxEngine(engine_bytes)
    z_G = engine.logits(model.golden_GF)
    own_G = model.logits(model.golden_GF)
    if not np.allclose(z_G, own_G, rtol=_EXPORT_TOLERANCE / 10, atol=_EXPORT_TOLERANCE):
        difference = float(np.abs(z_G - own_G).max())
        raise ExportError(f"The engine's logits differ from the module's by {difference:.3g}.")
    weights = save({name: t.contiguous() for name, t in model.module.state_dict().items()})
    manifest = {
        "schema_hash": schema_hash,
        "feature_names": list(feature_names),
        "calibration": calibration.to_dict(),
        "thresholds": dict(thresholds),
        "metrics": dict(metrics),
        "baseline": {name: dict(values) for name, values in (baseline or {}).items()},
        "golden": {
            "rows": model.golden_GF.tolist(),
            "scores": calibration.apply(z_G).tolist(),
        },
        "drift": msgspec.to_builtins(drift),
        **_about(model, {files_of.WEIGHTS: weights, files_of.ENGINE: engine_bytes}),
    }
    _require_finite(manifest, "manifest")
    files = {
        files_of.MANIFEST: msgspec.json.encode(manifest),
        files_of.WEIGHTS: weights,
        files_of.ENGINE: engine_bytes,
    }
    Scorer.from_artifact(unpack(files)).check_golden()
    return files


def _about(model: Model, files: Mapping[str, bytes]) -> dict[str, Any]:
    """The part of a manifest that follows from the fit and the files alone."""
    told = {"privacy": model.privacy, "federated": model.federated}
    return {
        **{name: msgspec.to_builtins(fact) for name, fact in told.items() if fact is not None},
        "format": "lepton-model",
        "format_version": files_of.FORMAT_VERSION,
        "spec": model.spec.to_dict(),
        "recipe": model.recipe.to_dict(),
        "data_hash": model.data_hash,
        "reference": model.reference_F.tolist(),
        "files": {
            name: {"sha256": sha256(body), "size": len(body)} for name, body in files.items()
        },
    }


def load_module(artifact: Artifact) -> BinaryModule:
    """The artifact's torch module on the CPU, in evaluation mode, equal to the bit to the packed.

    Raises:
        SpecError: this server does not know the architecture.
        ArtifactError: the weights are not those of the spec.
    """
    from models_core.architectures.binary import BinaryModule

    module = module_of(artifact.spec, artifact.weights, files_of.WEIGHTS)
    if not isinstance(module, BinaryModule):
        raise SpecError(f"{artifact.spec.architecture!r} is not of yes/no questions of a table.")
    return module


def _require_finite(value: object, path: str) -> None:
    """JSON has no NaN and would write null; say which number it is instead."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ArtifactError("manifest_invalid", f"{path} is {value}.")
    if isinstance(value, dict):
        for name, part in value.items():
            _require_finite(part, f"{path}.{name}")
    elif isinstance(value, list):
        for number, part in enumerate(value):
            _require_finite(part, f"{path}[{number}]")
