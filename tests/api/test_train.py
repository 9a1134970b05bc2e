"""`train` in real scripts: the training process finds their code, or one sentence says why not."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from cnnperf import Case, DatasetSpec, Recipe, UsageError
from cnnperf.record.loading import load_record
from tests.examples import plain_terminal

pytest.importorskip("torch", reason="training needs the extra `train`")

NETS = """
from torch import nn

def build_line(*, num_classes, in_channels, resolution):
    return nn.Sequential(nn.Flatten(), nn.Linear(resolution**2 * in_channels, num_classes))
"""

CASE = """
from cnnperf import Case, ModelSpec, Recipe, register_model, train

def line(builder):
    register_model(ModelSpec(name="line", builder=builder, resolution=28, channels=(1,)))
    return Case(model="line", dataset="digits", resolution=28, recipe=Recipe(name="s", epochs=1))

FAST = {"device": "cpu", "measure_peak": False}
"""

LOOP = """
from cnnperf import observe

def fit(run):
    with observe.training():
        for epoch in observe.epochs(range(3)):
            observe.metric(iou=0.1 * epoch + 0.01 * run.seed)
    observe.result(test_iou=0.5 + run.seed)
"""


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def run(folder: Path, script: str, *, name: str = "go.py") -> subprocess.CompletedProcess[str]:
    """Run a script that lies in a folder, from the folder above."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(CASE + script)
    return subprocess.run(
        [sys.executable, folder / name],
        cwd=folder.parent, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.strip().splitlines()[-1]


def test_function_from_a_folder_that_the_script_added_is_trained(tmp_path: Path) -> None:
    """The folder is only in `sys.path`; a log sees no progress, and the record can be compared."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "nets.py").write_text(NETS)
    done = run(
        tmp_path / "scripts",
        f"import sys; sys.path.append({str(tmp_path / 'lib')!r})\n"
        "import nets\n"
        "result = train(line(nets.build_line), **FAST, repeats=2, seed=4)\n"
        "result.save('run.json')\n",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    record = load_record(tmp_path / "run.json")
    (case,) = record.cases
    assert [repeat.seed for repeat in case.repeats] == [4, 5]
    assert len({repeat.metrics.test_loss for repeat in case.repeats}) == 2
    assert (case.outcome, case.id) == ("passed", "line-digits-28-s-eager")
    assert case.fingerprint is not None
    assert case.repeats[0].model_parameters == 28 * 28 * 10 + 10
    assert record.environment.software.torch
    assert case.repeats[0].metrics.mfu is None


def test_module_beside_the_caller_is_found_from_another_folder(tmp_path: Path) -> None:
    """The script imports a helper as part of a package; its folder is not in `sys.path`."""
    package = tmp_path / "scripts" / "package"
    package.mkdir(parents=True)
    (package / "nets.py").write_text(NETS)
    (package / "helper.py").write_text(
        CASE + "def go(): return train(line('nets:build_line'), **FAST)\n"
    )
    done = run(tmp_path / "scripts", "from package.helper import go; print(go().case.outcome)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "passed\n", "")


def test_function_of_the_script_itself_is_refused(tmp_path: Path) -> None:
    """One sentence says what to do."""
    done = run(tmp_path / "a", NETS + "train(line(build_line), **FAST)")
    assert last_line(done) == (
        "cnnperf.errors.UsageError: build_line is defined in a notebook or in the script that "
        "runs, which a training process cannot import: put it into a module beside it, such as "
        "my_nets.py, and name it my_nets:build_line"
    )


def test_nested_function_is_refused_where_it_is_named(tmp_path: Path) -> None:
    """No module has it by its name."""
    done = run(tmp_path / "a", "line(lambda **_: None)")
    assert "<lambda> cannot be imported: give a function at the top of a module" in done.stderr


def test_script_that_trains_when_imported_starts_no_endless_chain(tmp_path: Path) -> None:
    """The worker imports the script, which must not train again."""
    done = run(tmp_path / "a", NETS + "train(line('go:build_line'), **FAST)")
    assert done.returncode == 1
    assert 'put the call below `if __name__ == "__main__":`' in last_line(done)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ("repeats=0", "--repeats: expected a whole number, 1 or more, got '0'"),
        ("device='gpu'", "--device: expected one of auto, cpu, cuda, mps, xpu, got 'gpu'"),
        ("modules=['nowhere']", "modules: nowhere cannot be imported"),
    ],
)
def test_wrong_argument_is_one_sentence(tmp_path: Path, call: str, sentence: str) -> None:
    """Before anything is started."""
    done = run(tmp_path / "a", f"train('modified_vgg-digits-28-eager', {call})")
    assert sentence in last_line(done)


def test_case_of_the_projects_file_is_trained_by_its_id(tmp_path: Path) -> None:
    """`cnnperf.toml` of the current folder defines it; its trainer is beside the script."""
    (tmp_path / "cnnperf.toml").write_text('[[cases]]\nname = "mine"\ntrainer = "loop:fit"\n')
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "loop.py").write_text(LOOP)
    done = run(
        tmp_path / "a",
        "result = train('mine', **FAST, repeats=3)\n"
        "print(result.quality, [each.metrics for each in result.repeats[1].epochs])\n",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("{'test_iou': 1.5} [{'iou': 0.01}, {'iou': 0.11}, ")


def test_command_is_started_in_the_current_folder(tmp_path: Path) -> None:
    """As any program that the script starts."""
    done = run(
        tmp_path / "a",
        "from cnnperf import LoopCase\n"
        "train(LoopCase(name='c', command=('touch', 'here'), clock='process'), **FAST)\n",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "here").exists()


@pytest.mark.parametrize(("more", "shown"), [("", True), (", progress=False", False)])
def test_terminal_shows_progress_of_a_loop_without_losses(
    tmp_path: Path, more: str, shown: bool
) -> None:
    """On a real terminal: each repeat leaves a line."""
    (tmp_path / "loop.py").write_text(LOOP)
    script = tmp_path / "go.py"
    script.write_text(
        CASE + "from cnnperf import LoopCase\n"
        f"train(LoopCase(name='mine', trainer='loop:fit'), **FAST, repeats=2{more})\n"
    )
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, script], stdout=theirs, stderr=theirs, check=False, timeout=300
    )
    os.close(theirs)
    text = b""
    try:
        while chunk := os.read(ours, 65536):
            text += chunk
    except OSError:  # the terminal is closed
        pass
    os.close(ours)
    assert done.returncode == 0, text.decode()
    assert (b"mine, training 2/2: trained in " in text) is shown
    assert bool(text) is shown


def test_a_wrong_description_in_code_is_one_sentence() -> None:
    """The field and the fix, without a page of pydantic's; so is one that is part of another."""
    with pytest.raises(
        UsageError, match=r"^Recipe: epochs: Input should be greater than 0, found 0$"
    ):
        Recipe(name="x", epochs=0)
    with pytest.raises(
        UsageError, match=r"^DatasetSpec: mean has 2 values for 3 channels; give one"
    ):
        DatasetSpec(
            name="a", loader="a:b", channels=3, resolution=8, train_images=1, val_images=1,
            test_images=1, mean=(0, 0), std=(1, 1, 1), source="",
        )  # fmt: skip
    with pytest.raises(UsageError, match=r"^Case: recipe.epochs: Input should be greater than 0"):
        Case(model="vgg16", dataset="mnist", resolution=32, recipe={"name": "x", "epochs": 0})


def test_a_model_that_does_not_fit_is_refused_before_training(tmp_path: Path) -> None:
    """As a run's probe refuses it: by what the model gives, not by what a loss says of it."""
    (tmp_path / "pairs.py").write_text(
        "from torch import nn\n\n\nclass Pair(nn.Linear):\n"
        "    def forward(self, x):\n        y = super().forward(x.flatten(1))\n"
        "        return y, y\n"
        "\n\ndef build(num_classes, in_channels, resolution):\n"
        "    return Pair(in_channels * resolution**2, num_classes)\n"
    )
    (tmp_path / "script.py").write_text(
        "from cnnperf import Case, ModelSpec, Recipe, WorkerError, register_model, train\n"
        "if __name__ == '__main__':\n"
        "    register_model(ModelSpec(name='pair', builder='pairs:build', channels=(1,)))\n"
        "    case = Case(model='pair', dataset='digits', resolution=28, recipe=Recipe(name='x'))\n"
        "    try:\n        train(case, device='cpu', measure_peak=False)\n"
        "    except WorkerError as error:\n        print(error)\n"
    )
    found = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert found.stdout == (
        "case pair-digits-28-x-eager: model pair gives a tuple of 2 items for images "
        "(2, 1, 28, 28), expected logits (2, 10); correct the model\n"
    ), found.stderr
