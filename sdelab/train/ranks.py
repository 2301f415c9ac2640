"""Several processes that share one training: each takes its rows of every batch, and all have the same weights.

``torchrun`` starts them and :func:`joined` makes them a group; alone, a process is a group of one. As every draw
belongs to (seed, step, row), all draw the whole batch, which is cheap, and work on their own part of it.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Inside, the processes that ``torchrun`` started are one group; gives each its device, "cuda:1" for "cuda".

    Without ``torchrun``, and where they are a group already, nothing happens (a second group would meet what the first
    one left behind). ``ValueError``: more processes than GPUs.
    """
    if not (dist.is_available() and dist.is_torchelastic_launched()) or dist.is_initialized():
        yield device
        return
    cuda = torch.device(device).type == "cuda"
    if cuda:
        local, here = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= here:
            raise ValueError(f"one process per GPU, and there are {here}: torchrun --nproc-per-node {here}")
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    yield device
    dist.destroy_process_group()  # not after an error: it would wait for processes that may have ended


def count() -> int:
    """How many processes share the training."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this one among them; 0 is the one that writes files and shows how it goes."""
    return dist.get_rank() if count() > 1 else 0


def part(batch: int) -> slice:
    """The rows of a batch that are this process's; ``ValueError`` where the batch does not divide among all."""
    if batch % count():
        raise ValueError(
            f"batch = {batch} does not divide among {count()} processes: take a multiple of {count()}, or another "
            "number of processes"
        )
    size = batch // count()
    return slice(rank() * size, (rank() + 1) * size)


def average(x: Tensor) -> None:
    """Replace x by its mean over the processes."""
    if count() > 1:
        dist.all_reduce(x)
        x /= count()


def anyone(asks: bool) -> bool:
    """Whether any of the processes asks, the same answer in all. On the CPU, so that no GPU is waited for."""
    if count() == 1:
        return asks
    flag = torch.tensor(int(asks))
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag)


def agree(value: int, what: str) -> None:
    """``ValueError`` unless ``value`` is the same in all processes."""
    low, high = torch.tensor(value), torch.tensor(value)
    if count() > 1:
        dist.all_reduce(low, dist.ReduceOp.MIN)
        dist.all_reduce(high, dist.ReduceOp.MAX)
    if low != high:
        raise ValueError(f"{what} is {low} in one process and {high} in another: all must see the same files")


class Losses(nn.Module):
    """The losses (n,) of a model by an objective, as one module: DistributedDataParallel watches calls of a module."""

    def __init__(self, model: nn.Module, objective: Callable[..., Tensor]):
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, x0: Tensor, t: Tensor, eps: Tensor, y: Tensor | None) -> Tensor:
        model: Any = self.model
        return self.objective(model if y is None else model.of(y), x0, t, eps)


def losses(model: nn.Module, objective: Callable[..., Tensor]) -> nn.Module:
    """:class:`Losses` whose gradients, among several processes, are the mean over all."""
    alone = Losses(model, objective)
    return DistributedDataParallel(alone) if count() > 1 else alone
