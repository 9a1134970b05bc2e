"""Which kind of work changed: the sentence, and how certain it is."""

from __future__ import annotations

import json

import pytest

from cnnperf.compare.inputs import Side
from cnnperf.compare.judge import judge
from cnnperf.compare.profile_change import describe, profile_change
from cnnperf.compare.verdicts import Comparison, ProfileChange
from cnnperf.record.schema import CaseRecord, KernelTime, Profile
from cnnperf.report.formats.ci import to_github, to_junit
from cnnperf.report.formats.comparison import to_json
from cnnperf.report.formats.markdown import to_markdown
from cnnperf.report.terminal.comparison import comparison_summary
from cnnperf.report.terminal.run import render
from tests.compare.comparisons import HOSTILE, example_case, example_comparison
from tests.examples import example_case_record, example_profile, example_record, profiled_repeats


def case_of(*profiles: Profile, train_seconds: float = 20.0) -> CaseRecord:
    return example_case_record(repeats=profiled_repeats(*profiles, train_seconds=train_seconds))


def change_of(base: list[Profile], new: list[Profile]) -> ProfileChange:
    change = profile_change(case_of(*base), case_of(*new))
    assert change is not None
    return change


def alike(n: int = 3, **milliseconds: float) -> list[Profile]:
    """Return profiles that differ by a hundredth of a millisecond of idle time."""
    idle = milliseconds.pop("idle", 1.5)
    return [example_profile(**milliseconds, idle=idle + i / 100) for i in range(n)]


def with_kernels(profile: Profile, **milliseconds: float) -> Profile:
    """Return the profile with other longest kernels, all convolutions."""
    longest = [
        KernelTime(name=name, kernel_class="convolution", calls_per_step=1,
                   seconds_per_step=value / 1e3)
        for name, value in milliseconds.items()
    ]  # fmt: skip
    return profile.model_copy(update={"longest_kernels": longest})


def compared(base: CaseRecord, new: CaseRecord) -> Comparison:
    return judge(
        Side.of(example_record(base), "base.json"), Side.of(example_record(new), "new.json")
    )


def slowed() -> Comparison:
    """Compare a case that is 10 % slower: convolutions add 2 ms to a step of 10 ms."""
    return compared(case_of(*alike()), case_of(*alike(convolution=7.0), train_seconds=22.0))


# --- what changed -------------------------------------------------------------------------------


def test_class_with_most_of_the_change_is_named_with_its_share() -> None:
    """2.0 of 2.2 ms are convolutions (91 %), so the optimizer's 0.2 ms is not named."""
    found = describe(change_of(alike(), alike(convolution=7.0, optimizer=1.2)))
    assert found.startswith("profiled step 10.01 ms -> 12.21 ms: convolution +2.00 ms (91 % of it)")
    assert "optimizer" not in found
    assert "hint" not in found


def test_classes_are_named_largest_first_until_they_make_up_most() -> None:
    """67 % is not enough, so the second class is named too."""
    found = describe(change_of(alike(), alike(convolution=6.0, normalisation=4.0)))
    assert "normalisation +2.00 ms (67 % of it), convolution +1.00 ms (33 % of it)" in found


def test_class_that_became_faster_does_not_explain_a_slower_step() -> None:
    """Then another class can have more than 100 %."""
    change = change_of(alike(), alike(convolution=4.0, idle=4.5))
    assert [change.classes[0].kernel_class, change.classes[-1].kernel_class] == [
        "idle", "convolution",
    ]  # fmt: skip
    assert "idle +3.00 ms (150 % of it)" in describe(change)
    assert "convolution -" not in describe(change)


def test_speedup_names_its_classes_too() -> None:
    """With their shares of the gain."""
    found = describe(change_of(alike(convolution=9.0), alike()))
    assert "profiled step 14.01 ms -> 10.01 ms: convolution -4.00 ms (100 % of it)" in found
    two = describe(change_of(alike(convolution=6.0, normalisation=4.0), alike()))
    assert "normalisation -2.00 ms (67 % of it), convolution -1.00 ms (33 % of it)" in two


def test_class_name_is_shown_with_spaces() -> None:
    """Not as in the record."""
    assert "data wait +3.00 ms" in describe(change_of(alike(), alike(data_wait=3.5)))


def test_one_disturbed_profile_of_three_changes_nothing() -> None:
    """The medians are compared."""
    change = change_of(alike(), [*alike(2), example_profile(convolution=50.0)])
    assert change.new == pytest.approx(change.base, abs=1e-4)


# --- kernels ------------------------------------------------------------------------------------


def test_kernel_that_moved_is_named_with_both_times() -> None:
    """A kernel that hardly moved is not."""
    before = [with_kernels(each, implicit_gemm=3, bias=1) for each in alike()]
    after = [with_kernels(each, implicit_gemm=5, bias=1.01) for each in alike(convolution=7.0)]
    change = change_of(before, after)
    assert [each.name for each in change.kernels] == ["implicit_gemm", "bias"]
    assert "implicit_gemm 3.00 ms -> 5.00 ms" in describe(change)
    assert "bias" not in describe(change)


def test_kernel_that_only_new_lists_is_new_among_the_longest() -> None:
    """It may have been too short to be listed before."""
    before = [with_kernels(each, winograd=3, tail=0.5) for each in alike()]
    after = [with_kernels(each, implicit_gemm=5, tail=0.5) for each in alike(convolution=7.0)]
    change = change_of(before, after)
    found = {each.name: (each.base, each.new) for each in change.kernels}
    assert found == {"implicit_gemm": (None, 0.005), "winograd": (0.003, None)}
    assert "implicit_gemm is new among the longest (5.00 ms)" in describe(change)


def test_kernel_that_only_base_lists_is_no_longer_among_the_longest() -> None:
    """It may still be there, but shorter than the listed ones."""
    before = [with_kernels(each, winograd=5, tail=0.5) for each in alike(convolution=9.0)]
    after = [with_kernels(each, tail=0.5) for each in alike()]
    found = describe(change_of(before, after))
    assert "winograd is no longer among the longest (5.00 ms)" in found


def test_only_two_kernels_are_named() -> None:
    """Those that moved most."""
    before = [with_kernels(each, one=1, two=1, three=1) for each in alike()]
    after = [with_kernels(each, one=2, two=4, three=3) for each in alike(convolution=11.0)]
    found = describe(change_of(before, after))
    assert "two 1.00 ms -> 4.00 ms; three 1.00 ms -> 3.00 ms" in found
    assert "one " not in found


def test_kernel_shorter_than_all_that_base_lists_has_not_moved() -> None:
    """Base lists 1 ms at least, so 0.9 ms may be unchanged."""
    before = [with_kernels(each, gemm=3, tail=1) for each in alike()]
    after = [with_kernels(each, gemm=3, tail=1, unseen=0.9) for each in alike()]
    assert change_of(before, after).kernels == ()


# --- doubt --------------------------------------------------------------------------------------


def test_change_with_one_profile_on_a_side_is_a_hint() -> None:
    """One profile has no spread."""
    found = describe(change_of(alike(1), alike(convolution=7.0)))
    assert found.endswith("a hint only: one side has a single profile")


def test_change_smaller_than_the_steps_spread_is_a_hint() -> None:
    """Repeats of one side differ by 3 ms, the sides by 1 ms."""
    base = [example_profile(idle=value) for value in (0.0, 1.5, 3.0)]
    found = describe(change_of(base, alike(convolution=6.0)))
    assert "a hint only: the step varies as much between repeats of one side (3.00 ms)" in found


def test_change_smaller_than_the_first_classs_spread_is_a_hint() -> None:
    """The step is steady, but convolutions and idle time vary."""
    base = [example_profile(convolution=c, idle=6.5 - c) for c in (3.5, 5.0, 6.5)]
    found = describe(change_of(base, alike(convolution=7.0)))
    assert "a hint only: convolution varies as much between repeats of one side" in found


def test_no_profile_on_one_side_gives_no_change() -> None:
    """On either side."""
    plain = example_case_record()
    assert profile_change(plain, case_of(*alike())) is None
    assert profile_change(case_of(*alike()), plain) is None


# --- where it is shown --------------------------------------------------------------------------


def test_table_and_markdown_have_the_sentence_and_json_has_the_figures() -> None:
    """One line per case."""
    comparison = slowed()
    assert comparison.cases[0].metrics["train_seconds"].verdict == "slower"
    sentence = "convolution +2.00 ms (100 % of it)"
    text = render(comparison_summary(comparison), width=200, color=False)
    assert f"profile: {comparison.cases[0].id}: profiled step 10.01 ms" in text
    assert sentence in text
    assert sentence in to_markdown(comparison)
    (case,) = json.loads(to_json(comparison))["cases"]
    assert case["profile"]["classes"][0]["kernel_class"] == "convolution"
    assert case["profile"]["new"] == pytest.approx(0.01201)


def test_annotations_and_junit_have_the_sentence_at_the_slower_metric() -> None:
    """Not at accuracy, which has no kind of work."""
    comparison = slowed()
    sentence = "; profile: profiled step 10.01 ms"
    annotations = to_github(comparison).splitlines()
    (slower,) = [line for line in annotations if line.startswith("::error title=slower")]
    assert "train time" in slower
    assert sentence in slower
    assert "convolution +2.00 ms (100 %25 of it)" in slower
    assert not any(sentence in line for line in annotations if "accuracy" in line)
    junit = to_junit(comparison)
    (failure,) = [line for line in junit.splitlines() if "<failure" in line]
    assert f"{sentence} -&gt; 12.01 ms: convolution +2.00 ms" in failure
    assert f"profile: {comparison.cases[0].id}: profiled step 10.01 ms" in junit


def test_profiles_change_no_verdict_and_no_exit_code() -> None:
    """Against the same records without profiles."""
    loud = slowed()
    plain = [
        case.model_copy(
            update={"repeats": [r.model_copy(update={"profile": None}) for r in case.repeats]}
        )
        for case in (case_of(*alike()), case_of(*alike(), train_seconds=22.0))
    ]
    quiet = compared(*plain)
    assert (loud.verdict, loud.exit_code, loud.summary) == (
        quiet.verdict, quiet.exit_code, quiet.summary,
    )  # fmt: skip
    assert loud.cases[0].metrics == quiet.cases[0].metrics


def test_unchanged_case_has_no_sentence() -> None:
    """JSON still has the figures."""
    comparison = compared(case_of(*alike()), case_of(*alike(convolution=7.0)))
    metrics = {name: metric.model_copy(update={"verdict": "same"})
               for name, metric in comparison.cases[0].metrics.items()}  # fmt: skip
    case = comparison.cases[0].model_copy(update={"metrics": metrics})
    same = comparison.model_copy(update={"cases": (case,)})
    assert case.profile is not None
    assert "profiled" not in render(comparison_summary(same), width=200, color=False)
    assert "profiled" not in to_markdown(same)


def test_slower_case_with_equal_steps_is_not_explained_by_profiles() -> None:
    """Something outside the profiled steps slowed it."""
    comparison = compared(case_of(*alike()), case_of(*alike(), train_seconds=22.0))
    text = " ".join(render(comparison_summary(comparison), width=200, color=False).split())
    assert "profiled step 10.01 ms -> 10.01 ms; so the profiled steps do not show why" in text


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_kernel_name_is_one_line_of_harmless_text(text: str) -> None:
    """On the terminal and in Markdown."""
    after = [with_kernels(each, **{text: 5.0}) for each in alike(convolution=7.0)]
    change = change_of(alike(), after)
    comparison = example_comparison(example_case(profile=change))
    shown = render(comparison_summary(comparison), width=8000, color=False)
    assert sum("profile: " in line for line in shown.splitlines()) == 1
    assert "\x1b" not in shown
    markdown = to_markdown(comparison)
    (bullet,) = [line for line in markdown.splitlines() if "new among the longest" in line]
    assert "<script>" not in bullet.split("`")[0]
    assert bullet.startswith("- ")
