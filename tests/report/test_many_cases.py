"""Comparisons of many cases: what people read is short, and what programs read is complete."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from cnnperf.compare.inputs import Side
from cnnperf.compare.judge import judge
from cnnperf.compare.verdicts import Comparison
from cnnperf.record.schema import record_as_json
from cnnperf.report.formats.comparison import Format, as_text
from cnnperf.report.formats.markdown import COMMENT_MAX_CHARS, SUMMARY_MAX_BYTES
from cnnperf.report.wording.comparison import MAX_CASES, shortened
from tests.commands import run_cnnperf
from tests.compare.comparisons import example_case, example_comparison, example_metric
from tests.compare.comparisons import example_same as same
from tests.examples import many_cases, plain_terminal, write_record


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


def many(slower: int = 0, faster: int = 0, unchanged: int = 0) -> Comparison:
    """Judged cases, unchanged ones first; the n-th slower one takes n per mille longer."""
    metric = {"slower": example_metric("slower"), "faster": example_metric("faster", ratio=0.5)}
    cases = [
        *(example_case(f"same-{i}", {"train_seconds": same()}, verdict="same")
          for i in range(unchanged)),
        *(example_case(f"faster-{i}", {"train_seconds": metric["faster"]}, verdict="faster")
          for i in range(faster)),
        *(example_case(f"slower-{i}", {"train_seconds": example_metric(ratio=1.1 + i / 1000)})
          for i in range(slower)),
    ]  # fmt: skip
    return example_comparison(*cases)


def test_few_cases_are_shown_as_they_are() -> None:
    comparison = many(slower=1, faster=1, unchanged=MAX_CASES - 3)  # and one new
    assert shortened(comparison) == (comparison, "")


def test_of_many_cases_only_changes_are_shown_regressions_first() -> None:
    """The largest regression first; the counts add up."""
    shown, line = shortened(many(slower=3, faster=2, unchanged=MAX_CASES))
    assert [case.id for case in shown.cases] == [
        "slower-2", "slower-1", "slower-0", "faster-0", "faster-1",
    ]  # fmt: skip
    assert line == "not shown: 50 cases without a change (`cnnperf compare --all` shows all)"


def test_changes_beyond_the_limit_are_counted() -> None:
    shown, line = shortened(many(slower=MAX_CASES, faster=30, unchanged=1))
    assert {case.verdict for case in shown.cases} == {"slower"}
    assert len(shown.cases) == MAX_CASES
    assert "not shown: 30 more cases, 1 case without a change (" in line


def test_change_that_does_not_gate_is_shown() -> None:
    quiet = {"train_seconds": same(), "mfu": example_metric("slower", gates=False)}
    comparison = many(unchanged=MAX_CASES)
    cases = (*comparison.cases, example_case("quiet", quiet, verdict="same"))
    shown, _ = shortened(comparison.model_copy(update={"cases": cases}))
    assert [case.id for case in shown.cases] == ["quiet"]


def test_new_cases_are_limited_too() -> None:
    new = tuple(f"new-{i}" for i in range(MAX_CASES + 7))
    shown, line = shortened(example_comparison(example_case(), new_cases=new))
    assert len(shown.new_cases) == MAX_CASES
    assert "not shown: 7 new cases (" in line


def test_text_for_people_stays_short_and_formats_for_programs_are_complete() -> None:
    """However many cases there are."""
    comparison = many(slower=5, faster=5, unchanged=990)
    table = as_text(comparison, Format.TABLE)
    assert table.count("\n") < 100
    assert "not shown: 990 cases without a change" in table
    assert "not shown: 990 cases" not in as_text(comparison, Format.TABLE, everything=True)
    for form in (Format.JSON, Format.JUNIT):
        text = as_text(comparison, form)
        assert all(case.id in text for case in comparison.cases)


def test_markdown_stays_below_githubs_limits_and_says_what_it_leaves_out() -> None:
    comparison = many(slower=5000, unchanged=5000)
    text = as_text(comparison, Format.MARKDOWN)
    assert len(text.encode()) <= COMMENT_MAX_CHARS
    assert "Not shown: 4,950 more cases, 5,000 cases without a change" in text
    everything = as_text(comparison, Format.MARKDOWN, everything=True)
    assert COMMENT_MAX_CHARS < len(everything.encode()) <= SUMMARY_MAX_BYTES
    assert "left out because of the length limit" in everything


def test_command_shows_regressions_and_the_rest_on_request(tmp_path: Path) -> None:
    """As a process, on files; the exit code is that of all cases."""
    paths = [
        str(write_record(tmp_path / name, record_as_json(many_cases(60, slower=slower))))
        for name, slower in (("base.json", ()), ("new.json", (33, 44)))
    ]
    short, full, as_json = (
        run_cnnperf("compare", *paths, *more, cwd=tmp_path)
        for more in ((), ("--all",), ("--format=json",))
    )
    assert [done.returncode for done in (short, full, as_json)] == [1, 1, 1]
    assert "not shown: 58 cases without a change" in short.stdout
    assert short.stdout.count("\nnet") == 2
    assert full.stdout.count("\nnet") == 60
    assert short.stdout.splitlines()[-1] == full.stdout.splitlines()[-1]
    assert len(json.loads(as_json.stdout)["cases"]) == 60


def test_comparing_takes_time_in_proportion_to_the_cases() -> None:
    """Four times the cases, at most eight times the processor's time."""
    taken = []
    for count in (100, 100, 400):  # the first warms up
        sides = (
            Side.of(many_cases(count, 3, slower=range(0, count, 9)), name)
            for name in ("base", "new")
        )
        base, new = sides
        start = time.process_time()
        as_text(judge(base, new), Format.TABLE)
        taken.append(time.process_time() - start)
    assert taken[2] < 8 * taken[1]
