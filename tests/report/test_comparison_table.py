"""What a terminal shows of a comparison."""

from __future__ import annotations

import pytest

from cnnperf.compare.rules import Rules
from cnnperf.compare.thresholds import MetricSettings, Thresholds
from cnnperf.compare.verdicts import CaseVerdicts, Comparison, Contamination, Drift, Verdict
from cnnperf.report.terminal.comparison import comparison_summary, thresholds_table
from cnnperf.report.terminal.run import render
from tests.compare.comparisons import CASE, example_accuracy, example_comparison, example_metric


def _shown(*cases: CaseVerdicts, width: int = 120, **fields: object) -> str:
    comparison = example_comparison(cases=cases, **fields) if cases else example_comparison()
    return render(comparison_summary(comparison), width=width, color=False)


def _case(verdict: str = "slower", **metrics: object) -> CaseVerdicts:
    return CaseVerdicts.model_validate({"id": CASE, "verdict": verdict, "metrics": metrics})


def test_summary_is_the_last_line() -> None:
    """Where a terminal is when it is done."""
    comparison = example_comparison()
    assert _shown().splitlines()[-1].strip() == comparison.summary


def test_a_row_has_both_medians_their_n_the_change_and_the_verdict() -> None:
    """In one line that can be copied."""
    text = _shown(_case(train_seconds=example_metric()))
    (row,) = [line for line in text.splitlines() if line.strip().startswith("train time")]
    assert row.split() == [
        "train", "time", "20.0", "s", "21.0", "s", "5,", "5", "1.052", "(1.031", "to", "1.074)",
        "slower",
    ]  # fmt: skip


def test_environment_changes_come_first() -> None:
    """It is often the answer."""
    text = _shown()
    changes = example_comparison().environment_changes
    assert changes
    assert text.index(changes[0].field) < text.index(CASE)
    assert "no difference between the environments" in _shown(_case(), environment_changes=())


def test_shared_explanation_is_shown_once() -> None:
    """Twenty lines of one reason hide the twenty-first."""
    metric = example_metric("inconclusive", reason="one run a side decides nothing")
    text = _shown(_case("inconclusive", train_seconds=metric, images_per_second=metric))
    assert text.count("one run a side decides nothing") == 1
    assert "[and 1 more]" in text


def test_non_gating_metric_has_no_explanation() -> None:
    """Its row says enough."""
    metric = example_metric("inconclusive", reason="a reason", gates=False)
    assert "a reason" not in _shown(_case("inconclusive", peak_memory_bytes=metric))


def test_disturbed_repeats_and_numerics_are_shown() -> None:
    """With what was done about them."""
    case = _case(train_seconds=example_metric()).model_copy(
        update={
            "contamination": Contamination(base=1, new=2, kinds=("busy_cpu", "throttled")),
            "drift": (Drift(seed=3, steps=20),),
        }
    )
    text = " ".join(_shown(case).split())
    assert "1 repeat of base, 2 of new (busy_cpu, throttled): kept" in text
    assert "numerics: modified_vgg-mnist-28-eager: seed 3: losses of 20 steps identical" in text


def _styled(comparison: Comparison, shown: str) -> str:
    """The line that has this text, with its styles."""
    text = render(comparison_summary(comparison), width=120, color=True)
    return next(line for line in text.splitlines() if shown in line)


def test_a_regression_is_bold_only_if_it_gates() -> None:
    """Both are red."""
    metrics = {
        "train_seconds": example_metric(),
        "peak_memory_bytes": example_metric("worse", gates=False),
    }
    comparison = example_comparison(cases=(_case(**metrics),))
    assert "\x1b[1;31mslower" in _styled(comparison, "train time")
    assert "\x1b[31mworse" in _styled(comparison, "peak memory")


def test_a_reason_to_doubt_a_verdict_is_yellow() -> None:
    """Losses that are identical are none."""
    case = _case(train_seconds=example_metric()).model_copy(
        update={"contamination": Contamination(base=1), "drift": (Drift(seed=3, steps=20),)}
    )
    comparison = example_comparison(cases=(case,))
    assert _styled(comparison, "disturbed:").startswith("\x1b[33m")
    assert _styled(comparison, "numerics:").startswith("numerics")


@pytest.mark.parametrize("hostile", ["\x1b[31mred", "[bold]x[/bold]", "a\nb", "\x9b2J"])
def test_hostile_text_is_shown_as_plain_text(hostile: str) -> None:
    """Neither the terminal nor rich."""
    case = CaseVerdicts(id=hostile, verdict="missing", reason=hostile)
    text = _shown(case, new_cases=(hostile,), notes=(hostile,), summary=hostile)
    assert "\x1b" not in text
    assert "\x9b" not in text
    if "[bold]" in hostile:
        assert "[bold]x[/bold]" in text


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_a_narrow_terminal_gets_every_figure(width: int) -> None:
    """Cut figures would be worse than more lines."""
    metrics = {"train_seconds": example_metric("inconclusive"), "test_accuracy": example_accuracy()}
    text = _shown(_case("inconclusive", **metrics), width=width)
    assert max(map(len, text.splitlines())) <= width
    words = text[text.index(CASE) : text.index("medians; n:")].split()
    for shown in ("time", "accuracy", "20.0", "5,", "1.052", "(1.031", "1.074)", "-0.31"):
        assert shown in words
    assert words.count("inconclusive") == 2


@pytest.mark.parametrize("width", [60, 80, 100])
def test_case_id_has_a_line_of_its_own(width: int) -> None:
    """It is copied and searched."""
    text = _shown(_case(test_accuracy=example_accuracy()), new_cases=(f"{CASE}-2",), width=width)
    lines = [line.strip() for line in text.splitlines()]
    assert CASE in lines
    assert f"{CASE}-2 (new case)" in lines


def test_columns_of_all_cases_are_aligned() -> None:
    """However long the figures of one are."""
    long = example_metric(base=123_456.0, new=234_567.0, verdict="same")
    text = _shown(_case(train_seconds=example_metric()), _case(train_seconds=long))
    ends = {line.index("(1.031") for line in text.splitlines() if "(1.031" in line}
    assert len(ends) == 1


def test_verbose_shows_the_thresholds_in_force() -> None:
    """With a threshold as it was applied."""
    thresholds = Thresholds(metrics={"test_accuracy": MetricSettings(margin=0.002)})
    case = _case(
        train_seconds=example_metric(threshold=0.123),
        test_accuracy=example_accuracy(threshold=0.002),
    )
    comparison = example_comparison(cases=(case,))
    text = render(thresholds_table(comparison, Rules(thresholds=thresholds).thresholds),
                  width=120, color=False)  # fmt: skip
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "train time 12.3 % — yes" in rows
    assert "accuracy 0.2 points 97.00 % yes" in rows


@pytest.mark.parametrize("verdict", ["slower", "inconclusive", "not comparable"])
def test_a_narrow_terminal_cuts_no_verdict(verdict: Verdict) -> None:
    """It is what everybody looks for; names and figures are folded instead."""
    metrics = {"train_seconds": example_metric(verdict)}
    lines = _shown(_case(verdict, **metrics), width=64).splitlines()
    row = next(line for line in lines if "train time" in line)
    assert row.rstrip().endswith(verdict)
    assert max(map(len, lines)) <= 64
