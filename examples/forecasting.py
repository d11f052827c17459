"""How much will be asked for tomorrow? Networks beside "as a week ago".

What differs from a week ago is asked for: that has neither days nor weeks in it any more, and a
forecast of 0 is the seasonal naive one. The series is cut by time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import models_core as mc
from examples.made import demand
from examples.running import Results, run
from examples.stages import finish

WEEK, DAY = 168, 24  # hours


def main(folder: Path, quick: bool = False) -> Results:
    demand_S = demand(days=500, seed=1)
    differs_S = demand_S[WEEK:] - demand_S[:-WEEK]
    train, validation, test = mc.split_windows(differs_S, length=DAY, horizon=DAY, step=2)
    results = {"as a week ago": {"mae": float(np.abs(test.target).mean())}}

    recipe = mc.FitRecipe(
        steps=100 if quick else 300, batch_size=64, learning_rate=4e-3, evaluate_every=20
    )
    specs = {
        "lstm": mc.Spec.of("lstm", train, width=32),
        "inception": mc.Spec.of("inception", train, width=8),
    }
    for name, spec in specs.items():
        model = mc.fit(spec, train, validation, recipe)
        results[name] = finish(model, train, validation, test, folder / name)
    return results


if __name__ == "__main__":
    run(main)
