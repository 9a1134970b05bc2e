"""A test gets the case that is trained, with every option of the run applied."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fake_python import fake_python
from tests.pytest_plugin.project import Project

pytest.importorskip("torch", reason="training needs the extra `train`")

pytest_plugins = "pytester"

MODULE = """
def test_train(cnnperf_case, cnnperf_train):
    assert cnnperf_case.id == "modified_vgg-digits-28-brief-fast"
    assert cnnperf_case.recipe.epochs == 3
    assert cnnperf_case.recipe.max_steps == 7
    assert (cnnperf_case.compile, cnnperf_case.precision) == ("off", "bfloat16")
    assert list(cnnperf_case.seeds) == [5, 6]
    assert cnnperf_case.device == "cpu"
    assert cnnperf_case.shortened
    record = cnnperf_train(cnnperf_case)
    assert record.fingerprint.recipe.epochs == cnnperf_case.recipe.epochs
    assert [repeat.seed for repeat in record.repeats] == list(cnnperf_case.seeds)
"""

CHANGED = """
def test_train(cnnperf_case, cnnperf_train):
    cnnperf_train(cnnperf_case.model_copy(update={"resolution": 32}))
"""

OPTIONS = (
    "-k", "modified_vgg and fast", "--cnnperf-tier=smoke", "--cnnperf-epochs=3",
    "--cnnperf-limit-steps=7", "--cnnperf-compile=off", "--cnnperf-precision=bfloat16",
    "--cnnperf-seed=5", "--cnnperf-repeats=2",
)  # fmt: skip


def test_case_of_a_test_has_the_options_applied(project: Project, tmp_path: Path) -> None:
    """Recipe, execution, seeds and device are those of the training and its record."""
    (project.folder / "benchmarks" / "test_train.py").write_text(MODULE)
    python = fake_python(tmp_path, "python")
    done = project.run(*OPTIONS, f"--cnnperf-python={python}")
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_case_has_the_options_applied_where_nothing_is_trained(
    pytester: pytest.Pytester,
) -> None:
    """With --benchmark-skip there is no plan of a run."""
    pytester.makepyfile("def test_it(cnnperf_case): assert cnnperf_case.recipe.epochs == 3")
    result = pytester.runpytest("--cnnperf-tier=smoke", "--cnnperf-epochs=3", "--benchmark-skip")
    result.assert_outcomes(passed=6)


def test_changed_case_is_not_trained(project: Project, tmp_path: Path) -> None:
    """A record must not hold another case than the one planned under its id."""
    (project.folder / "benchmarks" / "test_train.py").write_text(CHANGED)
    done = project.run(*OPTIONS, f"--cnnperf-python={fake_python(tmp_path, 'python')}")
    assert done.returncode == 1, done.stdout
    assert "is not planned in this run: pass cnnperf_case to cnnperf_train" in done.stdout


def test_case_changed_on_the_command_line_has_another_id(project: Project) -> None:
    """--cnnperf-set reaches the worker; the id and the fingerprint say so."""
    done = project.run(
        "-k", "good and two", "--cnnperf-set=recipe.batch_size=32",
        "--cnnperf-set=recipe.optimizer=SGD",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    (case,) = project.record().cases
    assert case.id == "good-tiny-8-two-eager-batch_size_32-optimizer_SGD"
    assert case.fingerprint is not None
    assert case.fingerprint.recipe.batch_size == 32
    assert case.repeats[0].steps == 4
