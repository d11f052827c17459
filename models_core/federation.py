"""One model from rows that stay where they are: federated averaging over securely summed updates.

FedAvg (McMahan and others 2017): each round every site trains the shared model on its own rows,
and the shared model moves by the mean of what they moved, weighted by rows. The coordinator learns
the sum of updates and of rows and nothing of one site (``secure_sum``).

Shape suffixes: V = numbers of an update.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from models_core.data import Data
from models_core.privacy import WITHHELD, Privacy
from models_core.refusals import ArtifactError
from models_core.spec import Spec, SpecError
from models_core.table import Table
from models_core.training import FitRecipe, Progress, fit
from models_core.weights import module_of

if TYPE_CHECKING:
    from torch import Tensor

    from models_core.architectures.network import Network
    from models_core.model import Model
    from models_core.secure_sum import Masks

MAX_BYTES = 256 * 2**20  # of a message
MOST_ROUNDS = 10_000
_RUN = re.compile("[0-9a-f]{32}")
_UPDATE = "update"  # the one array of an answer


class SiteLostError(ConnectionError):
    """A site that does not answer. The round is tried again without it."""


class FederationError(ValueError):
    """A round that cannot be: too few sites, or an answer that is none."""


class SiteRefusedError(FederationError):
    """A site that is there and does not want to. In its first round that ends the federation:
    somebody has to look. Later the others go on without it."""


@dataclass(frozen=True, slots=True)
class Round:
    """What a try of a round is, as every site is told it.

    Args:
        run: 32 hex digits, of this federation alone.
        number: of the round, from 1; ``attempt``, from 1, of its try.
        of: how many rounds are planned.
        spec, recipe, privacy: what is trained, and how, at each site in each round.
        schema: hash of the features that the columns follow, where sites have such a thing.
    """

    run: str
    number: int
    attempt: int
    of: int
    spec: Mapping[str, Any]
    recipe: Mapping[str, Any]
    privacy: Mapping[str, float] | None = None
    schema: str = ""

    @property
    def name(self) -> str:
        """One of a kind: masks are bound to it."""
        return f"{self.run}/{self.number}/{self.attempt}"

    def settings(self) -> tuple[FitRecipe, Privacy | None]:
        """The recipe, and the privacy over all rounds. Raises ``FederationError``: they are none."""
        try:
            recipe = FitRecipe(**self.recipe)
            asked = self.privacy
            return recipe, None if asked is None else Privacy(**{**asked, "rounds": self.of})  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise FederationError(f"{self.name}: {error}") from error

    def require_sound(self) -> None:
        """Raises ``FederationError`` for numbers and names that no coordinator of ours sends."""
        if _RUN.fullmatch(self.run) is None:
            raise FederationError(f"run={self.run[:64]!r} is not 32 hex digits.")
        if not 1 <= self.of <= MOST_ROUNDS or not 1 <= self.number <= self.of:
            raise FederationError(
                f"Round {self.number} is not in 1..{self.of}, of at most {MOST_ROUNDS}."
            )
        if not 1 <= self.attempt <= MOST_ROUNDS:
            raise FederationError(f"attempt={self.attempt} is not in 1..{MOST_ROUNDS}.")


class Site(Protocol):
    """Where rows are. ``LocalSite`` has them in this process, ``HttpSite`` asks another one."""

    @property
    def name(self) -> str: ...

    def join(self, round_: Round) -> bytes:
        """A fresh public key for this try. Raises ``SiteLostError``."""
        ...

    def update(self, round_: Round, keys: Mapping[str, bytes], weights: bytes) -> bytes:
        """Train from these weights (safetensors); the masked update (safetensors)."""
        ...


class MaskKeeper(Protocol):
    """Where a site's secret of a try waits between joining and the update."""

    def put(self, round_name: str, masks: Masks) -> None:
        """Keep it; those of older tries are forgotten."""
        ...

    def take(self, round_name: str) -> Masks | None:
        """Give it out once; None: there is none, or it was taken."""
        ...


class MasksInMemory:
    """Those of the newest try, in this process."""

    def __init__(self) -> None:
        self._masks: dict[str, Masks] = {}

    def put(self, round_name: str, masks: Masks) -> None:
        self._masks = {round_name: masks}  # of an older try nothing more will be asked

    def take(self, round_name: str) -> Masks | None:
        return self._masks.pop(round_name, None)


class LocalSite:
    """A site whose rows are in this process.

    Args:
        name: among the sites of a federation.
        train: its rows.
        public: rows that need no protection, for private rounds; see ``fit``.
        masks: where secrets wait; in memory unless told.
    """

    def __init__(
        self,
        name: str,
        train: Table | Data,
        public: Table | Data | None = None,
        masks: MaskKeeper | None = None,
    ) -> None:
        self._name, self._train, self._public = name, train, public
        self._masks = masks or MasksInMemory()

    @property
    def name(self) -> str:
        return self._name

    def join(self, round_: Round) -> bytes:
        from models_core.secure_sum import Masks

        round_.require_sound()
        masks = Masks(self._name, round_.name)
        self._masks.put(round_.name, masks)
        return masks.public_key

    def update(self, round_: Round, keys: Mapping[str, bytes], weights: bytes) -> bytes:
        from safetensors.numpy import save

        masks = self._masks.take(round_.name)
        if masks is None:
            raise FederationError(f"{self._name} has not joined {round_.name}, or has answered.")
        shared = _model_of(Spec.from_json(msgspec.json.encode(round_.spec)), weights)
        moved_V = self._moved(shared, round_)
        rows = float(len(self._train))
        # The rows are summed as well: the coordinator divides without knowing any site's.
        hidden_V = masks.hide(np.append(moved_V * rows, rows), keys)
        return save({_UPDATE: hidden_V.view(np.int64)})

    def _moved(self, shared: Model, round_: Round) -> NDArray[np.float64]:
        """``(V,)``: by what the weights move on this site's rows."""
        recipe, privacy = round_.settings()
        seed = int.from_bytes(hashlib.sha256(f"{round_.number}{self._name}".encode()).digest()[:4])
        # One look, at the end: what a site sends is what its last step left.
        recipe = replace(
            recipe,
            seed=recipe.seed ^ seed,
            evaluate_every=recipe.steps,
            start_scales="kept",
            start_fresh="",
        )
        beside = self._train if privacy is None else self._public
        if beside is None:
            raise FederationError(f"{self._name} has no public rows, which a private fit needs.")
        fitted = fit(shared.spec, self._train, beside, recipe, start=shared, privacy=privacy)
        return flat(fitted.module) - flat(shared.module)


def federate(
    spec: Spec,
    sites: Sequence[Site],
    validation: Table | Data,
    rounds: int = 10,
    recipe: FitRecipe | None = None,
    *,
    start: Model | None = None,
    privacy: Privacy | None = None,
    progress: Progress | None = None,
    schema: str = "",
) -> Model:
    """Train one model on the rows of all sites, which stay there.

    Args:
        sites: at least two, with names of their own; from three on no site can work out another's
            part.
        validation: rows of the coordinator: they set the scales that all sites share and pick the
            best round.
        rounds: how often the sites train and are averaged.
        recipe: of a site in a round; ``steps`` are of each round.
        start: begin with this model instead of a fresh one.
        privacy: of every row at its site, over all rounds together: the noise is added there, so
            it holds against the coordinator and the other sites too.
        progress: called as ``progress("federate", round, rounds)``, and when a site was lost.
        schema: hash of the features that the columns follow; sites of a server insist on it.

    Raises:
        FederationError: fewer than two sites are there or left.
        SiteRefusedError: a site does not want to take part in the first round.
    """
    from models_core.federated_rounds import Coordinator

    names = [site.name for site in sites]
    if len(set(names)) != len(names) or len(names) < 2:
        raise FederationError(f"It takes at least two sites with names of their own, not {names}.")
    if rounds < 1:
        raise FederationError(f"rounds={rounds} must be at least 1.")
    recipe = recipe or FitRecipe()
    coordinator = Coordinator(
        spec, list(sites), validation, rounds, recipe, privacy, progress, schema
    )
    return coordinator.run(start)


def flat(module: Network) -> NDArray[np.float64]:
    """``(V,)``: every floating-point weight and statistic, by name."""
    parts = [t.detach().double().flatten().numpy() for t in _floats(module).values()]
    return np.concatenate(parts)


def put_flat(module: Network, value_V: NDArray[np.float64]) -> None:
    """Give a module the weights that ``flat`` took."""
    import torch

    place = 0
    with torch.no_grad():
        for tensor in _floats(module).values():
            part = value_V[place : place + tensor.numel()].reshape(tuple(tensor.shape))
            tensor.copy_(torch.from_numpy(part))
            place += tensor.numel()


def _floats(module: Network) -> dict[str, Tensor]:
    state = module.state_dict()
    return {name: state[name] for name in sorted(state) if state[name].is_floating_point()}


def _model_of(spec: Spec, weights: bytes) -> Model:
    """The shared model as a site gets it: strict names, shapes and types, no code."""
    from models_core.model import Model

    try:
        module = module_of(spec, weights, "the shared weights")
    except (ArtifactError, SpecError) as error:
        raise FederationError(f"The weights do not fit the spec: {error}") from error
    nothing = np.zeros(0, dtype=np.float32)
    return Model(spec, module.eval(), FitRecipe(), nothing, (), WITHHELD, (), 0.0)
