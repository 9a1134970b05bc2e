"""Know the environment variables that change the speed or the numbers of a training.

`KNOWN` decides what is recorded, and `SLOWING` what is flagged too. To add a variable, add it here.

    python -c "from cnnperf.machine.variables import *; print(read_variables())"
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

KNOWN = re.compile(
    r"""
    (CUDA|CUDNN|CUBLAS|CUBLASLT|NCCL|HIP|AMD|MIOPEN|SYCL|UR  # GPUs and their libraries
    |ONEDNN|DNNL|MKL|OPENBLAS|BLIS                           # libraries of a CPU
    |OMP|GOMP|KMP                                            # OpenMP of GCC, Intel and LLVM
    |TORCH|TORCHINDUCTOR|TORCHDYNAMO|PYTORCH|TRITON|ATEN     # torch
    |MALLOC|TCMALLOC|MIMALLOC)_\w+                           # allocators
    |CNNPERF_FAST_OFF                                        # optimisations that are switched off
    |NVIDIA_TF32_OVERRIDE|GOTO_NUM_THREADS|VECLIB_MAXIMUM_THREADS|LRU_CACHE_CAPACITY
    |LD_PRELOAD|DYLD_INSERT_LIBRARIES
    |PYTHON(MALLOC|DEVMODE|TRACEMALLOC|OPTIMIZE|PERFSUPPORT|_GIL|_JIT|_PERF_JIT_SUPPORT)
    """,
    re.VERBOSE,
)
"""Names that are recorded."""

LEFT_OUT = re.compile(
    r"\w*(VISIBLE_DEVICES|_ALLOC_CONF"  # have fields of their own, the first one without UUIDs
    r"|_HOME|_ROOT|_DIR|_VERSION|_ARCH_LIST|(?<!INJECTION64)_PATH"  # places and builds
    r"|KEY|TOKEN|SECRET|PASSWORD|_COMM_ID|_IFNAME|_HCA"  # secrets and names in a network
    r"|KMP_DUPLICATE_LIB_OK|KMP_INIT_AT_FORK"  # scikit-learn sets these by itself
    r"|PYTORCH_NVML_BASED_CUDA_CHECK)"  # Lightning does
)
"""Names of `KNOWN` that are not recorded, by their end."""

FOLDERS = re.compile(r"[^\s:;,=]*/")
"""The folders of a path: they may name people."""

MAX_CHARACTERS = 200

SLOWING: dict[str, tuple[str, ...]] = {
    "CUDA_LAUNCH_BLOCKING": ("0",),
    "CUDA_INJECTION64_PATH": (),  # a profiler, such as Nsight Systems
    "PYTORCH_NO_CUDA_MEMORY_CACHING": ("0",),
    "NVIDIA_TF32_OVERRIDE": (),
    "ONEDNN_MAX_CPU_ISA": ("default", "all"),
    "DNNL_MAX_CPU_ISA": ("default", "all"),
    "ONEDNN_VERBOSE": ("0", "none"),
    "DNNL_VERBOSE": ("0", "none"),
    "MKL_VERBOSE": ("0",),
    "ATEN_CPU_CAPABILITY": (),
    "TORCH_COMPILE_DISABLE": ("0",),
    "TORCHDYNAMO_DISABLE": ("0",),
    "MALLOC_CHECK_": ("0",),
    "MALLOC_PERTURB_": ("0",),
    "PYTHONDEVMODE": (),
    "PYTHONMALLOC": ("default", "pymalloc", "mimalloc", "malloc"),
    "PYTHONTRACEMALLOC": ("0",),
    "PYTHONPERFSUPPORT": ("0",),
    "PYTHON_PERF_JIT_SUPPORT": ("0",),
}
"""Variables for debugging, which slow training or change its numbers, and their harmless values."""


def read_variables(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the known variables that are set, sorted; paths are reduced to their last parts."""
    found = sorted((os.environ if environ is None else environ).items())
    return {
        name: FOLDERS.sub("", value)[:MAX_CHARACTERS]
        for name, value in found
        if value and KNOWN.fullmatch(name) and not LEFT_OUT.fullmatch(name)
    }


def slowing(variables: Mapping[str, str]) -> list[str]:
    """Return the variables of `SLOWING` that are in effect, such as `CUDA_LAUNCH_BLOCKING=1`."""
    return [
        f"{name}={value}"
        for name, value in variables.items()
        if name in SLOWING and value.lower() not in SLOWING[name]
    ]
