"""``manage.py tune_model RECIPE``: look for better settings, and train by the best."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import quote

from django.conf import settings
from django.core.management.base import CommandError

from lepton_apps.common.commands import REFUSED, LeptonCommand
from lepton_apps.model_registry.training import metrics_table, recipe_named, recipes, train
from lepton_apps.streaming.history import history_of
from lepton_apps.streaming.management.commands.train_model import DATA, DEVICES
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import Fitting, Search, TrainingRecipe

if TYPE_CHECKING:
    from models_core.tuned import Tuned

MOST_TRIALS: Final = 10_000


class Command(LeptonCommand):
    help = (
        "Search a recipe's settings with pruning, then train by the best and register the "
        "version. It gets no role. Several machines that name one study share its trials."
    )
    examples: ClassVar[tuple[str, ...]] = (
        "tune_model fintech.transactions.history --trials 40",
        "tune_model fintech.transactions.history --data 180d --trials 200 --study spring "
        "--storage database",
        "tune_model fintech.transactions.starter --trials 10 --dry-run --json",
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add = parser.add_argument
        names = sorted(name for name, recipe in recipes().items() if recipe.tune)
        add("recipe", help=f"one of: {', '.join(names) or 'none'}")
        add("--trials", type=int, default=20, help="of the study in all, others' included")
        add("--study", metavar="NAME", help="default: the recipe's name")
        add(
            "--storage",
            default="memory",
            metavar="WHERE",
            help="memory; database: the server's, for several machines; or a journal file",
        )
        add("--data", metavar="SPAN|FILE", help="see `train_model`")
        add("--device", choices=DEVICES, default="auto", help="default: a GPU where there is one")
        add("--dry-run", action="store_true", help="only search")

    def handle(self, *args: Any, **options: Any) -> None:
        recipe = recipe_named(options["recipe"])
        self.between("--trials", options["trials"], 1, MOST_TRIALS)
        if recipe.tune is None:
            self.refuse(f"{recipe.name} declares nothing to search.")
        if options["data"] and not recipe.learns_history:
            self.refuse(f"--data: {recipe.name} makes its own data.")
        _, stream = registry.stream(recipe.stream)
        history = None
        if recipe.learns_history:
            history = history_of(stream, options["data"] or DATA, recipe.label_delay)
        study = options["study"] or recipe.name
        search = Search(options["trials"], study, _storage(options["storage"]))
        try:
            with self.progress() as progress:
                fitting = Fitting(progress, options["device"], history)
                found = recipe.tune(fitting, search)
            self.say(str(found))
            self.answer(*self._trained(recipe, fitting, found, options["dry_run"]))
        except ValueError as exc:  # a study of another search, a device that is not there
            raise CommandError(f"{recipe.name}: {exc}", returncode=REFUSED) from exc

    def _trained(
        self, recipe: TrainingRecipe, fitting: Fitting, found: Tuned, dry_run: bool
    ) -> tuple[dict[str, Any], str]:
        facts = {"recipe": recipe.name, "version": None, **json.loads(found.to_json())}
        best = {name.removeprefix("spec."): value for name, value in found.best.values.items()}
        if dry_run:
            return facts, f"The best settings: {best}. Nothing was registered."
        with self.progress() as progress:
            version, _ = train(recipe, None, replace(fitting, progress=progress, settings=best))
        self.say("\n".join(["", *metrics_table(version), ""]))
        facts["version"] = version.number
        said = f"{version} registered. Promote it with: manage.py promote_model "
        return facts, f"{said}{version.model_name} {version.number}"


def _storage(name: str) -> str | Path | None:
    if name == "memory":
        return None
    if name != "database":
        return Path(name)
    where = settings.DATABASES["default"]
    login = f"{quote(where['USER'], safe='')}:{quote(where['PASSWORD'], safe='')}"
    return f"postgresql://{login}@{where['HOST']}:{where['PORT']}/{where['NAME']}"
