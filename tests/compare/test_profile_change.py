"""Which class of work a slowdown came from: the sentence, and how sure it is."""

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
    """Profiles that differ by a hundredth of a millisecond of idling."""
    idle = milliseconds.pop("idle", 1.5)
    return [example_profile(**milliseconds, idle=idle + i / 100) for i in range(n)]


def with_kernels(profile: Profile, **milliseconds: float) -> Profile:
    """Other longest kernels, each a convolution."""
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
    """A case that is 10 % slower: convolutions take 2 ms more of a step of 10 ms."""
    return compared(case_of(*alike()), case_of(*alike(convolution=7.0), train_seconds=22.0))


# --- what changed -------------------------------------------------------------------------------


def test_the_class_that_accounts_for_most_is_named_with_its_share() -> None:
    """2.0 of 2.2 ms are convolutions: 91 %, so the optimizer's 0.2 need no words."""
    found = describe(change_of(alike(), alike(convolution=7.0, optimizer=1.2)))
    assert found.startswith("profiled step 10.01 ms -> 12.21 ms: convolution +2.00 ms (91 % of it)")
    assert "optimizer" not in found
    assert "hint" not in found


def test_several_classes_are_named_until_they_make_most_of_it() -> None:
    """The largest first."""
    found = describe(change_of(alike(), alike(convolution=6.0, normalisation=4.0)))
    assert "normalisation +2.00 ms (67 % of it), convolution +1.00 ms (33 % of it)" in found


def test_a_class_that_moved_the_other_way_is_not_what_it_came_from() -> None:
    """A step that is slower although its convolutions are faster; shares may exceed 100 %."""
    change = change_of(alike(), alike(convolution=4.0, idle=4.5))
    assert [change.classes[0].kernel_class, change.classes[-1].kernel_class] == [
        "idle", "convolution",
    ]  # fmt: skip
    assert "idle +3.00 ms (150 % of it)" in describe(change)
    assert "convolution -" not in describe(change)


def test_a_speedup_is_told_in_the_same_way() -> None:
    """The share of a gain."""
    found = describe(change_of(alike(convolution=9.0), alike()))
    assert "profiled step 14.01 ms -> 10.01 ms: convolution -4.00 ms (100 % of it)" in found


def test_data_waits_are_words() -> None:
    """Not a field's name."""
    assert "data wait +3.00 ms" in describe(change_of(alike(), alike(data_wait=3.5)))


def test_the_median_counts_not_a_disturbed_profile() -> None:
    """Two of three say that nothing has changed."""
    change = change_of(alike(), [*alike(2), example_profile(convolution=50.0)])
    assert change.new == pytest.approx(change.base, abs=1e-4)


# --- kernels ------------------------------------------------------------------------------------


def test_the_kernels_that_moved_are_named() -> None:
    """With both times; one that hardly moved is not."""
    before = [with_kernels(each, implicit_gemm=3, bias=1) for each in alike()]
    after = [with_kernels(each, implicit_gemm=5, bias=1.01) for each in alike(convolution=7.0)]
    change = change_of(before, after)
    assert [each.name for each in change.kernels] == ["implicit_gemm", "bias"]
    assert "implicit_gemm 3.00 ms -> 5.00 ms" in describe(change)
    assert "bias" not in describe(change)


def test_a_kernel_that_came_is_told_as_new_among_the_longest() -> None:
    """What was there before may only have been too short to be listed."""
    before = [with_kernels(each, winograd=3, tail=0.5) for each in alike()]
    after = [with_kernels(each, implicit_gemm=5, tail=0.5) for each in alike(convolution=7.0)]
    change = change_of(before, after)
    found = {each.name: (each.base, each.new) for each in change.kernels}
    assert found == {"implicit_gemm": (None, 0.005), "winograd": (0.003, None)}
    assert "implicit_gemm is new among the longest (5.00 ms)" in describe(change)


def test_a_kernel_just_below_the_list_has_not_moved() -> None:
    """The shortest that base lists takes 1 ms: it may have been there with 0.9."""
    before = [with_kernels(each, gemm=3, tail=1) for each in alike()]
    after = [with_kernels(each, gemm=3, tail=1, unseen=0.9) for each in alike()]
    assert change_of(before, after).kernels == ()


# --- doubt --------------------------------------------------------------------------------------


def test_one_profile_a_side_is_a_hint() -> None:
    """Nothing is known of their spread."""
    found = describe(change_of(alike(1), alike(convolution=7.0)))
    assert found.endswith("a hint only: one side has a single profile")


def test_a_change_within_the_spread_is_a_hint() -> None:
    """The repeats of one side differ by 3 ms, the sides by 1."""
    base = [example_profile(idle=value) for value in (0.0, 1.5, 3.0)]
    found = describe(change_of(base, alike(convolution=6.0)))
    assert "a hint only: the step differs as much between repeats of one side (3.00 ms)" in found


def test_a_class_within_its_spread_is_a_hint() -> None:
    """The step is steady, its convolutions trade places with idling."""
    base = [example_profile(convolution=c, idle=6.5 - c) for c in (3.5, 5.0, 6.5)]
    found = describe(change_of(base, alike(convolution=7.0)))
    assert "a hint only: convolution differs as much between repeats of one side" in found


def test_a_record_without_profiles_has_no_such_change() -> None:
    """On one side or both."""
    plain = example_case_record()
    assert profile_change(plain, case_of(*alike())) is None
    assert profile_change(case_of(*alike()), plain) is None


# --- where it is shown --------------------------------------------------------------------------


def test_table_and_markdown_have_the_sentence_and_json_the_figures() -> None:
    """One line a case; the terminal's last line is still the answer."""
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


def test_annotations_and_junit_say_it_where_the_slowdown_is_told() -> None:
    """Of a time and a rate; what a test set says has no kind of work to come from."""
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


def test_it_gates_nothing() -> None:
    """Verdicts and exit code are those of the same records without profiles."""
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


def test_what_has_not_changed_needs_no_words() -> None:
    """The figures are there for who asks."""
    comparison = compared(case_of(*alike()), case_of(*alike(convolution=7.0)))
    metrics = {name: metric.model_copy(update={"verdict": "same"})
               for name, metric in comparison.cases[0].metrics.items()}  # fmt: skip
    case = comparison.cases[0].model_copy(update={"metrics": metrics})
    same = comparison.model_copy(update={"cases": (case,)})
    assert case.profile is not None
    assert "profiled" not in render(comparison_summary(same), width=200, color=False)
    assert "profiled" not in to_markdown(same)


def test_profiles_that_do_not_show_the_slowdown_say_so() -> None:
    """Trainings are slower, the profiled steps are not: what slowed them lies elsewhere."""
    comparison = compared(case_of(*alike()), case_of(*alike(), train_seconds=22.0))
    text = " ".join(render(comparison_summary(comparison), width=200, color=False).split())
    assert "profiled step 10.01 ms -> 10.01 ms; so the profiled steps do not show why" in text


@pytest.mark.parametrize("text", HOSTILE)
def test_a_kernels_name_is_no_markup(text: str) -> None:
    """It stands as one line of harmless text, on the terminal and in Markdown."""
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
