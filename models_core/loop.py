"""The one training loop. Imports torch: reach it through ``models_core.training.fit``.

Shape suffixes: B = batch, N = rows, F = features, K = ensemble members.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import Tensor, nn

from models_core.architectures import build
from models_core.architectures.network import Network
from models_core.augmenting import Augmentation
from models_core.checkpoints import Checkpoints
from models_core.distilling import soft_answers
from models_core.distributed import Ranks, device_of, ranks, require_together, unsynced
from models_core.model import Look, Model
from models_core.optimizers import make_optimizers, rate_at, set_learning_rate
from models_core.outputs import outputs_of
from models_core.privacy import WITHHELD, Privacy
from models_core.privately import apart, private_steps
from models_core.run_state import RunState
from models_core.sampling import Sampler, row_weights, seed_of
from models_core.schedule import share_done, within
from models_core.scoring import watched
from models_core.spec import Spec
from models_core.table import Rows
from models_core.tracking import StopFit, Told
from models_core.training import FitRecipe, Progress, SeesLooks
from models_core.transfer import freeze, start_from
from models_core.usual import golden_of, reference_of
from models_core.weights import content_of

_TELL_EVERY = 25  # steps
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


class TooLittleMemoryError(MemoryError):
    """Not even one row at a time fits."""


def train_module(
    spec: Spec,
    train: Any,
    validation: Any,
    recipe: FitRecipe,
    progress: Progress | None,
    start: Model | None = None,
    folder: Path | None = None,
    told: Told | None = None,
    teacher: Model | None = None,
    privacy: Privacy | None = None,
) -> Model:
    """See ``fit``. The caller's random state and threads are left as they were."""
    # A private fit learns outside of its account from validation rows alone.
    shown = train if privacy is None else validation
    device = device_of(recipe.device)
    started = monotonic()
    with (
        _threads(recipe),
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        ranks(recipe.shard, device) as among,
    ):
        torch.manual_seed(recipe.seed)
        module = build(spec)
        module.prepare(shown, _base_log_odds(shown, recipe))
        if start is not None:
            copied = start_from(module, start, recipe)
            if progress is not None:
                fresh = sorted({name for name, _ in module.named_parameters()} - set(copied))
                progress(f"started; fresh are {', '.join(fresh) or 'no parameters'}", 0, 0)
        freeze(module, recipe.freeze)
        module = module.to(device)
        with apart(module, train, validation, recipe, privacy):
            run = Training(spec, module, train, validation, recipe, among, progress, told, privacy)
            if teacher is not None:
                run.taught_N = torch.from_numpy(soft_answers(teacher, train)).to(device)
            run_id = _run_id(spec, train, validation, recipe, start, teacher, privacy)
            kept = None if folder is None else Checkpoints(folder, run_id)
            history = run.through(started, kept)
            module = run.whole(spec)
    return Model(
        spec=spec,
        module=module.cpu().eval(),
        recipe=recipe,
        reference_F=reference_of(module, shown),
        golden=golden_of(validation),
        data_hash=train.hash if privacy is None else WITHHELD,
        history=tuple(history),
        seconds=monotonic() - started,
        privacy=None if run.private is None else run.private.spent(),
    )


class Losses(nn.Module):
    """The loss as a module, so that what wraps modules (processes, compilers) sees all of it."""

    def __init__(self, module: Network, focus: float) -> None:
        super().__init__()
        self.module = module
        self.focus = focus

    def forward(self, beside: bool, y: Tensor, *inputs: Tensor) -> Tensor:
        """``(B,)`` losses of rows; ``beside``: one number, of what is learned beside answers."""
        if beside:
            loss = self.module.auxiliary_loss(*inputs, y)
            assert loss is not None  # asked before the first step
            return loss.expand(len(y))
        return self.module.losses(inputs, y, self.focus)

    def answers(self, *inputs: Tensor) -> Tensor:
        """What the module answers, through what wraps it."""
        output: Tensor = self.module(*inputs)
        return output


class Training:
    """A run: its data on the device, its state, and what one step does."""

    def __init__(
        self,
        spec: Spec,
        module: Network,
        train: Rows,
        validation: Rows,
        recipe: FitRecipe,
        among: Ranks,
        progress: Progress | None,
        told: Told | None = None,
        privacy: Privacy | None = None,
    ) -> None:
        self.module, self.recipe, self.among = module, recipe, among
        self.progress = progress if among.is_first else None
        self.told = told if among.is_first else None
        self.train, self.validation = train, validation
        device = next(module.parameters()).device
        self.device = device
        # Asked of these devices alone: torch.manual_seed tells every kind of device there may be,
        # which takes a third of a small step.
        self.chance = [torch.default_generator]
        if device.type == "cuda":
            self.chance.append(torch.cuda.default_generators[device.index])
        self.inputs = tuple(torch.from_numpy(array).to(device) for array in train.arrays)
        self.y_N = torch.from_numpy(train.target).to(device)
        self.taught_N: Tensor | None = None  # a teacher's answers, once answers are learned
        weight_N = torch.from_numpy(row_weights(train, recipe, privacy is None)).to(device)
        plain = privacy is None and bool((weight_N == 1).all())
        self.weight_N = None if plain else weight_N
        self.validation_inputs = tuple(
            torch.from_numpy(array).to(device) for array in validation.arrays
        )
        self.sampler = Sampler(train, recipe)
        named = dict(zip(spec.sizes, self.inputs, strict=True))
        self.augmentation = Augmentation.parse(recipe.augment, named)
        if spec.task == "next" and (self.augmentation.mixup or "token_swap" in recipe.augment):
            # Tokens cannot be mixed, and a swapped one would stand where it is asked for.
            raise ValueError("mixup and token_swap are not for the task next.")
        self.classes = spec.outputs if spec.task == "classes" else 0
        self.state = RunState(micro_batch=recipe.micro_batch or self.sampler.size)
        self.first = self._share_beside()
        require_together(among, recipe, self.sampler.size, self.first > 0)
        losses = Losses(module, recipe.focal)
        if recipe.compile:
            losses.compile()
        uses_all = among.world == 1 or (self.first == 0 and self._uses_all())
        self.losses = among.wrapped(losses, device, uses_all)
        self.optimizers = make_optimizers(module, recipe)  # of what wrapping made of parameters
        self.autocast = _autocast(recipe, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "float16")
        self.private = private_steps(self, privacy)

    def through(self, started: float, kept: Checkpoints | None) -> list[Look]:
        """Every step that is left, and the best weights in the end."""
        recipe, state = self.recipe, self.state
        if kept is not None:
            state.resume(self, kept.newest())
        if self.told is not None:
            self.told.begin()
        for step in range(state.step + 1, recipe.steps + 1):
            share = share_done(step, monotonic() - started, recipe)
            if recipe.max_seconds is not None:
                share = self.among.agreed(share)
            # By the clock too: a slow machine learns less of what is usual, and still weighs it.
            if share >= self.first and not state.settled:
                self.module.settle(self.train)
                state.settled = True
            set_learning_rate(self.optimizers, rate_at(within(share, self.first), recipe))
            loss = self.step(step)
            state.step = step
            is_over = step == recipe.steps or share >= 1.0
            if is_over or (state.settled and step % recipe.evaluate_every == 0):
                is_over = self._look(step, loss) or is_over
            elif self.progress is not None and step % _TELL_EVERY == 0:
                self.progress("fit", step, recipe.steps)
            if is_over:
                break
            if kept is not None and step % recipe.checkpoint_every == 0:
                tensors, rest = state.saved(self)
                if self.among.is_first:
                    kept.save(step, tensors, rest)
        if self.progress is not None and state.history[-1].step < recipe.steps:
            self.progress("fit", recipe.steps, recipe.steps)
        self.module.load_state_dict(state.best_weights)
        if kept is not None and self.among.is_first:
            kept.clear()
        return state.history

    def step(self, step: int) -> Tensor:
        """One step: gradients of a batch, in parts that fit the memory, and the optimizers."""
        if self.private is not None:
            torch.manual_seed(seed_of(self.recipe.seed, step))
            return self.private.step()
        if not self.module.training:
            self.module.train()
        row_B = self.sampler.rows_of(step)
        seed = seed_of(self.recipe.seed, step * self.among.world + self.among.rank)
        while True:
            # Chance is a function of the step, so that a run that goes on draws the same.
            for generator in self.chance:
                generator.manual_seed(seed)
            for optimizer in self.optimizers:
                optimizer.zero_grad(set_to_none=True)
            try:
                loss = self._gradients(row_B)
                break
            except RuntimeError as error:
                self._halve(error)
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(self.module.parameters(), self.recipe.gradient_clip)
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        return loss

    def _gradients(self, row_B: Tensor) -> Tensor:
        """Gradients of the mean loss over the whole batch; returns this process's part of it."""
        beside = not self.state.settled
        parts = self.among.parts(row_B.to(self.device), self.state.micro_batch)
        answer_N = self.y_N if beside or self.taught_N is None else self.taught_N
        total: Tensor | None = None
        for number, (part, counts) in enumerate(parts, start=1):
            inputs = self.augmentation(tuple(array[part] for array in self.inputs))
            y = answer_N[part]
            if not beside:
                inputs, y = self.augmentation.mixed(inputs, y, self.classes)
            with unsynced(self.losses, self.among, last=number == len(parts)):
                with self.autocast:
                    loss_B = self.losses(beside, y, *inputs)
                if self.weight_N is not None and not beside:
                    loss_B = loss_B * self.weight_N[part]
                loss = loss_B.sum() / len(row_B)
                if not counts:
                    loss = loss * 0.0
                # Processes average their gradients; the batch is the sum of their parts.
                self.scaler.scale(loss * self.among.world).backward()
            total = loss.detach() if total is None else total + loss.detach()
        assert total is not None
        return total

    def _halve(self, error: RuntimeError) -> None:
        """Go on with half as many rows at a time when that may help; raise otherwise."""
        if not any(words in str(error).lower() for words in _NO_MEMORY):
            raise error
        if self.state.micro_batch == 1 or self.among.world > 1:
            raise TooLittleMemoryError(
                f"{self.state.micro_batch} rows at a time do not fit the memory of "
                f"{self.device}. Choose a smaller architecture"
                f"{'' if self.among.world == 1 else ', or a micro_batch for all processes'}."
            ) from error
        self.state.micro_batch = max(1, self.state.micro_batch // 2)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if self.progress is not None:
            self.progress(f"out of memory: {self.state.micro_batch} rows at a time", 0, 0)

    def _look(self, step: int, loss: Tensor) -> bool:
        """Measure on the validation rows; true when there was no better look for too long."""
        state = self.state
        if self.private is not None:
            self.private.look_at_public_rows()
        self.module.eval()
        score = self.module.own_score(self.validation_inputs)
        if score is None:
            output = outputs_of(
                self.module,
                self.validation_inputs,
                self.losses.answers if self.among.sharded else None,  # type: ignore[arg-type]
            )
            score = watched(self.validation.task, self.validation.target, output, self.recipe.watch)
        score = self.among.agreed(score)
        look = Look(step, self.among.summed(float(loss)), score)
        state.history.append(look)
        if isinstance(self.progress, SeesLooks):
            self.progress.look(look.loss, look.score)
        if self.progress is not None:
            self.progress("fit", step, self.recipe.steps)
        if score > state.best or not state.best_weights:
            state.best, state.looks_since_best = score, 0
            state.best_weights = _copy_weights(self.module)
        else:
            state.looks_since_best += 1
        return self._is_stopped(state.history[-1]) or state.looks_since_best >= self.recipe.patience

    def _is_stopped(self, look: Look) -> bool:
        """Tell of a look; true when a listener of the first process wants the run to end."""
        stopped = False
        try:
            if self.told is not None:
                self.told.look(look)
        except StopFit:
            stopped = True
        return bool(self.among.agreed(float(stopped)))

    def whole(self, spec: Spec) -> Network:
        """The module with every parameter whole, in each process."""
        if not self.among.sharded:
            return self.module
        module = build(spec)
        module.load_state_dict(self.among.whole(self.module.state_dict()))
        return module

    def _uses_all(self) -> bool:
        """Whether the loss of a row depends on every parameter that learns."""
        learning = [p for p in self.module.parameters() if p.requires_grad]
        few = tuple(array[:2] for array in self.inputs)
        loss_B = self.module.losses(few, self.y_N[:2], self.recipe.focal)
        found = torch.autograd.grad(loss_B.sum(), learning, allow_unused=True)
        return all(gradient is not None for gradient in found)

    def _share_beside(self) -> float:
        """Which share of the run comes first, for what the module learns beside the answers."""
        with torch.no_grad():
            loss = self.module.auxiliary_loss(*(array[:2] for array in self.inputs), self.y_N[:2])
        self.state.settled = loss is None
        steps = self.recipe.steps
        return 0.0 if loss is None else int(steps * self.recipe.auxiliary_share) / steps


def _run_id(
    spec: Spec,
    train: Rows,
    validation: Rows,
    recipe: FitRecipe,
    start: Model | None,
    teacher: Model | None,
    privacy: Privacy | None,
) -> dict[str, str]:
    said = {name: value for name, value in recipe.to_dict().items() if name != "max_seconds"}
    return {
        "spec": spec.hash,
        "data": train.hash,
        "validation": validation.hash,
        "recipe": repr(said),
        "start": "" if start is None else content_of(start),
        "teacher": "" if teacher is None else content_of(teacher),
        "privacy": "" if privacy is None else repr(privacy),
    }


def _base_log_odds(train: Rows, recipe: FitRecipe) -> float:
    if train.task != "binary" or recipe.sampling == "balanced":  # then as many yes as no
        return 0.0
    rate = float((row_weights(train, recipe) * train.target).mean())
    rate = min(max(rate, 1e-6), 1 - 1e-6)  # weights of 0 may hide an answer
    return math.log(rate / (1 - rate))


def _autocast(recipe: FitRecipe, device: torch.device) -> torch.autocast:
    kind = torch.float16 if recipe.precision == "float16" else torch.bfloat16
    enabled = recipe.precision in ("bfloat16", "float16")
    if recipe.precision == "auto":
        # A CPU without the instruction emulates it, slower than float32.
        has_it = bool(torch.cpu.get_capabilities().get("avx512_bf16"))
        enabled = device.type == "cuda" or has_it
    return torch.autocast(device.type, kind, enabled=enabled)


@contextmanager
def _threads(recipe: FitRecipe) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(recipe.threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _copy_weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
