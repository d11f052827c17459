"""A registered version under the thresholds of a replay: what scores its rows."""

from __future__ import annotations

from django.conf import settings

from lepton_apps.common import clock
from lepton_apps.model_registry import selectors as models
from lepton_apps.model_registry.cache import FileCache
from lepton_apps.model_registry.loading import load_files, open_scorer
from lepton_apps.model_registry.serving import ServedModel
from lepton_apps.streaming.replay.question import Question
from lepton_apps.verticals.contract import Stream


def open_candidate(stream: Stream, question: Question) -> ServedModel:
    """Load the version, held against its golden rows as before it serves.

    Raises:
        NotFoundError: there is no such version.
        ModelRefusedError: it is damaged, of another schema, or computes wrong.
    """
    assert question.version is not None, "a checked question names its version"
    version = models.version(stream.model_name, question.version)
    files = load_files(version.pk, FileCache(settings.LEPTON_DATA_DIR / "models"))
    # Those in force: what is different then comes from what was asked for alone.
    thresholds = {**models.thresholds_at(version, clock.now()), **question.thresholds}
    scorer = open_scorer(files, stream)
    return ServedModel(stream, version.pk, version.number, scorer, thresholds=thresholds)
