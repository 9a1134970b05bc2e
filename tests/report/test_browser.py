"""Pages in a real browser, opened from disk, in several widths and colours.

Skipped where there is no Chromium, unless CNNPERF_REQUIRE_BROWSER is set.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cnnperf.compare.history.load import load_folder
from cnnperf.compare.history.series import find_series
from cnnperf.compare.thresholds import Thresholds
from cnnperf.record.schema import Record
from cnnperf.report.html.content import to_csv
from cnnperf.report.html.fleets.page import fleet_page
from cnnperf.report.html.history import history_page
from cnnperf.report.html.page import render
from cnnperf.report.html.run_page import run_page
from cnnperf.report.html.sections.results import results_table
from cnnperf.report.html.sections.runs import runs_of
from tests.compare.history.folders import write_history
from tests.examples import example_record
from tests.report.runs import (
    example_profile,
    hostile_record,
    learned_case,
    sides,
    study_record,
)
from tests.report.test_fleet_page import judged

sync_api = pytest.importorskip("playwright.sync_api")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WAIT_MS = 600_000
"""Enough for a busy machine."""

HOSTILE = (
    "</script><script>window.__pwned=1;alert(1)</script>"
    "<img src=x onerror='window.__pwned=1'>\"'><svg onload=window.__pwned=1>"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The machine's own Chromium."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        if os.environ.get("CNNPERF_REQUIRE_BROWSER"):
            pytest.fail(f"none of {', '.join(BROWSERS)} is on the PATH")
        pytest.skip(f"none of {', '.join(BROWSERS)} is on the PATH")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"], timeout=WAIT_MS
        )
        yield started
        started.close()


class Opened:
    """A page in a browser, with its console messages, dialogs and requests."""

    def __init__(self, browser: Any, path: Path, width: int, scheme: str) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        self.page.set_default_timeout(WAIT_MS)
        self.noises: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.noises.append(message.text))
        self.page.on("pageerror", lambda error: self.noises.append(str(error)))
        self.page.on("dialog", self._dismiss)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-figures=drawn]")

    def _dismiss(self, dialog: Any) -> None:
        self.noises.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def column(self, table: str, number: int) -> list[str]:
        """Return the text of a column, from top to bottom."""
        cells = self.page.locator(f"#{table} tbody tr > :nth-child({number})")
        found: list[str] = cells.all_text_contents()
        return found


class Pages:
    """Write and open pages of records."""

    def __init__(self, browser: Any, folder: Path) -> None:
        self.browser = browser
        self.folder = folder
        self.open_pages: list[Opened] = []

    def write(self, *records: Record) -> Path:
        """Write the page of a run, or of two."""
        path = self.folder / "page with spaces.html"
        path.write_text(render(run_page(sides(*records))), encoding="utf-8")
        return path

    def open(self, *records: Record, width: int = 1200, scheme: str = "light") -> Opened:
        """Open the page; fail where it logs anything or draws too little."""
        return self.open_file(self.write(*records), width, scheme)

    def open_file(self, path: Path, width: int = 1200, scheme: str = "light") -> Opened:
        """Open a page that is on disk."""
        opened = Opened(self.browser, path, width, scheme)
        self.open_pages.append(opened)
        assert opened.noises == []
        assert opened.requests == [path.as_uri()]
        return opened


@pytest.fixture
def pages(browser: Any, tmp_path: Path) -> Iterator[Pages]:
    """Pages that must log nothing until the end of the test."""
    made = Pages(browser, tmp_path)
    yield made
    for opened in made.open_pages:
        assert opened.noises == []
        opened.page.close()


@pytest.fixture(scope="module")
def small() -> Record:
    """Three cases, one with a profile."""
    return example_record(learned_case(profile=example_profile()), *study_record(1).cases[2:4])


def test_all_figures_of_two_runs_are_drawn_without_console_messages(pages: Pages) -> None:
    """The standard tier on both sides: no error, no warning, no request."""
    records = study_record(2), study_record(2, faster=1 / 1.1)
    opened = pages.open(*records)
    figures = opened.page.locator("figure")
    assert figures.count() == len(run_page(sides(*records)).figures()) > 50
    marks = "figures => figures.map(f => f.querySelectorAll('.role-mark :is(path, text)').length)"
    assert min(figures.evaluate_all(marks)) > 1
    assert opened.page.locator(".chart.waiting").count() == 0


def test_table_is_sorted_by_click_and_by_key(pages: Pages, small: Record) -> None:
    """Numbers are sorted by value; a second time reverses; heads announce the order."""
    opened = pages.open(small)
    heads = opened.page.locator("#table-results thead th")
    names = heads.all_text_contents()
    number = names.index("train time") + 1
    before = opened.column("table-results", number)
    head = heads.nth(number - 1)
    head.locator("button").click()
    ascending = opened.column("table-results", number)
    assert head.get_attribute("aria-sort") == "ascending"
    assert sorted(ascending, key=lambda text: float(text.split()[0])) == ascending != before
    head.locator("button").focus()
    opened.page.keyboard.press("Enter")
    assert opened.column("table-results", number) == ascending[::-1]
    assert head.get_attribute("aria-sort") == "descending"
    heads.first.locator("button").focus()
    opened.page.keyboard.press("Space")
    assert opened.column("table-results", 1) == sorted(opened.column("table-results", 1))
    assert head.get_attribute("aria-sort") is None


def test_empty_cells_are_last_in_both_directions(pages: Pages) -> None:
    """Only one of the cases has the study's accuracy."""
    known = learned_case()
    unknown = learned_case().model_copy(update={"id": "other", "recipe": "other"})
    opened = pages.open(example_record(unknown, known))
    heads = opened.page.locator("#table-results thead th")
    number = heads.all_text_contents().index("study: accuracy") + 1
    for _ in range(2):
        heads.nth(number - 1).locator("button").click()
        assert opened.column("table-results", number) == ["99.0 %", "—"]


def test_colours_follow_the_preference_and_then_the_button(pages: Pages, small: Record) -> None:
    """Charts follow, too."""
    opened = pages.open(small, scheme="dark")
    page = opened.page
    line = page.locator("figure .mark-line path").first
    color = "element => getComputedStyle(element).stroke"
    back = "getComputedStyle(document.body).backgroundColor"
    dark = line.evaluate(color), page.evaluate(back)
    assert dark == ("rgb(90, 180, 240)", "rgb(20, 24, 29)")
    page.get_by_role("button", name="Light colours").click()
    light = line.evaluate(color), page.evaluate(back)
    assert light == ("rgb(0, 114, 178)", "rgb(255, 255, 255)")
    page.get_by_role("button", name="Dark colours").click()
    assert (line.evaluate(color), page.evaluate(back)) == dark


def test_csv_download_has_the_unrounded_table(pages: Pages, small: Record) -> None:
    opened = pages.open(small)
    with opened.page.expect_download() as download:
        opened.page.locator(".csv[download='table-results.csv']").click()
    assert download.value.suggested_filename == "table-results.csv"
    table = results_table(runs_of(sides(small)))
    assert download.value.path().read_bytes().decode() == to_csv(table)


def test_hostile_record_runs_no_script(pages: Pages) -> None:
    """Not in text, in charts, or in tooltips."""
    opened = pages.open(hostile_record(HOSTILE), hostile_record(HOSTILE))
    told = []
    for figure in ("change-train-seconds", "change-test-accuracy"):
        opened.page.locator(f"#{figure} .mark-symbol.role-mark path").first.hover(force=True)
        told.append(opened.page.wait_for_selector(".vg-tooltip.visible").inner_text())
        opened.page.mouse.move(0, 0)
    assert all("window.__pwned=1;alert(1)" in text for text in told)
    assert opened.page.evaluate("window.__pwned") is None
    assert opened.page.locator("img").count() == 0


def test_mark_under_the_pointer_shows_its_value(pages: Pages, small: Record) -> None:
    """The box has the page's own colours."""
    opened = pages.open(small)
    opened.page.locator("figure .mark-symbol.role-mark path").first.hover(force=True)
    box = opened.page.wait_for_selector(".vg-tooltip.visible")
    assert "training loss" in box.inner_text()
    assert box.evaluate("element => getComputedStyle(element).position") == "fixed"


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_page_is_never_wider_than_its_window(pages: Pages, small: Record, width: int) -> None:
    """Tables scroll within themselves, and no chart is cut off."""
    opened = pages.open(small, small, width=width)
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    right = "charts => Math.max(...charts.map(c => c.getBoundingClientRect().right))"
    assert page.locator(".chart svg").evaluate_all(right) <= width
    assert len(page.screenshot(full_page=True)) > 50_000


@pytest.mark.parametrize("width", [360, 1280])
def test_causes_above_a_history_are_never_cut_by_the_edge(
    pages: Pages, tmp_path: Path, width: int
) -> None:
    """A narrow plot shortens them at their end."""
    levels = [20.0] * 8 + [21.6] * 8 + [19.0] * 8
    changes = {8: {"driver": "580.95.05-a-name-that-is-long"}, 16: {"torch": "2.16.0.dev20260101"}}
    write_history(tmp_path / "records", levels, changes=changes)
    loaded = load_folder(tmp_path / "records", ["train_seconds"])
    path = tmp_path / "history.html"
    path.write_text(render(history_page(loaded, find_series(loaded.points, Thresholds()))))
    opened = pages.open_file(path, width)
    texts = opened.page.locator("figure .mark-text.role-mark text")
    assert texts.count() == 2
    assert all(text.startswith(("better", "worse")) for text in texts.all_text_contents())
    for text in texts.all():
        edges = "e => [e.getBoundingClientRect(), e.closest('svg').getBoundingClientRect()]"
        mark, svg = text.evaluate(edges)
        assert svg["left"] <= mark["left"]
        assert mark["right"] <= svg["right"]


def test_print_is_light_and_has_all_tables_and_figures(pages: Pages, small: Record) -> None:
    """Buttons and contents are left out."""
    opened = pages.open(small, scheme="dark")
    page = opened.page
    seen = []
    page.expose_function("printed", lambda state: seen.append(state))
    page.evaluate(
        """addEventListener("beforeprint", () => window.printed([
          document.querySelectorAll("details:not([open])").length,
          document.querySelectorAll(".chart svg").length]))"""
    )
    content = page.pdf(format="A4")
    assert content.startswith(b"%PDF")
    assert seen == [[0, page.locator("figure").count()]]
    assert page.locator("details[open]").count() == 0
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("#_theme").is_visible()
    assert not page.locator("nav").is_visible()


def test_keyboard_reaches_content_and_tables(pages: Pages, small: Record) -> None:
    """The skip link comes first, and the focus has a ring."""
    page = pages.open(small).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "_content"
    summary = page.locator("summary").first
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator("details").first.get_attribute("open") is not None
    assert summary.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"


def test_page_without_scripts_has_its_tables_and_a_note(
    browser: Any, pages: Pages, small: Record
) -> None:
    """Mail programs and text browsers run none."""
    context = browser.new_context(java_script_enabled=False)
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.goto(pages.write(small).as_uri())
    assert "with a script of its own" in page.inner_text("main")
    assert page.locator("#table-results tbody tr").count() == 3
    assert not page.locator("#_theme").is_visible()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fleet_fits_a_telephone_in_both_colours(pages: Pages, tmp_path: Path, scheme: str) -> None:
    """No figure is cut off, cells of a heat map hold their text, and hostile names do nothing."""
    path = tmp_path / "fleet.html"
    path.write_text(render(fleet_page(judged(hostile=HOSTILE))), encoding="utf-8")
    page = pages.open_file(path, 390, scheme).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    right = "charts => Math.max(...charts.map(c => c.getBoundingClientRect().right))"
    assert page.locator(".chart svg").evaluate_all(right) <= 390
    width = "marks => Math.max(...marks.map(m => m.getBoundingClientRect().width))"
    cells = page.locator("#case-1-hosts .mark-rect.role-mark path")
    texts = page.locator("#case-1-hosts .mark-text.role-mark text")
    assert (cells.count(), texts.count()) == (128, 256)
    assert texts.evaluate_all(width) < cells.evaluate_all(width)
    assert page.evaluate("window.__pwned") is None
