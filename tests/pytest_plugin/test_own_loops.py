"""Trainings that users wrote, run for real: functions and commands, right and wrong."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from cnnperf.record.schema import CaseRecord
from tests.pytest_plugin.project import Project

INI = """
[pytest]
cnnperf_builtin_cases = false
"""

TABLES = """
[[cases]]
name = "line"
trainer = "own_training:run"
settings = { rate = 0.1 }

[cases.quality.test_error]
unit = "m"
better = "lower"
margin = 0.5

[[cases]]
name = "script"
command = ["python", "script.py", "--rate", "{rate}", "--seed={seed}"]
settings = { rate = 0.1 }

[cases.quality.test_error]
unit = "m"
better = "lower"
margin = 0.5

[[cases]]
name = "whole"
command = ["sh", "-c", "sleep 0.3"]
clock = "process"

[[cases]]
name = "diverging"
trainer = "own_training:diverge"

[[cases]]
name = "unmarked"
trainer = "own_training:forget"

[[cases]]
name = "silent"
trainer = "own_training:run"
settings = { rate = 0.1 }

[cases.quality.test_iou]
better = "higher"
margin = 0.01

[[cases]]
name = "broken"
command = ["python", "-c", "print('so far so good'); raise SystemExit('no more disk')"]

[[cases]]
name = "killed"
command = ["sh", "-c", "kill -9 $$"]
"""

TRAINING = """
import torch

from cnnperf import observe


def run(run):
    print("this goes nowhere" * 1000)
    torch.manual_seed(run.seed)
    model = torch.nn.Linear(8, 1)
    x = torch.randn(256, 8)
    y = x.sum(1, keepdim=True) + torch.randn(256, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=run.settings["rate"])
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=32)
    with observe.training(model=model):
        for epoch in observe.epochs(range(5)):
            for a, b in observe.steps(loader):
                optimizer.zero_grad()
                loss = torch.nn.functional.l1_loss(model(a), b)
                loss.backward()
                optimizer.step()
            observe.metric(train_loss=loss.item(), weight=model.weight.mean().item())
    observe.result(test_error=torch.nn.functional.l1_loss(model(x), y).item(), test_accuracy=0.5)


def diverge(run):
    with observe.training():
        for epoch in observe.epochs(range(3)):
            observe.metric(train_loss=1.0 if epoch < 2 else float("inf"))


def forget(run):
    observe.result(test_error=1.0)
"""

SCRIPT = """
import argparse

import own_training
from cnnperf import observe

parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float)
parser.add_argument("--seed", type=int)
given = parser.parse_args()
assert observe.current_run().settings == {"rate": given.rate}
own_training.run(observe.Run(seed=given.seed, settings={"rate": given.rate}))
"""


def make_project(folder: Path, tables: str) -> Project:
    """A project without the cases of cnnperf, and with one test for its own."""
    project = Project(folder, INI)
    for module in (folder / "benchmarks").glob("test_*.py"):
        module.unlink()
    test = "def test_train(cnnperf_case, cnnperf_train):\n    cnnperf_train(cnnperf_case)\n"
    (folder / "benchmarks" / "test_train.py").write_text(test)
    (folder / "cnnperf.toml").write_text(tables)
    (folder / "own_training.py").write_text(TRAINING)
    (folder / "script.py").write_text(SCRIPT)
    return project


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose cases have all run, two seeds each."""
    project = make_project(tmp_path_factory.mktemp("own"), TABLES)
    ended = project.run("--cnnperf-repeats=2", f"--cnnperf-profile={project.folder / 'traces'}")
    assert ended.returncode == 1, ended.stdout
    (project.folder / "output.txt").write_text(ended.stdout)
    return project


def case_of(project: Project, name: str) -> CaseRecord:
    """A case of the project's record."""
    return next(case for case in project.record().cases if case.id == name)


@pytest.mark.parametrize("name", ["line", "script"])
def test_a_training_of_ones_own_is_measured(own: Project, name: str) -> None:
    """Clock, steps, epochs, memory, settings and what it reported are in the record."""
    case = case_of(own, name)
    assert (case.outcome, case.model, case.dataset, case.recipe) == ("passed", name, None, None)
    assert [repeat.seed for repeat in case.repeats] == [0, 1]
    errors = case.values("test_error")
    assert len(set(errors)) == 2  # another seed is another training
    assert case.median("test_accuracy") == 0.5
    for repeat in case.repeats:
        metrics = repeat.metrics
        assert repeat.steps == 40
        assert repeat.model_parameters == 9
        assert [epoch.epoch for epoch in repeat.epochs] == [1, 2, 3, 4, 5]
        assert all(set(epoch.metrics) == {"weight"} for epoch in repeat.epochs)
        phases = sum(epoch.train_seconds for epoch in repeat.epochs)
        assert metrics.images_per_second == pytest.approx(5 * 256 / phases)
        assert metrics.train_seconds >= phases
        assert metrics.outside_train_seconds is not None
        assert metrics.outside_train_seconds >= metrics.train_seconds
        assert (metrics.peak_memory_bytes or 0) > 2**26
        assert repeat.settings is not None
        assert repeat.settings.torch_threads
        assert repeat.harness is not None
    assert case.fingerprint is not None
    assert case.fingerprint.loop is not None
    assert case.fingerprint.loop.settings == {"rate": 0.1}


def test_function_and_command_train_alike(own: Project) -> None:
    """Equal seeds give equal errors, to the last bit."""
    assert case_of(own, "line").values("test_error") == case_of(own, "script").values("test_error")


def test_a_whole_command_is_timed_without_marks(own: Project) -> None:
    """From its start to its end."""
    case = case_of(own, "whole")
    assert case.outcome == "passed"
    assert all(0.3 <= seconds < 5 for seconds in case.values("train_seconds"))
    assert case.median("images_per_second") is None


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("diverging", "nan_loss", "train_loss became inf in epoch 3"),
        ("unmarked", "exception", "own_training:forget ended without observe.training"),
        ("silent", "exception", "observe.result did not report test_iou, declared as quality of "
         "silent; it reported test_error and test_accuracy"),
        ("broken", "exception", "the command ended with exit code 1: no more disk"),
        ("killed", "killed", "the command was killed by SIGKILL"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_one_sentence(own: Project, name: str, kind: str, message: str) -> None:
    """With the cause that tables and gates know."""
    case = case_of(own, name)
    assert case.outcome == "failed"
    assert case.error is not None
    assert case.error.kind == kind
    assert message in case.error.message
    assert case.error.traceback is None or "Traceback" not in case.error.message


def test_the_table_shows_the_quality_with_its_unit(own: Project) -> None:
    """A column of its own, by the name that the training reports."""
    output = (own.folder / "output.txt").read_text()
    error = statistics.median(case_of(own, "line").values("test_error"))
    assert "test_error" in output
    assert f"{error:.4g} m" in output


def test_a_function_is_profiled_by_calling_it_again(own: Project) -> None:
    """The classes of its steps add up; a command has a warning instead."""
    profile = case_of(own, "line").repeats[0].profile
    assert profile is not None
    assert sum(profile.seconds_per_step_by_class.values()) == pytest.approx(
        profile.seconds_per_step
    )
    assert profile.seconds_per_step_by_class["matmul"] > 0
    script = case_of(own, "script").repeats[0]
    assert script.profile is None
    assert [flag.kind for flag in script.warnings].count("no_profile") == 1


def test_limits_and_changes_reach_the_training(own: Project) -> None:
    """Fewer epochs are marked as shortened; another setting makes another case."""
    ended = own.run(
        "-k", "line or script", "--cnnperf-epochs=2", "--cnnperf-set=settings.rate=0.2",
        f"--benchmark-json={own.folder / 'short.json'}",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout
    content = json.loads((own.folder / "short.json").read_text())["cnnperf"]["cases"]
    assert [case["id"] for case in content] == ["line-rate_0.2", "script-rate_0.2"]
    assert all(case["shortened"] for case in content)
    assert [len(case["repeats"][0]["epochs"]) for case in content] == [2, 2]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('trainer = "own_trainin:run"', "trainer own_trainin:run cannot be imported (Module"),
        ('trainer = "own_training:runn"', "trainer own_training:runn cannot be imported (Attr"),
        ('command = ["python", "scrip.py"]', "there is no scrip.py in "),
        ('command = ["nosuchprogram"]', "there is no program 'nosuchprogram'; expected one of"),
        ('trainer = "a:b"\ncommand = ["a"]', "either a trainer or a command"),
        ('trainer = "a:b"\nclock = "process"', "only a command is a process of its own"),
        ('trainer = "a:b"\nquality = { iou = { better = "up" } }',
         "cases.0.quality.iou.better: Input should be 'higher' or 'lower'"),
    ],
)  # fmt: skip
def test_a_wrong_case_is_found_before_any_training(
    tmp_path: Path, table: str, message: str
) -> None:
    """One sentence with the case, as pytest's own usage errors."""
    project = make_project(tmp_path, f'[[cases]]\nname = "wrong"\n{table}\n')
    ended = project.run()
    lines = [line for line in ended.stdout.splitlines() if message in line.replace("  ", " ")]
    assert lines, ended.stdout
    assert ended.returncode in (2, 4), ended.stdout
    assert "Traceback" not in ended.stdout


def test_floors_are_refused_with_the_reason(own: Project) -> None:
    """Nobody can count the arithmetic of a loop that is not cnnperf's."""
    found = subprocess.run(
        [sys.executable, "-m", "cnnperf.cli", "floors", "line"],
        cwd=own.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 2
    assert found.stderr.startswith("cnnperf: line has no floors: its loop is your own")
