"""Which word was said? A network that hears sound as a picture, beside the sound's average.

The words are made of the same three vowels, so that what tells "ai" from "ia" is the order alone: the
mean spectrum does not have it. Raw samples go in; the spectrogram is part of the model.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import models_core as mc
from examples.made import WORDS, spoken_words
from examples.running import Results, run
from examples.stages import finish


def main(folder: Path, quick: bool = False) -> Results:
    parts = ((240 if quick else 1000, 1), (100, 2), (200, 3))
    train, validation, test = (
        mc.Data({"sound": sound_NT}, word_N, "classes", class_names=WORDS)
        for sound_NT, word_N in (spoken_words(num, seed) for num, seed in parts)
    )
    spectrum_train, spectrum_test = (
        np.log(
            np.abs(np.fft.rfft(part.inputs["sound"]))[:, :1360].reshape(len(part), 40, 34).mean(2)
        )
        for part in (train, test)
    )
    mean = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    mean.fit(spectrum_train, train.target)
    results = {"mean spectrum": {"accuracy": mean.score(spectrum_test, test.target)}}

    recipe = mc.FitRecipe(
        steps=60 if quick else 200, batch_size=64, learning_rate=4e-3, evaluate_every=20
    )
    model = mc.fit(mc.Spec.of("cnn", train, width=8), train, validation, recipe)
    results["cnn"] = finish(model, train, validation, test, folder)
    return results


if __name__ == "__main__":
    run(main)
