"""Count a model's parameters, floating-point operations (FLOPs) and least memory traffic.

Nothing is computed: models are built on the meta device.

FLOPs: one multiplication or one addition is 1 FLOP; a multiply-accumulate is 2. Only convolutions
and matrix products are counted (torch.utils.flop_counter, with an own formula for gradients of
convolutions). Norms, activations and the optimizer are not; on these models they are about a
hundredth or less. FLOPs per image times images per second, divided by the device's peak, gives the
share of the peak that training reaches.

    python -c "from cnnperf.models import forward_flops_per_image as f; print(f('vgg16', 3, 224))"
    python -c "from cnnperf.models import count_traffic; print(count_traffic('vgg16', 3, 224))"

Traffic: a step with little arithmetic on much data is limited by memory. This count, divided by the
bandwidth of a copy, gives the shortest possible time of such a step. It is a lower bound. Its
assumptions are better than what libraries reach:

- Convolutions, matrix products and poolings are kernels that are not fused with each other. Each
  reads every tensor that it needs once and writes every result once. The two gradients of a
  convolution are one kernel, which reads their shared inputs once.
- Everything else is fused into these kernels and moves nothing: activations, dropout, casts, the
  loss, and batch norm with its statistics. There are two exceptions. The gradient of a batch norm
  needs sums over the whole batch before its first value, so its input is read a second time. Where
  two tensors are added, at the end of a residual block or where two gradients meet, the second one
  is read.
- Images are read as bytes, once forward and once for the first layer's gradient.
  `cnnperf.compare.floors` adds them, and the optimizer's traffic.
- Nothing stays in a cache between kernels. This does not hold where a step's tensors are smaller
  than the cache, as with small images; such a step can be faster.

The unit is elements, because the precision decides their size in bytes.

Shapes: B batch, C channels, H W pixels, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from cnnperf.errors import UsageError
from cnnperf.models.builder import ModelBuilder, build_model
from cnnperf.record.messages import Traffic

BATCH = 2
"""Images counted together. In train mode, batch norm needs more than one value per channel."""


def count_parameters(module: nn.Module) -> int:
    """Count a module's parameters; shared ones count once, running statistics do not count."""
    return sum(parameter.numel() for parameter in module.parameters())


def forward_flops_per_image(
    model: str | ModelBuilder, in_channels: int, resolution: int, num_classes: int = 10
) -> int:
    """Count the FLOPs of one image's forward pass.

    Args:
        model: A registered name, or a builder as `ModelSpec.builder` describes it.
        in_channels: C of the images (B, C, H, W).
        resolution: H = W in pixels.
        num_classes: K, the number of logits.

    Returns:
        FLOPs per image, twice the number of multiply-accumulates.

    Raises:
        UsageError: `model` is a name, and the model does not accept the request.
    """
    with torch.device("meta"):
        module, images_BCHW, _ = build_with_batch(
            model, in_channels, resolution, num_classes, BATCH
        )
        with torch.no_grad(), _flop_counter() as counter:
            module(images_BCHW)
    return int(counter.get_total_flops()) // BATCH


def training_flops_per_image(
    model: str | ModelBuilder, in_channels: int, resolution: int, num_classes: int = 10
) -> int:
    """Count the FLOPs per image of a training step, forward and backward, without the optimizer.

    The count is a little less than three times the forward count: images need no gradient, so the
    first convolution has no backward pass to its input. Arguments and errors are those of
    `forward_flops_per_image`.
    """
    with torch.device("meta"):
        module, images_BCHW, labels_B = build_with_batch(
            model, in_channels, resolution, num_classes, BATCH
        )
        with _flop_counter() as counter:
            torch.autograd.backward(cross_entropy(module(images_BCHW), labels_B))
    return int(counter.get_total_flops()) // BATCH


def _flop_counter() -> FlopCounterMode:
    backward = {torch.ops.aten.convolution_backward: convolution_backward_flops}
    return FlopCounterMode(display=False, custom_mapping=backward)


def convolution_backward_flops(
    grad_out_shape: Sequence[int],
    images_shape: Sequence[int],
    weight_shape: Sequence[int],
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    output_mask: Sequence[bool],
    **_: Any,
) -> int:
    """Count the FLOPs of a convolution's gradients to its input and its weight.

    Each gradient needs every multiplication of the forward pass once: every weight at every pixel
    of the result (of the input, if transposed). A weight has only its own group's channels, so
    groups need no case of their own. Torch's own formula, up to 2.14 at least, ignores groups and
    counts as if every channel were connected to every other.
    """
    pixels = math.prod((images_shape if transposed else grad_out_shape)[2:])
    gradients = sum(map(bool, output_mask[:2]))
    return 2 * gradients * images_shape[0] * pixels * math.prod(weight_shape)


def build_with_batch(
    model: str | ModelBuilder, in_channels: int, resolution: int, num_classes: int, batch_size: int
) -> tuple[nn.Module, Tensor, Tensor]:
    """Build a model in train mode, images (B, C, H, W) and labels (B).

    Call it under `torch.device("meta")`, where tensors have a shape but no values.
    """
    if isinstance(model, str):
        try:
            module = build_model(model, num_classes, in_channels, resolution)
        except (NotImplementedError, UsageError):  # a builder that reads the values of tensors
            with torch.device("cpu"):
                built = build_model(model, num_classes, in_channels, resolution)
            module = built.to("meta")
    else:
        module = model(num_classes=num_classes, in_channels=in_channels, resolution=resolution)
    images_BCHW = torch.empty(batch_size, in_channels, resolution, resolution)
    return module.train(), images_BCHW, torch.zeros(batch_size, dtype=torch.long)


BATCHES = (2, 4)
"""Batch sizes counted. Activations grow with the batch and weights do not, so two counts separate
them. In train mode, batch norm needs more than one value per channel."""

POOLINGS = frozenset({
    "max_pool2d_with_indices", "max_pool2d_with_indices_backward",
    "avg_pool2d", "avg_pool2d_backward",
    "_adaptive_avg_pool2d", "_adaptive_avg_pool2d_backward",
    "adaptive_max_pool2d", "adaptive_max_pool2d_backward",
})  # fmt: skip
"""A backward pass reads only the gradient: a few bits can hold the rest."""

BATCH_NORM_GRADIENTS = frozenset({"native_batch_norm_backward", "batch_norm_backward"})


def count_traffic(
    model: str | ModelBuilder, in_channels: int, resolution: int, num_classes: int = 10
) -> Traffic:
    """Count the fewest elements that one forward pass and one training step move.

    The counts per image and per pass do not include images and optimizer. Arguments and errors are
    those of `forward_flops_per_image`.
    """
    few, many = (_count(model, in_channels, resolution, num_classes, size) for size in BATCHES)
    forward_image, forward_pass = _slope_and_intercept(few.forward, many.forward)
    training_image, training_step = _slope_and_intercept(few.elements, many.elements)
    return Traffic(
        forward_elements_per_image=forward_image,
        forward_elements_per_pass=forward_pass,
        training_elements_per_image=training_image,
        training_elements_per_step=training_step,
        largest_elements_per_image=_slope_and_intercept(few.largest, many.largest)[0],
    )


def _slope_and_intercept(few: int, many: int) -> tuple[int, int]:
    slope = (many - few) // (BATCHES[1] - BATCHES[0])
    return slope, few - slope * BATCHES[0]


def _count(
    model: str | ModelBuilder, in_channels: int, resolution: int, num_classes: int, batch_size: int
) -> _Counter:
    with torch.device("meta"):
        module, images_BCHW, labels_B = build_with_batch(
            model, in_channels, resolution, num_classes, batch_size
        )
        counter = _Counter(images_BCHW)
        with counter:
            loss = cross_entropy(module(images_BCHW), labels_B)
            counter.forward = counter.elements
            torch.autograd.backward(loss)
    return counter


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Add up what every dispatched operator must move."""

    def __init__(self, images_BCHW: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._images = images_BCHW.untyped_storage()._cdata
        self.elements = 0
        self.forward = 0
        """Elements of the forward pass alone."""
        self.largest = 0
        """Elements of the largest convolution output."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call the operator, count it, and return its result unchanged."""
        result = func(*args, **(kwargs or {}))
        operator = func._overloadpacket
        self.elements += self._moved(operator, args, result)
        if operator is torch.ops.aten.convolution:
            self.largest = max(self.largest, result.numel())
        return result

    def _moved(self, operator: Any, args: tuple[Any, ...], result: Any) -> int:
        name = operator.__name__
        if operator is torch.ops.aten.convolution_backward and result[0] is None:
            args = args[:2]  # the first layer has no gradient to its input and reads no weight
        if operator in flop_registry:
            return self._size(args) + self._size(result)
        if name in POOLINGS or _is_global_pooling(operator, args):
            return self._size(args[:1]) + self._size(result)
        if name in BATCH_NORM_GRADIENTS or (name in ("add", "add_") and _is_sum_of_two(args)):
            return self._size(args[1:2])
        return 0

    def _size(self, tensors: Any) -> int:
        """Count the elements of all floating-point tensors except the images."""
        return sum(
            each.numel()
            for each in tree_iter(tensors)
            if isinstance(each, torch.Tensor)
            and each.is_floating_point()
            and each.untyped_storage()._cdata != self._images
        )


def _is_global_pooling(operator: Any, args: tuple[Any, ...]) -> bool:
    """Return whether this is a mean over all pixels; average pooling to one pixel becomes one."""
    if operator is not torch.ops.aten.mean or len(args) < 2 or args[0].dim() != 4:
        return False
    return sorted(dim % 4 for dim in args[1]) == [2, 3]


def _is_sum_of_two(args: tuple[Any, ...]) -> bool:
    one, other = args[:2]
    tensors = isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)
    return tensors and one.shape == other.shape and one.dim() > 1
