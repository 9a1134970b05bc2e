"""Clocks, power, throttling, company and energy of a real GPU at work, against plain physics."""

from __future__ import annotations

import time

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from cnnperf.machine.nvml import (  # noqa: E402
    MIN_ENERGY_SECONDS,
    THROTTLE_REASONS,
    read_energy_millijoules,
    visible_gpu_handle,
)
from cnnperf.machine.state import StateSampler, read_state  # noqa: E402
from cnnperf.record.environment import DuringState  # noqa: E402
from cnnperf.run.repeat import RepeatRun  # noqa: E402
from cnnperf.training.worker.torch_environment import environment_with_torch  # noqa: E402
from tests.training.conftest import MakeJob  # noqa: E402

pytestmark = pytest.mark.cuda

BUSY_SECONDS = 6.0


def _multiply(seconds: float) -> None:
    """Keep the GPU busy."""
    left, right = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(20):
            left @ right
        torch.cuda.synchronize()


def _assert_plausible(during: DuringState, company: int = 0) -> None:
    """What holds of any GPU at work that nobody else uses."""
    clocks = [during.sm_clock_min_mhz, during.sm_clock_median_mhz, during.sm_clock_max_mhz,
              during.sm_clock_limit_mhz]  # fmt: skip
    assert None not in clocks
    assert 0 < clocks[0] <= clocks[1] <= clocks[2] <= clocks[3]  # type: ignore[operator]
    assert during.power_mean_watts is not None
    assert during.power_mean_watts > 10
    assert during.temperature_max_celsius is not None
    assert 0 < during.temperature_max_celsius < 120
    assert during.other_processes_max is not None
    assert during.other_processes_max <= company
    assert during.throttle_shares is not None
    assert set(during.throttle_shares) <= set(THROTTLE_REASONS.values())
    assert all(0 < share <= 1 for share in during.throttle_shares.values())


def test_the_state_of_a_busy_gpu_is_read() -> None:
    """Before, during and after; and the energy counter agrees with the power that was seen."""
    gpu = visible_gpu_handle()
    assert gpu is not None
    _multiply(1.0)
    before = read_state(gpu).device
    assert before is not None
    assert None not in before.model_dump().values()
    start_millijoules, start = read_energy_millijoules(gpu), time.monotonic()
    with StateSampler(gpu) as sampler:
        _multiply(BUSY_SECONDS)
    seconds = time.monotonic() - start
    end_millijoules = read_energy_millijoules(gpu)
    during = sampler.summary()
    _assert_plausible(during)
    assert during.samples >= BUSY_SECONDS
    assert start_millijoules is not None
    assert end_millijoules is not None
    joules = (end_millijoules - start_millijoules) / 1e3
    assert joules == pytest.approx((during.power_mean_watts or 0) * seconds, rel=0.5)


def test_a_training_has_its_state_and_its_energy(make_job: MakeJob) -> None:
    """The record holds the state: the parent samples it, and the worker is no other program.

    This process may be, having used CUDA itself: a container's NVML can list both by the host's
    numbers, of which one is taken for our own.
    """
    job = make_job("slow", epochs=3).model_copy(
        update={"device": "cuda", "modules": ("tiny_cases", "gpu_cases")}
    )
    with RepeatRun(job) as run:
        run.prepare()
        run.train()
        repeat = run.finish()
    during, seconds = repeat.state.during, repeat.metrics.outside_train_seconds
    assert during is not None
    assert seconds is not None
    assert seconds > MIN_ENERGY_SECONDS, "train more epochs here"
    _assert_plausible(during, company=1)
    expected = (during.power_mean_watts or 0) * seconds
    assert repeat.metrics.energy_joules == pytest.approx(expected, rel=0.5)
    for state in (repeat.state.before, repeat.state.after):
        assert state is not None
        assert state.device is not None
        assert state.device.other_processes in (0, 1)


def test_nvml_and_torch_use_the_same_gpu() -> None:
    """Which one NVML is asked about is found by UUID or order; what only torch knows is there too.

    NVML counts the memory that the driver keeps for itself, torch does not.
    """
    properties = torch.cuda.get_device_properties(0)
    gpu = environment_with_torch(torch.device("cuda", 0)).hardware.gpu
    assert gpu is not None
    assert gpu.name == properties.name
    assert gpu.sm_count == properties.multi_processor_count
    assert gpu.memory_bytes == pytest.approx(properties.total_memory, rel=0.03)
    assert gpu.compute_capability == f"{properties.major}.{properties.minor}"
    assert None not in (gpu.uuid_sha256, gpu.l2_cache_bytes)
