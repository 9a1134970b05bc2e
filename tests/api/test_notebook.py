"""`train` in a real notebook: IPython's kernel runs the cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.api.test_train import CASE, NETS
from tests.examples import plain_terminal

pytest.importorskip("torch", reason="training needs the extra `train`")
nbclient = pytest.importorskip("nbclient", reason="runs notebooks")
pytest.importorskip("ipykernel", reason="runs notebooks")
nbformat = pytest.importorskip("nbformat")


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def run_cells(folder: Path, *cells: str) -> list[Any]:
    """Return the outputs of each cell of a notebook in a folder."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = nbclient.NotebookClient(
        notebook, timeout=300, allow_errors=True, resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    return [cell.outputs for cell in notebook.cells]


def test_notebook_trains_with_a_module_beside_it_and_refuses_a_cells_function(
    tmp_path: Path,
) -> None:
    """Each repeat has one line of progress, a result is shown as HTML, and `plot` as a chart."""
    (tmp_path / "nets.py").write_text(NETS)
    cells = (
        CASE,
        "case = line('nets:build_line')\n"
        "case = case.model_copy(update={'recipe': Recipe(name='two', epochs=2)})\n"
        "result = train(case, **FAST, repeats=2)",
        "result",
        "result.plot()",
        "from cnnperf import compare\ncompare(result, result)",
        NETS + "register_model(ModelSpec(name='cell', builder=build_line))\n"
        "train(case.model_copy(update={'model': 'cell'}), **FAST)",
        "train(case, **FAST, progress=False).case.outcome",
    )
    _, trained, table, plot, comparison, refused, silent = run_cells(tmp_path, *cells)
    lines = [output["data"]["text/plain"] for output in trained]
    assert len(lines) == 2, trained
    for number, text in enumerate(lines, start=1):
        expected = f"[1/1] line-digits-28-two-eager, training {number}/2: trained in "
        assert text.startswith(expected)
    assert "line-digits-28-two-eager" in table[0]["data"]["text/html"]
    assert "vega-embed" in plot[0]["data"]["text/html"]
    assert "<pre" in comparison[0]["data"]["text/html"]
    assert refused[-1]["ename"] == "UsageError"
    assert refused[-1]["evalue"].startswith("build_line is defined in a notebook")
    assert [output["data"]["text/plain"] for output in silent] == ["'passed'"]
