# SPDX-License-Identifier: Apache-2.0
"""Training in several processes at once, as ``torchrun`` starts them.

Every process draws the same random numbers, takes its share of each batch, and adds up gradients
with the others (``DistributedDataParallel``), so that all hold the same network at every step. It
is the network of one process but for the order in which floats are added.
"""

import contextlib
import os
from collections.abc import Iterator

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["Processes", "default_device", "join", "leading"]


class Processes:
    """The processes of a run: one that is alone, unless :func:`join` has found others.

    Parameters
    ----------
    rank : :class:`int`
        Which one this is.
    count : :class:`int`
        How many there are.
    """

    def __init__(self, rank: int = 0, count: int = 1):
        self.rank = rank
        self.count = count

    @property
    def leader(self) -> bool:
        """Whether this process is the one that writes files, logs and reports."""
        return self.rank == 0

    def share(self, size: int) -> slice:
        """Which of ``size`` images of a batch are this process's; all, if there are too few."""
        return slice(self.rank, None, self.count) if size >= self.count else slice(None)

    def weight(self, size: int) -> float:
        """What a mean over :meth:`share` weighs, so that the mean of processes is the batch's."""
        if size < self.count:
            return 1.0
        return len(range(size)[self.share(size)]) * self.count / size

    def together(self, model: nn.Module) -> nn.Module:
        """Return ``model`` so that a backward pass leaves the mean of all processes' gradients."""
        return DistributedDataParallel(model) if self.count > 1 else model

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """Return the mean of all processes' ``value``, without gradients."""
        value = value.detach().clone()
        if self.count > 1:
            distributed.all_reduce(value)
            value /= self.count
        return value


def default_device() -> str:
    """A GPU if there is one; of several, the one whose turn it is among this machine's."""
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"


def leading() -> bool:
    """Whether this process is alone, or the first of those that ``torchrun`` has started."""
    return not _launched() or os.environ["RANK"] == "0"


def _launched() -> bool:
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys()


@contextlib.contextmanager
def join(device: torch.device) -> Iterator[Processes]:
    """Give the processes that train together: those that ``torchrun`` has started, or this one.

    A process group that is there already is used, and left as it is.
    """
    if distributed.is_available() and distributed.is_initialized():
        yield Processes(distributed.get_rank(), distributed.get_world_size())
        return
    if not _launched():
        yield Processes()
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
