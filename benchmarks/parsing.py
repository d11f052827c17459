"""How well, and how fast, log lines are put into templates, side by side with drain3."""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.servers import BenchmarkError, command, note
from lepton_apps.common import clock

Group = Callable[[Sequence[str]], Sequence[Hashable]]

# The masks of drain3's own example configuration.
DRAIN3_MASKS = (
    (r"((?<=[^A-Za-z0-9])|^)(([0-9a-f]{2,}:){3,}([0-9a-f]{2,}))((?=[^A-Za-z0-9])|$)", "ID"),
    (r"((?<=[^A-Za-z0-9])|^)(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})((?=[^A-Za-z0-9])|$)", "IP"),
    (r"((?<=[^A-Za-z0-9])|^)([0-9a-f]{6,} ?){3,}((?=[^A-Za-z0-9])|$)", "SEQ"),
    (r"((?<=[^A-Za-z0-9])|^)([0-9A-F]{4} ?){4,}((?=[^A-Za-z0-9])|$)", "SEQ"),
    (r"((?<=[^A-Za-z0-9])|^)(0x[a-f0-9A-F]+)((?=[^A-Za-z0-9])|$)", "HEX"),
    (r"((?<=[^A-Za-z0-9])|^)([\-\+]?\d+)((?=[^A-Za-z0-9])|$)", "NUM"),
)


def ours(lines: Sequence[str]) -> Sequence[Hashable]:
    from ops.logs.masking import template_hashes

    ids: list[int] = template_hashes([line.encode() for line in lines]).tolist()
    return ids


def drain3(*, masked: bool) -> Group:
    """Drain3 with its defaults (similarity 0.4, depth 4), with or without its example masks."""
    try:
        from drain3 import TemplateMiner
        from drain3.masking import MaskingInstruction
        from drain3.template_miner_config import TemplateMinerConfig
    except ImportError as exc:
        raise BenchmarkError(f"drain3 is not installed: {exc}. See requirements-dev.txt.") from exc

    def group(lines: Sequence[str]) -> Sequence[Hashable]:
        config = TemplateMinerConfig()
        config.profiling_enabled = False
        if masked:
            config.masking_instructions = [MaskingInstruction(p, m) for p, m in DRAIN3_MASKS]
        miner = TemplateMiner(config=config)
        return [miner.add_log_message(line)["cluster_id"] for line in lines]

    return group


def grouping(found: Sequence[Hashable], truth: Sequence[Hashable]) -> tuple[float, float]:
    """Grouping accuracy (Zhu and others, ICSE-SEIP 2019), and F1 of groups.

    A line counts when the group it was put into holds exactly the lines of its true template.
    """
    by_found: defaultdict[Hashable, list[int]] = defaultdict(list)
    by_truth: defaultdict[Hashable, list[int]] = defaultdict(list)
    for line, (one, other) in enumerate(zip(found, truth, strict=True)):
        by_found[one].append(line)
        by_truth[other].append(line)
    true_groups = {tuple(lines) for lines in by_truth.values()}
    right = [lines for lines in by_found.values() if tuple(lines) in true_groups]
    f1 = 2 * len(right) / (len(by_found) + len(by_truth))
    return sum(map(len, right)) / len(found), f1


def load(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """The lines and true templates of each system of loghub's 2k samples."""
    systems = {}
    for file in sorted(folder.glob("*/*_2k.log_structured.csv.gz")):
        with gzip.open(file, "rt", encoding="utf-8", errors="replace", newline="") as text:
            systems[file.parent.name] = [
                (row["Content"], row["EventId"]) for row in csv.DictReader(text)
            ]
    if not systems:
        raise BenchmarkError(f"{folder} holds no */*_2k.log_structured.csv.gz (loghub's samples).")
    return systems


def measure(group: Group, systems: dict[str, list[tuple[str, str]]], rounds: int) -> dict[str, Any]:
    accuracy: dict[str, float] = {}
    f1s = []
    for name, rows in systems.items():
        accuracy[name], f1 = grouping(group([line for line, _ in rows]), [t for _, t in rows])
        f1s.append(f1)
    lines = [line for rows in systems.values() for line, _ in rows] * rounds
    began = clock.monotonic()
    group(lines)
    seconds = clock.monotonic() - began
    return {
        "grouping_accuracy": round(sum(accuracy.values()) / len(accuracy), 4),
        "f1_of_groups": round(sum(f1s) / len(f1s), 4),
        "lines_per_s": round(len(lines) / seconds),
        "by_system": {name: round(value, 3) for name, value in accuracy.items()},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parsing", description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="The folder with ops/loghub_2k, or that itself."
    )
    parser.add_argument("--save", default="", help="Keep the line under benchmarks/results/.")
    options = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    began = clock.monotonic()
    folder = options.data / "ops" / "loghub_2k"
    systems = load(folder if folder.is_dir() else options.data)
    ours(["compile the loop"])
    note(f"{len(systems)} systems: our miner")
    results = measure(ours, systems, rounds=10)
    baselines = {}
    for name, masked in (("drain3", False), ("drain3 with its example masks", True)):
        note(name)
        baselines[name] = measure(drain3(masked=masked), systems, rounds=2)
    protocol = (
        "one configuration for all systems, one pass, one core; grouping accuracy and F1 of groups "
        "on the 2,000 lines of each system, means over systems; speed over all lines ten times "
        "(drain3: twice), compiling not counted"
    )
    data = f"loghub 2k samples: {', '.join(systems)}"
    seconds = clock.monotonic() - began
    report.finish(report.line("parsing", protocol, data, results, seconds, baselines), options.save)


if __name__ == "__main__":
    command(main)
