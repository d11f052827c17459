"""What would they like next? An architecture of one's own, beside what everybody likes.

The last item of each person is held back. Every item that they have not had is ranked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

import models_core as mc
from examples.made import histories, ranking, taken_or_not
from examples.running import Results, run
from examples.stages import finish

USERS, ITEMS = 400, 150


@mc.architecture("two_towers")
class TwoTowers(mc.Network):
    """A vector for each user and item; they point the same way where they fit (Koren 2009)."""

    def __init__(self, sizes: mc.Sizes, *, width: int = 16) -> None:
        super().__init__(sizes)
        self.item = nn.Embedding(sizes.inputs["item"].vocabulary, width)
        self.user = nn.Embedding(sizes.inputs["user"].vocabulary, width)
        self.liked = nn.Embedding(sizes.inputs["item"].vocabulary, 1)  # by all

    def prepare(self, train: Any, log_odds: float) -> None:
        for table, mean in ((self.item, 0), (self.user, 0), (self.liked, log_odds)):
            nn.init.normal_(table.weight, mean, 0.1)

    def forward(self, item_B1: Tensor, user_B1: Tensor) -> Tensor:
        fits_B1 = (self.item(item_B1) * self.user(user_B1)).sum(dim=2)
        return self.answered(fits_B1 + self.liked(item_B1).squeeze(2))


def main(folder: Path, quick: bool = False) -> Results:
    taken_UE = histories(USERS, ITEMS, each=24, seed=1)
    popular_I = np.bincount(taken_UE[:, :-1].ravel(), minlength=ITEMS).astype(np.float32)
    results = {"popularity": ranking(np.tile(popular_I, (USERS, 1)), taken_UE)}

    parts = (taken_UE[:, :-2], taken_UE[:, -2:-1], taken_UE[:, -1:])
    train, validation, test = (taken_or_not(part, ITEMS, seed=2) for part in parts)
    recipe = mc.FitRecipe(steps=200 if quick else 800, learning_rate=2e-2, evaluate_every=40)
    model = mc.fit(mc.Spec.of("two_towers", train), train, validation, recipe)
    user_N, item_N = np.indices((USERS, ITEMS)).reshape(2, -1, 1)
    score_UI = model.logits({"user": user_N, "item": item_N}).reshape(USERS, ITEMS)
    results["two towers"] = ranking(score_UI, taken_UE)
    finish(model, train, validation, test, folder)
    return results


if __name__ == "__main__":
    run(main)
