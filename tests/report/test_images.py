"""Figures as files that can be read without the page."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from cnnperf.errors import UsageError
from cnnperf.report.html.page import write_figures
from cnnperf.report.html.run_page import run_page
from cnnperf.report.html.theme import CONFIG, DARK, LIGHT, in_light
from tests.examples import example_record, write_record
from tests.report.runs import learned_case, sides

SVG = "{http://www.w3.org/2000/svg}"


def test_each_figure_is_written_as_svg_and_png(tmp_path: Path) -> None:
    """The SVG has marks and a title, the PNG more than one colour."""
    page = run_page(sides(example_record(learned_case())))
    written = write_figures(page, tmp_path / "new" / "folder")
    names = [f"{figure.id}.{form}" for figure in page.figures() for form in ("svg", "png")]
    assert [path.name for path in written] == names
    for path in written:
        content = path.read_bytes()
        if path.suffix == ".svg":
            root = ElementTree.fromstring(content)  # noqa: S314 - our own
            assert len(list(root.iter(f"{SVG}path"))) > 10
            assert b"var(--" not in content
        else:
            image = Image.open(BytesIO(content)).convert("RGB")
            assert len(image.getcolors(1 << 24) or []) > 10
            assert min(image.size) > 400


def test_svg_alone_writes_no_png(tmp_path: Path) -> None:
    page = run_page(sides(example_record(learned_case())))
    assert {path.suffix for path in write_figures(page, tmp_path, ["svg"])} == {".svg"}
    assert {path.suffix for path in tmp_path.iterdir()} == {".svg"}


def test_folder_that_is_a_file_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file cannot be written"):
        write_figures(run_page(sides(example_record(learned_case()))), tmp_path / "file")


def test_no_figure_is_written_through_a_link_to_a_record(tmp_path: Path) -> None:
    """Its name is known before, so somebody may have linked it."""
    page = run_page(sides(example_record(learned_case())))
    record = write_record(tmp_path / "run.json", {"schema_version": 2})
    before = record.read_bytes()
    (tmp_path / f"{page.figures()[0].id}.svg").symlink_to(record)
    with pytest.raises(UsageError, match="holds a record"):
        write_figures(page, tmp_path, ["svg"])
    assert record.read_bytes() == before


def test_light_and_dark_have_the_same_colour_names() -> None:
    """The configuration uses no other."""
    assert LIGHT.keys() == DARK.keys()
    assert "var(" not in str(in_light(CONFIG))
