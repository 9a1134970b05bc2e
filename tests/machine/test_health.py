"""Errors of a GPU, against pynvml's constants and a fake NVML."""

from __future__ import annotations

import pynvml

from cnnperf.machine import health
from cnnperf.machine.health import MAX_XIDS, XidEvents, read_health
from cnnperf.machine.nvml import GpuHandle, open_gpu
from cnnperf.machine.state import StateSampler, read_state
from cnnperf.record.environment import DeviceHealth
from tests.machine.fake_nvml import InstallNvml, fake_gpu


def handle() -> GpuHandle:
    """The fake GPU."""
    found = open_gpu(0)
    assert found is not None
    return found


def test_constants_are_those_of_pynvml() -> None:
    """They are written out, because pynvml is imported only where NVML is asked."""
    assert (health.CORRECTED, health.UNCORRECTED) == (
        pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED,
        pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
    )
    assert (health.VOLATILE, health.AGGREGATE) == (
        pynvml.NVML_VOLATILE_ECC,
        pynvml.NVML_AGGREGATE_ECC,
    )
    assert set(health.NVLINK_COUNTERS) == {
        pynvml.NVML_NVLINK_ERROR_DL_REPLAY,
        pynvml.NVML_NVLINK_ERROR_DL_RECOVERY,
        pynvml.NVML_NVLINK_ERROR_DL_CRC_FLIT,
        pynvml.NVML_NVLINK_ERROR_DL_CRC_DATA,
    }
    assert set(health.RETIREMENT_CAUSES) == {
        pynvml.NVML_PAGE_RETIREMENT_CAUSE_MULTIPLE_SINGLE_BIT_ECC_ERRORS,
        pynvml.NVML_PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR,
    }
    assert pynvml.nvmlEventTypeXidCriticalError == health.XID_EVENTS


def test_health_is_what_nvml_counts(install_nvml: InstallNvml) -> None:
    """In the state before and after a training; None for what the GPU does not count."""
    install_nvml(fake_gpu(remapped_rows=(2, 1, 1, 0)))
    expected = DeviceHealth(
        ecc_corrected=3,
        ecc_uncorrected=0,
        ecc_corrected_lifetime=12,
        ecc_uncorrected_lifetime=1,
        remapped_rows_correctable=2,
        remapped_rows_uncorrectable=1,
        remapping_pending=True,
        remapping_failed=False,
        nvlink_errors=12,
    )
    assert read_state(handle(), window_seconds=0.01).health == expected
    old = fake_gpu(retired_pages=([1, 2], [3]))
    for attribute in ("ecc", "remapped_rows", "links"):
        delattr(old, attribute)
    install_nvml(old)
    assert read_health(handle()) == DeviceHealth(retired_pages=3)


def test_errors_of_the_driver_during_a_training_are_recorded(install_nvml: InstallNvml) -> None:
    """Earlier ones are not; a card that never stops sending them does not stop the run."""
    gpu = fake_gpu(xids=[48])
    install_nvml(gpu)
    with StateSampler(handle(), interval_seconds=60) as sampler:
        gpu.xids += [63, 94]
    assert sampler.summary().xid_errors == (63, 94)
    events = XidEvents(handle())
    gpu.xids += [79] * (MAX_XIDS + 50)
    assert events.close() == (79,) * MAX_XIDS


def test_a_system_without_events_has_none(install_nvml: InstallNvml) -> None:
    """None is not the same as no error."""
    gpu = fake_gpu()
    del gpu.xids
    install_nvml(gpu)
    with StateSampler(handle(), interval_seconds=60) as sampler:
        pass
    assert sampler.summary().xid_errors is None
