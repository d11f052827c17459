"""Several processes that train one model, as ``torchrun`` starts them. Imports torch.

Each process takes its share of every batch; the sum over processes is what one process would
have computed, up to the order of additions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which one of how many processes this is."""

    rank: int = 0
    world: int = 1

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes and tells."""
        return self.rank == 0

    def share(self, row_B: Tensor) -> Tensor:
        """This process's rows of a batch."""
        return row_B[self.rank :: self.world]

    def agreed(self, value: float) -> float:
        """The first process's value, so that all of them decide alike."""
        if self.world == 1:
            return value
        told = torch.tensor([value], dtype=torch.float64)
        if dist.get_backend() == "nccl":
            told = told.cuda()
        dist.broadcast(told, 0)
        return float(told)

    def wrapped(self, module: nn.Module) -> nn.Module:
        """The module with gradients averaged over processes."""
        if self.world == 1:
            return module
        return DistributedDataParallel(module, find_unused_parameters=True)


@contextmanager
def ranks(shard: str, device: torch.device) -> Iterator[Ranks]:
    """Join the other processes of ``torchrun``; alone where it did not start this one."""
    if shard == "none" or not dist.is_torchelastic_launched():
        yield Ranks()
        return
    ours = not dist.is_initialized()
    if ours:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        if ours:
            dist.destroy_process_group()


def unsynced(module: nn.Module, last: bool) -> AbstractContextManager[object]:
    """Gradients of all but the last part of a batch stay in the process."""
    if not last and isinstance(module, DistributedDataParallel):
        return module.no_sync()
    return nullcontext()
