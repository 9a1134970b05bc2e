"""`cnnperf compare` and `cnnperf export` as their users call them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from cnnperf.record.schema import Record
from tests.commands import run_cnnperf, sentence_of
from tests.examples import (
    HIDE_TORCH,
    example_case_record,
    example_record,
    example_repeat,
    plain_terminal,
    python_with,
    write_record,
)

STEADY = (10.0, 10.05, 9.95, 10.02, 9.98)


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


def _write(path: Path, seconds: Sequence[float]) -> Path:
    repeats = [
        example_repeat(seed, value, images_per_second=480_000 / value)
        for seed, value in enumerate(seconds)
    ]
    record: Record = example_record(example_case_record(repeats=repeats))
    return write_record(path, json.loads(record.model_dump_json()))


@pytest.fixture
def base(tmp_path: Path) -> str:
    """Five steady repeats."""
    return str(_write(tmp_path / "base.json", STEADY))


@pytest.fixture
def slower(tmp_path: Path) -> str:
    """The same, a tenth slower."""
    return str(_write(tmp_path / "slower.json", [1.1 * value for value in STEADY]))


def test_regression_exits_with_1_and_names_the_case(base: str, slower: str, tmp_path: Path) -> None:
    """On a machine without torch."""
    done = run_cnnperf("compare", base, slower, cwd=tmp_path, env=python_with(HIDE_TORCH, tmp_path))
    assert done.returncode == 1, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last == "regression in 1 of 1 case: modified_vgg-mnist-28-eager (slower)"
    assert run_cnnperf("compare", slower, base, cwd=tmp_path).returncode == 0


def test_pooled_files_are_more_repeats(base: str, tmp_path: Path) -> None:
    """On both sides."""
    more = [str(_write(tmp_path / f"{n}.json", [10.0 + n / 100, 10.01])) for n in range(4)]
    done = run_cnnperf(
        "compare", base, more[0], "--base", more[1], "--new", more[2], "--new", more[3],
        "--format=json", cwd=tmp_path,
    )  # fmt: skip
    metric = json.loads(done.stdout)["cases"][0]["metrics"]["train_seconds"]
    assert (metric["n_base"], metric["n_new"]) == (7, 6)


def test_thresholds_are_found_where_the_command_runs(
    base: str, slower: str, tmp_path: Path
) -> None:
    """A project that bears a fifth; -v shows it."""
    (tmp_path / "cnnperf.toml").write_text(
        "[metrics.train_seconds]\nthreshold = 0.2\n[metrics.images_per_second]\nthreshold = 0.2\n"
    )
    done = run_cnnperf("compare", base, slower, "-v", cwd=tmp_path)
    assert done.returncode == 0
    assert "20 %" in done.stdout
    assert "thresholds from" in done.stdout


def test_wrong_thresholds_are_bad_usage(base: str, slower: str, tmp_path: Path) -> None:
    """One sentence with the nearest name."""
    config = tmp_path / "own.toml"
    config.write_text('[thresholds."modified_vg-mnist-28-eager".train_seconds]\nthreshold = 0.2')
    done = run_cnnperf("compare", base, slower, "--config", str(config), cwd=tmp_path)
    assert "did you mean 'modified_vgg-mnist-28-eager'" in sentence_of(done)


def test_a_file_is_written_and_the_summary_shown(base: str, slower: str, tmp_path: Path) -> None:
    """So that a log has the answer too."""
    for form, begin in (("markdown", "#"), ("junit", "<?xml"), ("json", "{"), ("table", "")):
        path = tmp_path / "out" / f"verdict.{form}"
        done = run_cnnperf("compare", base, slower, "-f", form, "-o", str(path), cwd=tmp_path)
        assert done.returncode == 1
        assert done.stdout.startswith("regression in 1 of 1 case")
        assert path.read_text().lstrip().startswith(begin)
        assert "modified_vgg-mnist-28-eager" in path.read_text()


def test_unwritable_file_is_one_sentence(base: str, tmp_path: Path) -> None:
    """Before that, everything was fine; the exit code says that it is not."""
    done = run_cnnperf("compare", base, base, "-o", str(tmp_path), cwd=tmp_path)
    assert "is a folder: name a file with -o" in sentence_of(done)


@pytest.mark.parametrize("target", ["customSmallerIsBetter", "customBiggerIsBetter", "bencher"])
def test_a_record_is_exported(base: str, tmp_path: Path, target: str) -> None:
    """As JSON, on the terminal or into a file."""
    done = run_cnnperf("export", base, "--to", target, cwd=tmp_path)
    assert done.returncode == 0
    path = tmp_path / "export.json"
    assert run_cnnperf("export", base, "--to", target, "-o", str(path)).returncode == 0
    assert json.loads(path.read_text()) == json.loads(done.stdout)
    assert "modified_vgg-mnist-28-eager" in done.stdout
