"""Learning without answers: what is hidden of a row is told from what is left of it.

For series, tokens, images and tables: as in BERT (Devlin and others 2019) and masked autoencoders
(He and others 2022). ``pretrain`` builds it around any architecture that makes features.

Shape suffixes: B = batch, T = time steps or tokens, C = channels, V = vocabulary, H, W = height
and width, O = numbers of a row.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models_core.architectures.fronts import PADDING
from models_core.architectures.network import Inputs, Network, Sizes
from models_core.architectures.registry import architecture, build
from models_core.spec import Scalar, Spec

_ROWS = 20_000  # looked at for means and spreads
_PATCH = 4  # pixels, hidden together: one alone could be read off its neighbours
_WILD = 5.0  # standard deviations: nobody need foretell a value further out


@architecture("masked")
class Masked(Network):
    """``of``, asked for the ``mask`` share of each row that it does not see.

    Hidden are numbers of a table, steps of a series, tokens, or patches of an image: numbers show
    their mean, tokens padding. The loss is in standard deviations, or the log loss of tokens. The
    answer says each part from the others, in ``1 / mask`` looks.

    **Shape**

    - Input: as ``of`` has it. Output: ``(B, O)``: the row again, tokens as their numbers.

    **Example**

    >>> from models_core.spec import Input
    >>> spec = Spec(
    ...     "masked", 0, {"of": "gru"}, {"x": Input((7, 2))}, task="reconstruction", outputs=14
    ... )
    >>> build(spec)(torch.zeros(3, 7, 2)).shape
    torch.Size([3, 14])
    """

    encoder: Any  # a Network that also has dim and embed, and steps where it knows of steps
    mean: Tensor
    sd: Tensor

    def __init__(
        self, sizes: Sizes, *, of: str = "mlp", mask: float = 0.25, **params: Scalar
    ) -> None:
        super().__init__(sizes)
        if sizes.task != "reconstruction":
            raise ValueError(f"answers the task reconstruction, not {sizes.task}.")
        if not 0.01 <= mask <= 0.9:
            raise ValueError(f"mask={mask} is not in 0.01..0.9.")
        self.size, self.mask = sizes.only(), mask
        self.looks = max(2, round(1 / mask))
        self.encoder = build(_spec_of(of, sizes, params))
        if not hasattr(self.encoder, "embed"):
            raise ValueError(f"cannot hide parts from {of!r}: it makes no features of one input.")
        self.by_step = hasattr(self.encoder, "steps")
        if self.size.vocabulary and not self.by_step:
            raise ValueError(f"cannot ask {of!r} for tokens: it says nothing of each step.")
        of_a_step = self.size.vocabulary or self.size.shape[-1]
        dim: int = self.encoder.dim
        self.decode = nn.Linear(dim, of_a_step if self.by_step else math.prod(self.size.shape))
        self.register_buffer("mean", torch.zeros(self.size.shape))
        self.register_buffer("sd", torch.ones(self.size.shape))

    def prepare(self, train: Any, log_odds: float) -> None:
        self.encoder.prepare(train, log_odds)
        array = train.arrays[0]
        if self.size.vocabulary:
            return
        some = array[:: max(1, len(array) // _ROWS)].astype(np.float64)
        self.mean.copy_(torch.from_numpy(some.mean(axis=0)))
        self.sd.copy_(torch.from_numpy(np.maximum(some.std(axis=0), 1e-6)))

    def transferable(self) -> dict[str, Tensor]:
        return self.encoder.transferable()  # type: ignore[no-any-return]

    def losses(self, inputs: Inputs, y: Tensor, focus: float = 0.0) -> Tensor:
        (x,) = inputs
        chance = torch.rand((len(x), *self._places()), device=x.device)
        return self._missed(x, self._spread(chance < self.mask))

    def own_score(self, inputs: Inputs) -> float:
        """Minus the mean loss over all parts, each hidden once."""
        (x_N,) = inputs
        total = 0.0
        with torch.inference_mode():
            for x in torch.split(x_N, 1024):
                losses = [self._missed(x, self._hidden(look, x)) for look in range(self.looks)]
                total += float(torch.stack(losses).mean(dim=0).sum())
        return -total / len(x_N)

    def forward(self, x: Tensor) -> Tensor:
        answer = torch.zeros(x.shape, device=x.device)
        for look in range(self.looks):
            hidden = self._hidden(look, x)
            said = self._said(x, hidden)
            said = (
                said.argmax(dim=-1).float() if self.size.vocabulary else said * self.sd + self.mean
            )
            answer = torch.where(hidden, said, answer)
        return answer.flatten(1)

    def _missed(self, x: Tensor, hidden: Tensor) -> Tensor:
        """``(B,)``: the mean loss of a row's hidden parts."""
        said = self._said(x, hidden)
        if self.size.vocabulary:
            loss = functional.cross_entropy(said.transpose(1, 2).float(), x, reduction="none")
            hidden = hidden & (x != PADDING)
        else:
            z = ((x - self.mean) / self.sd).clamp(-_WILD, _WILD)
            loss = (said.float() - z).square()
        counted = hidden.flatten(1).float()
        return (loss.flatten(1) * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1.0)

    def _said(self, x: Tensor, hidden: Tensor) -> Tensor:
        """What the encoder makes of the rest: standard deviations as ``x``, or logits ``(B, T, V)``."""
        if self.size.vocabulary:
            shown = x.masked_fill(hidden, PADDING)
        else:
            shown = torch.where(hidden, self.mean, x)
        features = self.encoder.steps(shown) if self.by_step else self.encoder.embed(shown)
        said: Tensor = self.decode(features)
        return said if self.size.vocabulary else said.reshape(x.shape)

    def _places(self) -> tuple[int, ...]:
        """How many parts of a row can be hidden, by dimension."""
        shape = self.size.shape
        if len(shape) == 3:
            return (1, -(-shape[1] // _PATCH), -(-shape[2] // _PATCH))
        return (shape[0],)

    def _spread(self, places: Tensor) -> Tensor:
        """From hidden parts to hidden numbers."""
        shape = self.size.shape
        if len(shape) == 3:
            pixels = places.repeat_interleave(_PATCH, 2).repeat_interleave(_PATCH, 3)
            return pixels[:, :, : shape[1], : shape[2]].expand(-1, *shape)
        return places.unsqueeze(2).expand(-1, *shape) if len(shape) == 2 else places

    def _hidden(self, look: int, x: Tensor) -> Tensor:
        """Every so-manieth part, so that all have been hidden after all looks."""
        places = self._places()
        number = torch.arange(math.prod(places), device=x.device).reshape(1, *places)
        return self._spread(number % self.looks == look).expand(len(x), *self.size.shape)


def _spec_of(name: str, sizes: Sizes, params: dict[str, Scalar]) -> Spec:
    from models_core.architectures.binary import BinaryModule
    from models_core.architectures.registry import class_of

    if issubclass(class_of(name), BinaryModule):
        return Spec(name, sizes.only().shape[0], params)
    return Spec(name, 0, params, sizes.inputs, "binary", 1)
