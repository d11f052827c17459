"""What comes after every fit: made smaller, measured, explained and saved."""

from __future__ import annotations

from pathlib import Path

import models_core as mc

# By task: the measure that the table shows.
SHOWN = {"binary": "pr_auc", "classes": "accuracy", "regression": "mae"}


def finish(
    model: mc.Model, train: mc.Data, validation: mc.Data, test: mc.Data, folder: Path
) -> dict[str, float]:
    """What the model is worth on ``test``, by name.

    In ``folder`` are then the model, its report as a page, and the int8 graph where one is faster at
    the same quality.
    """
    small = mc.compress(model, train, validation, bits=8)
    report = mc.evaluate(small.model, test)
    which = 0 if model.spec.task == "regression" else None
    (why,) = mc.explain(small.model, test.rows(slice(0, 1)), target=which).top(1)

    mc.save(small.model, folder)
    report.save_html(folder / "report.html")
    if small.graph is not None:
        (folder / "int8.onnx").write_bytes(small.graph)

    name = folder.name
    for reason in why:
        at = ", ".join(map(str, reason.place))
        print(f"{name}: the first answer is by {reason.input}[{at}] most: {reason.share:+.2f}")
    print(
        f"{name}: {small.original.size:,} bytes to serve, now {small.step.size:,}: {small.chosen}"
    )
    measure = SHOWN[model.spec.task]
    return {measure: report.metrics[measure]}
