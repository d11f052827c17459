"""``manage.py restore FILE``: a backup into a database."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from lepton_apps.backup.archive import ArchiveReader
from lepton_apps.backup.services import Restored, check, restore
from lepton_apps.common import clock
from lepton_apps.common.commands import LeptonCommand
from lepton_apps.common.db import raw_connection


class Command(LeptonCommand):
    help = (
        "Bring a backup into a migrated, empty database, all of it or nothing, and begin new "
        "epochs of the live feed. Stop web and workers before."
    )
    examples = (
        "restore /srv/backups/lepton-2026-03-01.backup",
        "restore lepton.backup --check",
        "restore lepton.backup --replace lepton",
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="what `manage.py backup` has written")
        parser.add_argument(
            "--replace",
            metavar="NAME",
            help="give up all that is in the database of this name; it must be the one in use",
        )
        parser.add_argument(
            "--check",
            action="store_true",
            help="check the file and the database, and change nothing",
        )
        super().add_arguments(parser)

    def handle(self, *, file: Path, replace: str | None, **options: Any) -> None:
        began = clock.monotonic()
        raw = raw_connection()
        with ArchiveReader(file) as archive, self.progress() as progress:
            check(raw, archive, replace=replace)
            archive.verify(progress)
            manifest = archive.manifest
            if options["check"]:
                self.answer(
                    {"file": str(file), "rows": manifest.rows, "created_at": manifest.created_at},
                    f"{file} is whole: {manifest.rows:,} rows, made at {manifest.created_at} by "
                    f"Lepton {manifest.lepton}. It may go into the database {raw.info.dbname}.",
                )
                return
            restored = restore(raw, archive, progress)
        seconds = clock.monotonic() - began
        facts = {
            "file": str(file),
            "rows": manifest.rows,
            "tables": len(manifest.tables),
            "created_at": manifest.created_at,
            "with_decisions": manifest.with_decisions,
            "new_epochs": restored.epochs,
            "next_offsets": [
                {"stream": stream, "partition": partition, "offset": offset}
                for stream, partition, offset in restored.next_offsets
            ],
            "seconds": round(seconds, 2),
        }
        self.answer(facts, *_lines(restored, raw.info.dbname, seconds))


def _lines(restored: Restored, database: str, seconds: float) -> list[str]:
    manifest = restored.manifest
    lines = [
        f"{manifest.rows:,} rows of {len(manifest.tables)} tables are in {database} as they were "
        f"at {manifest.created_at}; {seconds:.1f} s.",
    ]
    if not manifest.with_decisions:
        lines.append(
            "The backup was made without decisions: old records are recognised, but not shown, and "
            "`manage.py rebuild_states` has nothing to go by."
        )
    if restored.epochs:
        lines.append(
            f"The feeds of {', '.join(restored.epochs)} have new epochs: browsers load anew."
        )
    lines.append("Next: start workers and web. Everybody signs in again. Workers read on from")
    lines += [f"  {stream} partition {p}: {o:,}" for stream, p, o in restored.next_offsets] or [
        "  the beginning of their topics, for no offset is stored"
    ]
    lines.append(
        "and decide again what Kafka still has since then. What came over REST since is gone."
    )
    return lines
