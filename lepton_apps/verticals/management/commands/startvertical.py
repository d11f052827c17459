from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any, ClassVar

from lepton_apps.common.commands import LeptonCommand
from lepton_apps.verticals import registry
from lepton_apps.verticals.starting import write_vertical

MAX_TITLE = 40


class Command(LeptonCommand):
    help = (
        "Write a small vertical that works: records, features, a policy, a simulator, a model and "
        "tests, to be changed into yours. It is installed by LEPTON_VERTICALS."
    )
    examples: ClassVar[tuple[str, ...]] = (
        "startvertical orchard",
        'startvertical turbines --title "Wind turbines" --folder ../verticals',
    )
    requires_system_checks: list[str] = []  # no server is needed for it

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", help="of the package, of the vertical and of its streams")
        parser.add_argument("--title", default="", help="for people (default: the name)")
        parser.add_argument(
            "--folder",
            type=Path,
            default=Path(),
            metavar="DIR",
            help="where the package goes; must be on Python's path (default: here)",
        )

    def handle(self, *, name: str, title: str, folder: Path, **options: Any) -> None:
        title = title or name.replace("_", " ").capitalize()
        if not title.isprintable() or len(title) > MAX_TITLE or set(title) & set("\"'\\"):
            self.refuse(f"--title {title!r}: up to {MAX_TITLE} characters, no quotes.")
        taken = {vertical.key for vertical in registry.verticals()}
        files = write_vertical(name, title, folder, taken)
        self.answer(
            {"name": name, "files": [str(file) for file in files], "LEPTON_VERTICALS": name},
            f"Wrote {len(files)} files to {files[0].parent}.",
            "",
            f"install it   export LEPTON_VERTICALS={name}",
            "look at it   .venv/bin/python manage.py check",
            f"test it      .venv/bin/python -m pytest {files[0].parent} tests/contracts -k {name}",
            "see it run   make run",
            "",
            "Then change it: docs/first_vertical.md goes through its files.",
        )
