"""Small real models for tests: trained in a second, the same for the whole run.

The payments model learns one rule that tests can steer by: a large amount is fraud. Payments
under 100 are surely quiet, payments over 2,000 surely loud.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np

from fintech.vertical import VERTICAL as FINTECH
from lepton_apps.model_registry.models import ModelVersion, Role
from lepton_apps.model_registry.services import promote, register_version
from lepton_apps.verticals.contract import States, Stream, Trained

PAYMENTS = FINTECH.streams[0]


def payment(number: int, **changes: object) -> dict[str, object]:
    """A quiet payment. Numbers make ids, customers and terminals; times go up by a minute."""
    at = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=number)
    return {
        "id": f"p{number}",
        "occurred_at": at.isoformat(),
        "customer": f"c{number % 7}",
        "card": f"k{number % 7}",
        "terminal": f"t{number % 3}",
        "merchant": None,
        "amount": f"{10 + number % 40}.50",
        "currency": "EUR",
        "channel": "chip",
        "device": None,
        "ip": None,
        "country": "DE",
        "attributes": {},
        **changes,
    }


@cache
def payments_model(seed: int = 1) -> Trained:
    """A model of amounts on real feature rows; another seed makes another model."""
    import msgspec

    from models_core import FitRecipe, Spec, Table, evaluate, fit, fit_calibration, pack

    rng = np.random.default_rng(seed)
    amounts = np.exp(rng.uniform(0.0, 10.0, 3_000))
    decode = msgspec.json.Decoder(PAYMENTS.record_type).decode
    records = [
        decode(msgspec.json.encode(payment(n, amount=f"{amount:.2f}")))
        for n, amount in enumerate(amounts)
    ]
    extracted = PAYMENTS.extractor.extract(records, [0] * len(records), States({}, {}, {}))
    x_NF, y_N = extracted.x_BF, (amounts > 450).astype(np.float32)
    # Everything else is noise over more than its range, so that nothing else is learned.
    column = list(PAYMENTS.extractor.schema.names).index("amount_log")
    low_F, high_F = x_NF.min(axis=0) - 1, x_NF.max(axis=0) + 1
    noisy_NF = rng.uniform(low_F, high_F, x_NF.shape).astype(np.float32)
    noisy_NF[:, column] = x_NF[:, column]
    table, held_out = Table(noisy_NF[:2_000], y_N[:2_000]), Table(noisy_NF[2_000:], y_N[2_000:])
    recipe = FitRecipe(steps=250, batch_size=256, learning_rate=1e-2, evaluate_every=50, seed=seed)
    spec = Spec("mlp", x_NF.shape[1], {"width": 16, "depth": 1})
    model = fit(spec, table, held_out, recipe)
    calibration = fit_calibration(model.logits(held_out.x_NF), held_out.y_N)
    metrics = evaluate(held_out.y_N, calibration.apply(model.logits(held_out.x_NF)))
    schema = PAYMENTS.extractor.schema
    files = pack(
        model,
        calibration,
        schema_hash=schema.hash,
        feature_names=schema.names,
        thresholds={"review": 0.5, "decline": 0.9},
        metrics=metrics,
        baseline={},
    )
    return Trained(files, metrics, {})


def install(stream: Stream, trained: Trained) -> ModelVersion:
    """Register a version and make it the champion."""
    version = register_version(stream, trained, by=None)
    promote(version, Role.CHAMPION, by=None, why="for tests", expected=None)
    return version
