"""Who is told of a run while it goes on: trackers behind one protocol, and what none can break.

The registry keeps the recipe, history and metrics of every version without any of these.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from models_core.spec import Scalar, Spec
from models_core.training import FitRecipe

if TYPE_CHECKING:
    from models_core.model import Look, Model
    from models_core.reports import Report

Looked = Callable[["Look"], None]


class StopFit(Exception):  # noqa: N818 - no error: how a listener ends a fit
    """Raised by what is told of looks: the fit ends here, with the best weights so far."""


class TrackerError(RuntimeError):
    """A tracker that cannot work here; the sentence says what to install or to change."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What is known of a run before its first step."""

    name: str  # for people; of a study's trial: "<study>-<number>"
    spec: Spec
    recipe: FitRecipe
    data_hash: str  # of the training rows
    rows: int
    validation_rows: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        said = {name: getattr(self, name) for name in ("name", "data_hash", "rows")}
        said["validation_rows"] = self.validation_rows
        return said | {"spec": self.spec.to_dict(), "recipe": self.recipe.to_dict()}

    def parameters(self) -> dict[str, Scalar]:
        """Everything that a tracker lists of a run, flat: ``spec.width``, ``recipe.steps``."""
        flat: dict[str, Scalar] = {"architecture": self.spec.architecture, "task": self.spec.task}
        flat |= {"data_hash": self.data_hash, "rows": self.rows}
        flat |= {f"spec.{name}": value for name, value in self.spec.params.items()}
        given = self.recipe.to_dict().items()
        return flat | {f"recipe.{name}": v for name, v in given if v is not None and v != ""}


class Tracker(Protocol):
    """Is told of runs, one after another. What it raises is a warning, never the end of a fit."""

    def start(self, run: RunFacts) -> None:
        """A run begins."""
        ...

    def look(self, look: Look) -> None:
        """The validation rows were looked at."""
        ...

    def end(self, model: Model | None, report: Report | None) -> None:
        """The run is over. ``report`` is of the validation rows; both None: it failed."""
        ...


@dataclass(frozen=True, slots=True)
class Named:
    """A tracker that is told another name of the run: of a trial, its study's and its number."""

    tracker: Tracker
    name: str

    def start(self, run: RunFacts) -> None:
        told = (run.spec, run.recipe, run.data_hash, run.rows, run.validation_rows)
        self.tracker.start(RunFacts(self.name, *told))

    def look(self, look: Look) -> None:
        self.tracker.look(look)

    def end(self, model: Model | None, report: Report | None) -> None:
        self.tracker.end(model, report)


class Told:
    """Everybody who is told of one run. A tracker that fails is warned of once and left out."""

    def __init__(self, trackers: Sequence[Tracker], looked: Looked | None, facts: RunFacts) -> None:
        self._trackers = list(trackers)
        self._looked = looked
        self._facts = facts
        self._begun = False

    def begin(self) -> None:
        """By the one process that tells, when everything is built."""
        self._begun = True
        self._all(lambda tracker: tracker.start(self._facts))

    def look(self, look: Look) -> None:
        """Raises ``StopFit`` when whoever was given to ``fit`` wants it to end."""
        self._all(lambda tracker: tracker.look(look))
        if self._looked is not None:
            self._looked(look)

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Tell that there is no model when what is inside fails."""
        try:
            yield
        except BaseException:
            self.end(None)
            raise

    def end(self, model: Model | None, judge: Callable[[], Report] | None = None) -> None:
        """Tell the outcome; ``judge`` measures the model, and is asked only where somebody reads."""
        if not self._begun or not self._trackers:
            return
        report: Report | None = None
        if judge is not None:
            try:
                report = judge()
            except ValueError as error:  # rows that cannot be judged, of one answer alone
                warnings.warn(f"The run has no report: {error}", RuntimeWarning, stacklevel=3)
        self._all(lambda tracker: tracker.end(model, report))

    def _all(self, tell: Callable[[Tracker], None]) -> None:
        for tracker in tuple(self._trackers):
            try:
                tell(tracker)
            except Exception as error:  # noqa: BLE001 - a full disk there must not cost the fit
                self._trackers.remove(tracker)
                kind = type(tracker.tracker if isinstance(tracker, Named) else tracker).__name__
                warnings.warn(
                    f"{kind} is not told of this run any more: {error or type(error).__name__}",
                    RuntimeWarning,
                    stacklevel=4,
                )
