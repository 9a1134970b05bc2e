"""Two interpreters in turns on one machine: what is trained, when it ends, what is left behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from cnnperf.cli import commands as cli
from cnnperf.cli.turns import rules_here
from cnnperf.compare.calibration import (
    Calibration,
    CaseNoise,
    Noise,
)
from cnnperf.compare.inputs import Side
from cnnperf.compare.judge import judge
from cnnperf.compare.rules import Looks
from cnnperf.compare.verdicts import CaseVerdicts, MetricVerdict
from cnnperf.report.formats.comparison import Format, as_text
from cnnperf.report.terminal.console import EXIT_INTERRUPTED
from cnnperf.run.ab import train_until_decided
from cnnperf.run.calibrate import write_calibration
from tests.commands import run_cnnperf
from tests.examples import (
    CREATED,
    example_case_record,
    example_environment,
    example_flag,
    example_record,
    example_repeat,
    failed_case_record,
    plain_terminal,
)
from tests.fake_python import fake_python
from tests.pairs import BOTH, RESNET, RESNET_ID, VGG, VGG_ID, case_of, log_of, records_of
from tests.pytest_plugin.project import WITHOUT_PEAK

QUIET = {VGG: 0.001, RESNET: 0.001}


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


def _command(folder: Path, a: str, b: str, *more: str) -> list[str]:
    return ["ab", "--a", a, "--b", b, "--tier", "smoke", "--device", "cpu",
            "--out", str(folder / "out"), *more]  # fmt: skip


def _run(folder: Path, a: str, b: str, *more: str) -> subprocess.CompletedProcess[str]:
    return run_cnnperf(*_command(folder, a, b, *more), cwd=folder)


# --- what is trained, and when it ends ----------------------------------------------------------


def test_equal_sides_are_decided_at_the_first_look(tmp_path: Path) -> None:
    """Sides alternate A B B A with equal seeds; no more is trained than that takes."""
    a, b = fake_python(tmp_path, "a", noise=QUIET), fake_python(tmp_path, "b", noise=QUIET)
    done = _run(tmp_path, a, b, "-k", "modified_vgg and eager")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no regression in 1 case: 1 same" in done.stdout
    (head,) = [line for line in done.stdout.splitlines() if "verdict" in line]
    assert head.split()[:3] == ["metric", "A", "B"]
    assert "change: B relative to A" in done.stdout
    first = Looks(20).schedule[0]
    assert first == 3
    assert log_of(tmp_path) == [
        ["a", VGG, "0"], ["b", VGG, "0"],
        ["b", VGG, "1"], ["a", VGG, "1"],
        ["a", VGG, "2"], ["b", VGG, "2"],
    ]  # fmt: skip
    for record in records_of(tmp_path):
        assert [repeat.seed for repeat in case_of(record, VGG_ID).repeats] == [0, 1, 2]
        assert not record.interrupted


def test_slower_side_is_a_regression(tmp_path: Path) -> None:
    """Exit code 1; each interval holds what one of so many looks must."""
    a = fake_python(tmp_path, "a", noise=QUIET)
    b = fake_python(tmp_path, "b", noise=QUIET, slower={VGG: 1.1})
    done = _run(tmp_path, a, b, "-k", BOTH, "--format", "json")
    assert done.returncode == 1, done.stdout + done.stderr
    content = json.loads(done.stdout)  # nothing else is on standard output
    assert content["verdict"] == "regression"
    metrics = {case["id"]: case["metrics"] for case in content["cases"]}
    assert metrics[VGG_ID]["train_seconds"]["verdict"] == "slower"
    assert metrics[VGG_ID]["train_seconds"]["ratio"] == pytest.approx(1.1, rel=0.01)
    assert metrics[RESNET_ID]["train_seconds"]["verdict"] == "same"
    assert "99 %" in " ".join(content["notes"])


def test_decided_case_is_not_trained_further(tmp_path: Path) -> None:
    """The noisy one goes on alone until the budget is spent, and fails with --strict only."""
    noise = {VGG: 0.001, RESNET: 0.2}
    a, b = (fake_python(tmp_path, name, noise=noise) for name in ("a", "b"))
    done = _run(tmp_path, a, b, "-k", BOTH, "--max-repeats=5", "--strict", "--seed=7",
                "-o", str(tmp_path / "verdict.md"), "--format=markdown")  # fmt: skip
    assert done.returncode == 4, done.stdout + done.stderr
    assert Looks(5).schedule == (3, 5)
    for record in records_of(tmp_path):
        assert [repeat.seed for repeat in case_of(record, VGG_ID).repeats] == [7, 8, 9]
        assert [repeat.seed for repeat in case_of(record, RESNET_ID).repeats] == [7, 8, 9, 10, 11]
    order = [case for _, case, _ in log_of(tmp_path)]
    assert order[:4] == [VGG, VGG, RESNET, RESNET], "each case is spread over the whole time"
    assert RESNET_ID in (tmp_path / "verdict.md").read_text()
    assert f"after 3 repeats a side: 1 of 2 cases decided ({VGG_ID} same)" in done.stderr


def test_case_that_becomes_undecided_again_is_trained_further() -> None:
    """As the others' verdicts come in, by which each is corrected; to the end of the schedule."""
    asked: list[tuple[int, tuple[str, ...]]] = []
    pair = SimpleNamespace(
        case_ids=["x", "y"],
        out_of_time=False,
        train_to=lambda repeats, ids: asked.append((repeats, tuple(ids))),
    )
    looks = iter([{"x": "slower", "y": "inconclusive"}, {"x": "inconclusive", "y": "same"}])

    def judged() -> Any:
        cases = [
            CaseVerdicts(id=case_id, verdict=verdict, metrics={
                "train_seconds": MetricVerdict(verdict=verdict, gates=True, threshold=0.03),
                "energy_joules": MetricVerdict(verdict="inconclusive", gates=False, threshold=0.1),
            })
            for case_id, verdict in next(looks).items()
        ]  # fmt: skip
        return SimpleNamespace(cases=cases)

    train_until_decided(pair, Looks(8), judged, lambda text: None)  # type: ignore[arg-type]
    assert Looks(8).schedule == (3, 5, 8)
    assert asked == [(3, ("x", "y")), (5, ("y",)), (8, ("x",))]


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        ({"failing": (VGG,)}, "the cat sat on the keyboard"),
        ({"warnings": {VGG: ("not_compiled",)}, "device": "cuda:0"}, "engine fast fell back"),
    ],
)
def test_failure_in_b_fails_the_case_and_others_continue(
    tmp_path: Path, problem: dict[str, Any], reason: str
) -> None:
    """What A has measured of it stays; it is not started again."""
    a = fake_python(tmp_path, "a", noise=QUIET)
    b = fake_python(tmp_path, "b", noise=QUIET, **problem)
    done = _run(tmp_path, a, b, "-k", BOTH)
    assert done.returncode == 1, done.stdout + done.stderr
    record_a, record_b = records_of(tmp_path)
    assert case_of(record_a, VGG_ID).outcome == "passed"
    assert len(case_of(record_a, VGG_ID).repeats) == 1
    failed = case_of(record_b, VGG_ID)
    assert (failed.outcome, failed.error and failed.error.seed) == ("failed", 0)
    assert f"failed: {VGG_ID}: B failed: {reason}" in done.stdout
    assert len(case_of(record_b, RESNET_ID).repeats) == 3
    assert not record_a.interrupted
    assert not record_b.interrupted


def test_time_limit_ends_training_after_a_whole_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judged as it stands then; both sides have equally many repeats.

    The clock goes on by an hour when the first case's second round has begun.
    """

    def monotonic() -> float:
        return time.monotonic() + (3600 if len(log_of(tmp_path)) > 4 else 0)

    monkeypatch.setattr("cnnperf.run.interleave.time", SimpleNamespace(monotonic=monotonic))
    monkeypatch.chdir(tmp_path)
    noise = {VGG: 0.3, RESNET: 0.3}
    a, b = (fake_python(tmp_path, name, noise=noise) for name in ("a", "b"))
    command = _command(tmp_path, a, b, "-k", BOTH, "--max-minutes=30", "--max-repeats=500")
    done = CliRunner().invoke(cli.app, command)
    assert done.exit_code == 0, done.output
    assert "inconclusive" in done.stdout
    first = [["a", VGG], ["b", VGG], ["a", RESNET], ["b", RESNET]]
    assert [each[:2] for each in log_of(tmp_path)] == [*first, ["b", VGG], ["a", VGG]]
    for record in records_of(tmp_path):
        assert {case.id: len(case.repeats) for case in record.cases} == {VGG_ID: 2, RESNET_ID: 1}


def test_zero_minutes_leave_no_records(tmp_path: Path) -> None:
    """A sentence, no records, no verdict."""
    a, b = fake_python(tmp_path, "a"), fake_python(tmp_path, "b")
    done = _run(tmp_path, a, b, "-k", BOTH, "--max-minutes=0")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("cnnperf: the time was up before")
    assert not (tmp_path / "out").exists()
    assert log_of(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_writes_both_records(tmp_path: Path, number: signal.Signals) -> None:
    """With what was finished; the worker is ended, and the journals are gone.

    A scheduler sends SIGTERM, and a terminal that is closed SIGHUP.
    """
    noise = {VGG: 0.3}
    a, b = (fake_python(tmp_path, name, noise=noise, free=4) for name in ("a", "b"))
    command = _command(tmp_path, a, b, "-k", "modified_vgg and eager", "--max-repeats=500")
    run = subprocess.Popen(
        [sys.executable, "-m", "cnnperf.cli", *command],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while len(log_of(tmp_path)) < 5:
        assert run.poll() is None
        time.sleep(0.05)
    os.kill(run.pid, number)
    out, error = run.communicate()
    assert run.returncode == EXIT_INTERRUPTED, error
    record_a, record_b = records_of(tmp_path)
    assert record_a.interrupted
    assert [len(record.cases[0].repeats) for record in (record_a, record_b)] == [2, 2]
    assert "a.json has 2 and" in " ".join(error.split())
    assert "cnnperf compare" in error
    assert out == ""
    assert "Traceback" not in error


# --- its own words, and its noise ---------------------------------------------------------------


def test_sentences_use_the_option_names_of_ab() -> None:
    """Sides are A and B, and no option is recommended that this command does not have."""
    rules = rules_here(None, None)
    words = rules.words
    assert (words.base, words.new, words.across, words.training) == ("A", "B", None, "--")
    case = example_case_record(repeats=[example_repeat(seed) for seed in range(3)])
    mixed = case.model_copy(deep=True)
    mixed.repeats[0] = mixed.repeats[0].model_copy(update={"precision": "bfloat16"})
    other = example_environment(cpu_model="another")
    flagged = case.model_copy(deep=True)
    flagged.repeats[0].warnings.append(example_flag())
    found = [
        judge(Side.of(example_record(a), "a.json"), Side.of(record, "b.json"), rules)
        for a, record in (
            (case, example_record(mixed)),
            (case, example_record(case, environment=other)),
            (case, example_record(failed_case_record())),
            (flagged, example_record(flagged, interrupted=True)),
        )
    ]
    told = " ".join(as_text(each, form) for each in found for form in Format if form != "json")
    assert "use --precision=float32" in told
    assert "`cnnperf compare --across hardware` compares the records anyway" in told
    assert "A has this case, B does not" in told
    assert "1 repeat of A, 1 of B" in told
    assert "--cnnperf-" not in told
    assert not re.search(r"(?<!compare) --(across|drop-flagged|judge-shortened)", told)
    assert not re.search(r"\b(base|new) (has|failed|was)|of (base|new)\b", told)


def test_named_calibration_is_used(tmp_path: Path) -> None:
    """Of this machine; one of another, or none at all, is said before anything is trained."""
    noise = Noise(n=20, mean=10.0, sd=0.2, smallest_change=1.0)
    case = CaseNoise(metrics={"train_seconds": noise, "images_per_second": noise})
    here = Calibration(
        created=CREATED, hardware=example_environment(gpu=None).hardware, cases={VGG_ID: case}
    )
    write_calibration(here, tmp_path / "here.json")
    elsewhere = here.model_copy(update={"hardware": example_environment().hardware})
    write_calibration(elsewhere, tmp_path / "elsewhere.json")
    a = fake_python(tmp_path, "a", noise=QUIET)
    b = fake_python(tmp_path, "b", noise=QUIET, slower={VGG: 1.3})
    for name, told in (("elsewhere.json", "is of another machine than this one"),
                       ("none.json", "none.json cannot be read")):  # fmt: skip
        done = _run(tmp_path, a, b, "-k", "modified_vgg and eager", f"--calibration={name}")
        assert done.returncode == 2
        assert told in done.stderr.splitlines()[-1]
        assert log_of(tmp_path) == []
        assert not (tmp_path / "out").exists()
    done = _run(tmp_path, a, b, "-k", "modified_vgg and eager", "--calibration=here.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "thresholds include the noise of" in done.stdout


# --- what is wrong ------------------------------------------------------------------------------


def test_missing_interpreter_is_named(tmp_path: Path) -> None:
    """Before anything is started."""
    a = fake_python(tmp_path, "a")
    done = _run(tmp_path, a, "/no/such/python")
    assert done.returncode == 2
    assert done.stderr.startswith("cnnperf: B (/no/such/python) cannot be started: ")
    assert not (tmp_path / "out").exists()


def test_interpreter_without_torch_is_named(tmp_path: Path) -> None:
    """In its own words; nothing is trained on either side."""
    a = fake_python(tmp_path, "a")
    b = fake_python(tmp_path, "b", refusal="training needs torch, which is not installed")
    done = _run(tmp_path, a, b, "-k", BOTH)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"cnnperf: B ({b}): training needs torch, which is not installed"
    )
    assert not (tmp_path / "out").exists()
    assert log_of(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-k", "resnt"], "possible: modified_resnet-digits-28-brief-eager, "),
        (["-k", "mnist"], "try --tier=standard"),
        (["-k", "vgg and"], "expected words of case ids with and, or, not"),
        (["--seed", "x"], "--seed: expected a whole number from 0 to"),
        (["--tier", "large"], "--tier: expected one of auto, smoke, standard, full"),
        (["--module", "no_such_module"], "--module: no_such_module cannot be imported"),
        (["--config", "no_such.toml"], "no_such.toml cannot be read"),
    ],
)
def test_bad_usage_gets_a_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    """One line, exit code 2, in the names of this command's options."""
    done = run_cnnperf("ab", "--b", fake_python(tmp_path, "b"), "-t", "smoke", *arguments,
                       cwd=tmp_path)  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("cnnperf: ")
    assert done.stderr.count("\n") == 1
    assert sentence in done.stderr


def test_existing_record_is_not_overwritten(tmp_path: Path) -> None:
    """Another folder must be named."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.json").write_text("precious")
    done = _run(tmp_path, fake_python(tmp_path, "a"), fake_python(tmp_path, "b"))
    assert done.returncode == 2
    assert "choose another folder with --out" in done.stderr
    assert (tmp_path / "out" / "a.json").read_text() == "precious"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.json"]


def test_ab_without_an_interpreter_is_bad_usage(tmp_path: Path) -> None:
    """Neither side named: that is what `calibrate` is for."""
    done = run_cnnperf("ab", cwd=tmp_path)
    assert done.returncode == 2
    assert "expected --b (or --a): both sides would be the same" in done.stderr


# --- real trainings -----------------------------------------------------------------------------


def test_two_real_interpreters_are_compared(tmp_path: Path) -> None:
    """A case of a user's own module; the same figures come from both."""
    pytest.importorskip("torch", reason="training needs the extra `train`")
    for source in (Path(__file__).parents[1] / "user_module").glob("*.py"):
        shutil.copy(source, tmp_path)
    command = [
        "ab", "--b", sys.executable, "-k", "good and two", "-m", "tiny_cases", "--tier=smoke",
        "--device=cpu", "--max-repeats=1", "--out=out",
    ]  # fmt: skip
    code = f"{WITHOUT_PEAK}\nfrom cnnperf import cli\ncli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr  # one run a side decides nothing
    assert "inconclusive" in done.stdout
    assert "Traceback" not in done.stderr
    assert "[1/1] good-tiny-8-two-eager, A: trained in" in done.stderr
    first, second = (record.cases[0] for record in records_of(tmp_path))
    assert [repeat.seed for repeat in first.repeats] == [0]
    assert first.values("test_accuracy") == second.values("test_accuracy")
    assert first.fingerprint == second.fingerprint
    assert all(repeat.epochs for repeat in (*first.repeats, *second.repeats))
