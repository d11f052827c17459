"""Which digit is it? Two convolutional networks beside logistic regression.

The 1,797 digits of 8 x 8 pixels ship with scikit-learn. They are cut in their order, so that the
test is on people whose hand no model has seen.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor

import models_core as mc
from examples.running import Results, run
from examples.stages import finish


@mc.augmentation("jiggle")
def jiggle(x_BCHW: Tensor, strength: float) -> Tensor:
    """Move a batch by up to ``strength`` pixels: a digit is the same one a pixel further left."""
    down, right = torch.randint(-int(strength), int(strength) + 1, (2,)).tolist()
    return x_BCHW.roll((down, right), dims=(2, 3))


def main(folder: Path, quick: bool = False) -> Results:
    digits = load_digits()
    data = mc.Data({"image": digits.images[:, None].astype(np.float32)}, digits.target)
    train, validation, test = data.split()

    flat_train, flat_test = (part.arrays[0].reshape(len(part), -1) / 16 for part in (train, test))
    logistic = LogisticRegression(max_iter=300).fit(flat_train, train.target)
    results = {"logistic regression": {"accuracy": logistic.score(flat_test, test.target)}}

    recipe = mc.FitRecipe(
        steps=120 if quick else 500,
        batch_size=128,
        learning_rate=4e-3,
        evaluate_every=20,
        augment="" if quick else "jiggle=1",  # makes a better model later, and a worse one at first
    )
    specs = {"cnn": mc.Spec.of("cnn", train), "resnet": mc.Spec.of("resnet", train, width=8)}
    for name, spec in specs.items():
        model = mc.fit(spec, train, validation, recipe)
        results[name] = finish(model, train, validation, test, folder / name)
    return results


if __name__ == "__main__":
    run(main)
