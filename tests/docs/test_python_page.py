"""The Python of docs/python.md runs as one script, with its modules beside it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("pandas", reason="the page shows a frame")

TEXT = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS: list[str] = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
MODULE = re.compile(r"# (\w+\.py)\n")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """Return the script of all blocks; a block that starts with a file's name is that file."""
    lines = []
    for block in BLOCKS:
        if named := MODULE.match(block):
            (tmp_path / named[1]).write_text(block)
        else:
            lines.append(block)
    path = tmp_path / "page.py"
    path.write_text("\n".join(lines))
    return path


def test_page_runs_as_one_script(script: Path) -> None:
    """It prints a table, a frame and verdicts; its files are read by the commands."""
    done = subprocess.run(
        [sys.executable, script],
        cwd=script.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # threads would wait for a busy core
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "small8-digits-28-short-eager  2" in done.stdout
    assert "in 1 case: 1 " in done.stdout
    assert "vega" in (script.parent / "curves.html").read_text().lower()


def test_page_passes_mypy_strict(script: Path) -> None:
    """The package is typed for its users, without a plugin; `train` of a number shows the check."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--config-file="]
    with script.open("a") as page:
        page.write("train(28)\n")
    done = subprocess.run(
        [*command, script.name], cwd=script.parent, capture_output=True, text=True, check=False
    )
    errors = [line for line in done.stdout.splitlines() if script.name in line]
    assert len(errors) == 1, done.stdout
    assert 'Argument 1 to "train" has incompatible type "int"' in errors[0]
