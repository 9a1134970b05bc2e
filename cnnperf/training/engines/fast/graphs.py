"""Capture steps and evaluations as CUDA graphs, and restore the model afterwards.

A step of the modified models has 50 to 110 kernels of a few microseconds each; launching them one
by one takes the host longer than running them takes the device. A CUDA graph replays them with one
launch, from the gather of the batch to the optimizer. For small images, one graph holds many steps.

A compiled function and a graph hold the addresses of the weights, so warm-up must use the model
that is trained, not a copy; `Snapshot` restores it in place.

Shapes: K steps of a graph, B images of a batch, C channels, H W pixels, N classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn


class Snapshot:
    """A copy of a model's parameters and running statistics, to restore them in the same memory."""

    def __init__(self, model: nn.Module) -> None:
        self._tensors = [*model.parameters(), *model.buffers()]
        self._values = [tensor.detach().clone() for tensor in self._tensors]

    @property
    def bytes(self) -> int:
        """Memory of the copies, on the model's device."""
        return sum(value.nbytes for value in self._values)

    @torch.no_grad()
    def restore(self) -> None:
        """Copy every tensor back."""
        for tensor, value in zip(self._tensors, self._values, strict=True):
            tensor.copy_(value)


@torch.no_grad()
def reset_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Set an optimizer's state back in the same memory, to zeros, and forget the gradients.

    Zeros are the state before the first step of those in `cnnperf.training.recipe.ZERO_STATE`.
    """
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, torch.Tensor):
                value.zero_()
    optimizer.zero_grad(set_to_none=True)


WARMUP_STEPS = 3
"""Steps on a side stream before capture: they allocate lasting memory, such as the optimizer's
state, and let cuDNN choose its kernels."""

DDP_WARMUP_STEPS = 11
"""The same with DistributedDataParallel, which rearranges its buckets meanwhile (torch's notes on
CUDA graphs, "Usage with DistributedDataParallel")."""

RowsStep = Callable[[torch.Tensor], torch.Tensor]
"""Trains one step on the images of some rows (B) and returns its mean loss, a scalar."""


class GraphedSteps:
    """Some training steps as one graph.

    Args:
        step: the step to capture; it must not wait for the device.
        steps: K.
        batch_size: B.
        device: the device.
        pool: the memory pool of all graphs of a training, of which one is replayed at a time.
    """

    def __init__(
        self, step: RowsStep, *, steps: int, batch_size: int, device: torch.device, pool: Any
    ) -> None:
        self.steps, self.batch_size = steps, batch_size
        self.peak_bytes = 0
        """Peak bytes allocated during capture; a replay allocates nothing."""
        self._graph = torch.cuda.CUDAGraph()
        rows_B = torch.arange(batch_size, device=device)
        self._rows_KB = rows_B.expand(steps, batch_size).contiguous()
        with torch.cuda.graph(self._graph, pool=pool):
            self._losses_K = torch.stack([step(self._rows_KB[k]) for k in range(steps)])

    def replay(self, rows_KB: torch.Tensor) -> torch.Tensor:
        """Train on these rows and return the losses of the steps (K).

        The next replay of a graph of the same pool overwrites them.
        """
        self._rows_KB.copy_(rows_KB)
        self._graph.replay()
        return self._losses_K


def capture_steps(
    step: RowsStep,
    *,
    forget_gradients: Callable[[], None],
    steps: int,
    batch_size: int,
    device: torch.device,
    pool: Any,
    warmup_steps: int = WARMUP_STEPS,
) -> GraphedSteps:
    """Warm up a step and capture it; if that fails, training can continue without graphs.

    The arguments are those of `GraphedSteps`. `forget_gradients` is called between warm-up and
    capture, so that the graph allocates its own gradients.
    """
    with _usable_after_failure(device, pool):
        rows_B = torch.arange(batch_size, device=device)
        _warm_up(lambda: step(rows_B), device, warmup_steps)
        forget_gradients()
        torch.cuda.reset_peak_memory_stats(device)
        graph = GraphedSteps(step, steps=steps, batch_size=batch_size, device=device, pool=pool)
        graph.peak_bytes = int(torch.cuda.max_memory_allocated(device))
    return graph


Predict = Callable[[torch.Tensor], torch.Tensor]
"""From images (B, C, H, W) to logits (B, N)."""


class GraphedPrediction:
    """The model's predictions for one batch of evaluation as one graph."""

    def __init__(self, predict: Predict, images_BCHW: torch.Tensor, pool: Any) -> None:
        self._images_BCHW = images_BCHW.clone()  # keeps its layout
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool):
            self._logits_BN = predict(self._images_BCHW)

    def replay(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the logits, which the next replay of a graph of the same pool overwrites."""
        self._images_BCHW.copy_(images_BCHW)
        self._graph.replay()
        return self._logits_BN


def capture_prediction(predict: Predict, images_BCHW: torch.Tensor, pool: Any) -> GraphedPrediction:
    """Warm up a prediction and capture it; if that fails, others can be launched."""
    with _usable_after_failure(images_BCHW.device, pool):
        _warm_up(lambda: predict(images_BCHW), images_BCHW.device, WARMUP_STEPS)
        return GraphedPrediction(predict, images_BCHW, pool)


def new_pool() -> Any:
    """Return a memory pool for graphs, by torch's handle."""
    return torch.cuda.graph_pool_handle()


def _warm_up(call: Callable[[], object], device: torch.device, times: int) -> None:
    """Run something a few times on a side stream."""
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(times):
            call()
    torch.cuda.current_stream(device).wait_stream(stream)
    torch.cuda.synchronize(device)


@contextmanager
def _usable_after_failure(device: torch.device, pool: Any) -> Iterator[None]:
    """Clean up after a failed capture, so that training can continue without graphs.

    torch (2.11 to 2.14) stays on the capture's stream; its generator stays in capture mode, so that
    the next dropout would fail; and its allocator goes on believing in a capture, during which it
    frees nothing.
    """
    stream = torch.cuda.current_stream(device)
    try:
        yield
    except BaseException:
        torch.cuda.set_stream(stream)
        index = device.index or 0
        generator = torch.cuda.default_generators[index]
        generator.graphsafe_set_state(torch.Generator(device=device).graphsafe_get_state())
        with suppress(RuntimeError):  # the capture had not begun, or had ended
            torch._C._cuda_endAllocateToPool(index, pool)
            torch._C._cuda_releasePool(index, pool)
        raise
