"""An artifact: a trained model as three files of data. The door where foreign bytes are judged.

``manifest.json`` says what the model is and holds the sha256 of the other two,
``model.safetensors`` has the weights to train on from, ``model.onnx`` the graph to serve by.
Nothing here runs code that a file brings, and torch is not needed to read one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from models_core.calibration import Calibration, CalibrationError
from models_core.drift import DriftReference
from models_core.federated import Federated
from models_core.graphs import plain_graph
from models_core.privacy import PrivacySpent
from models_core.refusals import ArtifactError as ArtifactError
from models_core.spec import Scalar, Spec, SpecError
from models_core.weights import checked_header

if TYPE_CHECKING:
    from onnx import ValueInfoProto

MANIFEST, WEIGHTS, ENGINE = "manifest.json", "model.safetensors", "model.onnx"
FORMAT_VERSION = 1
MAX_BYTES = 64 * 2**20  # all files together
MAX_MANIFEST_BYTES = 4 * 2**20
_TENSOR_TYPES = frozenset({"F32", "BOOL"})


class SpecPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    architecture: str
    num_features: int
    params: dict[str, Scalar]


class CalibrationPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    slope: float
    intercept: float


class GoldenPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rows and the scores they must get, on any host, within 1e-5."""

    rows: tuple[tuple[float, ...], ...]
    scores: tuple[float, ...]


class FilePart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    sha256: str
    size: int  # bytes


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything said of a model beside its weights. See docs/models_core.md."""

    format: Literal["lepton-model"]
    format_version: int
    spec: SpecPart
    schema_hash: str  # of the feature schema that the columns follow
    feature_names: tuple[str, ...]
    calibration: CalibrationPart
    thresholds: dict[str, float]
    recipe: dict[str, Scalar | None]
    data_hash: str
    metrics: dict[str, float]
    baseline: dict[str, dict[str, float]]  # the same metrics by the name of a simpler method
    reference: tuple[float, ...]  # the usual row: feature medians of the negatives
    golden: GoldenPart
    files: dict[str, FilePart]
    recipe_name: str = ""  # of the declared recipe; empty in artifacts made without one
    code_version: str = ""  # of the code that trained it: a commit, or a release
    privacy: PrivacySpent | None = None  # of a private fit
    drift: DriftReference | None = None  # what later rows are held against
    federated: Federated | None = None  # of a model that several sites trained


@dataclass(frozen=True, eq=False, slots=True)
class Artifact:
    """A verified artifact. ``Scorer.from_artifact`` serves it, ``load`` gives the module back."""

    manifest: Manifest
    weights: bytes
    engine: bytes

    @property
    def spec(self) -> Spec:
        part = self.manifest.spec
        return Spec(part.architecture, part.num_features, part.params)

    @property
    def calibration(self) -> Calibration:
        part = self.manifest.calibration
        return Calibration(part.slope, part.intercept)

    @property
    def thresholds(self) -> Mapping[str, float]:
        return self.manifest.thresholds

    @property
    def schema_hash(self) -> str:
        return self.manifest.schema_hash

    @property
    def reference(self) -> NDArray[np.float32]:
        return np.array(self.manifest.reference, dtype=np.float32)

    @property
    def golden_rows(self) -> NDArray[np.float32]:
        return np.array(self.manifest.golden.rows, dtype=np.float32)

    @property
    def golden_scores(self) -> NDArray[np.float64]:
        return np.array(self.manifest.golden.scores, dtype=np.float64)


def unpack(files: Mapping[str, bytes]) -> Artifact:
    """Verify an artifact's files and read them. Takes about 0.1 s, most of it importing onnx once.

    The hashes are the manifest's own: they show damage, not who made it. Who may register a
    model is the registry's business.

    Raises:
        ArtifactError: anything is missing, superfluous, too large, damaged, of another format or
            could do more than hold numbers; ``code`` tells which.
    """
    _check_names_and_sizes(files)
    manifest = _read_manifest(files[MANIFEST])
    for name in (WEIGHTS, ENGINE):
        _check_file(name, files[name], manifest)
    _check_numbers(manifest)
    checked_header(files[WEIGHTS], WEIGHTS, _TENSOR_TYPES)
    _check_engine(files[ENGINE], manifest.spec.num_features)
    return Artifact(manifest, bytes(files[WEIGHTS]), bytes(files[ENGINE]))


def stamped(files: Mapping[str, bytes], *, recipe_name: str, code_version: str) -> dict[str, bytes]:
    """The same artifact, whose manifest also says what made it. What it says already stays.

    Raises:
        ArtifactError: there is no manifest, or it cannot be read.
    """
    if MANIFEST not in files:
        raise ArtifactError("file_missing", f"The artifact has no {MANIFEST}.")
    manifest = _read_manifest(files[MANIFEST])
    made = msgspec.structs.replace(
        manifest,
        recipe_name=manifest.recipe_name or recipe_name,
        code_version=manifest.code_version or code_version,
    )
    return {**files, MANIFEST: msgspec.json.encode(made)}


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _check_names_and_sizes(files: Mapping[str, bytes]) -> None:
    expected = (MANIFEST, WEIGHTS, ENGINE)
    for name in files:
        if name not in expected:
            raise ArtifactError(
                "file_unexpected",
                f"{name!r} has no place in an artifact. It holds {', '.join(expected)}.",
            )
    for name in expected:
        if name not in files:
            raise ArtifactError("file_missing", f"The artifact has no {name}.")
    total = sum(len(body) for body in files.values())
    if total > MAX_BYTES:
        raise ArtifactError(
            "artifact_too_large", f"The artifact has {total} bytes. The limit is {MAX_BYTES}."
        )
    if len(files[MANIFEST]) > MAX_MANIFEST_BYTES:
        raise ArtifactError(
            "artifact_too_large",
            f"{MANIFEST} has {len(files[MANIFEST])} bytes. The limit is {MAX_MANIFEST_BYTES}.",
        )
    for name, body in files.items():
        # Pickle protocol 2 and later, and the zip that torch.save and .pt2 write.
        if (body[:1] == b"\x80" and name != WEIGHTS) or body[:4] == b"PK\x03\x04":
            raise ArtifactError(
                "pickle_refused", f"{name} is a pickle or a zip archive, which can carry code."
            )
        if name == WEIGHTS and body[:1] == b"\x80" and body[8:9] != b"{":
            raise ArtifactError("pickle_refused", f"{name} is a pickle, which can carry code.")


def _read_manifest(body: bytes) -> Manifest:
    try:
        manifest = msgspec.json.decode(body, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ArtifactError("manifest_invalid", f"{MANIFEST}: {error}.") from error
    if manifest.format_version != FORMAT_VERSION:
        raise ArtifactError(
            "format_unknown",
            f"{MANIFEST} is of format version {manifest.format_version}. "
            f"This server reads {FORMAT_VERSION}.",
        )
    return manifest


def _check_file(name: str, body: bytes, manifest: Manifest) -> None:
    if set(manifest.files) != {WEIGHTS, ENGINE}:
        raise ArtifactError(
            "manifest_invalid", f"{MANIFEST} lists {sorted(manifest.files)} and not the two files."
        )
    said = manifest.files[name]
    if len(body) != said.size or sha256(body) != said.sha256:
        raise ArtifactError("file_corrupted", f"{name} is not the file that {MANIFEST} describes.")


def _check_numbers(manifest: Manifest) -> None:
    try:
        spec = Spec(manifest.spec.architecture, manifest.spec.num_features, manifest.spec.params)
        Calibration(manifest.calibration.slope, manifest.calibration.intercept)
    except (SpecError, CalibrationError) as error:
        raise ArtifactError("manifest_invalid", f"{MANIFEST}: {error}") from error
    names, width = manifest.feature_names, spec.num_features
    if len(names) != width or len(set(names)) != width:
        _refuse(f"has {len(set(names))} distinct feature names for {width} features")
    if len(manifest.reference) != width:
        _refuse(f"has a reference row of {len(manifest.reference)} for {width} features")
    if manifest.drift is not None and (problem := manifest.drift.problem(width)):
        _refuse(problem)
    rows, scores = manifest.golden.rows, manifest.golden.scores
    if not rows or len(rows) != len(scores) or any(len(row) != width for row in rows):
        _refuse("has no golden rows with a score for each")
    if not _all_float32(manifest.reference) or not all(_all_float32(row) for row in rows):
        _refuse("has a golden or reference value that float32 cannot hold")
    if not all(0 < score < 1 for score in scores):
        _refuse("has a golden score outside (0, 1)")
    for name, threshold in manifest.thresholds.items():
        if not 0 <= threshold <= 1:
            _refuse(f"has the threshold {name}={threshold}, which is not in [0, 1]")


def _refuse(what: str) -> None:
    raise ArtifactError("manifest_invalid", f"{MANIFEST} {what}.")


def _all_float32(values: Iterable[float]) -> bool:
    largest = float(np.finfo(np.float32).max)
    return all(math.isfinite(value) and abs(value) <= largest for value in values)


def _check_engine(body: bytes, num_features: int) -> None:
    """One plain graph from ``x`` to ``logit``."""
    from onnx import TensorProto

    graph = plain_graph(body, ENGINE).graph
    inputs = [_signature(value) for value in graph.input]
    outputs = [value.name for value in graph.output]
    if inputs != [("x", TensorProto.FLOAT, num_features)] or outputs not in (
        ["logit"],
        ["logit", "detail"],
    ):
        raise ArtifactError(
            "engine_unsafe",
            f"{ENGINE} does not go from float32 x (B, {num_features}) to logit.",
        )


def _signature(value: ValueInfoProto) -> tuple[str, int, int]:
    """Name, element type and width of a graph's ``(B, F)`` input; width -1 for another rank."""
    shape = value.type.tensor_type.shape.dim
    width = shape[1].dim_value if len(shape) == 2 else -1
    return value.name, value.type.tensor_type.elem_type, width
