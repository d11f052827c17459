"""From a recipe to a numbered version, and how its measurements read."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from typing import Any

import django
from django.contrib.auth.models import AbstractBaseUser

from lepton_apps.common.errors import NotFoundError
from lepton_apps.model_registry import services
from lepton_apps.model_registry.models import ModelVersion
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import Fitting, Progress, Stream, Trained, TrainingRecipe

TELL_S = 0.2  # between two looks at what the processes say
DEEP = "model"  # the column of the deep model, beside those of the baselines


def recipes() -> dict[str, TrainingRecipe]:
    """Every recipe of every vertical, by name."""
    return {recipe.name: recipe for vertical in registry.verticals() for recipe in vertical.recipes}


def recipe_named(name: str) -> TrainingRecipe:
    """Raises ``NotFoundError``, which names the recipes there are."""
    found = recipes().get(name)
    if found is None:
        there = ", ".join(sorted(recipes())) or "none"
        raise NotFoundError(f"There is no recipe {name!r}. Recipes: {there}.", recipe=name)
    return found


def starter_of(stream: Stream) -> TrainingRecipe | None:
    """The first recipe declared for the stream: what a fresh server trains."""
    return next((r for r in recipes().values() if r.stream == stream.name), None)


def train(
    recipe: TrainingRecipe, by: AbstractBaseUser | None, fitting: Fitting
) -> tuple[ModelVersion, Trained]:
    """Run the recipe, which may take minutes, and register what it made."""
    _, stream = registry.stream(recipe.stream)
    trained = recipe.run(fitting)
    return services.register_version(stream, trained, by, recipe.name), trained


def trained_side_by_side(
    chosen: Sequence[TrainingRecipe], progress: Progress
) -> Iterator[tuple[TrainingRecipe, Trained]]:
    """Run recipes, each in a process of its own where there are cores, in the order they are done.

    Each fit keeps one core busy. ``progress`` is told of ``<stream> <stage>``.
    """
    num = min(len(chosen), len(os.sched_getaffinity(0)))
    if num <= 1:
        for recipe in chosen:
            yield recipe, recipe.run(Fitting(_named(recipe, progress)))
        return
    # A new interpreter: a fork would share this one's database connections and threads.
    context = multiprocessing.get_context("spawn")
    with (
        context.Manager() as manager,
        ProcessPoolExecutor(num, mp_context=context, initializer=django.setup) as pool,
    ):
        told = manager.Queue()
        running = {pool.submit(_run_apart, recipe.name, told): recipe for recipe in chosen}
        while running:
            done, _ = wait(running, timeout=TELL_S, return_when=FIRST_COMPLETED)
            while not told.empty():
                progress(*told.get())
            for future in done:
                yield running.pop(future), future.result()


def _run_apart(name: str, told: Any) -> Trained:
    """In a process of its own."""
    recipe = recipe_named(name)
    return recipe.run(Fitting(_named(recipe, lambda *step: told.put(step))))


def _named(recipe: TrainingRecipe, progress: Progress) -> Progress:
    return lambda stage, done, total: progress(f"{recipe.stream} {stage}", done, total)


def metrics_table(version: ModelVersion) -> list[str]:
    """Lines of text: a metric a row, the deep model and each baseline a column."""
    columns = {DEEP: version.metrics, **version.baseline}
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    width = max([len(name) for name in names], default=0) + 2
    widths = {title: max(len(title), 10) + 2 for title in columns}
    lines = [" " * width + "".join(f"{title:>{widths[title]}}" for title in columns)]
    lines += [
        f"{name:<{width}}"
        + "".join(f"{_shown(column.get(name)):>{widths[t]}}" for t, column in columns.items())
        for name in names
    ]
    return lines


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4f}" if abs(value) < 1000 else f"{value:,.0f}"
