"""The page of a history has the values of its series, and figures that can be drawn."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import vl_convert

from cnnperf.compare.history.load import load_folder
from cnnperf.compare.history.series import Series, find_series
from cnnperf.compare.thresholds import Thresholds
from cnnperf.report.html import history
from cnnperf.report.html.content import Page
from cnnperf.report.html.history import history_page
from cnnperf.report.html.page import check_ids
from tests.compare.comparisons import HOSTILE
from tests.compare.history.folders import CASE, case_with, write, write_history
from tests.examples import example_environment, example_record

METRICS = ["train_seconds", "test_accuracy"]

LEVELS = [20.0] * 8 + [21.6] * 8


def _made(folder: Path) -> tuple[Page, list[Series]]:
    loaded = load_folder(folder, METRICS)
    series = find_series(loaded.points, Thresholds())
    return history_page(loaded, series), series


def test_page_has_a_figure_for_each_series_and_a_row_for_each_step(tmp_path: Path) -> None:
    """Its values are those of the series."""
    write_history(tmp_path, LEVELS, changes={8: {"driver": "580.95"}})
    page, series = _made(tmp_path)
    assert page.lead[0].startswith("16 records, 2 series, 1 step (1 worse, 0 better)")
    (table,) = page.sections[0].tables
    (row,) = table.rows
    ((step,), ()) = [each.steps for each in series]
    assert row.style == "worse"
    named = dict(zip((column.name for column in table.columns), row.values, strict=True))
    assert (named["case"], named["old"], named["new"]) == (CASE, step.old, step.new)
    assert named["change"] == step.estimate
    assert "driver — → 580.95" in str(named["cause"])
    assert str(named["before"]).startswith("007.json (")
    assert len(row.shown) == len(row.values) == len(table.columns)
    assert len(page.figures()) == 2


def test_figure_has_points_levels_and_steps(tmp_path: Path) -> None:
    """They are rows of its data, and vl-convert draws them."""
    write_history(tmp_path, LEVELS, changes={8: {"driver": "580.95"}})
    page, series = _made(tmp_path)
    figure, other = page.figures()
    rows = figure.specification["datasets"]["rows"]
    assert Counter(row["role"] for row in rows) == {"point": 16, "level": 2, "step": 1}
    points = [row for row in rows if row["role"] == "point"]
    assert [row["value"] for row in points] == [point.median for point in series[0].points]
    assert [row["low"] for row in points] == [point.low for point in series[0].points]
    svg = vl_convert.vegalite_to_svg(figure.specification)
    assert "driver — → 580.95" in svg
    assert "driver" not in vl_convert.vegalite_to_svg(other.specification)
    assert figure.specification["width"] == "container"
    assert "config" not in figure.specification


def test_outlier_has_another_shape(tmp_path: Path) -> None:
    """One record of 16 is half slower."""
    write_history(tmp_path, [20.0] * 8 + [30.0] + [20.0] * 7)
    page, _ = _made(tmp_path)
    rows = page.figures()[0].specification["datasets"]["rows"]
    kinds = [row["kind"] for row in rows if row["role"] == "point"]
    assert kinds == ["record"] * 8 + ["outlier"] + ["record"] * 7


def test_long_series_is_drawn_with_fewer_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A point stands for several of one level, with their least and greatest."""
    monkeypatch.setattr(history, "MAX_POINTS", 6)
    write_history(tmp_path, LEVELS)
    page, series = _made(tmp_path)
    figure = page.figures()[0]
    points = [r for r in figure.specification["datasets"]["rows"] if r["role"] == "point"]
    assert [row["n"] for row in points] == [9, 9, 6, 9, 9, 6]
    assert points[0]["low"] == min(point.low for point in series[0].points[:3])
    assert points[2]["high"] == max(point.high for point in series[0].points[6:8])
    assert "stands for up to 3 records" in figure.caption


def test_ids_are_unique_and_safe(tmp_path: Path) -> None:
    """Sections, tables and figures together, whatever the names of the cases."""
    write_history(tmp_path, LEVELS)
    check_ids(_made(tmp_path)[0])


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    """In titles, tables and the data of figures, which are still drawn."""
    gpu = example_environment().hardware.gpu
    assert gpu is not None
    for number, text in enumerate(HOSTILE[:8]):
        environment = example_environment(gpu=gpu.model_copy(update={"name": text}))
        for again in range(2):
            case = case_with([20.0 + number + again / 7], id=text)
            record = example_record(case, environment=environment)
            write(tmp_path / f"{number}-{again}.json", record)
    page, _ = _made(tmp_path)
    texts = json.dumps([page.title, *page.lead, *map(str, page.sections)])
    assert "\\u001b" not in texts
    for figure in page.figures()[:3]:
        assert "<script>" not in vl_convert.vegalite_to_svg(figure.specification)


def test_too_few_records_are_named_in_the_caption(tmp_path: Path) -> None:
    """One record has no figure."""
    write_history(tmp_path, [20.0])
    page, _ = _made(tmp_path)
    assert not page.figures()
    write_history(tmp_path, [20.0, 20.1])
    page, _ = _made(tmp_path)
    assert "Too few records to look for steps" in page.figures()[0].caption
    assert page.sections[0].paragraphs[-1] == "No series has a step."
