"""From a recipe to a numbered version, and how its measurements read."""

from __future__ import annotations

from django.contrib.auth.models import AbstractBaseUser

from lepton_apps.common.errors import NotFoundError
from lepton_apps.model_registry import services
from lepton_apps.model_registry.models import ModelVersion
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import Progress, Stream, TrainingRecipe

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


def train(recipe: TrainingRecipe, by: AbstractBaseUser | None, progress: Progress) -> ModelVersion:
    """Run the recipe, which may take minutes, and register what it made."""
    _, stream = registry.stream(recipe.stream)
    return services.register_version(stream, recipe.run(progress), by)


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
