"""``manage.py declare``: what people tell a vertical that no record says, such as who calls whom."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from lepton_apps.common.commands import LeptonCommand
from lepton_apps.streaming.causes import selectors, services
from lepton_apps.verticals import registry


class Command(LeptonCommand):
    help = (
        "Show or replace what is declared to a vertical: the graph of who calls whom, for one. "
        "Nothing that was declared before is lost."
    )
    examples = (
        "declare",
        "declare ops.topology",
        'declare ops.topology calls.json --why "The shop has a new search."',
        "declare ops.topology - --json",
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("what", nargs="?", help="VERTICAL.NAME (default: list all)")
        parser.add_argument(
            "file", nargs="?", help="JSON that holds from now on; - reads it from standard input"
        )
        parser.add_argument("--why", default="", help="written into the audit record")

    def handle(self, *, what: str | None, file: str | None, why: str, **options: Any) -> None:
        names = [
            f"{vertical.key}.{each.name}"
            for vertical in registry.verticals()
            for each in vertical.declarations
        ]
        if file is None and why:
            self.refuse("--why says why something is declared: give a FILE too.")
        if what is None:
            self._list(names)
            return
        vertical, _, name = self.known("declaration", what, names).partition(".")
        if file is None:
            self._show(selectors.declared(vertical, name))
            return
        self._show(services.declare(vertical, name, self._read(file), None, why), was_made=True)

    def _read(self, file: str) -> Any:
        try:
            text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
            return json.loads(text)
        except OSError as exc:
            self.refuse(f"{file} cannot be read: {exc.strerror}.")
        except UnicodeDecodeError as exc:
            self.refuse(f"{file} is not UTF-8 at byte {exc.start}.")
        except (json.JSONDecodeError, RecursionError) as exc:
            self.refuse(f"{file} is no JSON: {exc}.")

    def _list(self, names: list[str]) -> None:
        all_ = [selectors.declared(*name.split(".", 1)) for name in names]
        lines = [f"{d.vertical}.{d.name}: {_state(d)}. {d.summary}" for d in all_]
        self.answer(
            {"declarations": [declared.told() for declared in all_]},
            *(lines or ["No vertical of this server asks for a declaration."]),
        )

    def _show(self, declared: selectors.Declared, *, was_made: bool = False) -> None:
        lines = [f"{declared.vertical}.{declared.name}: {_state(declared)}."]
        if declared.body is None:
            named = f"{declared.vertical}.{declared.name}"
            lines.append(f"{declared.summary} Declare it: manage.py declare {named} FILE")
        elif not was_made:
            lines.append(json.dumps(declared.body, indent=2, ensure_ascii=False))
        self.answer(declared.told(), *lines, *(f"Note: {text}" for text in declared.warnings))


def _state(declared: selectors.Declared) -> str:
    if declared.at is None:
        return "nothing is declared"
    why = f": {declared.why.rstrip('.')}" if declared.why else ""
    return f"declared {declared.at:%Y-%m-%d %H:%M:%S} UTC by {declared.by}{why}"
