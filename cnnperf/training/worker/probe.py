"""Describe this machine, its ceilings, and the cost of the planned cases' models.

The ceilings are FLOP/s of matrix products and bytes per second of copies. A data sheet gives what a
chip could do. These figures give what this machine, driver and library do today, in the same run.
MFU and floors are relative to them. The best of several timings counts, because noise only adds
time.
"""

from __future__ import annotations

import contextlib
import functools
import statistics
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import torch

from cnnperf.catalog.registry import get_dataset, get_model, input_channels
from cnnperf.catalog.specs import Case
from cnnperf.errors import UsageError
from cnnperf.models import (
    count_parameters,
    count_traffic,
    forward_flops_per_image,
    model_sha256,
    training_flops_per_image,
)
from cnnperf.record.messages import (
    GPU,
    Ceiling,
    GeneratedStep,
    ModelFacts,
    ProbeJob,
    ProbeResult,
    Traffic,
)
from cnnperf.training.clock import synchronize
from cnnperf.training.engines.fast.fallbacks import first_line
from cnnperf.training.recipe import check_recipe
from cnnperf.training.worker.channel import Channel
from cnnperf.training.worker.device import choose_device
from cnnperf.training.worker.fit import Shape, build_on_meta, check_data, check_model
from cnnperf.training.worker.own_loop import check_loop
from cnnperf.training.worker.torch_environment import environment_with_torch


def run_probe(job: ProbeJob, channel: Channel) -> None:
    """Send a description of the machine and the models."""
    device = choose_device(job.device)
    check_cases(job)
    for loop in job.loops:
        check_loop(loop, job.python_path)
    environment = environment_with_torch(device)
    ceilings = measure_matmul(device) if job.measure_peak else {}
    if ceilings:
        peaks = {precision: found.best for precision, found in ceilings.items()}
        hardware = environment.hardware.model_copy(update={"matmul_flops_per_second": peaks})
        environment = environment.model_copy(update={"hardware": hardware})
    cache_bytes = last_cache_bytes(device) if job.floors else None
    generated = None if job.gpu is None else _generated(job.cases[0], job.gpu)
    channel.send(
        ProbeResult(
            device=device.type,
            environment=environment,
            models=[model_facts(case, with_traffic=job.floors) for case in job.cases],
            matmul_ceilings=ceilings,
            copy_ceiling=measure_copy(device, cache_bytes) if job.floors else None,
            cache_bytes=cache_bytes,
            generated=generated,
        )
    )


def _generated(case: Case, gpu: GPU) -> GeneratedStep:
    """Return the generated step of a case.

    Raises:
        UsageError: torch cannot generate it.
    """
    if find_spec("triton") is None:
        raise UsageError("generating code needs triton, which comes with torch on Linux only")
    from cnnperf.training.engines.fast.generated import GPUS, generate_step

    try:
        return generate_step(case, GPUS[gpu])
    except UsageError:
        raise
    except Exception as error:  # of torch, of a user's model, or of a torch of another version
        raise UsageError(
            f"torch {torch.__version__} cannot generate the code of {case.id} "
            f"({first_line(error)}): leave it out, or use another version of torch"
        ) from error


def model_facts(case: Case, *, with_traffic: bool = False) -> ModelFacts:
    """Return size and cost of a case's model, counted on the meta device.

    Figures are None if a user's model does not work there.
    """
    model = _shape_of(case)
    traffic = _traffic(*model) if with_traffic else None
    return _count(*model).model_copy(update={"case_id": case.id, "traffic": traffic})


def training_flops(case: Case) -> float | None:
    """Return the FLOPs of a training step per image; None if a user's model cannot be counted."""
    with contextlib.suppress(Exception):
        return training_flops_per_image(*_shape_of(case))
    return None


def _shape_of(case: Case) -> Shape:
    dataset = get_dataset(case.dataset)
    channels = input_channels(get_model(case.model), dataset)
    return case.model, channels, case.resolution, dataset.num_classes


def check_cases(job: ProbeJob) -> None:
    """Check the recipes of a job's cases, and that their models and data fit.

    Raises:
        UsageError: a name or an argument is wrong, or a model does not fit.
    """
    for case in {(each.recipe.name, each.dataset): each for each in job.cases}.values():
        check_data(case)
        dataset = get_dataset(case.dataset)
        steps = case.recipe.steps_per_epoch(dataset.train_images)
        check_recipe(case.recipe, dataset.num_classes, steps)
    device = choose_device(job.device)
    for case in job.cases:
        check_model(case, device)


@functools.cache  # many cases have the same model
def _count(model: str, channels: int, resolution: int, num_classes: int) -> ModelFacts:
    facts: dict[str, Any] = {}
    with contextlib.suppress(Exception):
        built = build_on_meta((model, channels, resolution, num_classes))[0]
        facts |= {"parameters": count_parameters(built), "sha256": model_sha256(built)}
        shape = (lambda **_: built.train(), channels, resolution, num_classes)
        forward, training = forward_flops_per_image(*shape), training_flops_per_image(*shape)
        facts |= {"forward_flops_per_image": forward, "training_flops_per_image": training}
    return ModelFacts(case_id="", **facts)


@functools.cache
def _traffic(model: str, channels: int, resolution: int, num_classes: int) -> Traffic | None:
    with contextlib.suppress(Exception):
        return count_traffic(model, channels, resolution, num_classes)
    return None


SIZES = (256, 512, 1024, 2048, 4096, 8192, 16384)
"""Rows of the square matrices, in the order of the trials. Large ones hide the launch of a kernel,
but a CPU without bfloat16 units takes seconds for a product of 1024 rows."""

LONG_ENOUGH_SECONDS = 0.2
"""A product of this duration is large enough; no larger one is tried."""

BUDGET_SECONDS = 2.0
"""Time for the largest matrices of each precision, and for copies."""

MIN_PRODUCTS = 3
MIN_COPY_SAMPLES = 5

CACHE_MULTIPLE = 16
"""Size of a copied array as a multiple of the last cache, so that the cache hardly matters."""

MIN_ARRAY_BYTES = 2**28
"""Smallest size of a copied array, also if no cache size is known."""

MEMORY_SHARE = 1 / 8
"""Largest share of the free memory for each of the two arrays."""

SAMPLE_SECONDS = 0.02
"""Copies are queued for this long, because synchronising takes some microseconds."""


def ceiling(amount: float, seconds: Sequence[float]) -> Ceiling:
    """Return the rate from several timings of the same amount of work."""
    best, median = amount / min(seconds), amount / statistics.median(seconds)
    return Ceiling(best=best, median=median, samples=len(seconds))


# --- matrix products ----------------------------------------------------------------------------


def measure_matmul(device: torch.device) -> dict[str, Ceiling]:
    """Return the FLOP/s of a large matrix product in each precision of the device."""
    cuda = device.type == "cuda"
    peaks = {"float32": _matmul_peak(device, torch.float32, "ieee" if cuda else None)}
    if cuda and torch.cuda.get_device_capability(device) >= (8, 0):
        peaks["tf32"] = _matmul_peak(device, torch.float32, "tf32")
    peaks["bfloat16"] = _matmul_peak(device, torch.bfloat16)
    if device.type != "cpu":
        peaks["float16"] = _matmul_peak(device, torch.float16)
    return {precision: peak for precision, peak in peaks.items() if peak is not None}


def _matmul_peak(
    device: torch.device, dtype: torch.dtype, fp32_precision: str | None = None
) -> Ceiling | None:
    """Return the best FLOP/s over growing sizes, until one takes long enough or does not fit.

    None if the device has no product of this precision.
    """
    if fp32_precision is not None:
        torch.backends.cuda.matmul.fp32_precision = fp32_precision
    best = None
    for size in SIZES:
        try:
            seconds = _products(device, dtype, size)
        except RuntimeError:  # includes out of memory
            break
        found = ceiling(2.0 * size**3, seconds)
        best = found if best is None or found.best > best.best else best
        if min(seconds) >= LONG_ENOUGH_SECONDS:
            break
    return best


def _products(device: torch.device, dtype: torch.dtype, size: int) -> list[float]:
    left = torch.randn(size, size, device=device).to(dtype)
    right = torch.randn(size, size, device=device).to(dtype)
    torch.matmul(left[:256], right)  # loads the library's kernels
    seconds = [_product_seconds(left, right, device)]
    last = seconds[0] >= LONG_ENOUGH_SECONDS or size == SIZES[-1]
    deadline = time.perf_counter() + (BUDGET_SECONDS if last else 0.0)
    while len(seconds) < MIN_PRODUCTS or time.perf_counter() < deadline:
        seconds.append(_product_seconds(left, right, device))
    return seconds


def _product_seconds(left: torch.Tensor, right: torch.Tensor, device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    torch.matmul(left, right)
    synchronize(device)
    return time.perf_counter() - start


# --- copies -------------------------------------------------------------------------------------


def measure_copy(device: torch.device, cache_bytes: int | None) -> Ceiling:
    """Return the bytes read and written per second by copies of one large array to another.

    A copy reads as much as it writes, like a fused kernel. A kernel that reads more than it writes
    can be a little faster.
    """
    source = torch.empty(_array_bytes(device, cache_bytes), dtype=torch.uint8, device=device)
    source.zero_()  # the system allocates memory at the first write
    target = source.clone()
    first = _copy_seconds(source, target, 1)
    copies = max(1, round(SAMPLE_SECONDS / first))
    seconds: list[float] = []
    deadline = time.perf_counter() + BUDGET_SECONDS
    while len(seconds) < MIN_COPY_SAMPLES or time.perf_counter() < deadline:
        seconds.append(_copy_seconds(source, target, copies))
    return ceiling(2.0 * source.numel() * copies, seconds)


def _array_bytes(device: torch.device, cache_bytes: int | None) -> int:
    wanted = max(MIN_ARRAY_BYTES, CACHE_MULTIPLE * (cache_bytes or 0))
    return min(wanted, int(_free_bytes(device) * MEMORY_SHARE))


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def _copy_seconds(source: torch.Tensor, target: torch.Tensor, copies: int) -> float:
    synchronize(source.device)
    start = time.perf_counter()
    for _ in range(copies):
        target.copy_(source)
    synchronize(source.device)
    return time.perf_counter() - start


def last_cache_bytes(device: torch.device) -> int | None:
    """Return the size of the largest cache of the device; None if it is unknown."""
    if device.type == "cuda":
        return getattr(torch.cuda.get_device_properties(device), "L2_cache_size", None)
    if device.type != "cpu":
        return None
    # Linux lists the caches of the first core in KiB.
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    texts = [path.read_text().strip() for path in sizes]
    kibibytes = [int(text[:-1]) for text in texts if text.endswith("K") and text[:-1].isdigit()]
    return max(kibibytes, default=0) * 1024 or None
