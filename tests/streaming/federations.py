"""Sites of a federation in tests: labelled decisions, consent, tokens and rounds."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
from django.contrib.auth.models import User
from django.db import connection
from numpy.typing import NDArray
from safetensors.numpy import save

from lepton_apps.accounts import services as accounts
from lepton_apps.accounts.models import Purpose, Role
from lepton_apps.common import clock
from lepton_apps.common.identity import decision_key
from lepton_apps.streaming.federation import services
from lepton_apps.streaming.federation.services import Terms
from models_core import FitRecipe, Spec
from models_core.federation import Round
from models_core.secure_sum import Masks
from tests.champions import PAYMENTS

SCHEMA = PAYMENTS.extractor.schema
SPEC = Spec("mlp", len(SCHEMA.names), {"width": 8, "depth": 1, "dropout": 0.0})
RECIPE = FitRecipe(steps=5, batch_size=64, learning_rate=1e-2, evaluate_every=5)
WHY = "For the tests."
INSERT = """
INSERT INTO decision (id, decided_at, stream, record_id, entity_key, occurred_at, payload, features,
                      model_version, score, outcome)
VALUES (%(key)s, %(at)s, %(stream)s, %(id)s, 'c', %(at)s, '{}', %(features)s, 1, %(score)s, 'pass')
"""
INSERT_KEY = "INSERT INTO record_key (key, decided_at, entity_key) VALUES (%(key)s, %(at)s, 'c')"
INSERT_LABEL = """
INSERT INTO label (stream, record_id, decision_key, positive, kind, source, labelled_at, received_at)
VALUES (%(stream)s, %(id)s, %(key)s, %(positive)s, 'verdict', 'rest', %(at)s, %(at)s)
"""


def payments(num: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Feature rows of which only the amount tells: above 450 is fraud."""
    random = np.random.default_rng(seed)
    x_NF = random.uniform(-1, 1, (num, len(SCHEMA.names))).astype(np.float32)
    amount_N = random.uniform(0, 10, num)
    x_NF[:, list(SCHEMA.names).index("amount_log")] = amount_N
    return x_NF, amount_N > np.log(450)


def save_labelled(num: int, seed: int = 1) -> None:
    """So many decided payments whose truth is known, by version 1, a second apart."""
    x_NF, y_N = payments(num, seed)
    begin = clock.now() - timedelta(days=1)
    rows: list[dict[str, Any]] = [
        {
            "key": decision_key(PAYMENTS.name, f"f-{seed}-{n}"),
            "at": begin + timedelta(seconds=n),
            "stream": PAYMENTS.name,
            "id": f"f-{seed}-{n}",
            "features": x_NF[n].tobytes(),
            "score": 0.5,
            "positive": bool(y_N[n]),
        }
        for n in range(num)
    ]
    with connection.cursor() as cursor:
        for statement in (INSERT, INSERT_KEY, INSERT_LABEL):
            cursor.executemany(statement, rows)


def allow(**terms: Any) -> None:
    """Let others train on payments for a day."""
    defaults = {"until": clock.now() + timedelta(days=1), "epsilon": None, "min_rows": 50}
    services.allow(PAYMENTS, Terms(**{**defaults, **terms}), None, WHY)


def coordinator(username: str = "cora") -> tuple[User, str]:
    """An account that answers for a federation, and the text of its token."""
    user = User.objects.create_user(username)
    accounts.grant(None, user, "fintech", Role.ADMIN)
    _, text = accounts.create_token(
        None, user, "federation", verticals=["fintech"], purpose=Purpose.FEDERATION
    )
    return user, text


def round_of(**changes: Any) -> Round:
    """The first of two rounds."""
    asked = Round(
        run=secrets.token_hex(16),
        number=1,
        attempt=1,
        of=2,
        spec=SPEC.to_dict(),
        recipe=RECIPE.to_dict(),
        schema=SCHEMA.hash,
    )
    return replace(asked, **changes)


def weights_of(spec: Spec = SPEC) -> bytes:
    """A model that knows nothing yet."""
    from models_core.architectures import build

    return save({name: t.numpy().copy() for name, t in build(spec).state_dict().items()})


def keys_with(key: bytes, round_: Round) -> dict[str, bytes]:
    """Those of a try in which this site is ``north`` and one other takes part."""
    return {"north": key, "south": Masks("south", round_.name).public_key}
