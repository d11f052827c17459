"""Which part is to blame? Networks that read the order of words, beside one that counts them.

Each report names two parts, and only its wording says which one failed first. Counting words finds
the two; it takes reading to tell the cause from the effect.
"""

from __future__ import annotations

from pathlib import Path

from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

import models_core as mc
from examples.made import PARTS, reports
from examples.running import Results, run
from examples.stages import finish


def main(folder: Path, quick: bool = False) -> Results:
    (texts, causes), (later, answers) = reports(1600, seed=1), reports(500, seed=2)
    counts = CountVectorizer().fit(texts)
    linear = LogisticRegression(max_iter=300).fit(counts.transform(texts), causes)
    results = {"bag of words": {"accuracy": linear.score(counts.transform(later), answers)}}

    known = mc.Vocabulary.fit(texts)
    train, validation, test = (
        mc.Data(
            {"text": known.encode(said, length=16)},
            parts,
            vocabulary={"text": len(known)},
            class_names=PARTS,
        )
        for said, parts in ((texts, causes), reports(400, seed=3), (later, answers))
    )
    recipe = mc.FitRecipe(
        steps=80 if quick else 250, batch_size=128, learning_rate=8e-3, evaluate_every=20
    )
    for name in ("gru", "transformer"):
        model = mc.fit(mc.Spec.of(name, train, width=32), train, validation, recipe)
        results[name] = finish(model, train, validation, test, folder / name)
        (folder / name / "vocabulary.json").write_bytes(known.to_json())
    return results


if __name__ == "__main__":
    run(main)
