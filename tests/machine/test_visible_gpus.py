"""Which GPU is ours: the variables of CUDA, read as torch reads them."""

from __future__ import annotations

from typing import Any

import pytest

from cnnperf.machine import nvml
from cnnperf.machine.nvml import visible_gpu_handle
from tests.machine.fake_nvml import InstallNvml, fake_gpu, mig_gpu
from tests.machine.helpers import VISIBLE_VALUES, needs_torch


@pytest.mark.parametrize(
    ("value", "index"),
    [(None, 0), ("1", 1), ("2,0", 2), ("", None), ("-1", None), ("1,1", None), ("7", None)],
)
def test_the_first_visible_device_is_found(
    install_nvml: InstallNvml,
    monkeypatch: pytest.MonkeyPatch,
    value: str | None,
    index: int | None,
) -> None:
    """`CUDA_VISIBLE_DEVICES` renumbers what NVML counts."""
    install_nvml(*(fake_gpu(number) for number in range(3)))
    if value is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    handle = visible_gpu_handle()
    assert (None if handle is None else handle.board.index) == index


def test_a_visible_device_can_be_named_by_uuid(
    install_nvml: InstallNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GPUs and MIG slices alike, at any place of the list."""
    split = mig_gpu(2)
    gpus = [fake_gpu(0), fake_gpu(1), split]
    install_nvml(*gpus)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"{gpus[1].uuid},{gpus[0].uuid}")
    assert [visible_gpu_handle(n).board.index for n in (0, 1)] == [1, 0]
    assert visible_gpu_handle(2) is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", split.slices[1].uuid)
    assert visible_gpu_handle().device is split.slices[1]


def test_a_split_gpu_named_by_number_is_its_first_slice(install_nvml: InstallNvml) -> None:
    """CUDA shows one slice of a GPU in MIG mode."""
    split = mig_gpu()
    install_nvml(split)
    assert visible_gpu_handle().device is split.slices[0]


def test_different_gpus_are_distinguished_only_in_pci_order(
    install_nvml: InstallNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA counts the fastest first, so its number is ambiguous on a mixed machine."""
    install_nvml(fake_gpu(0, name="NVIDIA T1000"), fake_gpu(1))
    assert visible_gpu_handle() is None
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert visible_gpu_handle().board.index == 0


@needs_torch
@pytest.mark.parametrize("position", range(len(VISIBLE_VALUES)), ids=VISIBLE_VALUES)
def test_visible_devices_are_parsed_as_torch_parses_them(
    torch_report: dict[str, Any], position: int
) -> None:
    """They follow CUDA's rules, which are looser than one would think."""
    expected = torch_report["visible"][position]
    assert nvml.parse_visible_devices(VISIBLE_VALUES[position]) == expected


def test_recorded_visible_devices_name_no_gpu() -> None:
    """Numbers stay, UUIDs are hashed as they are for the GPU itself."""
    uuid = "GPU-0aaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
    assert nvml.hide_uuids("1,0") == "1,0"
    assert nvml.hide_uuids(uuid) == nvml.hash_uuid(uuid)
    assert nvml.hide_uuids("") == ""
    assert nvml.hide_uuids(None) is None
