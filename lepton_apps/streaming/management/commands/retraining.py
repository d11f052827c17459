"""``manage.py retraining [RECIPE]``: when a recipe is run again, and what it may become."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, ClassVar

from lepton_apps.common.commands import LeptonCommand
from lepton_apps.model_registry.training import recipes
from lepton_apps.streaming.management.commands.train_model import DATA
from lepton_apps.streaming.models import RetrainingPolicy
from lepton_apps.streaming.retraining import selectors, services

Then = RetrainingPolicy.Then


class Command(LeptonCommand):
    help = (
        "Show or set when a recipe is trained again by itself: by a schedule, when its stream has "
        "drifted, or both. `trainer` carries it out. What comes of it is proposed, unless --then."
    )
    examples: ClassVar[tuple[str, ...]] = (
        "retraining",
        'retraining fintech.transactions.history --every 7 --on-drift --why "Weekly."',
        "retraining fintech.transactions.history --every 30 --data 180d --then challenger",
        "retraining fintech.transactions.history --off",
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add = parser.add_argument
        learning = sorted(name for name, each in recipes().items() if each.learns_history)
        add("recipe", nargs="?", help=f"one of: {', '.join(learning) or 'none'}")
        add("--every", type=float, metavar="DAYS", help="train again after so many days")
        add("--on-drift", action="store_true", help="train when drift is much, once a day at most")
        add("--data", default=DATA, metavar="SPAN", help=f"learned from (default: {DATA})")
        add("--then", choices=Then.values, default=Then.PROPOSE.value,
            help="what the version becomes (default: a candidate without a role)")  # fmt: skip
        add("--off", action="store_true", help="train no more by itself")
        add("--why", default="", help="for the audit")

    def handle(self, **options: Any) -> None:
        name = options["recipe"]
        changes = options["off"] or options["every"] is not None or options["on_drift"]
        if name is None:
            if changes:
                self.refuse("Name the recipe whose policy is to change.")
            self._list()
            return
        self.known("recipe", name, set(recipes()))
        if options["off"] and (options["every"] is not None or options["on_drift"]):
            self.refuse("--off goes with neither --every nor --on-drift.")
        if changes:
            services.set_policy(
                name,
                None,
                every_days=options["every"],
                on_drift=options["on_drift"],
                data=options["data"],
                then=options["then"],
                why=options["why"],
            )
        policy = selectors.policy_of(name)
        runs = [selectors.told_run(run) for run in selectors.runs(name)]
        facts = {"policy": policy and selectors.told_policy(policy), "runs": runs}
        lines = [_line(policy)] if policy else [f"{name}: not trained again by itself."]
        self.answer(facts, *lines, *(_run_line(run) for run in runs))

    def _list(self) -> None:
        held = selectors.policies()
        told = {"policies": [selectors.told_policy(policy) for policy in held]}
        none = ["No recipe is trained again by itself. See `retraining --help`."]
        self.answer(told, *([_line(policy) for policy in held] or none))


def _line(policy: RetrainingPolicy) -> str:
    when = [] if policy.every_days is None else [f"every {policy.every_days:g} days"]
    when += ["on drift"] if policy.on_drift else []
    return f"{policy.recipe}: {' and '.join(when)}, from {policy.data}, then {policy.then}"


def _run_line(run: dict[str, Any]) -> str:
    version = "" if run["version"] is None else f", version {run['version']} ({run['became']})"
    error = f": {run['error']}" if run["error"] else ""
    return f"  {run['started_at'][:16]} {run['cause']:<8} {run['state']}{version}{error}"
