"""The folder that a machine's records lie in."""

from __future__ import annotations

import pytest

from cnnperf.machine.folder_name import folder_here, folder_name
from cnnperf.record.environment import Environment, Gpu, Hardware, Software


@pytest.mark.parametrize(
    ("hardware", "software", "name"),
    [
        (Hardware(gpu=Gpu(name="NVIDIA H200")), Software(torch="2.11.0+cu130", cuda_runtime="13.0"),
         "h200-torch2.11-cu13"),
        (Hardware(gpu=Gpu(name="NVIDIA GeForce RTX 4090")),
         Software(torch="2.15.0", cuda_runtime="12.8"), "rtx-4090-torch2.15-cu12"),
        (Hardware(cpu_model="AMD EPYC", cpu_logical_cores=2),
         Software(torch="2.15.0+cu132", cuda_runtime="13.2"), "amd-epyc-2core-torch2.15"),
        (Hardware(cpu_model="../../etc \x1b[31m"), Software(torch="../x"), "etc-31m-torch--x"),
        (Hardware(), Software(), "unknown"),
    ],
)  # fmt: skip
def test_it_is_named_after_hardware_and_stack(
    hardware: Hardware, software: Software, name: str
) -> None:
    """In words that any disk takes, whatever a driver calls its card."""
    found = folder_name(Environment(hardware=hardware, software=software))
    assert found == name or (name.startswith("etc") and "/" not in found)


def test_this_machine_has_one() -> None:
    """Without torch; on a CPU no GPU is named."""
    name = folder_here("cpu")
    assert name
    assert "-cu1" not in name
