"""The comparison as Markdown, read by the parser that GitHub uses."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options
from hypothesis import given

from cnnperf.compare.verdicts import Comparison, EnvironmentChange
from cnnperf.errors import printable
from cnnperf.report.formats.markdown import MAX_TEXT, code, prose, table, to_markdown
from cnnperf.report.wording.comparison import rows
from tests.compare.comparisons import (
    HOSTILE,
    example_case,
    example_comparison,
    example_metric,
    example_same,
    hostile_comparison,
    hostile_text,
    whole_case,
)

OURS = {
    "h3", "p", "strong", "code", "table", "thead", "tbody", "tr", "th", "td", "details", "summary",
    "ul", "li",
}  # fmt: skip
"""The elements that our own Markdown comes to; none of them has attributes."""

LIVELY = re.compile(r"[@#<>\[\]\\`|*~$&]|://|www\.|:\w+:|\bGH-\d|(?<!\w)_|_(?!\w)")
"""What GitHub makes something of in text that is not code, after the Markdown was rendered."""


class Page(HTMLParser):
    """What a browser would be given."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.inside: list[str] = []
        self.rows: list[list[str]] = []
        self.plain: list[str] = []
        """Text outside code."""
        self.code: list[str] = []
        # Raw HTML goes through and is seen, which GitHub would remove.
        self.feed(cmarkgfm.github_flavored_markdown_to_html(markdown, Options.CMARK_OPT_UNSAFE))
        self.close()
        assert self.inside == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert not attributes
        self.elements.append(tag)
        self.inside.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "code":
            self.code.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.inside.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(f"a declaration: {decl}")

    def handle_data(self, data: str) -> None:
        if "code" in self.inside:
            self.code[-1] += data
        else:
            self.plain.append(data)
        if "td" in self.inside or "th" in self.inside:
            self.rows[-1][-1] += data


def page(comparison: Comparison) -> Page:
    return Page(to_markdown(comparison))


def cells(case_id: str, comparison: Comparison) -> list[list[str]]:
    return [row for row in page(comparison).rows if row[0] == case_id]


def test_the_verdict_is_the_first_thing_to_read() -> None:
    lines = to_markdown(example_comparison()).splitlines()
    assert lines[2] == "**regression: 1 failed, 1 missing, 1 slower of 5 cases**"


def test_environment_changes_come_before_the_verdicts() -> None:
    found = page(example_comparison()).rows
    assert found[1:3] == [
        ["software.torch", "2.14.1", "2.15.0", ""],
        ["hardware.gpu.name", "NVIDIA A100", "NVIDIA H200", "not comparable"],
    ]
    assert found[3][0] == "case"


def test_many_differences_are_collapsed() -> None:
    changes = tuple(EnvironmentChange(field=f"f{i}", base="a", new="b") for i in range(7))
    text = to_markdown(example_comparison(environment_changes=changes))
    assert "<summary>Environment changes: 7</summary>" in text
    few = to_markdown(example_comparison(environment_changes=changes[:6]))
    assert "<summary>Environment" not in few


def test_equal_environments_are_stated() -> None:
    text = to_markdown(example_comparison(environment_changes=()))
    assert "No recorded difference between the environments." in text


def test_row_has_medians_interval_verdict_and_reason() -> None:
    slower, accuracy, _ = cells("modified_vgg-mnist-28-eager", example_comparison())
    assert slower[1:] == [
        "train time", "20.0 s (n=5)", "21.0 s (n=5)", "ratio 1.052 (1.031 to 1.074)", "slower", "",
    ]  # fmt: skip
    assert accuracy[4:] == [
        "-0.31 points (-1.12 to +0.50)",
        "inconclusive",
        "about 4 repeats per side would settle it",
    ]


def test_regressions_come_first_and_unchanged_metrics_are_collapsed() -> None:
    text = to_markdown(example_comparison())
    before, _, collapsed = text.partition("<details>\n<summary>Unchanged or not judged: 2")
    verdicts = [row[5] for row in Page(before).rows if len(row) == 7]
    assert verdicts == [
        "verdict", "failed", "missing", "slower", "worse", "not comparable", "inconclusive",
        "faster",
    ]  # fmt: skip
    assert "shortened" in collapsed
    assert "24,010" in collapsed


def test_disturbances_drift_new_cases_and_notes_are_listed() -> None:
    text = to_markdown(example_comparison())
    case = "`modified_vgg-mnist-28-eager`"
    assert f"- disturbed: {case}: 1 repeat of base, 2 of new (throttled, busy_cpu): kept" in text
    assert f"- numerics: {case}: seed 0: losses of 100 steps identical" in text
    assert "Only in new (do not gate):\n\n- `resnet18-mnist-28-eager`" in text
    assert "- new was interrupted" in text
    assert "): dropped" in to_markdown(hostile_comparison("x"))


@pytest.mark.parametrize("text", HOSTILE)
def test_known_injection_is_shown_as_plain_text(text: str) -> None:
    assert_harmless(text)


@given(hostile_text())
def test_no_text_becomes_a_link_an_image_html_a_mention_or_a_cell(text: str) -> None:
    assert_harmless(text)


def assert_harmless(text: str) -> None:
    """The page has the elements that harmless text gives, and nothing in its plain text."""
    found = page(hostile_comparison(text))
    assert set(found.elements) <= OURS
    assert [len(row) for row in found.rows] == [len(row) for row in page(SHAPE).rows]
    others = [tag for tag in found.elements if tag != "code"]
    assert others == [tag for tag in page(SHAPE).elements if tag != "code"]
    assert not LIVELY.search("\n".join(found.plain)), found.plain


SHAPE = hostile_comparison("plain words")


@given(hostile_text())
def test_a_text_is_shown_as_it_is(text: str) -> None:
    """But for white space at its ends and between words, and what a terminal would obey."""
    shown = Page(code(text))
    expected = printable(text)
    if expected and len(expected) <= MAX_TEXT:
        assert shown.code == [expected]
    assert "".join(Page(prose(text)).plain + Page(prose(text)).code).strip() == (
        shown.code[0] if shown.code else "—"
    )


@pytest.mark.parametrize(
    "text",
    [
        "killed by SIGKILL",
        "the data set's SHA-256 differs: 28 against 32 pixels (and 2 more)",
        "train_seconds, 3.5 % more; see --across hardware",
        "new failed: 4 GiB/s",
    ],
)
def test_harmless_words_stay_plain(text: str) -> None:
    assert prose(text) == text


@pytest.mark.parametrize("text", ["a | b", "a \\| b", "a \\\\| b", "|", "\\|", "`|`|"])
def test_a_pipe_does_not_end_a_cell(text: str) -> None:
    rendered = Page(table(["one", "two"], [[code(text), "end"]]))
    assert rendered.rows == [["one", "two"], [text, "end"]]


def test_a_long_text_is_cut() -> None:
    assert len(code("x" * 5000)) == MAX_TEXT + 2
    assert code("x" * 5000).endswith("…`")


def big_comparison() -> Comparison:
    """Too long for a comment by what has not changed alone."""
    same = {"train_seconds": example_same(), "images_per_second": example_same()}
    unchanged = [example_case(f"same-{i}", same, verdict="same") for i in range(500)]
    return example_comparison(example_case(), *unchanged)


def test_limit_drops_unchanged_metrics_first() -> None:
    comparison = big_comparison()
    assert len(to_markdown(comparison)) > 65_536
    text = to_markdown(comparison, max_chars=65_536)
    assert "Unchanged or not judged: 1001, left out" in text
    changed = [row for row in rows(comparison.cases) if row.verdict != "same"]
    assert len([row for row in Page(text).rows if len(row) == 7]) == 1 + len(changed)


def test_limit_met_without_unchanged_metrics_keeps_every_row() -> None:
    gone = [whole_case(f"gone-{i}", reason="no more") for i in range(1100)]
    comparison = example_comparison(*gone, *big_comparison().cases)
    whole = len(to_markdown(comparison).encode())
    text = to_markdown(comparison, max_chars=whole - 1)
    assert len([row for row in Page(text).rows if row[0].startswith("gone-")]) == 1100
    assert "more lines left out" not in text


def test_limit_is_met_and_dropped_rows_are_counted() -> None:
    cases = [whole_case(f"gone-{i}", reason="no more") for i in range(5000)]
    text = to_markdown(example_comparison(*cases), max_chars=20_000)
    assert len(text.encode()) <= 20_000
    shown = len([row for row in Page(text).rows if row[0].startswith("gone-")])
    assert shown
    assert f"{5000 - shown:,} more lines left out" in text


@pytest.mark.parametrize("limit", [10, 100, 1000, 5000, 65_536])
def test_output_never_exceeds_the_limit(limit: int) -> None:
    """Counted in bytes, as a step summary is; a character may have four of them."""
    text = "\N{GRINNING FACE}" * 5000
    assert len(to_markdown(hostile_comparison(text), max_chars=limit).encode()) <= limit


def test_text_below_the_limit_is_complete() -> None:
    text = to_markdown(example_comparison())
    assert to_markdown(example_comparison(), max_chars=65_536) == text


def test_infinite_figures_are_left_out() -> None:
    metric = example_metric(ratio=float("inf"), low=None, high=None)
    comparison = example_comparison(example_case("a", {"train_seconds": metric}))
    assert cells("a", comparison)[0][4] == ""
