"""Profiles in the summary of a run and in its file: made of a record alone, without torch."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cnnperf.record.loading import load_record
from cnnperf.record.schema import Record, record_as_json
from cnnperf.report.terminal.run import profile_tables, render, run_summary, where_traces_are
from tests.examples import (
    example_case,
    example_case_record,
    example_profile,
    example_record,
    plain_terminal,
    profiled_repeats,
    write_record,
)

SLOW = {"convolution": 25.0, "data_wait": 0.0}


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


def profiled_record() -> Record:
    """A case with three profiles, one of which is slow, and a case without."""
    profiles = example_profile(), example_profile(**SLOW), example_profile()
    return example_record(
        example_case_record(repeats=profiled_repeats(*profiles)),
        example_case_record(example_case("modified_resnet")),
    )


def _text(record: Record, width: int = 120) -> str:
    return "\n".join(render(part, width=width, color=False) for part in profile_tables(record))


def test_a_row_has_the_step_and_the_share_of_each_class() -> None:
    """Medians over the three; a class without time has a dot."""
    text = _text(profiled_record())
    (row,) = [line for line in text.splitlines() if "modified_vgg" in line]
    assert re.split(r" {2,}", row.strip()) == [
        "modified_vgg-mnist-28-eager", "3", "10.00 ms",
        "50", "·", "20", "·", "·", "10", "·", "·", "5.0", "15",
    ]  # fmt: skip
    assert "waiting for data" in text
    assert "modified_resnet" not in text


def test_narrow_terminal_shows_the_id_above_its_shares() -> None:
    """An id that has no room stands in a line above its row."""
    text = _text(profiled_record(), width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert re.search(r"^modified_vgg-mnist-28-eager *\n +3 +10\.00 ms +50 ", text, re.MULTILINE)


def test_a_run_without_profiles_has_no_such_table() -> None:
    """Neither table, nor legend, nor line."""
    assert list(profile_tables(example_record())) == []
    assert "profiled" not in render(run_summary(example_record()), width=120, color=False)
    assert where_traces_are(example_record(), Path("traces")) is None


def test_summary_of_a_profiled_run_has_the_table() -> None:
    """Below the results."""
    text = render(run_summary(profiled_record()), width=120, color=False)
    assert text.index("medians over n trainings") < text.index("optim")


def test_traces_line_has_folder_and_command() -> None:
    """A folder with a space can be pasted; a resumed record's traces lie elsewhere."""
    line = where_traces_are(profiled_record(), Path("/my traces"))
    assert line is not None
    assert line.startswith("traces: /my traces (tensorboard --logdir '/my traces', or open one at")
    assert "https://ui.perfetto.dev" in line
    assert where_traces_are(profiled_record(), None) is None


def test_hostile_id_of_a_profile_is_shown_as_plain_text() -> None:
    """Escapes are shown as such."""
    record = profiled_record()
    record.cases[0].id = "a\x1b[31m[bold]b"
    text = _text(record)
    assert "\x1b" not in text
    assert "[bold]b" in text


def test_a_profile_survives_its_file(tmp_path: Path) -> None:
    """Nothing is lost or changed."""
    record = profiled_record()
    assert load_record(write_record(tmp_path / "run.json", record_as_json(record))) == record
