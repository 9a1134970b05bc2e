"""Pages of many cases: below 10 MB, with what matters most first, and with what was left out."""

from __future__ import annotations

import re

import pytest

from cnnperf.record.schema import CaseRecord, Record
from cnnperf.report.html import run_page as run_pages
from cnnperf.report.html.content import Page
from cnnperf.report.html.machines import page as machine_pages
from cnnperf.report.html.machines.page import hardware_page
from cnnperf.report.html.page import render, vega_bundle
from cnnperf.report.html.room import fitted
from cnnperf.report.html.run_page import run_page
from cnnperf.report.html.sections.runs import slugs
from tests.examples import example_record, many_cases
from tests.report.runs import learned_case, sides

FEW = 8

DRAWN = 6
"""Cases with figures here: drawing a hundred takes seconds."""

MANY = DRAWN + 5


@pytest.fixture(autouse=True)
def _few_are_drawn(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "whole" not in request.fixturenames:
        for page in (run_pages, machine_pages):
            monkeypatch.setattr(page, "MAX_DRAWN", DRAWN)


def learned(count: int) -> Record:
    """Cases with figures, ten classes and three epochs."""
    case: CaseRecord = learned_case()
    return example_record(*(case.model_copy(update={"id": f"net{i}"}) for i in range(count)))


@pytest.fixture(scope="module")
def whole() -> Page:
    """Small enough for everything."""
    return run_page(sides(learned(FEW)))


def ids(page: Page, kind: str) -> list[str]:
    """Return the ids of figures or tables in reading order."""
    parts = [each for top in page.sections for each in top.walk()]
    return [part.id for each in parts for part in getattr(each, kind)]


def row_count(page: Page) -> int:
    """Count the rows of all tables."""
    parts = [each for top in page.sections for each in top.walk()]
    return sum(len(table.rows) for each in parts for table in each.tables)


def size(page: Page) -> int:
    """Return the bytes of a page without Vega."""
    return len(render(page).encode()) - len(vega_bundle().encode())


def test_page_with_room_stays_as_it_is(whole: Page) -> None:
    assert fitted(whole) is whole
    assert run_page(sides(learned(FEW)), everything=True) == whole


@pytest.mark.parametrize("share", [0.8, 0.5, 0.2])
def test_page_without_room_loses_its_last_figures_and_rows(whole: Page, share: float) -> None:
    """It fits, apart from the texts around its parts, and says how much is missing."""
    most = int(share * size(whole))
    cut = fitted(whole, most)
    texts = size(fitted(whole, 0))
    assert size(cut) < most + texts
    drawn = ids(cut, "figures")
    assert drawn == ids(whole, "figures")[: len(drawn)]
    assert ids(cut, "tables") == ids(whole, "tables")
    gone = row_count(whole) - row_count(cut)
    figures = len(ids(whole, "figures")) - len(drawn)
    (line,) = [text for text in cut.lead if text not in whole.lead]
    missing = f"{figures} figures" + f" and {gone} rows" * bool(gone)
    assert f"no room on this page for {missing}: " in line
    assert "cnnperf report --all shows all" in line


def test_cut_table_says_how_much_of_it_there_is(whole: Page) -> None:
    text = render(fitted(whole, size(whole) // 5))
    shown, total = re.findall(r"the first (\d+) of (\d+) rows", text)[-1]
    assert int(shown) < int(total)


def test_of_many_cases_the_regressions_are_drawn_first() -> None:
    """The last case of the record is the only regression; all cases are in the results."""
    record = learned(MANY)
    slow = learned_case(seconds=30.0).model_copy(update={"id": f"net{MANY - 1}"})
    new = record.model_copy(update={"cases": [*record.cases[:-1], slow]})
    page = run_page(sides(record, new))
    learning = next(each for each in page.sections if each.id == "learning")
    assert learning.subsections[0].title == f"net{MANY - 1}"
    assert len(learning.subsections) == DRAWN
    assert f"{DRAWN} cases; cnnperf report --all shows those of 5 more" in " ".join(page.lead)
    results = next(each for each in page.sections if each.id == "results").tables[0]
    assert len(results.rows) == 2 * MANY
    assert results.rows[0].shown[0] == f"net{MANY - 1}"
    everything = run_page(sides(record), everything=True)
    assert len(ids(everything, "figures")) == MANY * len(
        ids(run_page(sides(learned(1))), "figures")
    )


def test_page_of_many_failures_shows_those_first() -> None:
    record = many_cases(MANY)
    failed = record.cases[-1].model_copy(update={"outcome": "failed"})
    page = run_page(sides(record.model_copy(update={"cases": [*record.cases[:-1], failed]})))
    results = next(each for each in page.sections if each.id == "results").tables[0]
    assert results.rows[0].shown[0] == failed.id


def test_page_of_very_many_cases_is_below_10_mb() -> None:
    """Though their verdicts alone would take more."""
    record = many_cases(1600, repeats=2)
    page = run_page(sides(record, record))
    assert len(render(page).encode()) < 10e6
    assert "There is no room on this page for" in " ".join(page.lead)


def test_page_of_machines_shows_the_first_of_many_cases() -> None:
    named = [("one.json", many_cases(MANY, repeats=2)), ("two.json", many_cases(MANY, repeats=2))]
    page = hardware_page(named)
    assert "Not shown: 5 more cases; cnnperf report --all shows all." in page.lead
    assert len([each for each in page.sections if each.id.startswith("machines-case")]) == DRAWN


def test_ids_that_begin_alike_get_different_slugs() -> None:
    found = slugs(["x" * 60 + str(i) for i in range(3000)])
    assert len(set(found.values())) == 3000
