"""The method to beat: gradient-boosted trees on the same tables, measured the same way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models_core.table import Table

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier


@dataclass(frozen=True, slots=True)
class BoostedTrees:
    """scikit-learn's histogram gradient boosting. Compared with, never served."""

    classifier: HistGradientBoostingClassifier

    def probabilities(self, x_NF: NDArray[np.float32]) -> NDArray[np.float64]:
        """``(N,)`` probabilities of the positive answer."""
        probability_N: NDArray[np.float64] = self.classifier.predict_proba(x_NF)[:, 1]
        return probability_N


def fit_boosted_trees(
    train: Table, validation: Table, *, max_trees: int = 200, seed: int = 0
) -> BoostedTrees:
    """Trees that stop growing in number when ``validation`` no longer gains.

    Raises:
        ValueError: widths differ, or a table lacks positives or negatives.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    if train.num_features != validation.num_features:
        raise ValueError(f"{train.num_features} features to train on, {validation.num_features}.")
    train.require_both_answers("train")
    validation.require_both_answers("validation")
    classifier = HistGradientBoostingClassifier(
        max_iter=max_trees,
        learning_rate=0.06,
        max_leaf_nodes=31,
        min_samples_leaf=40,
        l2_regularization=1.0,
        early_stopping=True,
        n_iter_no_change=20,
        scoring="average_precision",
        random_state=seed,
    )
    classifier.fit(
        train.x_NF,
        train.y_N,
        sample_weight=train.weight_N,
        X_val=validation.x_NF,
        y_val=validation.y_N,
        sample_weight_val=validation.weight_N,
    )
    return BoostedTrees(classifier)
