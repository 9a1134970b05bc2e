"""Two folders of devices: paired where they are the same, against scipy's tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from cnnperf.cli.commands import app
from cnnperf.record.schema import Record
from tests.compare.fleet.fleets import fleet_of, with_gpu, write_fleet

METRIC = "images_per_second"


def compare(base: Path, new: Path) -> dict[str, Any]:
    """What `cnnperf compare` says as JSON."""
    found = CliRunner().invoke(app, ["compare", str(base), str(new), "--format", "json"])
    content: dict[str, Any] = json.loads(found.stdout)
    return content


def log_means(records: dict[str, Record]) -> list[float]:
    """The mean logarithm of each device's speeds."""
    return [
        float(np.mean(np.log([each.metrics.images_per_second for each in record.cases[0].repeats])))
        for record in records.values()
    ]


def test_same_devices_are_paired_however_their_files_are_called(tmp_path: Path) -> None:
    """0.8 % is seen although the cards differ by 5 %; the interval is Student's of differences."""
    slower = dict.fromkeys(range(12), -0.008)
    before = fleet_of(12, between=0.05, seed=1)
    after = fleet_of(12, slower, between=0.05, within=0.002, seed=1)
    for number, name in enumerate(before):
        before[name] = with_gpu(before[name], uuid_sha256=f"{number:016x}")
        after[name] = with_gpu(after[name], uuid_sha256=f"{number:016x}")
    write_fleet(tmp_path / "a", before)
    renamed = {f"new-{11 - number:02}": each for number, each in enumerate(after.values())}
    found = compare(tmp_path / "a", write_fleet(tmp_path / "b", renamed))
    metric = found["cases"][0]["metrics"][METRIC]
    test = stats.ttest_rel(log_means(after), log_means(before))
    low, high = np.exp(test.confidence_interval(0.95))
    assert metric["paired"]
    assert (metric["n_base"], metric["n_new"]) == (12, 12)
    assert (metric["low"], metric["high"]) == pytest.approx((low, high))
    assert "12 devices are in both folders and paired" in " ".join(found["notes"])


def test_other_devices_are_compared_as_groups(tmp_path: Path) -> None:
    """Also where a few are in both folders; the note says so."""
    before, after = fleet_of(7, seed=1), fleet_of(7, seed=2)
    renamed = {name if number < 3 else f"x{name}": each for number, (name, each) in
               enumerate(after.items())}  # fmt: skip
    write_fleet(tmp_path / "a", before)
    found = compare(tmp_path / "a", write_fleet(tmp_path / "b", renamed))
    metric = found["cases"][0]["metrics"][METRIC]
    test = stats.ttest_ind(log_means(after), log_means(before), equal_var=False)
    assert not metric["paired"]
    interval = np.exp(test.confidence_interval(0.95))
    assert (metric["low"], metric["high"]) == pytest.approx(tuple(interval))
    assert "devices are not paired" in " ".join(found["notes"])


def test_devices_of_one_folder_only_are_left_out_of_pairs(tmp_path: Path) -> None:
    """Ten of twelve are in both; the others would add the spread between cards."""
    records = fleet_of(12)
    a = write_fleet(tmp_path / "a", dict(list(records.items())[:11]))
    b = write_fleet(tmp_path / "b", dict(list(fleet_of(12, within=0.002).items())[1:]))
    found = compare(a, b)
    metric = found["cases"][0]["metrics"][METRIC]
    assert (metric["paired"], metric["n_base"], metric["n_new"]) == (True, 10, 10)
    assert "; 2 in one folder only are left out" in " ".join(found["notes"])
