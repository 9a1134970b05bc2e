"""--cnnperf-check-numerics: a device that flips a bit is found, and whether it does so again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cnnperf.compare.fleet.devices import load_devices
from cnnperf.compare.fleet.judge import judge_fleet
from tests.pytest_plugin.project import INI, Project

pytest.importorskip("torch", reason="training needs the extra `train`")

CASE = "flipping-tiny-8-two-eager"


def test_flipped_bit_is_found_as_lasting_or_passing_fault(tmp_path: Path) -> None:
    """Three healthy devices, one that always flips a bit at step 6, and one that did so once."""
    (tmp_path / "project").mkdir()
    project = Project(tmp_path / "project", INI.replace("tiny_cases", "tiny_cases flip_cases"))
    folder = tmp_path / "fleet"
    folder.mkdir()
    flips = {"a": None, "lasting": "always", "passing": str(tmp_path / "flipped")}
    for name, flip in flips.items():
        environment = {} if flip is None else {"CNNPERF_TEST_FLIP": flip}
        options = ("-k", "flipping", "--cnnperf-tier=full", "--cnnperf-check-numerics")
        done = project.run(*options, **environment)
        assert done.returncode == 0, done.stdout
        shutil.copy(project.json_path, folder / f"{name}.json")
    assert f"{CASE}, numerics 2/2: trained in" in done.stdout
    for name in ("b", "c"):
        shutil.copy(folder / "a.json", folder / f"{name}.json")
    (case,) = project.record().cases
    first, second = case.numerics
    assert len(first.step_losses) == len(second.step_losses) == 8
    assert (first.step_losses[:5], first.weights_sha256) == (
        second.step_losses[:5],
        first.weights_sha256,
    )
    assert first.weights_sha256 != second.weights_sha256

    fleet = judge_fleet(load_devices(folder))
    wrong = {each.name: each.reason or "" for each in fleet.devices if each.verdict == "wrong"}
    assert sorted(wrong) == ["lasting", "passing"]
    assert fleet.exit_code == 1
    step = f"{CASE}, seed 0: unlike on 3 of 5 devices, the loss of step 6 is "
    assert wrong["lasting"].startswith(step)
    assert wrong["lasting"].endswith(", in both trainings: a lasting fault")
    assert ", the loss of step 6 is " in wrong["passing"]
    assert wrong["passing"].endswith("; training 2 is as on 3 of 5 devices: a passing fault")
