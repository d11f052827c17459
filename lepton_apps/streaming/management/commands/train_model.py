"""Run a training recipe and register the version it makes."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import ArgumentParser
from io import StringIO
from typing import Any, Final

from django.conf import settings
from django.core.management.base import CommandError, OutputWrapper

from lepton_apps.common import clock
from lepton_apps.common.commands import REFUSED, LeptonCommand
from lepton_apps.model_registry import selectors, services
from lepton_apps.model_registry.models import ModelVersion, Role
from lepton_apps.model_registry.training import metrics_table, recipe_named, recipes, train
from lepton_apps.streaming.history import history_of, span_of
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import Fitting, History, TrainingRecipe

DATA: Final = "90d"
DEVICES: Final = ("auto", "cpu", "cuda")
MOST_NODES: Final = 1_000


class Command(LeptonCommand):
    help = "Train a model by a recipe and register it as a new version."
    examples = (
        "train_model fintech.transactions.starter",
        'train_model fintech.transactions.history --data 180d --promote --why "Half a year."',
        "train_model ops.logs.history --device cuda",
        "train_model fintech.transactions.history --data 2026-01-01T00:00Z..2026-03-01T00:00Z \\\n"
        "      --nodes 2 --node-rank 0 --rendezvous trainer-0:29400   (and 1 on the other one)",
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add = parser.add_argument
        add("recipe", help=f"one of: {', '.join(sorted(recipes())) or 'none'}")
        add(
            "--data",
            metavar="SPAN|FILE",
            help=f"of a recipe that learns from history: a span of decisions (default: {DATA}), or "
            "a .parquet or .csv file of feature rows",
        )
        add("--device", choices=DEVICES, default="auto", help="default: a GPU where there is one")
        add("--nodes", type=int, default=1, help="machines that train together")
        add("--node-rank", type=int, default=0, help="which of them this is, from 0")
        add("--processes", type=int, default=1, help="on each of them: its GPUs, or cores")
        add("--rendezvous", metavar="HOST:PORT", help="of node 0, where they meet")
        add("--promote", action="store_true", help="make the new version champion at once")
        add("--why", default="", help="written into the ledger and the audit")

    def handle(self, *args: Any, **options: Any) -> None:
        recipe = recipe_named(options["recipe"])
        self._check(recipe, options)
        if options["nodes"] * options["processes"] > 1:
            self._start(recipe, options)
            return
        is_first = os.environ.get("RANK", "0") == "0"  # of several that train together
        if not is_first:  # the first one speaks, and registers
            self.stdout = OutputWrapper(StringIO())
        _, stream = registry.stream(recipe.stream)
        # Asked before the training: whoever is promoted while it runs was not compared with.
        before = selectors.champion(stream.model_name)
        self.say(f"{recipe.name}: {recipe.summary}")
        started = clock.monotonic()
        fitting_history = self._history(recipe, options["data"])
        with self.progress() as progress:
            fitting = Fitting(progress, options["device"], fitting_history)
            try:
                if not is_first:
                    recipe.run(fitting)
                    return
                version, trained = train(recipe, None, fitting)
            except ValueError as exc:  # a device that is not there, rows that do not fit
                raise CommandError(f"{recipe.name}: {exc}", returncode=REFUSED) from exc
        self.say(f"{version} registered after {clock.monotonic() - started:.1f} s.")
        self.say("\n".join(["", *metrics_table(version), ""]))
        if options["promote"]:
            expected = before.number if before else None
            why = options["why"] or f"Trained by {recipe.name}."
            services.promote(version, Role.CHAMPION, None, why, expected=expected)
            said = self.style.SUCCESS(f"{version} is champion of {stream.name}.")
        else:
            said = f"Promote it with: manage.py promote_model {version.model_name} {version.number}"
        facts = _facts(version, options["promote"])
        self.answer(facts | {"measured_from": trained.measured_from}, said)

    def _check(self, recipe: TrainingRecipe, options: dict[str, Any]) -> None:
        """Refuse what cannot be before anything long begins."""
        nodes, rank = options["nodes"], options["node_rank"]
        self.between("--nodes", nodes, 1, MOST_NODES)
        self.between("--processes", options["processes"], 1, MOST_NODES)
        self.between("--node-rank", rank, 0, nodes - 1)
        if options["data"] and not recipe.learns_history:
            self.refuse(f"--data: {recipe.name} makes its own data. {_learners()}")
        if nodes == 1:
            return
        if not options["rendezvous"]:
            self.refuse(f"--nodes {nodes} needs --rendezvous HOST:PORT, where they meet.")
        if recipe.learns_history:
            span = span_of(options["data"] or DATA)
            if span is not None and not span.has_end:
                self.refuse(
                    "--nodes: every node must read the same rows. Give --data an end, as "
                    "2026-01-01T00:00Z..2026-03-01T00:00Z."
                )

    def _history(self, recipe: TrainingRecipe, data: str | None) -> History | None:
        if not recipe.learns_history:
            return None
        _, stream = registry.stream(recipe.stream)
        history = history_of(stream, data or DATA, recipe.label_delay)
        self.say(
            f"{len(history.x_NF):,} rows, the truth of {int(history.known_N.sum()):,} is known, "
            f"{int(history.positive_N.sum()):,} positive."
        )
        return history

    def _start(self, recipe: TrainingRecipe, options: dict[str, Any]) -> None:
        """This node's processes, under torch's launcher, and wait for them."""
        span = span_of(options["data"] or DATA) if recipe.learns_history else None
        if span is not None:  # the same rows for each of them, whenever it begins
            ends = (each.replace(microsecond=0) for each in (span.since, span.until))
            options["data"] = "..".join(each.isoformat() for each in ends)
        meeting = ["--standalone"]
        if options["nodes"] > 1:
            meeting = [
                f"--nnodes={options['nodes']}",
                f"--node-rank={options['node_rank']}",
                "--rdzv-backend=c10d",
                f"--rdzv-endpoint={options['rendezvous']}",
                f"--rdzv-id={options['recipe']}",
            ]
        own = [options["recipe"], "--device", options["device"], "--why", options["why"]]
        own += ["--data", options["data"]] if options["data"] else []
        own += ["--promote"] if options["promote"] else []
        own += ["--json"] if self.as_json else []
        command = [
            sys.executable, "-m", "torch.distributed.run", *meeting,
            f"--nproc-per-node={options['processes']}", str(settings.BASE_DIR / "manage.py"),
            "train_model", *own,
        ]  # fmt: skip
        done = subprocess.run(command, cwd=settings.BASE_DIR, check=False)  # noqa: S603 - our own
        if done.returncode:
            raise CommandError("The training failed; its processes say why.", returncode=REFUSED)


def _learners() -> str:
    learning = sorted(recipe.name for recipe in recipes().values() if recipe.learns_history)
    return f"Those that learn from data: {', '.join(learning) or 'none'}."


def _facts(version: ModelVersion, promoted: bool) -> dict[str, Any]:
    return {
        "model": version.model_name,
        "version": version.number,
        "stream": version.stream,
        "promoted": promoted,
        "metrics": version.metrics,
        "baseline": version.baseline,
    }
