"""A history in words and as a table on a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnperf.compare.history.load import load_folder
from cnnperf.compare.history.series import find_series
from cnnperf.compare.thresholds import Thresholds
from cnnperf.compare.verdicts import EnvironmentChange
from cnnperf.report.terminal import history
from cnnperf.report.terminal.run import render
from cnnperf.report.wording.history import MAX_CHANGES, cause
from tests.compare.history.folders import write_history
from tests.examples import plain_terminal


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


@pytest.mark.parametrize(("extra", "end"), [(0, "f2 a → b"), (1, "f2 a → b and 1 more")])
def test_changes_beyond_the_limit_are_counted(extra: int, end: str) -> None:
    """With as many as are named there is no count."""
    changes = [
        EnvironmentChange(field=f"software.f{number}", base="a", new="b")
        for number in range(MAX_CHANGES + extra)
    ]
    assert cause(changes) == f"f0 a → b, f1 a → b, {end}"


def test_long_values_show_only_the_words_that_differ() -> None:
    """As a CPU's list of features does."""
    flags = " ".join(f"flag{number}" for number in range(30))
    change = EnvironmentChange(field="hardware.cpu_flags", base=flags, new=f"{flags} avx512")
    assert cause([change]) == "hardware.cpu flags ... → ... avx512"


def test_the_newest_steps_have_a_line_each_and_the_rest_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of 10 % on days 9 and 17, the first on 1 January is day 1."""
    write_history(tmp_path, [20.0] * 8 + [22.0] * 8 + [24.2] * 8)
    loaded = load_folder(tmp_path, ["train_seconds"])
    series = find_series(loaded.points, Thresholds())

    def step_lines() -> list[str]:
        text = render(history.history_summary(loaded, series), width=250, color=False)
        return [line for line in text.splitlines() if line.startswith(("worse:", "and "))]

    days = [line.split(", between")[0].split()[-1] for line in step_lines()]
    assert days == sorted(days, reverse=True)
    assert len(days) == 2
    monkeypatch.setattr(history, "MAX_STEPS", 1)
    assert step_lines()[0].split(", between")[0].endswith(days[0])
    assert step_lines()[1:] == ["and 1 earlier step: -o FILE writes a page with all of them"]
