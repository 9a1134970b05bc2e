"""Counts the least that training must move between a device's memory and its arithmetic.

A step that does little arithmetic on much data is bound by memory, however fast the device
multiplies. What is counted here, divided by the bandwidth of a copy, says how fast it could be.

    python -c "from cnnperf.models import count_traffic; print(count_traffic('vgg16', 3, 224))"

It is a lower bound under these assumptions, each of which is better than what libraries do:

- A convolution, a matrix product and a pooling are kernels that are not fused with each other. Each
  reads every tensor that it needs once and writes every result once; a convolution's two gradients
  are one kernel, which reads what they share once.
- Everything else is fused into these and moves nothing: activations, dropout, casts, the loss, and
  batch norm, statistics included. There are two exceptions, since fusing cannot help: the gradient
  of a batch norm needs sums over the whole batch before its first value is known, so its input is
  read a second time; and where two tensors are added, as at the end of a residual block or where
  two gradients meet, the second one is read.
- Images are read from bytes, once forward and once for the first layer's gradient; that is added
  by `cnnperf.compare.floors`, with the optimizer's traffic.
- Nothing stays in a cache from one kernel to the next. Where a step's tensors are smaller than the
  cache, as they may be for small images, this does not hold, and a step can be faster.

Elements are counted, not bytes, since the precision decides how large they are.

Shapes: B batch, C channels, H W pixels, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry

from cnnperf.models.build import ModelBuilder
from cnnperf.models.flops import build_on_meta
from cnnperf.record.messages import Traffic

BATCHES = (2, 4)
"""Images counted at once. Activations grow with them and weights do not, so two counts tell these
apart; batch norm in train mode refuses a single value per channel."""

POOLINGS = frozenset({
    "max_pool2d_with_indices", "max_pool2d_with_indices_backward",
    "avg_pool2d", "avg_pool2d_backward",
    "_adaptive_avg_pool2d", "_adaptive_avg_pool2d_backward",
    "adaptive_max_pool2d", "adaptive_max_pool2d_backward",
})  # fmt: skip
"""A backward pass reads the gradient alone, since what else it needs can be kept in a few bits."""

BATCH_NORM_GRADIENTS = frozenset({"native_batch_norm_backward", "batch_norm_backward"})


def count_traffic(
    model: str | ModelBuilder, in_channels: int, resolution: int, num_classes: int = 10
) -> Traffic:
    """Count the elements that one forward pass and one training step move at the least.

    Args:
        model: A registered name, or a builder as `ModelSpec.builder` describes it.
        in_channels: C of the images (B, C, H, W).
        resolution: H = W in pixels.
        num_classes: K, the width of the logits.

    Returns:
        Elements per image and per pass, without images and optimizer.

    Raises:
        UsageError: `model` is a name, and the model cannot take what was asked for.
    """
    few, many = (_count(model, in_channels, resolution, num_classes, batch) for batch in BATCHES)
    forward_image, forward_pass = _line(few.forward, many.forward)
    training_image, training_step = _line(few.elements, many.elements)
    return Traffic(
        forward_elements_per_image=forward_image,
        forward_elements_per_pass=forward_pass,
        training_elements_per_image=training_image,
        training_elements_per_step=training_step,
        largest_elements_per_image=_line(few.largest, many.largest)[0],
    )


def _line(few: int, many: int) -> tuple[int, int]:
    """Slope and intercept of what was counted for both batches."""
    slope = (many - few) // (BATCHES[1] - BATCHES[0])
    return slope, few - slope * BATCHES[0]


def _count(
    model: str | ModelBuilder, in_channels: int, resolution: int, num_classes: int, batch: int
) -> _Counter:
    # On the meta device tensors have shapes but no values: nothing is computed or stored.
    with torch.device("meta"):
        module = build_on_meta(model, in_channels, resolution, num_classes).train()
        images_BCHW = torch.empty(batch, in_channels, resolution, resolution)
        labels_B = torch.zeros(batch, dtype=torch.long)
        counter = _Counter(images_BCHW)
        with counter:
            loss = cross_entropy(module(images_BCHW), labels_B)
            counter.forward = counter.elements
            torch.autograd.backward(loss)
    return counter


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operator on its way to the device, and adds up what it must move."""

    def __init__(self, images_BCHW: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._images = images_BCHW.untyped_storage()._cdata
        self.elements = 0
        self.forward = 0
        """Of them, those of the forward pass."""
        self.largest = 0
        """Of the results of convolutions."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Count, and go on as if nobody had looked."""
        result = func(*args, **(kwargs or {}))
        operator = func._overloadpacket
        self.elements += self._moved(operator, args, result)
        if operator is torch.ops.aten.convolution:
            self.largest = max(self.largest, result.numel())
        return result

    def _moved(self, operator: Any, args: tuple[Any, ...], result: Any) -> int:
        name = operator.__name__
        if operator is torch.ops.aten.convolution_backward and result[0] is None:
            args = args[:2]  # of the first layer: without a gradient to its input, no weight
        if operator in flop_registry:
            return self._size(args) + self._size(result)
        if name in POOLINGS or _is_global_pooling(operator, args):
            return self._size(args[:1]) + self._size(result)
        if name in BATCH_NORM_GRADIENTS or (name in ("add", "add_") and _is_sum_of_two(args)):
            return self._size(args[1:2])
        return 0

    def _size(self, tensors: Any) -> int:
        """Elements of all floating-point tensors in there but the images."""
        found = (each for each in tree_iter(tensors) if isinstance(each, torch.Tensor))
        return sum(each.numel() for each in found if self._counts(each))

    def _counts(self, tensor: torch.Tensor) -> bool:
        return tensor.is_floating_point() and tensor.untyped_storage()._cdata != self._images


def _is_global_pooling(operator: Any, args: tuple[Any, ...]) -> bool:
    """Whether this is the mean over all pixels, as which an average pool to one pixel is done."""
    if operator is not torch.ops.aten.mean or len(args) < 2 or args[0].dim() != 4:
        return False
    return sorted(dim % 4 for dim in args[1]) == [2, 3]


def _is_sum_of_two(args: tuple[Any, ...]) -> bool:
    one, other = args[:2]
    tensors = isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)
    return tensors and one.shape == other.shape and one.dim() > 1
