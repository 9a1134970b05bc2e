"""The tables that people read: nothing cut, nothing hidden, nothing obeyed."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace

import pytest
from rich.console import RenderableType

from cnnperf.catalog.registry import all_cases
from cnnperf.record.environment import Environment
from cnnperf.record.schema import CaseError, CaseRecord, Record
from cnnperf.report.terminal.run import (
    MAX_WARNINGS,
    environment_table,
    look_of,
    render,
    run_summary,
    spread_percent,
)
from tests.examples import (
    example_case,
    example_case_record,
    example_environment,
    example_flag,
    example_record,
    example_repeat,
    failed_case_record,
    plain_terminal,
    skipped_case_record,
)

STUDY = {
    "vgg16-mnist-224-eager": "3460 s, 98.6 %, 0.985",
    "resnet34-mnist-224-eager": "2815 s, 99.2 %, 0.991",
    "modified_vgg-mnist-28-eager": "199 s, 99.0 %, 0.990",
    "modified_resnet-mnist-28-eager": "235 s, 98.9 %, 0.989",
    "modified_vgg-cifar10-28-eager": "—, 55.0 %, 0.547",
}
"""The study's table: training time, test accuracy, test F1."""

WIDTHS = [80, 120, 160]


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


def _text(renderable: RenderableType, width: int = 120) -> str:
    return render(renderable, width=width, color=False)


def _summary(*cases: CaseRecord, width: int = 120, **fields: object) -> str:
    return _text(run_summary(example_record(*cases, **fields)), width)


def _line(text: str, beginning: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(beginning))


@pytest.fixture(scope="module")
def everything() -> Record:
    """A run of every case, each trained twice, with one failed, skipped and shortened more."""
    repeats = [example_repeat(0, 20.0), example_repeat(1, 22.0)]
    return example_record(
        *(example_case_record(case, repeats) for case in all_cases()),
        failed_case_record(id="failed_one"),
        skipped_case_record(),
        example_case_record(example_case("mine"), shortened=True),
    )


# --- the results --------------------------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
def test_ids_and_figures_are_whole_at_any_width(everything: Record, width: int) -> None:
    """They are searched for in logs and copied to -k: neither folded nor cut."""
    text = _text(run_summary(everything), width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for case in everything.cases:
        assert re.search(rf"(?<![\w-]){case.id}(?![\w-])", text), case.id
    row = r"2 +21\.0 s ±4\.8% +24,000 +98\.99 % +98\.98 % +1\.50 GiB +31\.2 %"
    assert len(re.findall(row, text)) == len(all_cases())


@pytest.mark.parametrize("width", [120, 160])
def test_the_studys_figures_end_the_rows_of_its_own_cases(everything: Record, width: int) -> None:
    """In the line of the case's id or in the next one; no other case has any."""
    text = _text(run_summary(everything), width)
    for case_id, figures in STUDY.items():
        assert re.search(rf"^ ?{case_id} *\n?  .*{re.escape(figures)} *$", text, re.MULTILINE), (
            case_id
        )
    assert not re.search(r"-digits-.*\n?  .*, 0\.\d{3} *$", text, re.MULTILINE)


def test_a_narrow_terminal_says_which_column_it_lacks(everything: Record) -> None:
    """The study's figures are of least value; without them there is nothing to say."""
    note = "no room for study: time, accuracy, F1: a wider terminal shows it"
    assert note in _text(run_summary(everything), 80)
    assert "no room" not in _text(run_summary(everything), 120)
    assert "no room" not in _summary(example_case_record(id="own", model="own"), width=80)


def test_the_standard_tier_fits_a_log_of_120_columns_in_one_table() -> None:
    """With the study's column beside ours."""
    repeats = [example_repeat(0, 20.0), example_repeat(1, 22.0)]
    text = _summary(*(example_case_record(case, repeats) for case in all_cases("standard")))
    line = _line(text, "modified_resnet-mnist-28-eager")
    assert re.search(r"21\.0 s ±4\.8% .* 98\.99 % .* 235 s, 98\.9 %, 0\.989", line)


def test_a_case_with_another_recipe_has_no_study_figures() -> None:
    """Another recipe on the same data cannot be compared with it."""
    case = example_case_record(example_case(name="brief", epochs=4))
    assert "study" not in _summary(case)


@pytest.mark.parametrize("width", WIDTHS)
def test_failed_skipped_and_shortened_cases_are_marked(width: int) -> None:
    """Beside the id, whatever the width."""
    text = _summary(
        failed_case_record(),
        skipped_case_record(),
        example_case_record(example_case("vgg16", resolution=224), shortened=True),
        failed_case_record(id="both", shortened=True),
        width=width,
    )
    assert "modified_resnet-mnist-28-eager (failed)" in text
    assert "modified_vgg-cifar10-28-eager (skipped)" in text
    assert "vgg16-mnist-224-eager (shortened)" in text
    assert "both (failed, shortened)" in text


def test_reasons_for_failures_and_skips_stand_below() -> None:
    """With the case and the seed that failed."""
    text = _summary(failed_case_record("killed by SIGKILL"), skipped_case_record("no data"))
    assert "failed: modified_resnet-mnist-28-eager (seed 1): killed by SIGKILL" in text
    assert "skipped: modified_vgg-cifar10-28-eager: no data" in text


def test_case_without_repeats_shows_dashes() -> None:
    """Not zeros."""
    line = _line(_summary(skipped_case_record()), "modified_vgg-cifar10")
    assert re.search(r"\(skipped\) +0( +—){6} ", line)


def test_single_training_shows_no_spread() -> None:
    """It would be ±0, which nobody measured."""
    assert "±" not in _line(_summary(), "modified_vgg")


@pytest.mark.parametrize(
    ("values", "percent"),
    [([10, 10], 0), ([9, 11], 10), ([9, 10, 11], 10), ([1, 3], 50), ([0, 0], 0)],
)
def test_spread_is_half_the_range_over_its_middle(values: list[float], percent: float) -> None:
    """Worked out by hand: 9 to 11 is 10 ± 10 %."""
    assert math.isclose(spread_percent(values), percent)


def test_the_table_shows_medians() -> None:
    """One slow training does not move them."""
    repeats = [example_repeat(seed, value) for seed, value in enumerate([20.0, 99.0, 21.0])]
    assert "21.0 s ±66.4%" in _summary(example_case_record(repeats=repeats))


# --- warnings and notes -------------------------------------------------------------------------


def _warned(*kinds: str) -> CaseRecord:
    repeat = example_repeat().model_copy(
        update={"warnings": [example_flag(kind, f"There was {kind}.") for kind in kinds]}
    )
    return example_case_record(repeats=[repeat])


def test_repeated_warning_is_shown_once_with_its_count() -> None:
    """With where it came first and how often it came."""
    text = _summary(_warned("noise"), _warned("noise"), _warned("noise"))
    assert text.count("There was noise.") == 1
    assert "warning: modified_vgg-mnist-28-eager (seed 0): There was noise. [and 2 more" in text


def test_single_warning_has_no_count() -> None:
    """No `and 0 more`."""
    text = _summary(_warned("noise"))
    assert "There was noise." in text
    assert "more]" not in text


@pytest.mark.parametrize("hidden", [1, 2])
def test_more_kinds_of_warning_than_shown_are_counted(hidden: int) -> None:
    """The most frequent are shown."""
    kinds = [f"trouble{number}" for number in range(MAX_WARNINGS + hidden)]
    text = _summary(_warned(*kinds), _warned(kinds[-1]))
    assert f"There was {kinds[-1]}. [and 1 more]" in text
    assert text.count("There was") == MAX_WARNINGS
    assert f"warning: {hidden} more kinds of warning are in the record" in text


@pytest.mark.parametrize("interrupted", [True, False])
def test_interrupted_run_is_reported(interrupted: bool) -> None:
    """A table that looks complete would mislead."""
    text = _summary(interrupted=interrupted)
    assert ("interrupted: not every planned training was done" in text) is interrupted


def test_a_run_without_cases_can_be_shown() -> None:
    """As a journal's that was killed before its first repeat."""
    record = example_record().model_copy(update={"cases": [], "interrupted": True})
    assert "interrupted" in _text(run_summary(record))


# --- text from elsewhere ------------------------------------------------------------------------

HOSTILE = (
    "x [bold]b[/bold] [/] [link=http://evil]c[/link] \x1b[31mred\x1b]0;title\x07\n\rfake: line"
)
SHOWN = "x [bold]b[/bold] [/] [link=http://evil]c[/link] \\x1b[31mred\\x1b]0;title\\x07 fake: line"


@pytest.mark.parametrize("color", [True, False])
def test_hostile_error_message_is_shown_as_plain_text(color: bool) -> None:
    """Neither rich's markup nor a terminal's escape sequences; and it stays one line."""
    record = example_record(failed_case_record(HOSTILE), _warned(HOSTILE))
    text = render(run_summary(record), width=250, color=color)
    assert f"(seed 1): {SHOWN}" in text
    assert f"There was {SHOWN}." in text
    assert "\x07" not in text
    styles = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert "\x1b" not in styles
    assert color or styles == text


def test_hostile_case_id_is_shown_as_plain_text() -> None:
    """A record may come from anybody."""
    assert "a[red]b\\x1b[2J" in _summary(example_case_record(id="a[red]b\x1b[2J"))


def test_an_outcome_has_a_colour_on_a_terminal_only() -> None:
    """A log gets plain text."""
    summary = run_summary(example_record(failed_case_record()))
    assert "\x1b[1;31m" in render(summary, width=120, color=True)
    assert "\x1b" not in render(summary, width=120, color=False)


class _Reporter:
    """As much of pytest's reporter as is looked at."""

    def __init__(self, isatty: bool) -> None:
        self.isatty = isatty
        self._tw = SimpleNamespace(fullwidth=80, hasmarkup=isatty)


@pytest.mark.parametrize(("isatty", "width"), [(True, 80), (False, 120)])
def test_a_log_is_at_least_120_wide_and_a_terminal_as_wide_as_it_is(
    isatty: bool, width: int
) -> None:
    """A log has no right edge to wrap at."""
    assert look_of(_Reporter(isatty)) == {"width": width, "color": isatty}  # type: ignore[arg-type]


# --- the environment ----------------------------------------------------------------------------


def test_environment_has_a_row_for_each_field() -> None:
    """Nested fields by their path; sizes and rates in units; lists in words."""
    environment = example_environment(cpu_flags=("avx2", "fma"), cpu_physical_cores=8)
    text = _text(environment_table(environment))
    for name, value in {
        "gpu.name": "NVIDIA H200",
        "gpu.memory_bytes": "139.80 GiB",
        "matmul_flops_per_second.tf32": "400 T",
        "cpu_flags": "avx2 fma",
        "cpu_physical_cores": "8",
        "torch": "2.15.0",
    }.items():
        assert re.search(rf"^ *{name} +{value} *$", text, re.MULTILINE), name


def test_unreadable_field_shows_a_dash() -> None:
    """Every field of a machine that tells nothing."""
    lines = _text(environment_table(Environment())).splitlines()
    fields = [line.split() for line in lines if line.strip()]
    headings = [words for words in fields if len(words) == 1]
    assert headings == [["hardware"], ["software"], ["settings"]]
    assert all(words[1] == "—" for words in fields if len(words) == 2)


def test_brackets_in_a_machines_name_are_shown() -> None:
    """They are not markup: `[/]` would even end the program."""
    text = _text(environment_table(example_environment(cpu_model="X [bold]Y[/] [/red] \x1b[1m")))
    assert "X [bold]Y[/] [/red] \\x1b[1m" in text


def test_an_error_without_a_seed_names_none() -> None:
    """As where the data are missing."""
    error = CaseError(kind="start", message="no torch")
    text = _summary(failed_case_record(error=error))
    assert "failed: modified_resnet-mnist-28-eager: no torch" in text
