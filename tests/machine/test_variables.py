"""Which environment variables are recorded, and which are flagged."""

from __future__ import annotations

import pytest

from cnnperf.machine.variables import KNOWN, LEFT_OUT, SLOWING, read_variables, slowing


@pytest.mark.parametrize(
    "name",
    ["CUDA_LAUNCH_BLOCKING", "CUDNN_LOGLEVEL_DBG", "CUBLAS_WORKSPACE_CONFIG", "NCCL_ALGO",
     "NVIDIA_TF32_OVERRIDE", "ONEDNN_MAX_CPU_ISA", "DNNL_VERBOSE", "OMP_NUM_THREADS",
     "GOMP_CPU_AFFINITY", "KMP_BLOCKTIME", "MKL_CBWR", "OPENBLAS_NUM_THREADS",
     "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "TORCHINDUCTOR_MAX_AUTOTUNE", "TORCH_COMPILE_DISABLE",
     "PYTORCH_NO_CUDA_MEMORY_CACHING", "ATEN_CPU_CAPABILITY", "MALLOC_ARENA_MAX", "PYTHONMALLOC",
     "PYTHONDEVMODE", "PYTHONTRACEMALLOC", "CUDA_INJECTION64_PATH", "CNNPERF_FAST_OFF"],
)  # fmt: skip
def test_variables_that_change_speed_or_numbers_are_recorded(name: str) -> None:
    """With their values; an empty one is as good as none."""
    assert read_variables({name: "1", "HOME": "/home/anna"}) == {name: "1"}
    assert read_variables({name: ""}) == {}


@pytest.mark.parametrize(
    "name",
    ["HOME", "PATH", "PYTHONPATH", "PYTHONHASHSEED", "AWS_SECRET_ACCESS_KEY", "CUDA_HOME",
     "TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR", "CUDA_VERSION", "TRITON_API_KEY", "NCCL_COMM_ID",
     "CUDA_VISIBLE_DEVICES", "PYTORCH_CUDA_ALLOC_CONF", "MYOMP_NUM_THREADS"],
)  # fmt: skip
def test_places_secrets_and_other_variables_are_not_recorded(name: str) -> None:
    """Nor those that have a field of their own."""
    assert read_variables({name: "something"}) == {}


def test_paths_are_reduced_to_the_names_of_their_files() -> None:
    """A home folder names a person."""
    preloaded = "/home/anna/lib/libjemalloc.so.2:/opt/b.so liba.so"
    assert read_variables({"LD_PRELOAD": preloaded}) == {
        "LD_PRELOAD": "libjemalloc.so.2:b.so liba.so"
    }
    assert len(read_variables({"OMP_PLACES": "{0}," * 1000})["OMP_PLACES"]) == 200


def test_debugging_variables_are_found_by_their_values() -> None:
    """Off is harmless, in any case of its letters."""
    assert slowing({"CUDA_LAUNCH_BLOCKING": "1", "OMP_NUM_THREADS": "1"}) == [
        "CUDA_LAUNCH_BLOCKING=1"
    ]
    harmless = {"CUDA_LAUNCH_BLOCKING": "0", "ONEDNN_MAX_CPU_ISA": "ALL", "DNNL_VERBOSE": "none"}
    assert slowing(harmless) == []
    for name in SLOWING:
        assert KNOWN.fullmatch(name)
        assert not LEFT_OUT.fullmatch(name)
