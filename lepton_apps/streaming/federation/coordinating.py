"""This server as the coordinator: one model from the rows of other servers, judged on its own.

Shape suffixes: N = rows, F = features.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

import numpy as np
from numpy.typing import NDArray

from lepton_apps.model_registry import selectors as models
from lepton_apps.model_registry import services as registering
from lepton_apps.model_registry.loading import load_files, open_scorer
from lepton_apps.model_registry.models import ModelVersion
from lepton_apps.streaming.federation import rows
from lepton_apps.streaming.federation.errors import FederationFailedError
from lepton_apps.streaming.federation.rows import LabelledRows
from lepton_apps.verticals.contract import Progress, Stream, Trained
from models_core.artifact import unpack
from models_core.engines import Scorer
from models_core.federation import FederationError, Site
from models_core.federation_http import HttpSite
from models_core.privacy import Privacy
from models_core.secure_sum import SecureSumError
from models_core.spec import Scalar, Spec, SpecError
from models_core.table import Table
from models_core.training import FitRecipe

if TYPE_CHECKING:
    from models_core.model import Model

RECIPE_NAME: Final = "federated"  # what the registry shows for a declared recipe's name
VALIDATION_SHARE: Final = 0.6  # of the own rows, the oldest; the newer ones are measured on
LEAST_ROWS: Final = 40  # of the own, labelled; fewer say nothing of a model
LEAST_SITES: Final = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """A federation as it was asked for.

    Args:
        sites: by name.
        recipe: of a site in a round, where it differs from ``FitRecipe()``.
        architecture, params: of the model; "" and nothing: those of the champion.
        privacy: of every row at its site over all rounds; None: none.
    """

    sites: Sequence[Site]
    rounds: int
    recipe: Mapping[str, Any] = field(default_factory=dict)
    architecture: str = ""
    params: Mapping[str, Scalar] = field(default_factory=dict)
    privacy: Privacy | None = None


def site_at(name: str, url: str, token: str, stream: Stream, wait_s: float, *, plain: bool) -> Site:
    """A server as a site of a stream.

    Raises:
        FederationFailedError: the address is none, or would show the token to the network.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise FederationFailedError(f"{name}: {url[:200]!r} is no address as https://host is.")
    if parts.username or parts.password:
        raise FederationFailedError(f"{name}: leave name and password out of the address.")
    if parts.scheme == "http" and not plain and not _is_here(parts.hostname):
        raise FederationFailedError(
            f"{name}: http would show the token to whoever listens. Take https, or say "
            "--plain-http where the network is trusted."
        )
    address = f"{url.rstrip('/')}/api/v1/federation/{quote(stream.name)}"
    return HttpSite(name, address, token, wait_s)


def coordinate(stream: Stream, plan: Plan, progress: Progress) -> ModelVersion:
    """Train on the rows of the sites, judge on the own ones, and register a version without role.

    The own rows are not trained on: the oldest set scales, pick the best round and calibrate, the
    newer ones are measured on, beside the champion and boosted trees of the own rows alone.

    Raises:
        FederationFailedError: there is no champion or too few own rows, or the sites refuse or are
            lost. The sentence says which.
        ModelRefusedError: the model that came out cannot serve.
    """
    import models_core as core

    champion = models.champion(stream.model_name)
    if champion is None:
        raise FederationFailedError(
            f"{stream.model_name} has no champion to compare with. Train one first: "
            "manage.py train_starters"
        )
    files = load_files(champion.pk, None)
    validation, test = _own(stream)
    try:
        spec = _spec(stream, plan, unpack(files).spec)
        model = core.federate(
            spec,
            plan.sites,
            _table(validation),
            plan.rounds,
            FitRecipe(**plan.recipe),
            privacy=plan.privacy,
            progress=progress,
            schema=stream.extractor.schema.hash,
        )
    except (FederationError, SecureSumError, SpecError, TypeError, ValueError) as error:
        raise FederationFailedError(str(error)) from error
    progress("judge", 0, 1)
    trained = _judged(stream, model, validation, test, champion, open_scorer(files, stream))
    progress("judge", 1, 1)
    return registering.register_version(stream, trained, None, RECIPE_NAME)


def _own(stream: Stream) -> tuple[LabelledRows, LabelledRows]:
    """The coordinator's rows: to validate, and to measure on, which are newer."""
    found = rows.labelled(stream)
    cut = round(len(found) * VALIDATION_SHARE)
    parts = (
        LabelledRows(found.x_NF[:cut], found.y_N[:cut]),
        LabelledRows(found.x_NF[cut:], found.y_N[cut:]),
    )
    if len(found) < LEAST_ROWS or not all(part.has_both for part in parts):
        raise FederationFailedError(
            f"This server has {len(found):,} labelled rows of {stream.name}. It takes {LEAST_ROWS} "
            "with both answers among the older and the newer ones, to judge what comes out."
        )
    return parts


def _spec(stream: Stream, plan: Plan, own: Spec) -> Spec:
    width = len(stream.extractor.schema.names)
    if plan.architecture:
        return Spec(plan.architecture, width, plan.params)
    return Spec(own.architecture, width, {**own.params, **plan.params})


def _judged(
    stream: Stream,
    model: Model,
    validation: LabelledRows,
    test: LabelledRows,
    champion: ModelVersion,
    scorer: Scorer,
) -> Trained:
    import models_core as core

    calibration = core.fit_calibration(model.logits(validation.x_NF), validation.y_N)
    s_N = calibration.apply(model.logits(validation.x_NF))
    thresholds = {
        name: as_loud(scorer.score(validation.x_NF), scorer.thresholds[name], s_N)
        for name in stream.policy.thresholds
    }
    loosest = stream.policy.thresholds[0]
    trees = core.fit_boosted_trees(_table(validation), _table(validation), max_trees=50)
    trees_N = trees.probabilities(validation.x_NF)
    measured = {
        f"champion_v{champion.number}": (scorer.score(test.x_NF), scorer.thresholds[loosest]),
        "boosted_trees": (
            trees.probabilities(test.x_NF),
            as_loud(s_N, thresholds[loosest], trees_N),
        ),
    }
    baseline = {
        name: core.evaluate(test.y_N, scores_N, threshold=threshold)
        for name, (scores_N, threshold) in measured.items()
    }
    metrics = core.evaluate(
        test.y_N, calibration.apply(model.logits(test.x_NF)), threshold=thresholds[loosest]
    )
    schema = stream.extractor.schema
    files = core.pack(
        model,
        calibration,
        schema_hash=schema.hash,
        feature_names=schema.names,
        thresholds=thresholds,
        metrics=metrics,
        baseline=baseline,
    )
    return Trained(files, metrics, baseline)


def as_loud(before_N: NDArray[np.float64], threshold: float, after_N: NDArray[np.float64]) -> float:
    """The threshold by which ``after_N`` lets as many rows through as ``before_N`` by its own.

    Returns:
        in [0, 1]; where rows tie, fewer are let through. None at all: just above the highest.
    """
    loud = int((before_N >= threshold).sum())
    sorted_N = np.sort(after_N)[::-1]
    if loud == 0:
        return min(1.0, float(np.nextafter(sorted_N[0], 2.0)))
    at = float(sorted_N[loud - 1])
    if loud < len(sorted_N) and sorted_N[loud] == at:
        higher_N = sorted_N[sorted_N > at]
        at = float(higher_N[-1]) if len(higher_N) else float(np.nextafter(at, 2.0))
    return min(1.0, at)


def _table(part: LabelledRows) -> Table:
    return Table(part.x_NF, part.y_N.astype(np.float32))


def _is_here(host: str) -> bool:
    """Whether the address is of this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
