"""The processes that train together, one a device: their number, and what they tell each other.

torch's launcher starts them (`cnnperf.training.worker.launcher`), DistributedDataParallel averages
their gradients, by NCCL between CUDA devices and by gloo between CPUs. All ranks draw the same
order of images, and each takes its share of every batch, so that `strong` scaling trains what one
device trains. Batch norm is local: each rank normalises by its own images, as
DistributedDataParallel does by default. The running statistics are averaged before each evaluation.

Shapes: N numbers.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from cnnperf.errors import UsageError

BACKENDS = {"cuda": "nccl", "cpu": "gloo", "xpu": "xccl"}


def share(count: int, rank: int, ranks: int) -> slice:
    """Return the part of `count` things that belongs to a rank; parts differ by one at most."""
    return slice(rank * count // ranks, (rank + 1) * count // ranks)


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """One process among those that train together.

    Without a group, every method returns what it was given.
    """

    rank: int = 0
    size: int = 1
    backend: str | None = None
    """torch's name of what carries the messages; None without a group."""
    device: torch.device | None = None
    mark: Callable[[], None] = lambda: None
    """Called before each message to the others, so that the launcher sees who is missing."""

    def __bool__(self) -> bool:
        """Return whether there is a group, which may have a single rank."""
        return self.backend is not None

    def share(self, count: int) -> slice:
        """Return this rank's part of `count` things."""
        return share(count, self.rank, self.size)

    def weight(self, images: int, batch_images: int) -> float:
        """Return the factor of this rank's mean loss over `images` of a batch.

        DistributedDataParallel averages over ranks; with it, all images of the batch count equally.
        """
        return images * self.size / batch_images

    def wrap(self, model: nn.Module) -> nn.Module | None:
        """Return the model with averaged gradients; None without a group.

        Buffers are not sent in every step: a rank needs those of others only to evaluate.
        """
        if not self:
            return None
        # A graph can capture its messages only if it is made on a side stream (torch's notes on
        # CUDA graphs).
        on_cuda = self.backend == BACKENDS["cuda"]
        side = torch.cuda.Stream(self.device) if on_cuda else None  # type: ignore[no-untyped-call]
        with torch.cuda.stream(side):  # does nothing with None
            return DistributedDataParallel(
                model, broadcast_buffers=False, gradient_as_bucket_view=True
            )

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum over the ranks of a tensor of any shape, on the CPU."""
        if not self:
            return values.cpu()
        summed = values.to(self.device, copy=True)
        self.mark()
        distributed.all_reduce(summed)
        return summed.cpu()

    def slowest(self, seconds: float) -> float:
        """Return the longest time of any rank, so that all decide alike."""
        if not self:
            return seconds
        longest = torch.tensor(seconds, dtype=torch.float32, device=self.device)
        distributed.all_reduce(longest, op=distributed.ReduceOp.MAX)
        return float(longest)

    def gather(self, value: Any) -> list[Any]:
        """Return a value of every rank, in order."""
        found: list[Any] = [value] * self.size
        if self:
            distributed.all_gather_object(found, value)
        return found

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self:
            self.total(torch.zeros(1))

    @torch.no_grad()
    def average_statistics(self, model: nn.Module) -> None:
        """Average the running statistics of all ranks; those of one have seen only its images."""
        if self.size == 1:
            return
        buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        if not buffers:
            return
        means_N = self.total(nn.utils.parameters_to_vector(buffers)) / self.size
        nn.utils.vector_to_parameters(means_N.to(self.device), buffers)


ALONE = Ranks()


def join_ranks(device: torch.device, mark: Callable[[], None]) -> Ranks:
    """Join the other processes that the launcher has started.

    Args:
        device: this rank's device.
        mark: called before each message to the others.

    Raises:
        UsageError: torch cannot connect devices of this type.
    """
    if device.type not in BACKENDS:
        raise UsageError(
            f"several {device.type} devices cannot train together: choose one of "
            f"{', '.join(BACKENDS)} with --cnnperf-device"
        )
    on_cuda = device.type == "cuda"
    if on_cuda:
        torch.cuda.set_device(device)
        # Its watchdog would disturb the capture of a graph (torch's notes on CUDA graphs).
        os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
    backend = BACKENDS[device.type]
    distributed.init_process_group(backend, device_id=device if on_cuda else None)
    return Ranks(
        rank=distributed.get_rank(),
        size=distributed.get_world_size(),
        backend=backend,
        device=device,
        mark=mark,
    )


def leave_ranks() -> None:
    """Leave the group in order, as torch asks for."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def local_rank() -> int:
    """Return the number of this process on its node, which is also that of its device."""
    return int(os.environ["LOCAL_RANK"])
