"""What a site holds a round against before it does anything. Needs no torch."""

from __future__ import annotations

import math
from typing import Final, NoReturn

import msgspec

from lepton_apps.common import clock
from lepton_apps.streaming.federation import selectors
from lepton_apps.streaming.federation.errors import (
    FederationBudgetError,
    FederationNotAllowedError,
    FederationRefusedError,
    FederationSchemaError,
)
from lepton_apps.streaming.federation.models import FederationConsent
from lepton_apps.verticals.contract import Stream
from models_core.federation import FederationError, Round
from models_core.federation_wire import Asked, joining, updating
from models_core.refusals import ArtifactError
from models_core.spec import Spec, SpecError
from models_core.weights import checked_header

FLOATS = frozenset({"F32", "BOOL"})

MOST_EPSILON: Final = 100.0  # above, it protects nobody
WHOLE: Final = frozenset({"steps", "batch_size", "evaluate_every", "patience", "seed"})


def round_of(body: bytes) -> Round:
    """Raises FederationRefusedError: the body is something else."""
    try:
        return joining(body)
    except FederationError as error:
        raise FederationRefusedError(str(error)) from error


def asked_of(body: bytes) -> Asked:
    """Raises FederationRefusedError: the body is something else."""
    try:
        return updating(body)
    except FederationError as error:
        raise FederationRefusedError(str(error)) from error


def require_allowed(stream: Stream) -> FederationConsent:
    """The line of the ledger that lets others train on the stream's rows now.

    Raises:
        FederationNotAllowedError: there is none, it was stopped, or it expired.
    """
    consent = selectors.consent_of(stream.name)
    why = selectors.why_closed(consent, clock.now())
    if consent is None or why:
        raise FederationNotAllowedError(
            f"This site takes part in no federation of {stream.name}: {why}. Its admin allows it "
            f"by `manage.py federation allow {stream.name}`."
        )
    return consent


def require_within(round_: Round, consent: FederationConsent, stream: Stream) -> None:
    """Return when the round asks for no more than the site's admin allows.

    Raises:
        FederationSchemaError: it is of other features.
        FederationBudgetError: the site has a budget of privacy, and the round is not private, or
            nothing is left. What a private round would spend is found out before it is trained.
        FederationRefusedError: its spec is of another question, or it asks for too much.
    """
    _require_schema(round_, stream)
    try:
        recipe, privacy = round_.settings()
        spec = Spec.from_json(msgspec.json.encode(round_.spec))
    except (FederationError, SpecError) as error:
        raise FederationRefusedError(str(error)) from error
    width = len(stream.extractor.schema.names)
    if spec.task != "binary" or spec.inputs or spec.num_features != width:
        raise FederationRefusedError(
            f"The spec is not of a yes/no question about the {width} features of {stream.name}."
        )
    for name, value in recipe.to_dict().items():
        if isinstance(value, float) and (not math.isfinite(value) or name in WHOLE):
            raise FederationRefusedError(f"{name}={value} is no number that a recipe has.")
    if privacy is not None and privacy.epsilon > MOST_EPSILON:
        _too_much("epsilon", math.ceil(min(privacy.epsilon, 1e18)), int(MOST_EPSILON))
    for name, asked, most in (
        ("steps", recipe.steps, consent.max_steps),
        ("batch_size", recipe.batch_size, consent.max_batch),
    ):
        if asked > most:
            _too_much(name, asked, most)
    if consent.epsilon is None:
        return
    if privacy is None:
        raise FederationBudgetError(
            f"This site takes part in private rounds alone: its rows have a budget of epsilon "
            f"{consent.epsilon:g}. Coordinate with --epsilon."
        )
    spent = selectors.spent(stream.name)
    if spent >= consent.epsilon:
        raise FederationBudgetError(
            f"Of the epsilon {consent.epsilon:g} that the rows of {stream.name} have at this site, "
            f"{spent:.3g} are spent. Nothing is left."
        )


def require_modest(weights: bytes, consent: FederationConsent) -> None:
    """Raises FederationRefusedError: no safetensors, or more numbers than the site allows."""
    try:
        shapes = checked_header(weights, "the shared weights", FLOATS)
    except ArtifactError as error:
        raise FederationRefusedError(str(error)) from error
    numbers = sum(math.prod(shape) for shape in shapes.values())
    if numbers > consent.max_parameters:
        _too_much("parameters", numbers, consent.max_parameters)


def _require_schema(round_: Round, stream: Stream) -> None:
    own = stream.extractor.schema.hash
    if round_.schema != own:
        raise FederationSchemaError(
            f"The round is of features of schema {round_.schema[:32] or 'not said'}, but "
            f"{stream.name} extracts schema {own} here. All sites need one version of the server.",
            schema=round_.schema[:32],
            expected=own,
        )


def _too_much(name: str, asked: int, most: int) -> NoReturn:
    raise FederationRefusedError(
        f"{name}={asked:,} is above the {most:,} that this site allows in a round.",
        field=name,
        limit=most,
    )
