"""A result gives figures, frames and charts of its record; a comparison shows itself."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import cnnperf
from cnnperf import compare, load
from cnnperf.cli.python.result import TrainResult
from cnnperf.compare.inputs import load_side
from cnnperf.compare.judge import judge
from cnnperf.compare.verdicts import Comparison
from cnnperf.errors import UsageError
from cnnperf.record.schema import Record
from tests.commands import run_cnnperf
from tests.examples import (
    example_case_record,
    example_environment,
    example_record,
    example_repeat,
    hide_packages,
    plain_terminal,
    python_with,
)

SECONDS = (20.0, 26.0, 21.0)


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain_terminal(monkeypatch)
    monkeypatch.chdir(tmp_path)


def learnt(*seconds: float, factor: float = 1.0) -> Record:
    """A record of one case with a repeat for each time; each has two epochs and a metric."""
    repeats = []
    for seed, each in enumerate(seconds):
        repeat = example_repeat(seed, each * factor, peak_memory_bytes=1000 + seed)
        (first,) = repeat.epochs
        repeat.epochs = [
            first.model_copy(update={"epoch": number, "metrics": {"iou": number / 4}})
            for number in (1, 2)
        ]
        repeat.quality = {"test_iou": 0.5 + seed}
        repeats.append(repeat)
    return example_record(example_case_record(repeats=repeats))


@pytest.mark.parametrize("seconds", [SECONDS[:1], SECONDS[:2], SECONDS])
def test_metrics_are_those_of_one_repeat_or_medians(seconds: tuple[float, ...]) -> None:
    """By Python's median; whole bytes stay whole."""
    result = TrainResult(learnt(*seconds))
    assert result.metrics.train_seconds == statistics.median(seconds)
    assert isinstance(result.metrics.peak_memory_bytes, int)
    assert result.metrics.latency_seconds_p50 is None
    assert result.quality == {"test_iou": statistics.median(0.5 + i for i in range(len(seconds)))}
    assert [repeat.seed for repeat in result.repeats] == list(range(len(seconds)))


def test_frame_has_a_row_for_each_repeat() -> None:
    """Pandas is preferred; what nobody measured is left out."""
    pandas = pytest.importorskip("pandas")
    frame = TrainResult(learnt(*SECONDS)).to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["train_seconds"]) == list(SECONDS)
    assert list(frame["seed"]) == [0, 1, 2]
    assert list(frame["test_iou"]) == [0.5, 1.5, 2.5]
    assert "latency_seconds_p50" not in frame


@pytest.mark.parametrize(
    ("hidden", "found"),
    [
        (("pandas",), "polars"),
        (("pandas", "polars"), "to_frame needs pandas or polars: pip install pandas"),
    ],
)
def test_frame_without_pandas(tmp_path: Path, hidden: tuple[str, ...], found: str) -> None:
    """It is polars', or one sentence names what to install."""
    if found == "polars":
        pytest.importorskip("polars")
    result = TrainResult(learnt(20.0))
    result.save(tmp_path / "run.json")
    code = (
        "from cnnperf import TrainResult, load; "
        "print(type(TrainResult(load('run.json')).to_frame()).__module__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=python_with(hide_packages(*hidden), tmp_path), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert found in (done.stdout + done.stderr).strip().splitlines()[-1]


def test_plot_draws_losses_scores_and_own_metrics_by_epoch(tmp_path: Path) -> None:
    """Altair validates the chart and vl-convert draws it; the data are those of the record."""
    chart = TrainResult(learnt(*SECONDS)).plot()
    content = chart.to_dict()
    assert [each["title"] for each in content["vconcat"]] == [
        "Loss", "Validation accuracy and F1", "iou"
    ]  # fmt: skip
    rows = content["vconcat"][2]["layer"][0]["data"]["values"]
    medians = {row["epoch"]: row["value"] for row in rows if row["role"] == "median"}
    assert medians == {1: 0.25, 2: 0.5}
    assert sum(row["role"] == "training" for row in rows) == len(SECONDS) * 2
    assert "var(--" not in str(content)
    chart.save(tmp_path / "plot.svg")
    assert "<svg" in (tmp_path / "plot.svg").read_text()


def test_plot_of_one_epoch_is_refused() -> None:
    """A point is no curve."""
    with pytest.raises(UsageError, match="needs a training of two epochs or more"):
        TrainResult(example_record()).plot()


def test_saved_result_loads_as_it_was(tmp_path: Path) -> None:
    """And a file that is not there is a sentence."""
    result = TrainResult(learnt(*SECONDS))
    result.save(tmp_path / "run.json")
    assert load(tmp_path / "run.json") == result.record
    with pytest.raises(UsageError, match="cannot be read"):
        load("nowhere.json")


@pytest.mark.parametrize(
    ("factor", "code"), [(1.0, 0), (1.5, 1)], ids=["same", "slower"]
)  # fmt: skip
def test_comparison_is_that_of_the_command(tmp_path: Path, factor: float, code: int) -> None:
    """Of results, records and files alike: the judge's verdicts, exit code and table."""
    base, new = learnt(*SECONDS, *SECONDS), learnt(*SECONDS, *SECONDS, factor=factor)
    TrainResult(base).save("base.json")
    TrainResult(new).save("new.json")
    expected = judge(load_side([Path("base.json")]), load_side([Path("new.json")]))
    for first in (base, TrainResult(base), "base.json", Path("base.json")):
        comparison = compare(first, TrainResult(new))
        assert isinstance(comparison, Comparison)
        assert (comparison.verdict, comparison.cases) == (expected.verdict, expected.cases)
        assert comparison.exit_code == code
    done = run_cnnperf("compare", "base.json", "new.json", cwd=tmp_path)
    assert done.returncode == code
    assert str(comparison).split() == done.stdout.split()
    assert "<pre" in comparison._repr_html_()


def test_difference_of_hardware_forbids_and_across_allows(tmp_path: Path) -> None:
    """The sentence names the argument, not an option."""
    base = learnt(*SECONDS)
    other = base.model_copy(update={"environment": example_environment(cpu_model="Another")})
    comparison = compare(base, other)
    assert comparison.exit_code == 3
    assert 'add across="hardware" to compare anyway' in (comparison.cases[0].reason or "")
    assert compare(base, other, across="hardware").exit_code == 0
    assert compare(base, other, across=["hardware", "software"]).exit_code == 0
    with pytest.raises(UsageError, match=r"no value of across 'hardwear'.*did you mean 'hardware'"):
        compare(base, other, across="hardwear")  # type: ignore[arg-type]


def test_thresholds_of_the_current_folder_are_in_force(tmp_path: Path) -> None:
    """A slowdown of a half passes where the file allows it."""
    base, new = learnt(*SECONDS, *SECONDS), learnt(*SECONDS, *SECONDS, factor=1.5)
    (tmp_path / "cnnperf.toml").write_text("[metrics.train_seconds]\nthreshold = 0.9\n")
    assert compare(base, new).exit_code == 0


def test_strict_comparison_without_a_decision_has_exit_code_4() -> None:
    """One repeat a side decides nothing."""
    one = learnt(20.0)
    assert (compare(one, one).exit_code, compare(one, one, strict=True).exit_code) == (0, 4)


def test_something_else_is_refused() -> None:
    """A sentence names what fits."""
    with pytest.raises(UsageError, match="base is a int, expected a record, a result of train"):
        compare(3, learnt(20.0))  # type: ignore[arg-type]


def test_compare_is_callable_however_it_was_imported() -> None:
    """The package of that name must not hide the function, before or after its modules load."""
    code = (
        "import inspect, sys\n"
        "{}\n"
        "from cnnperf import compare\n"
        "assert list(inspect.signature(compare).parameters)[:2] == ['base', 'new']\n"
        "import cnnperf.compare.judge as judge, cnnperf\n"
        "assert judge.judge and cnnperf.compare is compare\n"
        "try: compare('a.json', 'b.json')\n"
        "except cnnperf.UsageError as error: print(error)\n"
    )
    for before in ("", "import cnnperf.compare.stats", "import cnnperf; cnnperf.compare"):
        command = [sys.executable, "-c", code.format(before)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout.startswith("a.json cannot be read"), done.stderr


def test_results_name_their_case_in_a_notebook() -> None:
    """As text that HTML cannot take for markup."""
    record = learnt(20.0)
    record.cases[0].id = "<b>case"
    assert "&lt;b&gt;case" in TrainResult(record)._repr_html_()
    assert repr(TrainResult(record)) == str(TrainResult(record))
    assert cnnperf.TrainResult is TrainResult
