"""A model cut over processes: FSDP2 of ``torch.distributed``. Imports torch; loaded when used.

Source: Zhao and others 2023, "PyTorch FSDP"; each parameter is a ``DTensor`` cut along its first
axis, put together for the forward and backward pass of its block alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(losses: nn.Module, device: torch.device, world: int) -> nn.Module:
    """Cut the parameters, block by block where the module has blocks; the rest is one group."""
    mesh = init_device_mesh(device.type, (world,))
    for block in _blocks(losses):
        fully_shard(block, mesh=mesh)
    fully_shard(losses, mesh=mesh)
    register_fsdp_forward_method(losses, "answers")  # its parameters are put together for it too
    return losses


def synced(module: nn.Module, now: bool) -> None:
    """Whether the next backward pass adds gradients up over processes."""
    assert isinstance(module, FSDPModule)
    module.set_requires_gradient_sync(now)


def gather(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor whole and on the CPU; one after the other, so that one at most is on a GPU."""
    return {
        name: (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().cpu()
        for name, tensor in tensors.items()
    }


def cut(tensors: Mapping[str, Tensor], patterns: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """This process's part of whole tensors that every process has."""
    made = dict(tensors)
    for name, tensor in tensors.items():
        pattern = patterns.get(name)
        if isinstance(pattern, DTensor) and pattern.shape == tensor.shape:
            made[name] = distribute_tensor(
                tensor, pattern.device_mesh, pattern.placements, src_data_rank=None
            )
    return made


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """What stands in a list or a sequence and is more than one layer, the innermost first."""
    for parent in reversed(list(module.modules())):
        if isinstance(parent, nn.ModuleList | nn.Sequential):
            yield from (child for child in parent if any(True for _ in child.children()))
