"""List model versions and who has which role, now or at a moment of the past."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from lepton_apps.common.commands import LeptonCommand
from lepton_apps.model_registry import selectors
from lepton_apps.model_registry.models import ModelVersion, Role

LAYOUT = "{model:<28} {version:>7}  {roles:<22} {fits:<5} {recipe:<18} {privacy:<17} {created_at:<20} {by}"
LIVE_LAYOUT = "{model:<28} {role:<11} {version:>7}  {since:<20} {by:<12} {why}"


class Command(LeptonCommand):
    help = "List the newest model versions, their roles and whether they fit the features of today."
    examples = ("models", "models --at 2026-03-01T14:03:00Z", "models --json")

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--limit", type=int, default=20, help="versions to list (default: 20)")
        parser.add_argument(
            "--at", help="who had which role at this time, instead; with its zone, in ISO 8601"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["at"] is not None:
            self._live(self._moment(options["at"]))
        else:
            self._versions(max(1, options["limit"]))

    def _moment(self, text: str) -> datetime:
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            self.refuse(f"--at {text!r} is no time. Write it as 2026-03-01T14:03:00Z.")
        if at.tzinfo is None:
            self.refuse(f"--at {text!r} has no zone. Write it as 2026-03-01T14:03:00Z.")
        return at

    def _versions(self, limit: int) -> None:
        versions = selectors.versions(limit=limit)
        holders = {v.model_name: selectors.roles_of(v.model_name) for v in versions}
        rows = [_row(version, holders[version.model_name]) for version in versions]
        if not rows:
            lines = ["No model yet. Train the first ones with: manage.py train_starters"]
        else:
            titles = {
                name: name
                for name in ("model", "version", "roles", "fits", "recipe", "privacy", "by")
            }
            lines = [LAYOUT.format(**titles, created_at="created at")]
            lines += [LAYOUT.format(**{**row, **_shown(row)}) for row in rows]
        self.answer({"versions": rows}, *lines)

    def _live(self, at: datetime) -> None:
        rows = [_held(model.name, role, at) for model in selectors.models() for role in Role.values]
        rows = [row for row in rows if row["version"] is not None]
        if not rows:
            lines = [f"No version had a role at {_utc(at)}."]
        else:
            titles = ("model", "role", "version", "since", "by", "why")
            lines = [LIVE_LAYOUT.format(**{name: name for name in titles})]
            lines += [LIVE_LAYOUT.format(**row) for row in rows]
        self.answer({"at": _utc(at), "roles": rows}, *lines)


def _row(version: ModelVersion, holders: dict[str, int]) -> dict[str, Any]:
    return {
        "model": version.model_name,
        "version": version.number,
        "roles": [role for role, number in holders.items() if number == version.number],
        "retired": selectors.retirement_of(version) is not None,
        "fits": selectors.fits(version),
        "recipe": version.recipe_name,
        "code_version": version.code_version,
        "created_at": _utc(version.created_at),
        "privacy": version.manifest.get("privacy"),  # of a private fit: what it spent
        "by": version.created_by_name,
        "metrics": version.metrics,
    }


def _shown(row: dict[str, Any]) -> dict[str, str]:
    return {
        "roles": "retired" if row["retired"] else ", ".join(row["roles"]) or "-",
        "fits": "yes" if row["fits"] else "no",
        "recipe": row["recipe"] or "-",
        "privacy": _privacy_in_short(row["privacy"]),
    }


def _held(model: str, role: str, at: datetime) -> dict[str, Any]:
    change = selectors.change_at(model, role, at)
    return {
        "model": model,
        "role": role,
        "version": change.version.number if change and change.version else None,
        "since": _utc(change.at) if change else "",
        "by": change.by_name if change else "",
        "why": change.why if change else "",
    }


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _privacy_in_short(spent: dict[str, Any] | None) -> str:
    """Epsilon and delta, or a dash for a model whose fit promised nothing."""
    return f"{spent['epsilon']:.2f} at {spent['delta']:.0e}" if spent else "-"
