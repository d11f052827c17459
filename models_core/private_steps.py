"""Steps that tell little of any one row: DP-SGD through opacus. Imports torch and opacus.

Every row's gradient is taken apart by ``torch.func``, so that parameters which belong to no layer
(places of a transformer, vectors of an ensemble) need nothing special. Opacus clips, adds the
noise and keeps the account, and lends the recurrent layers that ``torch.func`` can take apart.

Shape suffixes: B = rows of a step, N = rows.
"""

from __future__ import annotations

import secrets
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import torch
from opacus.accountants import RDPAccountant
from opacus.accountants.utils import get_noise_multiplier
from opacus.layers import DPGRU, DPLSTM, DPRNN
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from models_core.architectures.network import Network
from models_core.privacy import Privacy, PrivacySpent
from models_core.table import Rows
from models_core.training import FitRecipe

if TYPE_CHECKING:
    from models_core.loop import Training

ORDERS: Final = (*RDPAccountant.DEFAULT_ALPHAS, 80, 96, 128, 192, 256, 512, 1024)
_NUMBERS = 2**26  # of gradients at a time: 256 MB
_LENT: Final[dict[type[nn.Module], type[nn.Module]]] = {
    nn.RNN: DPRNN,
    nn.GRU: DPGRU,
    nn.LSTM: DPLSTM,
}
_BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)


def require_sound(recipe: FitRecipe, module: Network, train: Rows, validation: Rows) -> None:
    """Refuse what would tell of rows behind the accountant's back.

    Raises:
        ValueError: names the field and the way out.
    """
    offending = {
        "optimizer": (recipe.optimizer, ("adamw", "adafactor", "sgd")),
        "class_weight": (recipe.class_weight, ("none",)),
        "sampling": (recipe.sampling, ("uniform",)),
        "augment": (recipe.augment, ("",)),
        "precision": (recipe.precision, ("auto", "float32")),
        "compile": (recipe.compile, (False,)),
    }
    for name, (value, sound) in offending.items():
        if value not in sound:
            allowed = " or ".join(map(repr, sound))
            raise ValueError(f"{name}={value!r} is not for a private fit. Take {allowed}.")
    if train.hash == validation.hash:
        raise ValueError(
            "The validation rows are the training rows. They set scales and pick the best step "
            "outside of the guarantee: give rows that need no protection."
        )
    inputs = tuple(torch.from_numpy(array[:2]) for array in train.arrays)
    if module.auxiliary_loss(*inputs, torch.from_numpy(train.target[:2])) is not None:
        raise ValueError(
            f"{type(module).__name__} also learns beside the answers, which no accountant sees. "
            "Take another architecture for a private fit."
        )
    if any(isinstance(part, nn.RNNBase) and part.proj_size for part in module.modules()):
        raise ValueError("A recurrent layer with proj_size cannot be fitted privately.")


@contextmanager
def separable(module: nn.Module) -> Iterator[None]:
    """Recurrent layers are lent by opacus inside, and are torch's own again, same weights, after."""
    lent: dict[str, nn.RNNBase] = {}
    for name, layer in list(module.named_modules()):
        if isinstance(layer, nn.RNNBase):
            module.set_submodule(name, _lend(layer))
            lent[name] = layer
    try:
        yield
    finally:
        for name, layer in lent.items():
            layer.load_state_dict(module.get_submodule(name).state_dict())
            module.set_submodule(name, layer)


def _lend(layer: nn.RNNBase) -> nn.Module:
    makes: Any = _LENT[type(layer)]
    beside = {"nonlinearity": layer.nonlinearity} if isinstance(layer, nn.RNN) else {}
    lent: nn.Module = makes(
        layer.input_size,
        layer.hidden_size,
        layer.num_layers,
        bias=layer.bias,
        batch_first=layer.batch_first,
        dropout=layer.dropout,
        bidirectional=layer.bidirectional,
        **beside,
    ).to(next(layer.parameters()).device)
    lent.load_state_dict(layer.state_dict())
    asks = {name: p.requires_grad for name, p in layer.named_parameters()}
    for name, parameter in lent.named_parameters():
        parameter.requires_grad_(asks[name])
    return lent.train(layer.training)


def epsilon_of(noise: float, sample_rate: float, steps: int, delta: float) -> float:
    """What so many steps spend, by opacus's Renyi accountant."""
    return epsilon_of_all([(noise, sample_rate, steps)], delta)


def epsilon_of_all(spent: Sequence[tuple[float, float, int]], delta: float) -> float:
    """What several fits of the same rows spend together: (noise, sample rate, steps) of each.

    Renyi divergences add up at every order, also where a later fit was chosen after an earlier
    one was seen, and become one epsilon at the end.
    """
    steps: Counter[tuple[float, float]] = Counter()
    for (
        noise,
        sample_rate,
        num,
    ) in spent:  # alike ones together: each kind takes a tenth of a second
        steps[noise, sample_rate] += num
    history = [(*kind, num) for kind, num in steps.items() if num]
    if not history:
        return 0.0
    accountant = RDPAccountant()
    accountant.history = history
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the best order is the first or last one
        return float(accountant.get_epsilon(delta, alphas=list(ORDERS)))


@cache  # it takes about a second, and every round of a federation asks the same
def _noise_for(epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """The noise, in units of the clip, by which so many steps spend just below ``epsilon``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return float(
            get_noise_multiplier(
                target_epsilon=epsilon,
                target_delta=delta,
                sample_rate=sample_rate,
                steps=steps,
                epsilon_tolerance=min(0.01, epsilon / 100),
                alphas=list(ORDERS),
            )
        )


def planned(recipe: FitRecipe, privacy: Privacy, rows: int) -> tuple[float, float]:
    """The noise, in units of the clip, and the chance of a row to be in a step, of such a fit.

    Raises:
        ValueError: no noise makes so many steps spend so little.
    """
    sample_rate = min(1.0, recipe.batch_size / rows)
    steps = recipe.steps * privacy.rounds
    try:
        return _noise_for(privacy.epsilon, privacy.delta, sample_rate, steps), sample_rate
    except ValueError as error:
        raise ValueError(
            f"epsilon={privacy.epsilon} is too little for {steps} steps. "
            "Take fewer steps, a smaller batch or a larger epsilon."
        ) from error


class PrivateSteps:
    """The steps of one run. Chance comes from the system and is kept nowhere: whoever could draw
    the noise again by the recipe's seed could take it off."""

    def __init__(self, run: Training, privacy: Privacy) -> None:
        self.run, self.privacy = run, privacy
        recipe = run.recipe
        self.noise, self.sample_rate = planned(recipe, privacy, len(run.train))
        self.chance = torch.Generator(run.device).manual_seed(secrets.randbits(63))
        self.optimizer = DPOptimizer(
            run.optimizers[0],
            noise_multiplier=self.noise,
            max_grad_norm=privacy.clip,
            expected_batch_size=max(1, round(self.sample_rate * len(run.train))),
            generator=self.chance,
        )
        self.names = [name for name, p in run.losses.named_parameters() if p.requires_grad]
        of_a_row = sum(p.numel() for p in run.module.parameters() if p.requires_grad)
        self.rows_at_a_time = recipe.micro_batch or max(1, _NUMBERS // of_a_row)
        self.look_at_public_rows()

    def step(self) -> Tensor:
        """One step. Returns NaN: the loss of its rows is theirs to keep."""
        run = self.run
        run.module.train()
        for layer in _batch_norms(run.module):
            layer.eval()  # in training it would mix the rows of a batch
        drawn_N = torch.rand(len(run.train), generator=self.chance, device=run.device)
        row_B = torch.nonzero(drawn_N < self.sample_rate).flatten()
        parts = torch.split(row_B, self.rows_at_a_time)  # one empty part for no rows
        for number, part in enumerate(parts, start=1):
            self.optimizer.zero_grad(set_to_none=True)
            self._take_apart(part)
            self.optimizer.signal_skip_step(number < len(parts))
            if self.optimizer.pre_step():
                run.optimizers[0].step()
        return torch.full((), float("nan"))

    def spent(self) -> PrivacySpent:
        steps, delta = self.run.state.step, self.privacy.delta
        return PrivacySpent(
            epsilon=epsilon_of(self.noise, self.sample_rate, steps, delta),
            delta=delta,
            clip=self.privacy.clip,
            noise=self.noise,
            sample_rate=self.sample_rate,
            steps=steps,
        )

    def look_at_public_rows(self) -> None:
        """Take the statistics of batch normalisation from validation rows, as weights are now."""
        layers = _batch_norms(self.run.module)
        if not layers:
            return
        self.run.module.eval()
        momenta = [layer.momentum for layer in layers]
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # the mean over all that is shown
            layer.train()
        with torch.no_grad():
            shown = [torch.split(array, 1024) for array in self.run.validation_inputs]
            for some in zip(*shown, strict=True):
                self.run.module(*some)
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()

    def _take_apart(self, part: Tensor) -> None:
        """Put each row's own gradient where opacus looks for it."""
        run = self.run
        parameters: dict[str, Tensor] = dict(run.losses.named_parameters())
        asked = {name: parameters[name] for name in self.names}
        if not len(part):
            for parameter in asked.values():
                parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))  # type: ignore[attr-defined]
            return
        fixed = {name: p for name, p in parameters.items() if name not in asked}
        fixed.update(run.losses.named_buffers())

        def loss(asked: dict[str, Tensor], weight: Tensor, y: Tensor, *inputs: Tensor) -> Tensor:
            rows = (y.unsqueeze(0), *(array.unsqueeze(0) for array in inputs))
            loss_1: Tensor = functional_call(run.losses, (asked, fixed), (False, *rows))
            return loss_1.sum() * weight

        assert run.weight_N is not None  # a private run has them, also where all are 1
        inputs = tuple(array[part] for array in run.inputs)
        by_row = (None, *(0 for _ in range(2 + len(inputs))))
        with sdpa_kernel(SDPBackend.MATH):  # the others have no gradients by row
            gradients = vmap(grad(loss), in_dims=by_row, randomness="different")(
                {name: p.detach() for name, p in asked.items()},
                run.weight_N[part],
                run.y_N[part],
                *inputs,
            )
        # A row whose gradient is no number counts as none: clipping would leave it what it is, and
        # an update that is no number would tell of that one row through any noise.
        sound_B = torch.stack(
            [gradients[name].detach().flatten(1).isfinite().all(dim=1) for name in asked]
        ).all(dim=0)
        for name, parameter in asked.items():
            own = gradients[name].detach()
            row_B = sound_B.view(-1, *(1 for _ in own.shape[1:]))
            parameter.grad_sample = torch.where(row_B, own, 0.0)  # type: ignore[attr-defined]


def _batch_norms(module: nn.Module) -> list[Any]:
    return [layer for layer in module.modules() if isinstance(layer, _BATCH_NORMS)]
