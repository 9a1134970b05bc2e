"""What `cnnperf ab` and `cnnperf calibrate` leave in a folder, and the cases that they train."""

from __future__ import annotations

from pathlib import Path

from cnnperf.record.loading import load_record
from cnnperf.record.schema import CaseRecord, Record

VGG, RESNET = "modified_vgg-eager", "modified_resnet-eager"
VGG_ID, RESNET_ID = "modified_vgg-digits-28-brief-eager", "modified_resnet-digits-28-brief-eager"
BOTH = "28 and eager"
"""Selects these two of the smoke tier."""


def records_of(folder: Path) -> tuple[Record, Record]:
    """Of A and of B, and nothing lies beside them."""
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a.json", "b.json"]
    return load_record(folder / "out" / "a.json"), load_record(folder / "out" / "b.json")


def case_of(record: Record, case_id: str) -> CaseRecord:
    """The one with that id."""
    return next(case for case in record.cases if case.id == case_id)


def log_of(folder: Path) -> list[list[str]]:
    """Every training in its order: side, case, seed."""
    path = folder / "log.txt"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []
