"""What a record costs in each engine on this machine, what build chooses, and what compress gains."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import models_core as mc
from benchmarks import report
from lepton_apps.common import clock
from models_core.building import BATCHES
from models_core.evaluation import pr_auc

EAGER = "torch cpu"
ROUNDS = 3  # measurements in turns; the middle one of each figure counts
TABLE = (40, 20_000, 10_000)  # columns, rows to learn from, rows each to choose and to judge by
SERIES = (20, 8, 8_000, 4_000)  # steps, channels, rows as above


@dataclass(frozen=True)
class Parts:
    train: mc.Data
    validation: mc.Data
    test: mc.Data


@dataclass(frozen=True)
class Case:
    name: str
    data: Callable[[], Parts]
    params: Mapping[str, int]
    recipe: mc.FitRecipe


def table_rows(count: int, seed: int) -> mc.Data:
    """A small random network's opinion of 12 columns of 40, some of them heavy-tailed, as of payments
    most columns say little; one row in 20 is a yes."""
    fixed, random = np.random.default_rng(5), np.random.default_rng(seed)
    x_NF = random.normal(size=(count, TABLE[0])).astype(np.float32)
    hidden_N8 = np.maximum(x_NF[:, :12] @ fixed.normal(size=(12, 8)) / 2, 0)
    odds_N = hidden_N8 @ fixed.normal(size=8) + random.normal(0, 0.3, count)
    x_NF[:, ::5] = np.exp(x_NF[:, ::5] * 1.5)
    return mc.Data(x_NF, (odds_N > np.quantile(odds_N, 0.95)).astype(int))


def series_rows(count: int, seed: int) -> mc.Data:
    """Noise in 8 channels; a yes is a rise in one and, two to five steps later, one in the next."""
    steps, channels, *_ = SERIES
    random = np.random.default_rng(seed)
    x_NTC = random.normal(0, 0.7, (count, steps, channels)).astype(np.float32)
    y_N = (random.random(count) < 0.1).astype(int)
    for row in range(count):
        at, channel = int(random.integers(0, steps - 8)), int(random.integers(0, channels - 1))
        gap = int(random.integers(2, 6))
        first, second = (channel, channel + 1) if y_N[row] else (channel + 1, channel)
        x_NTC[row, at : at + 2, first] += 2.2
        x_NTC[row, at + gap : at + gap + 2, second] += 2.2
    return mc.Data({"x": x_NTC}, y_N)


def table_parts() -> Parts:
    _, learned, judged = TABLE
    return Parts(table_rows(learned, 1), table_rows(judged, 2), table_rows(judged, 3))


def series_parts() -> Parts:
    *_, learned, judged = SERIES
    return Parts(series_rows(learned, 1), series_rows(judged, 2), series_rows(judged, 3))


def recipe(steps: int, batch: int, rate: float) -> mc.FitRecipe:
    return mc.FitRecipe(
        steps=steps,
        batch_size=batch,
        learning_rate=rate,
        evaluate_every=max(1, steps // 4),
        device="cpu",
        precision="float32",
    )


CASES = (
    Case("mlp", table_parts, {"width": 256, "depth": 2}, recipe(300, 1024, 3e-3)),
    Case("tabular_ensemble", table_parts, {"width": 128}, recipe(300, 1024, 6e-3)),
    Case("lstm", series_parts, {"width": 64}, recipe(250, 256, 8e-3)),
    Case("transformer", series_parts, {"width": 32, "layers": 2}, recipe(160, 256, 4e-3)),
)


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__)
    parser.add_argument("--models", nargs="*", default=[case.name for case in CASES])
    parser.add_argument("--seconds", type=float, default=3.0, help="CPU time of one measurement.")
    parser.add_argument("--steps", type=int, help="Steps of every fit (default: enough).")
    parser.add_argument("--save", metavar="NAME", help="Keep the result in benchmarks/results.")
    options = parser.parse_args(arguments)
    unknown = set(options.models) - {case.name for case in CASES}
    if unknown or options.seconds <= 0:
        parser.error(f"Unknown models {', '.join(unknown)}, or --seconds is not above 0.")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(arguments)
    began = clock.monotonic()
    results: dict[str, Any] = {}
    eager: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        for case in CASES:
            if case.name in options.models:
                print(f"{case.name}: fitting", flush=True)
                result, own = measure(case, options, Path(folder))
                results |= {f"{case.name}: {key}": value for key, value in result.items()}
                eager |= {f"{case.name}: {key}": value for key, value in own.items()}
    protocol = (
        f"CPU time of one thread, engines in turns, the least of many runs, {ROUNDS} measurements of "
        f"{options.seconds:g} s of which the middle counts; build has chosen by a measurement of its "
        "own before. choice_over_best: the chosen engine's time over that of the best. Compressed: "
        "chosen on validation rows within 0.005 of PR-AUC; speed-ups at batch 64, against the "
        "original by eager torch and by the same engine; PR-AUC of test rows, which may change by more; "
        "a PR-AUC near the share of yes (0.05 and 0.10) is of a model that learned nothing, and its "
        "compression says nothing"
    )
    data = (
        f"generated: tables of {TABLE[0]} columns ({TABLE[1]:,} rows learned from), series of "
        f"{SERIES[0]} steps and {SERIES[1]} channels ({SERIES[2]:,}); one row in 20 and in 10 a yes"
    )
    seconds = clock.monotonic() - began
    line = report.line("engines", protocol, data, results, seconds, {"torch eager": eager})
    report.finish(line, options.save)


def measure(
    case: Case, options: argparse.Namespace, folder: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    parts = case.data()
    spec = mc.Spec.of(case.name, parts.train, **case.params)
    how = case.recipe
    if options.steps:
        how = mc.FitRecipe(**{**how.to_dict(), "steps": options.steps})
    model = mc.fit(spec, parts.train, parts.validation, how)
    choice = mc.build(model, rows=parts.train, cache=folder, seconds=options.seconds)
    again = _in_the_middle(model, parts, options.seconds)
    sound = {name: by for name, by in again.items() if name not in choice.plan.refused}
    over = {b: sound[e][b] / min(_at(sound, b)) for b, e in choice.plan.chosen.items()}
    result: dict[str, Any] = {
        f"us_per_record {name}": {f"at {b}": by[b] for b in BATCHES if b in by}
        for name, by in again.items()
        if not name.startswith(EAGER)
    }
    result["refused"] = sorted(choice.plan.refused) or "none"
    result["chosen"] = {f"at {b}": name for b, name in choice.plan.chosen.items()}
    result["choice_over_best"] = {f"at {b}": round(value, 3) for b, value in over.items()}
    print(choice.why, flush=True)
    smaller = mc.compress(model, parts.train, parts.validation)
    print(smaller.table(), flush=True)
    small_engine = mc.build(smaller, seconds=options.seconds)
    result |= _gain(model, smaller, small_engine, parts.test)
    own = {f"us_per_record {EAGER}": {f"at {b}": by for b, by in again[EAGER].items()}}
    return result, own


def _in_the_middle(model: mc.Model, parts: Parts, seconds: float) -> dict[str, dict[int, float]]:
    """The median of several measurements that know nothing of each other."""
    rounds = [mc.build(model, rows=parts.train, seconds=seconds).plan for _ in range(ROUNDS)]
    return {
        name: {b: float(np.median([r.measured[name][b] for r in rounds])) for b in by}
        for name, by in rounds[0].measured.items()
    }


def _at(measured: Mapping[str, Mapping[int, float]], batch: int) -> Iterator[float]:
    return (by[batch] for by in measured.values() if batch in by)


def _gain(
    model: mc.Model, smaller: mc.Compressed, engine: mc.Engine, test: mc.Data
) -> dict[str, Any]:
    before, after = smaller.original, smaller.step
    y_N = test.target
    score, less = pr_auc(y_N, model.logits(test)), pr_auc(y_N, engine.logits(test))
    assert before.us_eager is not None  # of every model that torch has
    return {
        "compressed": after.name,
        "compressed us at 64": round(after.us, 3),
        "compressed speed-up over eager": round(before.us_eager / after.us, 2),
        "compressed speed-up over onnx fp32": round(before.us / after.us, 2),
        "compressed times smaller": round(before.size / after.size, 2),
        "pr_auc before": round(score, 4),
        "pr_auc after": round(less, 4),
        "pr_auc change": round(less - score, 4),
    }


if __name__ == "__main__":
    main()
