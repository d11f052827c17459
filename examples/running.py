"""The command line that the examples share, and the table that they end with."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable
from pathlib import Path

Results = dict[str, dict[str, float]]  # of each method, by the name of the measure
Example = Callable[[Path, bool], Results]


def run(main: Example) -> None:
    """Run an example as a command: ``--quick`` for fewer steps, ``--folder`` for its models."""
    asked = inspect.getfile(main)
    parser = argparse.ArgumentParser(description=inspect.getdoc(inspect.getmodule(main)))
    parser.add_argument("--quick", action="store_true", help="few steps: seconds, a worse model")
    parser.add_argument(
        "--folder", type=Path, default=Path("saved") / Path(asked).stem, help="for what is trained"
    )
    given = parser.parse_args()
    results = main(given.folder, given.quick)
    names = list(dict.fromkeys(name for row in results.values() for name in row))
    print(f"{'':24}" + "".join(f"{name:>16}" for name in names))
    for who, row in results.items():
        print(f"{who:24}" + "".join(f"{row[n]:16.3f}" if n in row else 16 * " " for n in names))
    print(f"Saved in {given.folder}.")
