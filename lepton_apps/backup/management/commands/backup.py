"""``manage.py backup FILE``: everything that PostgreSQL holds, into one file."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from lepton_apps.backup.saving import back_up
from lepton_apps.common import clock
from lepton_apps.common.commands import LeptonCommand
from lepton_apps.common.db import raw_connection


class Command(LeptonCommand):
    help = (
        "Write a snapshot of the whole database into one file that only you may read: models, "
        "alerts, labels, audit, accounts, states, offsets, decisions. Everything goes on meanwhile."
    )
    examples = (
        "backup /srv/backups/lepton-2026-03-01.backup",
        "backup small.backup --without-decisions",
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="a name that is not taken yet")
        parser.add_argument(
            "--without-decisions",
            action="store_true",
            help="leave out the records with their features; what was decided is still recognised",
        )
        super().add_arguments(parser)

    def handle(self, *, file: Path, without_decisions: bool, **options: Any) -> None:
        began = clock.monotonic()
        with self.progress() as progress:
            manifest = back_up(
                raw_connection(), file, with_decisions=not without_decisions, progress=progress
            )
        seconds = clock.monotonic() - began
        size = file.stat().st_size
        self.answer(
            {
                "file": str(file),
                "bytes": size,
                "rows": manifest.rows,
                "tables": len(manifest.tables),
                "created_at": manifest.created_at,
                "with_decisions": manifest.with_decisions,
                "seconds": round(seconds, 2),
            },
            f"{manifest.rows:,} rows of {len(manifest.tables)} tables in {file}: "
            f"{size / 1e6:,.1f} MB, {seconds:.1f} s.",
            "It has hashes of passwords and the records themselves: keep it as you keep the "
            "database. SECRET_KEY and the servers' addresses are not in it.",
        )
