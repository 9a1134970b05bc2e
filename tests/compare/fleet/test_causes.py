"""Likely causes of a slow device: what its record says that those of its peers do not."""

from __future__ import annotations

from typing import Any

import pytest

from cnnperf.compare.fleet.judge import judge_fleet
from cnnperf.record.environment import DeviceHealth, DuringState, State
from cnnperf.record.schema import Record, StateRecord
from tests.compare.fleet.fleets import devices_of, fleet_of, with_gpu

SLOW = "node0-gpu3"


def with_state(
    record: Record, before: dict[str, Any], after: dict[str, Any], **during: Any
) -> Record:
    """The record of a card that counted this before and after each training."""
    case = record.cases[0]
    state = StateRecord(
        before=State(health=DeviceHealth(**before)),
        during=DuringState(**during),
        after=State(health=DeviceHealth(**after)),
    )
    repeats = [repeat.model_copy(update={"state": state}) for repeat in case.repeats]
    return record.model_copy(update={"cases": [case.model_copy(update={"repeats": repeats})]})


@pytest.mark.parametrize(
    ("before", "after", "during", "cause"),
    [
        ({}, {}, {"xid_errors": (94, 63)},
         "Xid 63, 94 during its trainings; 0 of 39 peers had any"),
        ({"ecc_uncorrected": 7}, {"ecc_uncorrected": 9}, {},
         "uncorrected ECC errors during its trainings: 10, 0 in its peers"),
        ({"ecc_corrected": 7}, {"ecc_corrected": 8}, {},
         "corrected ECC errors during its trainings: 5, 0 in its peers"),
        ({"nvlink_errors": 0}, {"nvlink_errors": 1000}, {},
         "NVLink errors during its trainings: 5,000, 0 in its peers"),
        ({}, {"remapping_failed": True}, {},
         "failed remappings of memory rows: 1, 0 in its peers"),
        ({}, {"remapped_rows_correctable": 3, "remapped_rows_uncorrectable": 2}, {},
         "remapped memory rows: 5, 0 in its peers"),
        ({}, {"retired_pages": 4}, {}, "retired memory pages: 4, 0 in its peers"),
        ({}, {}, {"pcie_width": 4}, "PCIe lanes under load 4, not 16 as most of its peers"),
        ({}, {}, {"pcie_generation": 3},
         "PCIe generation under load 3, not 5 as most of its peers"),
    ],
)  # fmt: skip
def test_errors_of_a_slow_card_are_causes(
    before: dict[str, Any], after: dict[str, Any], during: dict[str, Any], cause: str
) -> None:
    """With the figure of the peers; counters that every card has are none."""
    usual = {"ecc_corrected_lifetime": 5, "ecc_corrected": 0, "remapping_failed": False}
    link = {"pcie_width": 16, "pcie_generation": 5, "xid_errors": ()}
    records = {
        name: with_state(with_gpu(record, pcie_width=16, vbios="v1"), usual, usual, **link)
        for name, record in fleet_of(effects={3: -0.1}).items()
    }
    records[SLOW] = with_state(records[SLOW], usual | before, usual | after, **{**link, **during})
    fleet = judge_fleet(devices_of(records))
    assert [each.name for each in fleet.devices if each.verdict == "slow"] == [SLOW]
    assert fleet.devices[0].causes == (cause,)
