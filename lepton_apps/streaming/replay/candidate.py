"""A registered version under the thresholds of a replay: what scores its rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from lepton_apps.common import clock
from lepton_apps.model_registry import selectors as models
from lepton_apps.model_registry.cache import FileCache
from lepton_apps.model_registry.loading import load_files, open_scorer
from lepton_apps.model_registry.serving import ServedModel
from lepton_apps.streaming.replay.question import Question
from lepton_apps.verticals.contract import Stream


class Candidate:
    """The same model that would serve, with other thresholds where some were asked for."""

    def __init__(self, served: ServedModel, thresholds: Mapping[str, float]) -> None:
        self._served = served
        self.number = served.number
        self.thresholds: Mapping[str, float] = {**served.thresholds, **thresholds}
        self.reasons = served.reasons
        self.usual = served.usual
        self.base = served.base

    def score(self, x_BF: NDArray[np.float32]) -> NDArray[np.float64]:
        return self._served.score(x_BF)

    def contributions(self, x_BF: NDArray[np.float32]) -> NDArray[np.float64]:
        return self._served.contributions(x_BF)

    def details(self, x_BF: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._served.details(x_BF)


def open_candidate(stream: Stream, question: Question) -> Candidate:
    """Load the version, held against its golden rows as before it serves.

    Raises:
        NotFoundError: there is no such version.
        ModelRefusedError: it is damaged, of another schema, or computes wrong.
    """
    assert question.version is not None, "a checked question names its version"
    version = models.version(stream.model_name, question.version)
    files = load_files(version.pk, FileCache(settings.LEPTON_DATA_DIR / "models"))
    # Those in force: what is different then comes from what was asked for alone.
    held = models.thresholds_at(version, clock.now())
    held = {name: held[name] for name in stream.policy.thresholds if name in held}
    scorer = open_scorer(files, stream)
    served = ServedModel(stream, version.pk, version.number, scorer, None, held)
    return Candidate(served, question.thresholds)
