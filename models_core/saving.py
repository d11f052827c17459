"""A model of any kind as one folder of data: a manifest and safetensors. No code, no pickle.

What the server serves is an artifact (``pack``), which adds an engine, thresholds and calibration.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from models_core.federated import Federated
from models_core.privacy import PrivacySpent
from models_core.refusals import ArtifactError
from models_core.spec import Scalar, Spec, SpecError
from models_core.training import FitRecipe
from models_core.weights import checked_header, module_of

if TYPE_CHECKING:
    from models_core.model import Model

MANIFEST, WEIGHTS, GOLDEN = "model.json", "model.safetensors", "golden.safetensors"
FORMAT_VERSION = 1
MAX_MANIFEST_BYTES = 4 * 2**20
MAX_WEIGHT_BYTES = 4 * 2**30
TOLERANCE = 1e-4  # of golden answers, between hosts


class _Look(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    step: int
    loss: float | None  # None for NaN, which JSON lacks
    score: float


class _Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: str
    format_version: int
    spec: dict[str, Any]
    recipe: dict[str, Scalar | None]
    data_hash: str
    reference: tuple[float, ...]
    history: tuple[_Look, ...]
    seconds: float
    files: dict[str, str]  # sha256, hex
    privacy: PrivacySpent | None = None
    federated: Federated | None = None


def save(model: Model, path: Path | str) -> str:
    """Write a model to a folder, all or nothing; an older model there is replaced.

    Returns:
        64 hex digits: the sha256 of the manifest, which has those of the other files.
    """
    from safetensors.numpy import save as save_arrays
    from safetensors.torch import save as save_tensors

    folder = Path(path)
    weights = {name: t.contiguous().clone() for name, t in model.module.state_dict().items()}
    golden = {f"input.{n}": array for n, array in enumerate(model.golden)}
    golden["answer"] = model.logits(dict(zip(model.spec.sizes, model.golden, strict=True)))
    files = {WEIGHTS: save_tensors(weights), GOLDEN: save_arrays(golden)}
    manifest = msgspec.json.encode(
        {
            "format": "lepton-saved-model",
            "format_version": FORMAT_VERSION,
            "spec": model.spec.to_dict(),
            "recipe": model.recipe.to_dict(),
            "data_hash": model.data_hash,
            "reference": model.reference_F.tolist(),
            "history": [(msgspec.to_builtins(look)) for look in model.history],
            "seconds": model.seconds,
            "files": {name: hashlib.sha256(body).hexdigest() for name, body in files.items()},
            **({} if model.privacy is None else {"privacy": model.privacy}),
            **({} if model.federated is None else {"federated": model.federated}),
        }
    )
    unfinished = folder.with_name(f".{folder.name}-{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for name, body in {**files, MANIFEST: manifest}.items():
        (unfinished / name).write_bytes(body)
    former = folder.with_name(f".{folder.name}-{os.getpid()}-former")
    if (folder / MANIFEST).exists():
        for beside in folder.iterdir():  # a report, say, or a vocabulary
            if beside.name not in (*files, MANIFEST):
                keep = shutil.copytree if beside.is_dir() else shutil.copy2
                keep(beside, unfinished / beside.name)
        folder.rename(former)
    unfinished.rename(folder)
    shutil.rmtree(former, ignore_errors=True)
    return hashlib.sha256(manifest).hexdigest()


def load(path: Path | str) -> Model:
    """Read what ``save`` wrote; weights equal to the bit.

    Raises:
        ArtifactError: a file is missing, damaged, too large, of another format or does not fit the
            spec, or the golden rows are answered differently here; ``code`` tells which.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as load_arrays

    from models_core.model import Look, Model

    folder = Path(path)
    manifest = _manifest(_read(folder / MANIFEST, MAX_MANIFEST_BYTES))
    bodies = {name: _read(folder / name, MAX_WEIGHT_BYTES) for name in (WEIGHTS, GOLDEN)}
    for name, body in bodies.items():
        if hashlib.sha256(body).hexdigest() != manifest.files.get(name):
            raise ArtifactError("file_corrupted", f"{name} is not the file of {MANIFEST}.")
    try:
        spec = Spec.from_json(msgspec.json.encode(manifest.spec))
        recipe = FitRecipe(**manifest.recipe)  # type: ignore[arg-type]
        module = module_of(spec, bodies[WEIGHTS], WEIGHTS)
        checked_header(bodies[GOLDEN], GOLDEN)
        golden = load_arrays(bodies[GOLDEN])
        rows = tuple(golden[f"input.{n}"] for n in range(len(spec.sizes)))
        answer = golden["answer"]
    except ArtifactError:
        raise
    except (SpecError, TypeError, ValueError) as error:
        raise ArtifactError("manifest_invalid", f"{MANIFEST}: {error}") from error
    except (RuntimeError, KeyError, SafetensorError) as error:
        raise ArtifactError(
            "weights_invalid", f"The weights do not fit the spec: {error}"
        ) from error
    model = Model(
        spec=spec,
        module=module.eval(),
        recipe=recipe,
        reference_F=np.array(manifest.reference, dtype=np.float32),
        golden=rows,
        data_hash=manifest.data_hash,
        history=tuple(
            Look(look.step, math.nan if look.loss is None else look.loss, look.score)
            for look in manifest.history
        ),
        seconds=manifest.seconds,
        privacy=manifest.privacy,
        federated=manifest.federated,
    )
    try:
        given = model.logits(dict(zip(spec.sizes, rows, strict=True)))
    except (ValueError, IndexError, RuntimeError) as error:  # a shape, or a token out of range
        raise ArtifactError("weights_invalid", f"{GOLDEN} is not of the spec: {error}") from error
    if given.shape != answer.shape or not np.allclose(given, answer, rtol=1e-4, atol=TOLERANCE):
        raise ArtifactError("weights_invalid", "The golden rows are answered differently here.")
    return model


def _read(path: Path, limit: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > limit:
            raise ArtifactError(
                "artifact_too_large", f"{path.name} has {size} bytes. The limit is {limit}."
            )
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError("file_missing", f"{path}: {error.strerror}.") from error


def _manifest(body: bytes) -> _Manifest:
    try:
        manifest = msgspec.json.decode(body, type=_Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ArtifactError("manifest_invalid", f"{MANIFEST}: {error}.") from error
    if (manifest.format, manifest.format_version) != ("lepton-saved-model", FORMAT_VERSION):
        raise ArtifactError(
            "format_unknown",
            f"{MANIFEST} is {manifest.format} {manifest.format_version}, not "
            f"lepton-saved-model {FORMAT_VERSION}.",
        )
    return manifest
