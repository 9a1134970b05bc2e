"""From content to HTML: escaping, the policy, CSV, ids, and reproducible bytes."""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import io
import json
import re
from functools import cache
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
from hypothesis import given

from cnnperf.errors import printable
from cnnperf.report.html.content import Column, Figure, Page, Row, Section, Table, to_csv
from cnnperf.report.html.page import render, vega_bundle
from cnnperf.report.html.run_page import run_page
from tests.compare.comparisons import HOSTILE, hostile_text
from tests.report.runs import hostile_record, sides, study_record

TEXT = "</script><script>window.__pwned=1</script>\u2028&amp;"


def _table(value: object = 1.5, shown: str = "1.50 s", **fields: object) -> Table:
    columns = [Column(name="case", label="case"), Column(name="t", label="time", is_number=True)]
    rows = [Row(shown=["a", shown], values=["a", value])]  # type: ignore[list-item]
    return Table(**{"id": "times", "caption": "Times", "columns": columns, "rows": rows, **fields})  # type: ignore[arg-type]


def _page(*tables: Table, figure: str | None = None, title: str = "t") -> Page:
    specification = {"data": {"values": [{"label": figure}]}, "mark": "point"}
    figures = [Figure(id="f", title="F", caption="c", specification=specification)]
    section = Section(id="s", title=title, tables=tables, figures=figures if figure else [])
    return Page(title=title, lead=[title], sections=[section])


class _Elements(HTMLParser):
    """The elements of a page with their attributes, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.raw.append((tag if not dict(attrs) else "json", ""))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem and self.raw:
            tag, text = self.raw[-1]
            self.raw[-1] = tag, text + data


# --- safety -------------------------------------------------------------------------------------


def test_policy_allows_only_the_hashes_of_own_scripts_and_style() -> None:
    """Hashes are computed again from the text of the page."""
    page = _Elements(render(_page(_table())))
    (policy,) = (
        attributes["content"] or ""
        for tag, attributes in page.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    hashes = {
        tag: [
            f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
            for each, text in page.raw
            if each == tag
        ]
        for tag in ("script", "style")
    }
    assert rules["default-src"] == "'none'"
    assert rules["script-src"].split() == hashes["script"]
    assert rules["style-src"].split() == hashes["style"]
    assert not re.search("unsafe|http|\\*", policy)


def test_page_loads_nothing_from_elsewhere() -> None:
    """Addresses are links within the page and the data of its tables."""
    page = _Elements(render(run_page(sides(study_record(1), study_record(1)))))
    addresses = [
        value or ""
        for tag, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "action", "data", "poster", "srcset")
    ]
    assert addresses
    assert all(address.startswith(("#", "data:text/csv;")) for address in addresses)
    assert not any(name.startswith("on") or name == "style" for _, a in page.tags for name in a)


@pytest.mark.parametrize("text", [*HOSTILE, TEXT])
def test_text_from_a_record_makes_no_element(text: str) -> None:
    """The page of a hostile record has the elements of a harmless one."""
    hostile, plain = _bare_elements(text), _bare_elements("plain")
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    for (_, one), (_, other) in zip(hostile.tags, plain.tags, strict=True):
        assert one.keys() - {"class"} == other.keys() - {"class"}
        assert one.get("class") in (other.get("class"), "prose", None)
    ours = [text for tag, text in plain.raw if tag != "json"]
    assert [text for tag, text in hostile.raw if tag != "json"] == ours


@cache
def _bare_elements(text: str) -> _Elements:
    """Parse the page of a hostile record on both sides without Vega, which takes long."""
    page = render(run_page(sides(hostile_record(text), hostile_record(text))))
    assert page.count(vega_bundle()) == 1
    return _Elements(page.replace(vega_bundle(), ""))


@given(text=hostile_text())
def test_json_in_a_page_is_printable_and_cannot_close_its_element(text: str) -> None:
    page = _Elements(render(_page(figure=text + "x")).replace(vega_bundle(), ""))
    (content,) = (body for (tag, body) in page.raw if tag == "json" and '"values"' in body)
    assert json.loads(content)["data"]["values"][0]["label"] == printable(text + "x")
    assert content.isascii()
    assert not set("<>&") & set(content)


def test_invisible_characters_are_written_out() -> None:
    """A mark that turns the reading direction would show a number as another."""
    text = render(_page(_table(shown="12\u202e34\x1b[31m"), title="a\u202eb"))
    assert "\u202e" not in text
    assert "12\\u202e34\\x1b[31m" in text


# --- CSV ----------------------------------------------------------------------------------------


def test_csv_has_names_and_unrounded_values() -> None:
    """Python's own reader reads them back."""
    table = _table(0.1 + 0.2)
    rows = list(csv.reader(io.StringIO(to_csv(table))))
    assert rows == [["case", "t"], ["a", "0.30000000000000004"]]
    assert list(csv.reader(io.StringIO(to_csv(_table(None)))))[1] == ["a", ""]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_csv_gives_a_spreadsheet_no_formula(start: str) -> None:
    """Text gets an apostrophe in front; a number below 0 stays a number."""
    text = f"{start}=HYPERLINK(1)"
    columns = [Column(name="a", label="a"), Column(name="b", label="b", is_number=True)]
    table = _table(columns=columns, rows=[Row(shown=["", ""], values=[text, -1.5])])
    assert list(csv.reader(io.StringIO(to_csv(table), newline="")))[1] == [
        f"'{text.strip()}",
        "-1.5",
    ]


def test_download_has_the_csv_and_the_id_as_its_name() -> None:
    table = _table()
    page = _Elements(render(_page(table)))
    (link,) = (attributes for tag, attributes in page.tags if attributes.get("class") == "csv")
    assert link["download"] == "times.csv"
    kind, _, content = (link["href"] or "").partition(",")
    assert kind == "data:text/csv;charset=utf-8"
    assert unquote(content) == to_csv(table)


# --- page ------------------------------------------------------------------------------------


def test_same_page_gives_same_bytes() -> None:
    """A stale committed page can be recognised."""
    made = [render(run_page(sides(study_record(2), study_record(2)))) for _ in range(2)]
    assert made[0] == made[1]


def test_page_of_a_standard_run_is_below_4_mb() -> None:
    """Ten cases, five trainings of ten epochs each."""
    assert len(render(run_page(sides(study_record(5, 10)))).encode()) < 4e6


@pytest.mark.parametrize("wrong", ["two words", "s", "", "ä", "a--b"])
def test_wrong_or_repeated_id_is_refused(wrong: str) -> None:
    """Ids are addresses within the page and names of files; `s` is the id of the section."""
    with pytest.raises(ValueError, match="ids must be unique"):
        render(_page(_table(id=wrong)))


def test_table_of_31_rows_is_closed_and_of_30_is_open() -> None:
    """A closed table shows its number of rows."""
    row = Row(shown=["a", "1"], values=["a", 1])
    text = render(_page(_table(rows=[row] * 31)))
    assert '<span class="count">(31 rows)</span>' in html.unescape(text)
    assert "<details>" not in render(_page(_table(rows=[row] * 30)))
    assert "<details>" in render(_page(_table(is_closed=True)))
