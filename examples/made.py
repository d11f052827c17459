"""Data that the examples make: the same for the same seed, no download.

Shape suffixes: N = rows, T = samples of sound, S = hours, U = users, I = items, E = items of each user.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models_core import Data

PARTS = ("database", "broker", "cache", "gateway", "disk", "scheduler")
REPORTS = (
    "The {effect} is down since the {cause} restarted.",
    "{cause} failed, then {effect} timed out!",
    "Errors in {effect} after an update of {cause}",
    "Because of the {cause}, nothing works in the {effect}...",
    "{effect}: slow. Reason: {cause}",
    "the {cause} was full and took the {effect} with it",
    "We lost the {effect} when the {cause} was moved",
    "It was {cause}, not {effect}",
)
VOWELS = {"a": (730, 1090, 2440), "i": (270, 2290, 3010), "u": (300, 870, 2240)}  # formants, Hz
WORDS = ("ai", "ia", "au", "ua", "iu", "ui")
SAMPLE_RATE = 16_000


def reports(num: int, seed: int) -> tuple[list[str], list[int]]:
    """Faults as people report them, each naming two parts, and which of ``PARTS`` failed first."""
    random = np.random.default_rng(seed)
    pairs = [random.choice(len(PARTS), 2, replace=False) for _ in range(num)]
    texts = [
        str(random.choice(REPORTS)).format(cause=PARTS[cause], effect=PARTS[effect])
        for cause, effect in pairs
    ]
    return texts, [int(cause) for cause, _ in pairs]


def histories(users: int, items: int, each: int, seed: int) -> NDArray[np.int64]:
    """``(U, E)`` items that people chose, in random order.

    Everyone has two tastes of ten and each item serves one; beside that, some items are liked by all.
    """
    random = np.random.default_rng(seed)
    taste_UG = np.eye(10)[random.integers(0, 10, (users, 2))].sum(axis=1)
    appeal_UI = 3 * taste_UG[:, random.integers(0, 10, items)] + random.normal(0, 1, items)
    wish_UI = appeal_UI + random.gumbel(size=(users, items))
    return random.permuted(np.argsort(-wish_UI, axis=1)[:, :each], axis=1)


def spoken_words(num: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """``(N, T)`` sound of 0.4 s, and which of ``WORDS`` it is.

    A voice of random pitch glides from the formants of one vowel to those of the other (the means of
    Peterson and Barney 1952), at its own speed and moment, in noise.
    """
    random = np.random.default_rng(seed)
    time_T = np.arange(2 * SAMPLE_RATE // 5) / SAMPLE_RATE
    sound_NT = random.normal(0, 1, (num, len(time_T))).astype(np.float32)
    word_N = random.integers(0, len(WORDS), num)
    for row_T, word in zip(sound_NT, word_N, strict=True):
        begin, lasts = random.uniform(0.02, 0.12), random.uniform(0.16, 0.27)  # s
        share_T = np.clip((time_T - begin) / lasts, 0, 1)  # of the word that is said
        one, other = (np.array(VOWELS[vowel]) for vowel in WORDS[word])
        size = random.uniform(0.85, 1.15)  # of the speaker: formants move together
        formant_3T = (one[:, None] + np.outer(other - one, share_T)) * size
        pitch = random.uniform(140, 260)  # Hz
        said_T = np.zeros(len(time_T))
        for harmonic in np.arange(pitch, 3400, pitch):
            loud_T = np.exp(-(((harmonic - formant_3T) / 120) ** 2)).sum(axis=0)
            said_T += loud_T * np.sin(2 * np.pi * harmonic * time_T + random.uniform(0, 6.28))
        row_T *= random.uniform(0.1, 0.4)
        row_T += said_T * np.sin(np.pi * share_T)
    return sound_NT, word_N


def demand(days: int, seed: int) -> NDArray[np.float64]:
    """``(S,)`` hourly demand: days, weeks, a trend, and weather that stays for a while."""
    random = np.random.default_rng(seed)
    hour_S = np.arange(days * 24)
    is_weekend_S = hour_S // 24 % 7 >= 5
    day_S = np.sin(2 * np.pi * (hour_S % 24 - 7) / 24) * np.where(is_weekend_S, 10, 20)
    weather_S = random.normal(0, 1.2, len(hour_S))
    for hour in hour_S[1:]:
        weather_S[hour] += 0.98 * weather_S[hour - 1]
    noise_S = random.normal(0, 1.5, len(hour_S))
    demand_S: NDArray[np.float64] = 100 + 0.002 * hour_S + day_S - 10 * is_weekend_S
    demand_S += weather_S + noise_S
    return demand_S


def taken_or_not(taken_UE: NDArray[np.int64], items: int, seed: int) -> Data:
    """What was taken, and four items by chance beside each."""
    random = np.random.default_rng(seed)
    user_N = np.tile(np.repeat(np.arange(len(taken_UE)), taken_UE.shape[1]), 5)
    item_N = np.concatenate([taken_UE.ravel(), random.integers(0, items, 4 * taken_UE.size)])
    order_N = random.permutation(len(user_N))
    return Data(
        {"item": item_N[order_N, None], "user": user_N[order_N, None]},
        (order_N < taken_UE.size).astype(int),
        vocabulary={"item": items, "user": len(taken_UE)},
    )


def ranking(score_UI: NDArray[np.float32], taken_UE: NDArray[np.int64]) -> dict[str, float]:
    """Where each user's last item stands among those that they have not had."""
    open_UI = score_UI.copy()
    np.put_along_axis(open_UI, taken_UE[:, :-1], -np.inf, axis=1)
    place_U = (open_UI > np.take_along_axis(open_UI, taken_UE[:, -1:], axis=1)).sum(axis=1)
    gain_U = np.where(place_U < 10, 1 / np.log2(place_U + 2), 0)
    return {"hit rate@10": float((place_U < 10).mean()), "NDCG@10": float(gain_U.mean())}
