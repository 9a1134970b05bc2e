"""The noise of a machine: kept in a file, found for a record, and shown."""

from __future__ import annotations

import json
import math
import statistics
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnperf.compare.calibration import (
    SUFFIX,
    Calibration,
    CaseNoise,
    Noise,
    calibration_of,
    find_calibration,
    load_calibration,
)
from cnnperf.compare.inputs import Side
from cnnperf.compare.judge import judge
from cnnperf.compare.rules import Rules
from cnnperf.compare.thresholds import Thresholds
from cnnperf.errors import UsageError
from cnnperf.report.terminal.calibration import calibration_summary
from cnnperf.report.terminal.run import render
from cnnperf.run.calibrate import (
    calibration_here,
    default_path,
    false_alarms,
    machine_slug,
    write_calibration,
)
from tests.commands import run_cnnperf, sentence_of
from tests.examples import (
    CREATED,
    example_case_record,
    example_environment,
    example_flag,
    example_record,
    example_repeat,
    plain_terminal,
    timed_record,
    write_record,
)

MNIST = "modified_vgg-mnist-28-eager"


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


def _calibration(sd: float = 0.02, **changes: Any) -> Calibration:
    noise = Noise(n=20, mean=20.0, sd=sd, smallest_change=0.1)
    content = {
        "created": CREATED,
        "hardware": example_environment().hardware,
        "software": example_environment().software,
        "cases": {MNIST: CaseNoise(metrics={"train_seconds": noise})},
        **changes,
    }
    return Calibration(**content)


# --- the file -------------------------------------------------------------------------------------


def test_written_calibration_loads_unchanged(tmp_path: Path) -> None:
    """Noise that was not measured is None."""
    path = tmp_path / f"here{SUFFIX}"
    write_calibration(_calibration(), path)
    loaded = load_calibration(path)
    assert loaded == _calibration()
    assert loaded.noise(MNIST, "train_seconds") == 0.02
    assert loaded.noise(MNIST, "energy_joules") is None
    assert loaded.noise("vgg16-mnist-224-eager", "train_seconds") is None


def test_calibration_of_other_cases_keeps_older_cases_of_the_same_software(tmp_path: Path) -> None:
    """With another torch, older cases are dropped and named."""
    path = tmp_path / f"here{SUFFIX}"
    noise = Noise(n=20, mean=5.0, sd=0.01, smallest_change=0.1)
    other = {"other": CaseNoise(metrics={"train_seconds": noise})}
    write_calibration(_calibration(), path)
    written = write_calibration(_calibration(cases=other), path)
    assert set(written.calibration.cases) == {MNIST, "other"}
    assert written.describe(path) == f"{path}: noise of 1 case (and of 1 calibrated before)"
    assert set(load_calibration(path).cases) == {MNIST, "other"}
    newer = example_environment().software.model_copy(update={"torch": "2.16.0"})
    written = write_calibration(_calibration(cases=other, software=newer), path)
    assert set(load_calibration(path).cases) == {"other"}
    assert written.describe(path) == (
        f"{path}: noise of 1 case; dropped, because calibrated with torch 2.15.0, not 2.16.0: "
        f"{MNIST}. Calibrate again"
    )


def test_other_commit_or_kernel_keeps_older_cases(tmp_path: Path) -> None:
    """Otherwise each commit would need a calibration."""
    path = tmp_path / f"here{SUFFIX}"
    write_calibration(_calibration(), path)
    changes = {"cnnperf_commit": "f" * 40, "kernel": "7.0"}
    newer = example_environment().software.model_copy(update=changes)
    written = write_calibration(_calibration(cases={}, software=newer), path)
    assert set(written.calibration.cases) == {MNIST}
    assert written.calibration.software == newer


def test_calibration_of_another_machine_is_replaced_with_a_message(tmp_path: Path) -> None:
    """Only a file that a user named can have another machine."""
    path = tmp_path / f"here{SUFFIX}"
    write_calibration(_calibration(), path)
    other = example_environment().hardware.model_copy(update={"cpu_logical_cores": 8})
    told = write_calibration(_calibration(cases={}, hardware=other), path).describe(path)
    assert "dropped, because calibrated with another machine (cores 16, not 8): " in told


def test_newest_calibration_of_the_machine_is_found(tmp_path: Path) -> None:
    """Names of files and calibrations of other machines do not matter."""
    hardware = example_environment().hardware
    later = CREATED + timedelta(days=1)
    write_calibration(_calibration(0.01), tmp_path / f"z{SUFFIX}")
    write_calibration(_calibration(0.02, created=later), tmp_path / f"a{SUFFIX}")
    other = hardware.model_copy(update={"cpu_logical_cores": 8})
    latest = CREATED + timedelta(days=2)
    write_calibration(_calibration(0.03, hardware=other, created=latest), tmp_path / f"m{SUFFIX}")
    found = find_calibration(tmp_path, hardware)
    assert found is not None
    assert found.noise(MNIST, "train_seconds") == 0.02
    busy = hardware.model_copy(update={"matmul_flops_per_second": {"float32": 1.0}})
    assert find_calibration(tmp_path, busy) == found, "a measured peak is no identity"


def test_no_calibration_is_found_for_another_or_an_unknown_machine(tmp_path: Path) -> None:
    """An absent folder has none either."""
    hardware = example_environment().hardware
    assert find_calibration(tmp_path, hardware) is None
    assert find_calibration(tmp_path / "nowhere", hardware) is None
    unknown = type(hardware)()
    write_calibration(_calibration(hardware=unknown), tmp_path / f"x{SUFFIX}")
    assert find_calibration(tmp_path, unknown) is None
    assert find_calibration(tmp_path, hardware) is None


def test_calibration_beside_a_record_precedes_one_in_the_folder_above(tmp_path: Path) -> None:
    """Records of each stack may have a folder of their own."""
    record = tmp_path / "stack" / "run.json"
    record.parent.mkdir()
    hardware = example_environment().hardware
    assert calibration_of(record, hardware) is None
    for sd, folder in ((0.03, tmp_path), (0.01, record.parent)):
        write_calibration(_calibration(sd), folder / f"here{SUFFIX}")
        found = calibration_of(record, hardware)
        assert found is not None
        assert found.noise(MNIST, "train_seconds") == sd


@pytest.mark.parametrize("folder", ["reports", ".cnnperf", ".", "out/run", "out"])
def test_ab_finds_a_calibration_in_each_usual_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """The usual folders include those of the record that `ab` writes."""
    monkeypatch.chdir(tmp_path)
    record = Path("out/run/a.json")
    hardware = example_environment().hardware
    assert calibration_here(record, hardware) is None
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_calibration(_calibration(), Path(folder) / f"any{SUFFIX}")
    assert calibration_here(record, hardware) == _calibration()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ('{"schema_ver', "is not valid JSON"),
        ("[]", "is not a calibration"),
        ('{"benchmarks": []}', "is not a calibration"),
        ('{"schema_version": 9, "hardware": {}, "cases": {}}', "schema version 9.*update cnnperf"),
        ('{"hardware": {}, "cases": {}}', "created"),
    ],
)
def test_file_that_is_not_a_calibration_is_refused_with_a_sentence(
    tmp_path: Path, text: str, sentence: str
) -> None:
    """Even if it was only found in the folder: skipping it could change verdicts silently."""
    path = tmp_path / f"bad{SUFFIX}"
    path.write_text(text)
    with pytest.raises(UsageError, match=sentence):
        load_calibration(path)
    with pytest.raises(UsageError, match=sentence):
        find_calibration(tmp_path, example_environment().hardware)


@pytest.mark.parametrize("sd", [-0.1, math.nan, math.inf])
def test_negative_or_infinite_noise_is_refused_by_field(tmp_path: Path, sd: float) -> None:
    """The message has the field."""
    content = json.loads(_calibration().model_dump_json())
    content["cases"][MNIST]["metrics"]["train_seconds"]["sd"] = sd
    path = tmp_path / f"bad{SUFFIX}"
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=f"cases.{MNIST}.metrics.train_seconds.sd"):
        load_calibration(path)


def test_default_file_is_named_after_the_machine_and_lies_in_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If there is no reports/, it lies in .cnnperf/."""
    hardware = example_environment(gpu_count=2).hardware
    assert machine_slug(hardware) == "2-x-nvidia-h200-amd-epyc-9654-16-cores"
    hostile = hardware.model_copy(update={"gpu": None, "cpu_model": "../../etc/x \x1b[31m" * 50})
    assert set(machine_slug(hostile)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert len(machine_slug(hostile)) <= 120
    monkeypatch.chdir(tmp_path)
    assert default_path(hardware).parent == Path(".cnnperf")
    (tmp_path / "reports").mkdir()
    assert default_path(hardware).parent == Path("reports")


# --- what people see ------------------------------------------------------------------------------


def test_slowdown_within_three_standard_deviations_of_noise_is_same() -> None:
    """Without the calibration it is slower."""
    rng = np.random.default_rng(0)
    base, new = (list(20 * factor * np.exp(rng.normal(0, 0.001, 5))) for factor in (1, 1.05))
    sides = Side.of(timed_record(base), "a"), Side.of(timed_record(new), "b")
    without = judge(*sides, Rules()).cases[0].metrics["train_seconds"]
    with_it = judge(*sides, Rules(calibration=_calibration(0.03))).cases[0].metrics["train_seconds"]
    assert (without.verdict, with_it.verdict) == ("slower", "same")
    assert with_it.threshold == pytest.approx(math.expm1(0.09))


def test_noise_does_not_widen_the_margin_of_an_accuracy() -> None:
    """The margin is the acceptable loss, however noisy the accuracy is."""
    noise = Noise(n=20, mean=0.9, sd=0.1, smallest_change=0.1)
    metrics = {"train_seconds": noise, "test_accuracy": noise}
    calibration = _calibration(cases={MNIST: CaseNoise(metrics=metrics)})
    for metric, is_widened in (("train_seconds", True), ("test_accuracy", False)):
        rule = Thresholds().rule(MNIST, metric)
        widened = calibration.widen(rule, MNIST, metric, shortened=False)
        assert (widened.threshold > rule.threshold) == is_widened


def test_difference_of_two_equal_sides_is_a_false_alarm() -> None:
    """Something slowed down one side of an A/A comparison."""
    base, new = timed_record([10.0, 10.01, 9.99]), timed_record([11.0, 11.01, 10.99])
    alarms = false_alarms(judge(Side.of(base, "a"), Side.of(new, "b"), Rules()))
    assert f"{MNIST}: train_seconds slower" in alarms
    shown = render(calibration_summary(_calibration(), alarms), width=200, color=False)
    assert f"FALSE ALARM: {MNIST}: train_seconds slower, although both sides are the same" in shown
    quiet = false_alarms(judge(Side.of(base, "a"), Side.of(base, "b"), Rules()))
    assert quiet == []


def test_calibrate_from_records_prints_a_row_per_metric_and_writes_a_file(tmp_path: Path) -> None:
    """Nothing is trained."""
    paths = []
    for name, first_seed in (("one.json", 0), ("two.json", 3)):
        times = enumerate([10.0, 10.2, 9.8], start=first_seed)
        repeats = [example_repeat(seed, time) for seed, time in times]
        repeats[0].warnings.append(example_flag())
        record = example_record(example_case_record(repeats=repeats))
        paths.append(write_record(tmp_path / name, json.loads(record.model_dump_json())))
    arguments = ["calibrate", "--from", *map(str, paths), "-o", "noise.json"]
    done = run_cnnperf(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    calibration = load_calibration(tmp_path / "noise.json")
    sd = statistics.stdev([math.log(t) for t in (10.0, 10.2, 9.8)] * 2)
    assert calibration.noise(MNIST, "train_seconds") == pytest.approx(sd)
    assert calibration.cases[MNIST].flagged == 2
    row = next(line for line in done.stdout.splitlines() if line.strip().startswith("train time"))
    assert row.split()[2:5] == ["6", "10.0", "s"]
    assert f"{100 * sd:.2f} %" in row
    assert "disturbed" in done.stdout
    assert "noise.json: noise of 1 case" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run.json"], "did you mean --from run.json?"),
        (["--from", "none.json"], "none.json cannot be read"),
        (["--repeats", "3", "--from", "few.json"], "no case has 3 finished trainings"),
    ],
)
def test_bad_usage_is_one_sentence_and_writes_nothing(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    """No file appears."""
    write_record(tmp_path / "few.json", json.loads(timed_record([10.0, 10.1]).model_dump_json()))
    done = run_cnnperf("calibrate", *arguments, cwd=tmp_path)
    assert sentence in sentence_of(done)
    assert [path.name for path in tmp_path.iterdir()] == ["few.json"]
