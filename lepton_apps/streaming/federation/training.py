"""An update, from its body to the masked answer; in a process of its own. Imports torch."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import msgspec
import numpy as np
from django.contrib.auth.models import User

from lepton_apps.common.db import raw_connection
from lepton_apps.streaming.federation import limits, rows, selectors, services
from lepton_apps.streaming.federation.errors import (
    FederationBudgetError,
    FederationBusyError,
    FederationRefusedError,
)
from lepton_apps.streaming.federation.models import FederationConsent
from lepton_apps.streaming.federation.rows import LabelledRows
from lepton_apps.streaming.federation.services import Spending
from lepton_apps.verticals.contract import Stream
from models_core.federation import FederationError, LocalSite, Round
from models_core.federation_wire import Asked
from models_core.secure_sum import Masks, SecureSumError
from models_core.spec import Spec
from models_core.table import Table
from models_core.weights import module_of

log = logging.getLogger(__name__)

LOCK: Final = 0x1E9703  # of pg_try_advisory_lock: one round at a time, over all web processes
# What a coordinator has no say in: how this machine computes.
OWN: Final = {
    "device": "auto",
    "shard": "none",
    "compile": False,
    "threads": 1,
    "micro_batch": None,
}
MADE_UP_ROWS: Final = 64


class OneTry:
    """The secret that was taken out of the database, for the one update that it is for."""

    def __init__(self, masks: Masks) -> None:
        self._masks: Masks | None = masks

    def put(self, round_name: str, masks: Masks) -> None:
        self._masks = masks

    def take(self, round_name: str) -> Masks | None:
        masks, self._masks = self._masks, None
        return masks


def answer(stream: Stream, user: User, asked: Asked) -> bytes:
    """Train on this site's rows and hide what was learned. Everything is checked before.

    Raises:
        FederationBusyError: another round is trained here.
        FederationNotAllowedError: also when it was stopped while this trained.
        FederationBudgetError: the round would spend more than is left.
        LeptonError: see ``limits``, ``rows`` and ``services.begin``.
    """
    round_ = replace(asked.round, recipe={**asked.round.recipe, **OWN})
    with _one_at_a_time():
        consent = limits.require_allowed(stream)
        limits.require_within(round_, consent, stream)
        limits.require_modest(asked.weights, consent)
        rows.require_rows(stream, consent)
        found = rows.labelled(stream)
        train, made_up = Table(found.x_NF, found.y_N.astype(np.float32)), _made_up(found)
        try:
            spending = _spending(stream, consent, asked, round_, train, made_up)
            masks = services.begin(
                stream,
                consent,
                round_,
                asked.keys,
                user,
                num_rows=len(found),
                steps=round_.settings()[0].steps,
                spending=spending,
            )
        except (FederationError, SecureSumError, ValueError) as error:
            raise FederationRefusedError(str(error)) from error
        # What goes wrong from here on would tell of rows: the coordinator is told that it did.
        try:
            name = next(name for name, key in asked.keys.items() if key == masks.public_key)
            site = LocalSite(name, train, made_up, OneTry(masks))
            update = site.update(round_, asked.keys, asked.weights)
        except (FederationError, SecureSumError, ValueError, TypeError) as error:
            log.exception("round not trained", extra={"stream": stream.name, "round": round_.name})
            raise FederationRefusedError("The round could not be trained here.") from error
        limits.require_allowed(stream)
    return update


def _spending(
    stream: Stream,
    consent: FederationConsent,
    asked: Asked,
    round_: Round,
    train: Table,
    made_up: Table,
) -> Spending | None:
    """What the round will have spent with all before it; None: it is not private.

    Also of a site without a budget, so that one that is given later knows what was spent. Before
    the first try the whole plan is held against the budget: a federation that cannot end here
    should not begin.
    """
    recipe, privacy = round_.settings()
    if privacy is None:
        return None
    from models_core.private_steps import epsilon_of_all, planned, require_sound

    spec = Spec.from_json(msgspec.json.encode(round_.spec))
    require_sound(recipe, module_of(spec, asked.weights, "the shared weights"), train, made_up)
    noise, sample_rate = planned(recipe, privacy, len(train))
    before = selectors.private_rounds(stream.name)
    counted = selectors.newest_private(stream.name)
    delta = consent.delta if counted is None or counted.delta is None else counted.delta
    is_first = (round_.number, round_.attempt) == (1, 1)
    steps = recipe.steps * (round_.of if is_first else 1)
    after = epsilon_of_all([*before, (noise, sample_rate, steps)], delta)
    if consent.epsilon is not None and after > consent.epsilon:
        what = f"all {round_.of} rounds" if is_first else f"round {round_.number}"
        raise FederationBudgetError(
            f"With {what} the rows of {stream.name} would have spent more than the epsilon of "
            f"{consent.epsilon:g} that they have at this site (delta {delta:g}). Ask for a smaller "
            "epsilon, fewer rounds or a smaller batch.",
        )
    total = epsilon_of_all([*before, (noise, sample_rate, recipe.steps)], delta)
    return Spending(noise, sample_rate, delta, total)


def _made_up(found: LabelledRows) -> Table:
    """Rows that are of nobody, where a private fit asks for rows that need no protection.

    Scales, base rate and the head come with the shared weights, and a round looks once, at its
    end: nothing of these rows gets into an update.
    """
    random = np.random.default_rng(0)
    x_NF = random.normal(size=(MADE_UP_ROWS, found.x_NF.shape[1])).astype(np.float32)
    return Table(x_NF, (np.arange(MADE_UP_ROWS) % 2).astype(np.float32))


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """PostgreSQL lets go of it with the connection, so a killed process blocks nobody."""
    raw = raw_connection()
    taken: Any = raw.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone()
    if not taken[0]:
        raise FederationBusyError(
            "This site trains another round now, one at a time. Come back when it is done."
        )
    try:
        yield
    finally:
        raw.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
