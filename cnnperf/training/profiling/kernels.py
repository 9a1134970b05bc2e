"""Which kind of work an operator or a kernel does, told by its name.

Torch-free. An operator's name is the better witness: `aten::convolution_backward` is a convolution
whatever cuDNN launches for it. Where none is at hand (a CUDA graph replays kernels without their
operators) a kernel's own name has to do. The names are those of torch 2.11 to 2.15 with cuDNN 9,
cuBLAS 12 and 13, and Triton.

    class_of_kernel("sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tile...")
"""

from __future__ import annotations

import re
from typing import NamedTuple

from cnnperf.record.schema import KernelClass

Rules = tuple[tuple[KernelClass, re.Pattern[str]], ...]
"""The first whose pattern is found in a lower-case name gives the class."""


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
"""What an operator is for, whatever runs inside it."""

SERVANTS = re.compile(
    r"^aten::(copy_|clone|contiguous|cat|stack|index|index_select|gather|fill_|zero_|zeros|zeros_like|"
    r"ones_like|full|_index_put_impl_|index_put_|reshape|_reshape_alias|narrow_copy|constant_pad_nd)$"
)
"""Operators that move or clear memory on somebody's account, or else on their own: `copy`."""

WRAPPERS = re.compile(r"^(##|Torch-Compiled|CompiledFunction|ProfilerStep)")
"""They hold everything, and their names have letters of any kind in them."""

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
"""A kernel on its own; its template arguments are part of its name, so order matters."""

TRITON_FUSED = _rules(
    ("normalisation", NORMALISATION),
    ("pooling", POOLING),
    ("activation", ACTIVATION),
    ("convolution", CONVOLUTION),
    ("matmul", MATMUL),
    ("other", r"softmax|nll_loss|cross_entropy"),
    ("copy", r"_to_copy|convert_element_type|clone|copy|index|(?<![a-z])cat(?![a-z])|permute"),
)
"""Of the operators that Inductor names in a fused kernel. A convolution comes after what it is
fused with: it is computed elsewhere, and what is fused is its bias or its layout."""


class OperatorClass(NamedTuple):
    """What an operator's name says."""

    kernel_class: KernelClass | None
    """None where the name says nothing."""
    is_servant: bool = False
    """Whether an operator around it, where that has a class, knows better."""


def class_of_operator(name: str) -> OperatorClass:
    """The class of an operator as torch's profiler names it, without what is around it."""
    if name.startswith("triton_"):
        return OperatorClass(class_of_kernel(name))
    if WRAPPERS.match(name):
        return OperatorClass(None)
    if SERVANTS.match(name):
        return OperatorClass("copy", is_servant=True)
    return OperatorClass(_first(OPERATORS, _snake(name)))


def class_of_kernel(name: str) -> KernelClass:
    """The class of a kernel by its name alone; `other` where it says nothing."""
    lowered = name.lower()
    if lowered.startswith("triton_"):
        return _class_of_triton(lowered)
    return _first(KERNELS, lowered) or "other"


def _class_of_triton(name: str) -> KernelClass:
    """Inductor's names: `triton_poi_` pointwise, `red`, `per` reductions, `for` many tensors."""
    if name.startswith("triton_for_"):  # foreach: an optimizer's update of all parameters
        return "optimizer"
    if name.startswith("triton_tem_"):  # a template computes it, the others are its epilogue
        return "convolution" if re.search(CONVOLUTION, name) else "matmul"
    return _first(TRITON_FUSED, name) or "other"


def _first(rules: Rules, name: str) -> KernelClass | None:
    return next((kernel_class for kernel_class, pattern in rules if pattern.search(name)), None)


def _snake(name: str) -> str:
    """`NativeBatchNormBackward0` as `native_batch_norm_backward0`; other names in lower case."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
