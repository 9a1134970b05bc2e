"""Machines are told apart by what makes one, and by the shortest text that does."""

from __future__ import annotations

from typing import Any

import pytest

from cnnperf.machine.names import (
    folder_here,
    folder_name,
    labels,
    machine_of,
)
from cnnperf.record.environment import Environment, Gpu, Hardware, Settings, Software


def _environment(gpu: str | None = "NVIDIA H200", **fields: Any) -> Environment:
    software = {name: fields.pop(name) for name in ("driver", "torch") if name in fields}
    device = fields.pop("device", "cuda")
    found = Gpu(name=gpu, sm_count=fields.pop("sm_count", 132)) if gpu else None
    hardware = {"cpu_model": "AMD EPYC", "cpu_logical_cores": 16, **fields}
    return Environment(
        hardware=Hardware(gpu=found, **hardware),
        software=Software(**software),
        settings=Settings(device=device),
    )


def _labels(*environments: Environment) -> list[str]:
    machines = [machine_of(each, with_software=True) for each in environments]
    found = labels(machines)
    return [found[machine] for machine in machines]


def test_a_label_is_as_short_as_possible() -> None:
    """The GPU where GPUs differ, the CPU where there is none."""
    assert _labels(_environment(), _environment("NVIDIA H100"), _environment(None)) == [
        "NVIDIA H200", "NVIDIA H100", "AMD EPYC, 16 cores"
    ]  # fmt: skip


def test_a_label_names_what_differs() -> None:
    """How many, which slice, which CPU, which driver, which torch."""
    one = _environment(driver="570", torch="2.14")
    assert (
        _labels(one, _environment(gpu_count=8, driver="570", torch="2.14"))[1] == "8 x NVIDIA H200"
    )
    assert _labels(one, _environment(sm_count=16, driver="570", torch="2.14")) == [
        "NVIDIA H200, 132 SMs", "NVIDIA H200, 16 SMs"
    ]  # fmt: skip
    assert _labels(one, _environment(cpu_model="Xeon", driver="570", torch="2.14")) == [
        "NVIDIA H200, AMD EPYC, 16 cores", "NVIDIA H200, Xeon, 16 cores"
    ]  # fmt: skip
    assert _labels(one, _environment(driver="580", torch="2.14")) == [
        "NVIDIA H200, driver 570", "NVIDIA H200, driver 580"
    ]  # fmt: skip
    assert _labels(one, _environment(driver="570", torch="2.15")) == [
        "NVIDIA H200, torch 2.14", "NVIDIA H200, torch 2.15"
    ]  # fmt: skip


def test_the_processor_of_a_machine_with_a_gpu_is_another_machine() -> None:
    """Where it trained; and software makes another one only where that is asked for."""
    on_cpu = _environment(device="cpu")
    assert machine_of(on_cpu).name == "AMD EPYC, 16 cores"
    assert machine_of(on_cpu) != machine_of(_environment())
    assert machine_of(_environment(torch="1")) == machine_of(_environment(torch="2"))


def test_names_from_files_are_one_line_and_all_differ() -> None:
    """Also where only their ends, which are cut off, tell them apart."""
    found = _labels(
        _environment("x\n\x1b[31m" + "y" * 500), _environment("x\n\x1b[31m" + "y" * 501)
    )
    assert len(set(found)) == 2
    assert all(text.isprintable() and len(text) < 100 for text in found)
    assert _labels(Environment()) == ["an unknown machine"]


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
def test_a_folder_is_named_after_hardware_and_software(
    hardware: Hardware, software: Software, name: str
) -> None:
    """In words that any disk takes, whatever a driver calls its card."""
    found = folder_name(Environment(hardware=hardware, software=software))
    assert found == name or (name.startswith("etc") and "/" not in found)


def test_the_folder_of_a_cpu_run_names_no_gpu() -> None:
    """Without torch; on a CPU no GPU is named."""
    name = folder_here("cpu")
    assert name
    assert "-cu1" not in name
