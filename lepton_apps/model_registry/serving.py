"""The model a process serves, kept up with the registry's ledger between two batches."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import psycopg
from django.conf import settings
from django.db import Error as DjangoDatabaseError
from numpy.typing import NDArray

from lepton_apps.common import clock
from lepton_apps.common.db import raw_connection
from lepton_apps.common.errors import UnavailableError
from lepton_apps.common.metrics import MODEL_CHUNK, MODEL_INFO, MODEL_RELOADS, SCORE_THRESHOLD
from lepton_apps.model_registry.cache import FileCache
from lepton_apps.model_registry.loading import ModelRefusedError, load_files, open_scorer
from lepton_apps.model_registry.models import Role
from lepton_apps.verticals.contract import Stream
from models_core.engines import Scorer

log = logging.getLogger(__name__)

REFUSED_RETRY_S = 60.0  # a refused version is tried again, in case somebody repaired it

HOLDER = """
SELECT version.id, version.number, line.id, line.thresholds::text
FROM model_role_change AS change
LEFT JOIN model_version AS version ON version.id = change.version_id
LEFT JOIN LATERAL (
    SELECT id, thresholds FROM threshold_change
    WHERE version_id = version.id ORDER BY sequence DESC LIMIT 1
) AS line ON true
WHERE change.model_name = %s AND change.role = %s
ORDER BY change.sequence DESC LIMIT 1
"""


class NoChampionError(UnavailableError):
    """No version of the stream's model may decide, so nothing can be scored."""

    code: ClassVar[str] = "model_missing"


class ServedModel:
    """One loaded version. Immutable, and safe to use from several threads at once.

    Shape suffixes: B = rows, F = features of the stream's schema, G = reasons.
    """

    def __init__(
        self,
        stream: Stream,
        version_id: int,
        number: int,
        scorer: Scorer,
        line_id: int | None = None,
        thresholds: Mapping[str, float] | None = None,
    ) -> None:
        schema = stream.extractor.schema
        self.line_id = line_id  # of the version's ledger of thresholds; None: the artifact's hold
        self.thresholds: Mapping[str, float] = {**scorer.thresholds, **(thresholds or {})}
        self._stream = stream
        self.version_id = version_id
        self.number = number
        self.reasons: tuple[str, ...] = tuple(dict.fromkeys(schema.reasons))
        self._groups = tuple(
            tuple(place for place, reason in enumerate(schema.reasons) if reason == group)
            for group in self.reasons
        )
        self._scorer = scorer
        self.base: float = scorer.base  # log odds of the usual row

    def with_thresholds(
        self, line_id: int | None, thresholds: Mapping[str, float] | None
    ) -> ServedModel:
        """The same version, deciding by another line of its ledger."""
        return ServedModel(
            self._stream, self.version_id, self.number, self._scorer, line_id, thresholds
        )

    @property
    def chunk(self) -> int:
        """Rows that the engine takes at a time on this host."""
        return self._scorer.engine.chunk

    @property
    def usual(self) -> NDArray[np.float32]:
        """The reference row, shape (F,): what an unremarkable record looks like."""
        return self._scorer.reference_F

    def score(self, x_BF: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated scores in [0, 1], shape (B,). A row's score does not depend on the others."""
        return self._scorer.score(x_BF)

    def details(self, x_BF: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the model says beside its scores, shape (B, D); D is 0 for most."""
        return self._scorer.details(x_BF)

    def contributions(self, x_BF: NDArray[np.float32]) -> NDArray[np.float64]:
        """How much each reason raises the log odds of each row, shape (B, G).

        A row's sum and ``base`` are its log odds.
        """
        return self._scorer.contributions(x_BF, self._groups)


class ModelSource:
    """The version that has a role, reloaded when the ledger says so. Threads may share one.

    A version that cannot serve is refused and said loudly, and the one before it goes on.
    """

    def __init__(self, stream: Stream, role: str = Role.CHAMPION) -> None:
        self._stream = stream
        self._role = str(role)
        self._cache = FileCache(settings.LEPTON_DATA_DIR / "models")
        self._lock = threading.Lock()
        self._served: ServedModel | None = None
        self._check_at = 0.0  # of the monotonic clock
        self._refused: tuple[int, float, str] | None = None  # version id, retry at, why

    def current(self) -> ServedModel:
        """The model to serve now. Call it between batches, outside a transaction.

        Asks the ledger at most once in ``WORKER_MODEL_CHECK_S``. While another thread does, or
        the database cannot be reached, the loaded version is returned.

        Raises:
            NoChampionError: nobody has the role, or its version was refused at the first load.
        """
        # Nobody waits for a challenger: until it is loaded, there is none.
        first = self._served is None and self._role == Role.CHAMPION
        if clock.monotonic() >= self._check_at and self._lock.acquire(blocking=first):
            try:
                self._check()
            finally:
                self._lock.release()
        served = self._served
        if served is None:
            raise NoChampionError(self._absence(), stream=self._stream.name)
        return served

    def _check(self) -> None:
        if clock.monotonic() < self._check_at:  # another thread did it while we waited
            return
        self._check_at = clock.monotonic() + settings.WORKER_MODEL_CHECK_S
        try:
            row = raw_connection().execute(HOLDER, (self._stream.model_name, self._role)).fetchone()
            if row is None:
                return
            version_id, number, line_id, thresholds = row
            if version_id is None:
                self._let_go()
            else:
                line = None if thresholds is None else json.loads(thresholds)
                self._follow(version_id, number, line_id, line)
        except (DjangoDatabaseError, psycopg.Error) as exc:
            if self._served is None:
                self._check_at = 0.0
                raise
            log.warning(
                "model not checked: the database did not answer",
                extra={"model": self._stream.model_name, "why": str(exc)},
            )

    def _let_go(self) -> None:
        """Serve nothing any more: the role was taken from its holder, and nobody has it."""
        before, self._served, self._refused = self._served, None, None
        if before is not None:
            MODEL_INFO.remove(self._stream.model_name, str(before.number), self._role)

    def _follow(
        self,
        version_id: int,
        number: int,
        line_id: int | None,
        thresholds: Mapping[str, float] | None,
    ) -> None:
        """Load a version that is not the served one, and swap the reference when it is sound.

        Other thresholds of the served one swap the reference too: a batch is decided by one line.
        """
        if self._served is not None and self._served.version_id == version_id:
            if self._served.line_id != line_id:
                self._served = self._served.with_thresholds(line_id, thresholds)
                self._say_thresholds(self._served)
            return
        if self._refused is not None:
            refused_id, retry_at, _ = self._refused
            if refused_id == version_id and clock.monotonic() < retry_at:
                return
        try:
            scorer = open_scorer(load_files(version_id, self._cache), self._stream)
        except ModelRefusedError as exc:
            self._refuse(version_id, number, exc)
            return
        self._swap(ServedModel(self._stream, version_id, number, scorer, line_id, thresholds))

    def _refuse(self, version_id: int, number: int, error: ModelRefusedError) -> None:
        self._refused = (
            version_id,
            clock.monotonic() + REFUSED_RETRY_S,
            f"Version {number} was refused: {error.detail}",
        )
        MODEL_RELOADS.labels(self._stream.model_name, "refused").inc()
        log.error(
            "model refused",
            extra={
                "model": self._stream.model_name,
                "version": number,
                "serving": None if self._served is None else self._served.number,
                "why": error.detail,
            },
        )

    def _swap(self, served: ServedModel) -> None:
        model, before = self._stream.model_name, self._served
        self._refused = None
        self._served = served
        if before is not None:
            MODEL_INFO.remove(model, str(before.number), self._role)
        MODEL_INFO.labels(model, str(served.number), self._role).set(1)
        MODEL_CHUNK.labels(model, self._role).set(served.chunk)
        MODEL_RELOADS.labels(model, "loaded").inc()
        self._say_thresholds(served)
        log.info(
            "model loaded",
            extra={
                "model": model,
                "version": served.number,
                "chunk": served.chunk,
                "replaced": None if before is None else before.number,
            },
        )

    def _say_thresholds(self, served: ServedModel) -> None:
        if self._role != Role.CHAMPION:
            return
        for name in self._stream.policy.thresholds:
            SCORE_THRESHOLD.labels(self._stream.name, name).set(served.thresholds[name])
        log.info(
            "thresholds taken up",
            extra={
                "model": self._stream.model_name,
                "version": served.number,
                "thresholds": dict(served.thresholds),
            },
        )

    def _absence(self) -> str:
        if self._refused is not None:
            return self._refused[2]
        return (
            f"Model {self._stream.model_name!r} of {self._stream.name} has no {self._role}. "
            "Train one with `manage.py train_starters`."
        )
