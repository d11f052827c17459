"""The coordinator's side of a federation: rounds, lost sites, and the model in the end.

Shape suffixes: V = numbers of an update.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models_core.data import Data
from models_core.federated import Federated
from models_core.federation import (
    FederationError,
    Round,
    Site,
    SiteLostError,
    SiteRefusedError,
    flat,
    put_flat,
)
from models_core.model import Look, Model
from models_core.privacy import WITHHELD, Privacy, PrivacySpent
from models_core.spec import Spec
from models_core.table import Table
from models_core.training import FitRecipe, Progress, fit


class Coordinator:
    """One federation. Sees sums alone."""

    def __init__(
        self,
        spec: Spec,
        sites: list[Site],
        validation: Table | Data,
        rounds: int,
        recipe: FitRecipe,
        privacy: Privacy | None,
        progress: Progress | None,
        schema: str = "",
    ) -> None:
        self.lost: list[str] = []
        self.sites, self.validation, self.rounds = sites, validation, rounds
        self.progress = progress
        self.round = Round(
            run=secrets.token_hex(16),
            number=0,
            attempt=1,
            of=rounds,
            spec=spec.to_dict(),
            recipe=recipe.to_dict(),
            privacy=None if privacy is None else asdict(privacy),
            schema=schema,
        )
        self.spec, self.recipe, self.privacy = spec, recipe, privacy

    def run(self, start: Model | None) -> Model:
        from models_core.outputs import outputs_of
        from models_core.scoring import watched

        model = self._fresh(start)
        module = model.module
        looks: list[Look] = []
        best: NDArray[np.float64] = flat(module)
        inputs = _tensors(model, self.validation)
        for number in range(1, self.rounds + 1):
            put_flat(module, flat(module) + self._moved(model, number))
            score = watched(
                self.validation.task,
                self.validation.target,
                outputs_of(module, inputs),
                self.recipe.watch,
            )
            if not looks or score > max(look.score for look in looks):
                best = flat(module)
            # The losses of sites stay there.
            looks.append(Look(step=number, loss=float("nan"), score=score))
            if self.progress is not None:
                self.progress("federate", number, self.rounds)
        put_flat(module, best)
        return replace(
            model,
            recipe=self.recipe,
            data_hash=WITHHELD,
            history=tuple(looks),
            privacy=self._spent(),
            federated=Federated(
                self.rounds, tuple(site.name for site in self.sites), tuple(self.lost)
            ),
        )

    def _fresh(self, start: Model | None) -> Model:
        """The model before the first round, with the scales that all sites share."""
        still = replace(
            self.recipe, steps=1, evaluate_every=1, learning_rate=1e-12, weight_decay=0.0
        )
        return fit(self.spec, self.validation, self.validation, still, start=start)

    def _moved(self, model: Model, number: int) -> NDArray[np.float64]:
        """``(V,)``: the mean of what the sites moved by, weighted by rows; tried until it is."""
        from safetensors.torch import save

        weights = save({n: t.contiguous() for n, t in model.module.state_dict().items()})
        size = len(flat(model.module))
        attempt = 0
        while True:
            attempt += 1
            if len(self.sites) < 2:
                left = ", ".join(site.name for site in self.sites) or "none"
                raise FederationError(
                    f"Round {number}: fewer than two sites are left ({left}). A sum of one would "
                    "show its part."
                )
            round_ = replace(self.round, number=number, attempt=attempt)
            keys = {}
            for site in list(self.sites):
                try:
                    keys[site.name] = site.join(round_)
                except (SiteLostError, SiteRefusedError) as error:
                    self._lose(site, error, number)
            if len(keys) < 2:
                continue
            parts = []
            for site in list(self.sites):
                try:
                    answer = site.update(round_, keys, weights)
                    parts.append(_checked(site.name, answer, size + 1))
                except (SiteLostError, SiteRefusedError) as error:
                    self._lose(site, error, number)
                    break  # the masks of the others do not cancel: with fresh ones, from the start
            else:
                return _mean(parts)

    def _lose(self, site: Site, error: Exception, number: int) -> None:
        if isinstance(error, SiteRefusedError) and number == 1:
            raise error
        self.lost.append(site.name)
        self.sites.remove(site)
        if self.progress is not None:
            self.progress(f"lost {site.name}: {error}", 0, 0)

    def _spent(self) -> PrivacySpent | None:
        """What each site was asked to keep to, with one try a round; noise and rate are its own."""
        if self.privacy is None:
            return None
        return PrivacySpent(
            epsilon=self.privacy.epsilon,
            delta=self.privacy.delta,
            clip=self.privacy.clip,
            noise=0.0,
            sample_rate=0.0,
            steps=self.rounds * self.recipe.steps,
        )


def _mean(parts: list[NDArray[np.uint64]]) -> NDArray[np.float64]:
    from models_core.secure_sum import total

    summed_V = total(parts)
    rows = summed_V[-1]
    if not rows > 0:
        raise FederationError(f"The sites have {rows:g} rows together.")
    mean_V: NDArray[np.float64] = summed_V[:-1] / rows
    return mean_V


def _checked(name: str, answer: bytes, size: int) -> NDArray[np.uint64]:
    """The one array of an answer, or a ``FederationError``: a part of another shape poisons all."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays: dict[str, Any] = load(answer)
    except (SafetensorError, ValueError, TypeError) as error:
        raise FederationError(f"{name} answered with no safetensors: {error}.") from error
    part_V = arrays.get("update")
    if part_V is None or len(arrays) != 1 or part_V.shape != (size,) or part_V.dtype != np.int64:
        raise FederationError(f"{name} answered with another array than int64 ({size},).")
    hidden_V: NDArray[np.uint64] = part_V.view(np.uint64)
    return hidden_V


def _tensors(model: Model, rows: Table | Data) -> tuple[Any, ...]:
    import torch

    return tuple(torch.from_numpy(array) for array in rows.arrays)
