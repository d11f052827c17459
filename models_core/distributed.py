"""Several processes that train one model, as ``torchrun`` starts them. Imports torch.

Each process takes its share of every batch; the sum over processes is what one process would
have computed, up to the order of additions. ``ddp`` keeps the whole model in every process,
``fsdp`` a share of each parameter, its gradient and its moments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from models_core.training import FitRecipe


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which one of how many processes this is, and whether each holds but a part of the model."""

    rank: int = 0
    world: int = 1
    sharded: bool = False

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes and tells."""
        return self.rank == 0

    def parts(self, row_B: Tensor, size: int) -> list[tuple[Tensor, bool]]:
        """This process's rows of a batch in parts of at most ``size``; false: does not count.

        Every process has as many parts, since each part may be a meeting of all of them: one that
        ran out of rows answers a row whose loss is thrown away.
        """
        own = row_B[self.rank :: self.world]
        parts = [(part, True) for part in torch.split(own, size)]
        largest_share = -(-len(row_B) // self.world)
        missing = -(-largest_share // size) - len(parts)
        return parts + [(row_B[:1], False)] * missing

    def agreed(self, value: float) -> float:
        """The first process's value, so that all of them decide alike."""
        if self.world == 1:
            return value
        told = self._number(value)
        dist.broadcast(told, 0)
        return float(told)

    def summed(self, value: float) -> float:
        """The sum over processes."""
        if self.world == 1:
            return value
        told = self._number(value)
        dist.all_reduce(told)
        return float(told)

    def wrapped(self, losses: nn.Module, device: torch.device, uses_all: bool) -> nn.Module:
        """The module with gradients averaged over processes; sharding changes it in place.

        ``uses_all``: every step gives each parameter a gradient, so that none is looked for.
        """
        if self.world == 1:
            return losses
        if self.sharded:
            from models_core.sharding import shard

            return shard(losses, device, self.world)
        # Buffers are the same in all processes, so nobody needs to be told of them.
        return DistributedDataParallel(
            losses, find_unused_parameters=not uses_all, forward_sync_buffers=False
        )

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors with every process's part; all processes must ask together."""
        if not self.sharded:
            return dict(tensors)
        from models_core.sharding import gather

        return gather(tensors)

    def alike(
        self, tensors: Mapping[str, Tensor], patterns: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Whole tensors, cut for this process as the patterns of their names are."""
        if not self.sharded:
            return dict(tensors)
        from models_core.sharding import cut

        return cut(tensors, patterns)

    @staticmethod
    def _number(value: float) -> Tensor:
        told = torch.tensor([value], dtype=torch.float64)
        return told.cuda() if dist.get_backend() == "nccl" else told


@contextmanager
def ranks(shard: str, device: torch.device) -> Iterator[Ranks]:
    """Join the other processes of ``torchrun``; alone where it did not start this one.

    A process group that is there already is used and left as it is.
    """
    ours = not dist.is_initialized()
    if shard == "none" or (ours and not dist.is_torchelastic_launched()):
        yield Ranks()
        return
    if ours:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        world = dist.get_world_size()
        yield Ranks(dist.get_rank(), world, sharded=shard == "fsdp" and world > 1)
    finally:
        if ours:
            dist.destroy_process_group()


def device_of(name: str) -> torch.device:
    """The device of a recipe's name; under ``torchrun`` each process of a node has its own GPU.

    Raises:
        ValueError: there is no GPU, or none for this process.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError('device="cuda" but torch sees no GPU here. Use "auto" or "cpu".')
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if not dist.is_torchelastic_launched():
        return torch.device("cuda", torch.cuda.current_device())
    number = dist.get_node_local_rank()
    if number >= torch.cuda.device_count():
        raise ValueError(
            f"Process {number} of this node has no GPU of its own: torch sees "
            f"{torch.cuda.device_count()}. Start as many processes a node as it has GPUs."
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def require_together(among: Ranks, recipe: FitRecipe, batch: int, learns_beside: bool) -> None:
    """Raise ``ValueError`` where several processes cannot follow the recipe."""
    if batch < among.world:
        raise ValueError(
            f"A batch of {batch} rows cannot be shared by {among.world} processes. Give more rows "
            f"and a batch_size of at least {among.world}, or start fewer processes."
        )
    if not among.sharded:
        return
    if recipe.optimizer == "adafactor":
        raise ValueError('optimizer="adafactor" is not for shard="fsdp". Take adamw, muon or sgd.')
    if recipe.precision == "float16":
        raise ValueError('precision="float16" is not for shard="fsdp". Take bfloat16.')
    if recipe.compile:
        raise ValueError('compile is not for shard="fsdp". Take ddp, or do not compile.')
    if learns_beside:
        raise ValueError(
            'shard="fsdp" is not for architectures that first learn what is usual. Take ddp.'
        )


def unsynced(module: nn.Module, among: Ranks, last: bool) -> AbstractContextManager[object]:
    """Gradients of all but the last part of a batch stay in the process."""
    if among.sharded:
        from models_core.sharding import synced

        synced(module, last)
    elif not last and isinstance(module, DistributedDataParallel):
        return module.no_sync()
    return nullcontext()
