"""Serving: an ONNX engine whose answers do not depend on the company a row keeps, and the scorer.

Shape suffixes: B = rows of a batch, F = features, C = rows of a chunk, G = golden rows or groups
of features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models_core.artifact import Artifact
from models_core.calibration import Calibration
from models_core.sessions import EngineError as EngineError
from models_core.sessions import session

CHUNK = 64  # rows; measured in docs/models_core.md
GOLDEN_TOLERANCE = 1e-5  # between hosts; on one host and engine scores are equal to the bit


class GoldenRowsError(EngineError):
    """An engine whose scores of the golden rows are not the artifact's: it must not serve."""


class OnnxEngine:
    """ONNX Runtime on one core, in chunks of one fixed, zero-padded size.

    The size of a matrix product may change how its sums are taken, so a row alone and the same row
    among 500 could differ in the last bits, and a stored decision would not replay. With one
    size they cannot. The size is a multiple of 16, so that the vector loops over elements leave no
    rest to a scalar loop; then the place within the chunk does not matter either. Tests hold both.

    One core, since a worker process is the unit of scaling; no spinning, since an idle
    worker must not burn it. Calls from several threads at once are safe.

    Args:
        model_bytes: a verified ``model.onnx``.
        chunk: rows of one run, a multiple of 16.

    Raises:
        EngineError: the chunk is not such a number, or ONNX Runtime cannot load the file.
    """

    def __init__(self, model_bytes: bytes, chunk: int = CHUNK) -> None:
        if chunk < 16 or chunk % 16:
            raise EngineError(f"chunk={chunk} is not a multiple of 16.")
        self._session = session(model_bytes, chunk)
        self.chunk = chunk
        self.num_features = int(self._session.get_inputs()[0].shape[1])
        outputs = {found.name: found.shape for found in self._session.get_outputs()}
        self.num_details = int(outputs["detail"][1]) if "detail" in outputs else 0

    def logits(self, x_BF: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(B,)`` float32 logits of raw features ``(B, F)``; ``B`` may be 0.

        Raises:
            EngineError: the shape does not fit.
        """
        z_B = np.empty(len(x_BF), dtype=np.float32)
        self._run(x_BF, "logit", z_B)
        return z_B

    def details(self, x_BF: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(B, D)`` float32: what the model says beside the logit. D is 0 where it says nothing.

        Raises:
            EngineError: the shape does not fit.
        """
        detail_BD = np.empty((len(x_BF), self.num_details), dtype=np.float32)
        if self.num_details:
            self._run(x_BF, "detail", detail_BD)
        return detail_BD

    def _run(self, x_BF: NDArray[np.float32], output: str, into_B: NDArray[np.float32]) -> None:
        if x_BF.ndim != 2 or x_BF.shape[1] != self.num_features:
            raise EngineError(f"Expected (B, {self.num_features}), got {x_BF.shape}.")
        x_BF = np.ascontiguousarray(x_BF, dtype=np.float32)
        for start in range(0, len(x_BF), self.chunk):
            x_CF = x_BF[start : start + self.chunk]
            taken = len(x_CF)
            if taken < self.chunk:
                x_CF = np.zeros((self.chunk, self.num_features), dtype=np.float32)
                x_CF[:taken] = x_BF[start:]
            into_B[start : start + taken] = self._session.run([output], {"x": x_CF})[0][:taken]


@dataclass(frozen=True, eq=False, slots=True)
class Scorer:
    """What serves a model version: engine, calibration, thresholds and the rows that prove it."""

    engine: OnnxEngine
    calibration: Calibration
    thresholds: Mapping[str, float]
    schema_hash: str
    reference_F: NDArray[np.float32]
    golden_GF: NDArray[np.float32]
    golden_score_G: NDArray[np.float64]

    @classmethod
    def from_artifact(cls, artifact: Artifact, *, chunk: int = CHUNK) -> Scorer:
        """Build the engine; call ``check_golden`` before it serves."""
        return cls.of(artifact, OnnxEngine(artifact.engine, chunk))

    @classmethod
    def of(cls, artifact: Artifact, engine: OnnxEngine) -> Scorer:
        """The scorer of an engine that is there already."""
        return cls(
            engine=engine,
            calibration=artifact.calibration,
            thresholds=artifact.thresholds,
            schema_hash=artifact.schema_hash,
            reference_F=artifact.reference,
            golden_GF=artifact.golden_rows,
            golden_score_G=artifact.golden_scores,
        )

    def score(self, x_BF: NDArray[np.float32]) -> NDArray[np.float64]:
        """``(B,)`` calibrated probabilities in (0, 1) of raw, finite features ``(B, F)``."""
        return self.calibration.apply(self.engine.logits(x_BF))

    def details(self, x_BF: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(B, D)``: what the model says beside its scores; what it means, its architecture says."""
        return self.engine.details(x_BF)

    @property
    def base(self) -> float:
        """The calibrated log odds of the usual row, which contributions are added to."""
        return float(self.calibration.log_odds(self.engine.logits(self.reference_F[None]))[0])

    def contributions(
        self, x_BF: NDArray[np.float32], groups: Sequence[Sequence[int]]
    ) -> NDArray[np.float64]:
        """How much each group of features raises the log odds over those of the usual row.

        The groups take on the row's values one after the other, from the usual row on, and each
        is given the step it made; then again in the opposite order, and the two are averaged. So
        a row's sum is its log odds less ``base``, a group that is as usual gets nothing, and what
        two groups do only together is halved between them: Shapley's value, wherever no three
        groups act together.

        Args:
            x_BF: raw features.
            groups: column numbers of each group; all columns together, each once.

        Returns:
            ``(B, G)`` in calibrated log odds; positive means the group speaks for an alert.
        """
        num_rows, num_groups = len(x_BF), len(groups)
        if not num_rows:
            return np.empty((0, num_groups))
        contribution_BG = np.zeros((num_rows, num_groups))
        for order in (range(num_groups), range(num_groups - 1, -1, -1)):
            # The first of the path is the usual row, the last is the row itself.
            path_PBF = np.tile(self.reference_F, (num_groups + 1, num_rows, 1))
            for step, group in enumerate(order, start=1):
                columns = list(groups[group])
                path_PBF[step:, :, columns] = x_BF[:, columns]
            logits = self.engine.logits(path_PBF.reshape(-1, x_BF.shape[1]))
            odds_PB = self.calibration.log_odds(logits).reshape(num_groups + 1, num_rows)
            contribution_BG[:, list(order)] += np.diff(odds_PB, axis=0).T / 2
        return contribution_BG

    def check_golden(self) -> float:
        """Score the golden rows; returns the worst difference from what the artifact says.

        Raises:
            GoldenRowsError: it is above 1e-5, or not a number.
        """
        difference = float(np.abs(self.score(self.golden_GF) - self.golden_score_G).max())
        if not difference <= GOLDEN_TOLERANCE:
            raise GoldenRowsError(
                f"Golden rows differ by up to {difference:.3g}, more than {GOLDEN_TOLERANCE:g}. "
                "The engine on this host does not compute this model."
            )
        return difference
