"""Training steps captured as CUDA graphs: the host asks for many kernels at once.

Torch half, CUDA only. The modified models' steps are 50 to 110 kernels of a few microseconds each;
launched one by one, the host is slower than the device. A graph replays them with one launch, from
the gather of the batch to the optimizer; for small images many steps stand in one graph.

Shapes: `K` steps of a graph, `B` images of a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

WARMUP_STEPS = 3
"""On a stream of their own, as capturing asks for: they allocate what lasts, such as the
optimizer's state, and let cuDNN choose its kernels."""

RowsStep = Callable[[torch.Tensor], torch.Tensor]
"""One training step on the images of some rows (B); returns its mean loss, a scalar."""


class GraphedSteps:
    """Some training steps as one graph.

    Args:
        step: what to capture; it must not wait for the device.
        steps: K.
        batch_size: B.
        pool: memory pool of another graph that is never replayed at the same time.
    """

    def __init__(self, step: RowsStep, *, steps: int, batch_size: int, pool: Any = None) -> None:
        self.steps = steps
        self._graph = torch.cuda.CUDAGraph()
        self._rows_KB = (
            torch.arange(batch_size, device="cuda").expand(steps, batch_size).contiguous()
        )
        with torch.cuda.graph(self._graph, pool=pool):
            self._losses_K = torch.stack([step(self._rows_KB[k]) for k in range(steps)])

    @property
    def pool(self) -> Any:
        """Torch's handle of its memory pool, for a graph to share."""
        return self._graph.pool()

    def replay(self, rows_KB: torch.Tensor) -> torch.Tensor:
        """Train on these rows; returns the steps' losses (K), overwritten by the next replay."""
        self._rows_KB.copy_(rows_KB)
        self._graph.replay()
        return self._losses_K


def warm_up_for_capture(step: RowsStep, batch_size: int) -> None:
    """A few steps on a side stream."""
    rows_B = torch.arange(batch_size, device="cuda")
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARMUP_STEPS):
            step(rows_B)
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
