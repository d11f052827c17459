"""List model versions and who has which role."""

from __future__ import annotations

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand

from lepton_apps.model_registry import selectors
from lepton_apps.model_registry.models import ModelVersion
from lepton_apps.verticals import registry

EXAMPLE = """\
example:
  manage.py models
  manage.py models --json
"""


class Command(BaseCommand):
    help = "List the newest model versions, their roles and whether they fit the features of today."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = EXAMPLE
        parser.add_argument("--limit", type=int, default=20, help="Versions to list.")
        parser.add_argument("--json", action="store_true", help="A JSON list instead of a table.")

    def handle(self, *args: Any, **options: Any) -> None:
        versions = selectors.versions(limit=max(1, options["limit"]))
        holders = {v.model_name: selectors.roles_of(v.model_name) for v in versions}
        rows = [_row(version, holders[version.model_name]) for version in versions]
        if options["json"]:
            self.stdout.write(json.dumps(rows))
            return
        if not rows:
            self.stdout.write("No model yet. Train the first ones with: manage.py train_starters")
            return
        layout = "{model:<28} {version:>7}  {roles:<22} {fits:<5} {privacy:<17} "
        layout += "{created_at:<20} {created_by}"
        titles = {name: name.replace("_", " ") for name in rows[0] if name != "metrics"}
        self.stdout.write(layout.format(**titles))
        for row in rows:
            shown = {**row, "roles": ", ".join(row["roles"]) or "-"}
            shown["privacy"] = _privacy_in_short(row["privacy"])
            shown["fits"] = "yes" if row["fits"] else "no"
            self.stdout.write(layout.format(**shown))


def _row(version: ModelVersion, holders: dict[str, int]) -> dict[str, Any]:
    return {
        "model": version.model_name,
        "version": version.number,
        "roles": [role for role, number in holders.items() if number == version.number],
        "fits": _fits(version),
        "privacy": version.manifest.get("privacy"),  # of a private fit: what it spent
        "created_at": version.created_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "created_by": version.created_by.get_username() if version.created_by else "lepton",
        "metrics": version.metrics,
    }


def _privacy_in_short(spent: dict[str, Any] | None) -> str:
    """Epsilon and delta, or a dash for a model whose fit promised nothing."""
    return f"{spent['epsilon']:.2f} at {spent['delta']:.0e}" if spent else "-"


def _fits(version: ModelVersion) -> bool:
    """Whether the stream still extracts the features that the version was trained on."""
    try:
        _, stream = registry.stream(version.stream)
    except LookupError:
        return False
    return version.schema_hash == stream.extractor.schema.hash
