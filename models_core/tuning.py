"""``tune``: which parameters and recipe suit the data. Optuna chooses, ``fit`` tries."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from models_core.data import Data
from models_core.space import OF_SPEC, Space, TuneError, check_space, is_of_recipe
from models_core.spec import Scalar, Spec, SpecError
from models_core.studies import ATTEMPT, WHY, WORKER, Turns, answered, open_study, take_back
from models_core.table import Table
from models_core.tracking import Named, StopFit, Tracker
from models_core.training import FitRecipe, Progress, cut, fit, for_spec
from models_core.tuned import Trial, Tuned

if TYPE_CHECKING:
    import optuna

    from models_core.model import Look, Model

Prune = Literal["median", "hyperband", "none"]
STARTUP_TRIALS = 4  # without pruning: there must be something to compare with
_ASKED = "lepton"  # of a study: what it searches, so that no other search mixes with it
# Where a trial runs does not change what it is worth, as far as the search can tell.
_OF_THE_PLACE = ("device", "threads", "shard", "compile", "max_seconds", "checkpoint_every")


def tune(
    spec: Spec | str,
    train: Table | Data,
    validation: Table | Data | None = None,
    space: Space | None = None,
    *,
    trials: int = 20,
    recipe: FitRecipe | None = None,
    study: str = "tune",
    storage: Path | str | None = None,
    prune: Prune = "median",
    seed: int = 0,
    refit: bool = True,
    progress: Progress | None = None,
    trackers: Sequence[Tracker] = (),
) -> Tuned:
    """Search the space for what scores best on ``validation``, by the recipe's ``watch``.

    Keep test rows away from it: the best of many scores flatters, so measure the model with
    ``evaluate`` on rows that neither ``train`` nor ``validation`` hold.

    Args:
        spec: an architecture's name, or a spec whose parameters hold where the space says nothing.
        train, validation: as for ``fit``; without a ``validation`` the last fifth of ``train``.
        space: by name of a ``FitRecipe`` field or of the architecture's parameter; ``spec.<name>``
            where both have it.
        trials: of the study in all. Those of earlier calls and of other processes count, so a
            search that was interrupted goes on, and several share the work.
        recipe: of every trial, where the space says nothing.
        study: the search's name in its storage.
        storage: a path: a journal file that several processes of one machine or one shared disk
            may use; ``postgresql://...``: a database that several machines may use; None: memory.
        prune: ends a trial early that at some look is below the median of those before it, or
            by hyperband's halving.
        seed: of the choices. One process alone repeats itself; several depend on who is faster.
        refit: fit the best one again where another process had fitted it.
        progress: called as ``progress("tune", done, trials)``.
        trackers: are told of each trial as a run ``<study>-<number>``.

    Raises:
        TuneError: the space, storage or study does not fit, or every trial failed.

    Source:
        TPE: Bergstra et al. (2011); hyperband: Li et al. (2018); both as Optuna has them.
    """
    if trials < 1:
        raise TuneError(f"trials={trials} must be at least 1.")
    if validation is None:
        train, validation = cut(train)
    recipe = replace(recipe or FitRecipe(), shard="none")  # a worker is one process
    base = spec if isinstance(spec, Spec) else _spec_of(spec, train)
    space = space or {}
    check_space(space, base.architecture, _taken(base))
    parts = [for_spec(base, "train", train), for_spec(base, "validation", validation)]
    asked = _asked(space, base, recipe, parts)
    with _quiet(), answered(storage):
        sampler, pruner = _chooser(prune, recipe, seed if storage is None else None)
        opened, turns = open_study(study, storage, sampler, pruner)
        search = Search(opened, turns, base, recipe, space, parts, trackers)
        return search.made(asked, trials, refit, progress)


class Search:
    """One worker's part of a study."""

    def __init__(
        self,
        study: optuna.Study,
        turns: Turns,
        spec: Spec,
        recipe: FitRecipe,
        space: Space,
        parts: Sequence[Table | Data],
        trackers: Sequence[Tracker],
    ) -> None:
        self.study, self.turns = study, turns
        self.spec, self.recipe, self.space = spec, recipe, space
        self.train, self.validation = parts
        self.trackers = trackers
        self.best: tuple[int, Model] | None = None  # of this worker

    def made(
        self, asked: Mapping[str, Any], trials: int, refit: bool, progress: Progress | None
    ) -> Tuned:
        """Join the study, do this worker's part, and say what was found."""
        try:
            with self.turns.asking():
                _claim(self.study, asked)
            self.through(trials, progress)
            return self.outcome(refit)
        finally:
            self.turns.close()

    def through(self, trials: int, progress: Progress | None) -> None:
        """Try until the study has as many trials as were asked for."""
        while (trial := self._next(trials)) is not None:
            self._try(trial)
            if progress is not None:
                progress("tune", min(_tried(self.study), trials), trials)

    def _next(self, trials: int) -> optuna.Trial | None:
        with self.turns.asking():
            take_back(self.study, self.turns)
            if _tried(self.study) >= trials:
                return None
            trial = self.study.ask()
            trial.set_user_attr(WORKER, self.turns.me)
            return trial

    def _try(self, trial: optuna.Trial) -> None:
        from optuna.trial import TrialState

        listener = _Listener(trial)
        try:
            spec, recipe = self._suggested(trial)
            model = fit(
                spec,
                self.train,
                self.validation,
                recipe,
                looked=listener,
                trackers=[
                    Named(t, f"{self.study.study_name}-{trial.number}") for t in self.trackers
                ],
            )
        except (SpecError, ValueError, MemoryError) as error:
            trial.set_user_attr(WHY, str(error))
            self._tell(trial, None, TrialState.FAIL)
            return
        except BaseException:
            # Interrupted, not judged: whoever goes on with the study tries these values.
            self._tell(trial, None, TrialState.FAIL)
            attempt = trial.user_attrs.get(ATTEMPT, 1)
            self.study.enqueue_trial(trial.params, user_attrs={ATTEMPT: attempt})
            raise
        score = max(look.score for look in model.history)
        if listener.is_pruned:
            self._tell(trial, None, TrialState.PRUNED)
        elif not math.isfinite(score):
            trial.set_user_attr(WHY, f"Its score is {score}. A smaller learning rate may help.")
            self._tell(trial, None, TrialState.FAIL)
        elif self._tell(trial, score, TrialState.COMPLETE) and self._is_best(trial):
            self.best = trial.number, model

    def _is_best(self, trial: optuna.Trial) -> bool:
        return self.study.best_trial.number == trial.number

    def _tell(self, trial: optuna.Trial, score: float | None, state: Any) -> bool:
        """False: others had given this worker up, and its trial with it."""
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            self.study.tell(trial, score, state=state)
        except (UpdateFinishedTrialError, ValueError):
            return False
        return True

    def _suggested(self, trial: optuna.Trial) -> tuple[Spec, FitRecipe]:
        chosen = {name: each.suggested(name, trial) for name, each in self.space.items()}
        return with_values(self.spec, self.recipe, chosen)

    def outcome(self, refit: bool) -> Tuned:
        """The best trial so far, and all of them."""
        told = tuple(_trial(trial) for trial in self.study.get_trials(deepcopy=False))
        done = [trial for trial in told if trial.state == "complete"]
        if not done:
            why = next((trial.why for trial in told if trial.why), "none was completed yet.")
            raise TuneError(f"No trial of {len(told)} gave a model: {why}")
        number = self.study.best_trial.number
        best = told[number]
        assert best.score is not None
        spec, recipe = with_values(self.spec, self.recipe, best.values)
        model = self.best[1] if self.best is not None and self.best[0] == number else None
        if model is None and refit:
            model = fit(spec, self.train, self.validation, recipe)
        importance = _importance(self.study)
        return Tuned(self.study.study_name, spec, recipe, best.score, model, told, importance)


class _Listener:
    """Reports looks to the study, and ends the fit that is not worth going on."""

    def __init__(self, trial: optuna.Trial) -> None:
        self.trial = trial
        self.is_pruned = False
        self._looks = 0

    def __call__(self, look: Look) -> None:
        from optuna.exceptions import UpdateFinishedTrialError

        self._looks += 1  # not steps: trials may have different ones
        if not math.isfinite(look.score):
            return
        try:
            self.trial.report(look.score, self._looks)
            self.is_pruned = self.trial.should_prune()
        except UpdateFinishedTrialError:  # its lock was lost, and others try these values
            raise StopFit from None
        if self.is_pruned:
            raise StopFit


def with_values(
    spec: Spec, recipe: FitRecipe, values: Mapping[str, Scalar]
) -> tuple[Spec, FitRecipe]:
    """Spec and recipe with the values of a space's names."""
    of_recipe: dict[str, Any] = {n: v for n, v in values.items() if is_of_recipe(n)}
    params = {n.removeprefix(OF_SPEC): v for n, v in values.items() if not is_of_recipe(n)}
    return replace(spec, params={**spec.params, **params}), replace(recipe, **of_recipe)


def _spec_of(architecture: str, train: Table | Data) -> Spec:
    if isinstance(train, Table):
        return Spec(architecture, train.num_features)
    return Spec.of(architecture, train)


def _taken(spec: Spec) -> dict[str, Any]:
    """The parameters of an architecture by name; none where it takes any."""
    from models_core.architectures.registry import OUTPUTS, class_of

    taken = list(inspect.signature(class_of(spec.architecture)).parameters.values())[1:]
    if any(each.kind is each.VAR_KEYWORD for each in taken):
        return {}
    return {each.name: each.default for each in taken if each.name != OUTPUTS}


def _asked(
    space: Space, spec: Spec, recipe: FitRecipe, parts: Sequence[Table | Data]
) -> dict[str, Any]:
    told = {n: v for n, v in recipe.to_dict().items() if n not in _OF_THE_PLACE and n not in space}
    said = {
        "space": {name: each.to_dict() for name, each in sorted(space.items())},
        "spec": spec.to_dict(),
        "recipe": told,
        "train": parts[0].hash,
        "validation": parts[1].hash,
    }
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(said))  # as a store gives back
    return plain


def _claim(study: optuna.Study, asked: Mapping[str, Any]) -> None:
    """Say what the study searches, or refuse when it searches something else."""
    before = study.user_attrs.get(_ASKED)
    if before is None and not study.get_trials(deepcopy=False):
        study.set_user_attr(_ASKED, dict(asked))
        return
    differing = [name for name in asked if (before or {}).get(name) != asked[name]]
    if differing:
        raise TuneError(
            f"The study {study.study_name!r} is there already, with another "
            f"{', '.join(differing)}. Give this search a study of its own."
        )


def _tried(study: optuna.Study) -> int:
    """Trials that are done or being done; those that a dead worker left do not count."""
    from optuna.trial import TrialState

    return sum(
        trial.state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        or (trial.state is TrialState.FAIL and WHY in trial.user_attrs)
        for trial in study.get_trials(deepcopy=False)
    )


def _trial(trial: optuna.trial.FrozenTrial) -> Trial:
    state: Any = {"FAIL": "failed"}.get(trial.state.name, trial.state.name.lower())
    seen = trial.intermediate_values.values()
    score = trial.value if trial.value is not None else max(seen, default=None)
    why = str(trial.user_attrs.get(WHY, ""))
    return Trial(trial.number, state, score, dict(trial.params), len(seen), why)


def _chooser(prune: Prune, recipe: FitRecipe, seed: int | None) -> tuple[Any, Any]:
    from optuna import pruners, samplers

    looks = math.ceil(recipe.steps / recipe.evaluate_every)
    offered: dict[str, Any] = {
        "median": pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=1),
        "hyperband": pruners.HyperbandPruner(min_resource=1, max_resource=max(looks, 2)),
        "none": pruners.NopPruner(),
    }
    if prune not in offered:
        raise TuneError(f"prune={prune!r} is none of {', '.join(offered)}.")
    return samplers.TPESampler(seed=seed), offered[prune]


def _importance(study: optuna.Study) -> dict[str, float]:
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # "too small to compute importances"
            return dict(get_param_importances(study, evaluator=PedAnovaImportanceEvaluator()))
    except (ValueError, RuntimeError, UserWarning):  # too few trials, or all of them alike
        return {}


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna tells of each trial and of what it may change some day; the table says enough."""
    try:
        import optuna
    except ImportError as error:
        raise TuneError("Tuning needs Optuna: pip install optuna==5.0.0") from error

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
