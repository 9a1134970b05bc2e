"""Classify operators and kernels by their names.

An operator's name is more reliable: `aten::convolution_backward` is a convolution, whatever cuDNN
launches for it. A CUDA graph replays kernels without operators, so there the kernel's name decides.
The names are those of torch 2.11 to 2.15 with cuDNN 9, cuBLAS 12 and 13, and Triton.

    class_of_kernel("sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tile...")
"""

from __future__ import annotations

import re
from typing import NamedTuple

from cnnperf.record.schema import KernelClass

Rules = tuple[tuple[KernelClass, re.Pattern[str]], ...]
"""The first pattern found in a lower-case name gives the class."""


def _rules(*pairs: tuple[KernelClass, str]) -> Rules:
    return tuple((kernel_class, re.compile(pattern)) for kernel_class, pattern in pairs)


NORMALISATION = r"(batch|layer|group|instance|rms)_?norm"
POOLING = r"pool"
CONVOLUTION = r"conv(?!ert)"  # `convert` is a cast
MATMUL = r"(?<![a-z])(addmm|addmv|baddbmm|bmm|mm|mv|matmul|linear|einsum|addbmm|scaled_mm)(?![a-z])"
ACTIVATION = (
    r"relu|gelu|silu|mish|sigmoid|softplus|hard(tanh|swish)|threshold|clamp|"
    r"(?<![a-z])(elu|tanh|selu|celu)(?![a-z])"
)

OPERATORS = _rules(
    ("optimizer", r"^optimizer\.|fused_adam|fused_sgd|fused_adagrad|_foreach_"),
    ("normalisation", NORMALISATION),
    ("pooling", POOLING),
    ("convolution", CONVOLUTION),
    ("matmul", MATMUL),
    ("activation", ACTIVATION),
    ("copy", r"^aten::(to|_to_copy|_pin_memory)$"),
)
"""Classes of operators, for all that runs inside them."""

SERVANTS = re.compile(
    r"^aten::(copy_|clone|contiguous|cat|stack|index|index_select|gather|fill_|zero_|zeros|zeros_like|"
    r"ones_like|full|_index_put_impl_|index_put_|reshape|_reshape_alias|narrow_copy|constant_pad_nd)$"
)
"""Operators that move or clear memory; they count for the operator around them, if there is one,
and else as `copy`."""

WRAPPERS = re.compile(r"^(##|Torch-Compiled|CompiledFunction|ProfilerStep)")
"""Operators around everything, whose names could match any pattern."""

KERNELS = _rules(
    ("copy", r"^mem(cpy|set)"),
    ("optimizer", r"multi_tensor_apply|fused_?(adam|sgd|adagrad)"),
    ("normalisation", rf"{NORMALISATION}|bn_?(fw|bw)|rowwisemoments"),
    ("pooling", POOLING),
    (
        "convolution",
        rf"implicit_(gemm|convolve)|fprop|dgrad|wgrad|winograd|cudnn|nchwtonhwc|nhwctonchw|"
        rf"nhwcaddpadding|im2col|col2im|fft2d|{CONVOLUTION}",
    ),
    ("matmul", r"gemm|gemv|nvjet|cublas|split_?k|cutlass|wmma|matmul|dot_kernel"),
    ("activation", ACTIVATION),
    ("copy", r"copy|catarray|gather|scatter|index_|indexselect|fillfunctor|transpose"),
)
"""Classes of kernels; the order matters, because names contain template arguments."""

TRITON_FUSED = _rules(
    ("normalisation", NORMALISATION),
    ("pooling", POOLING),
    ("activation", ACTIVATION),
    ("convolution", CONVOLUTION),
    ("matmul", MATMUL),
    ("other", r"softmax|nll_loss|cross_entropy"),
    ("copy", r"_to_copy|convert_element_type|clone|copy|index|(?<![a-z])cat(?![a-z])|permute"),
)
"""Classes of Inductor's fused kernels, whose names list their operators. A convolution comes late:
its kernel is separate, and only its bias or layout is fused."""


class OperatorClass(NamedTuple):
    """Class of an operator by its name."""

    kernel_class: KernelClass | None
    """None if the name matches nothing."""
    is_servant: bool = False
    """Whether the class of an operator around it has priority."""


def class_of_operator(name: str) -> OperatorClass:
    """Return the class of an operator of torch's profiler by its name alone."""
    if name.startswith("triton_"):
        return OperatorClass(class_of_kernel(name))
    if WRAPPERS.match(name):
        return OperatorClass(None)
    if SERVANTS.match(name):
        return OperatorClass("copy", is_servant=True)
    # `NativeBatchNormBackward0` becomes `native_batch_norm_backward0`.
    return OperatorClass(_first(OPERATORS, re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()))


def class_of_kernel(name: str) -> KernelClass:
    """Return the class of a kernel by its name alone; `other` if it matches nothing."""
    lowered = name.lower()
    if lowered.startswith("triton_for_"):  # foreach: an optimizer's update of all parameters
        return "optimizer"
    if lowered.startswith("triton_tem_"):  # a template, with other operators as its epilogue
        return "convolution" if re.search(CONVOLUTION, lowered) else "matmul"
    rules = TRITON_FUSED if lowered.startswith("triton_") else KERNELS
    return _first(rules, lowered) or "other"


def _first(rules: Rules, name: str) -> KernelClass | None:
    return next((kernel_class for kernel_class, pattern in rules if pattern.search(name)), None)
