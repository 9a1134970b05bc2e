"""Inference in tables, records, files and progress lines: made of a record alone, without torch."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from cnnperf.catalog.registry import all_cases
from cnnperf.record.benchmark_json import to_benchmark_json
from cnnperf.record.loading import load_record
from cnnperf.record.messages import EpochDone, Progress
from cnnperf.record.metrics import format_latency
from cnnperf.record.schema import (
    CaseRecord,
    EpochResult,
    Inference,
    InferenceAccuracy,
    InferenceResult,
    Record,
    Repeat,
    record_as_json,
)
from cnnperf.report.suites import INFERENCE
from cnnperf.report.terminal.run import render, run_summary, tables_of
from cnnperf.run.progress import LogLines, Place, describe_repeat, describe_step, share_done
from cnnperf.run.worker_process import describe_progress
from tests.examples import (
    example_case_record,
    example_record,
    example_repeat,
    plain_terminal,
    write_record,
)

INFER_CASES = all_cases("full", "infer")


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


def result(precision: Any, batch_size: int, p50: float, **fields: Any) -> InferenceResult:
    """A configuration with all three percentiles, unless told otherwise."""
    values = {
        "calls": 200,
        "latency_seconds_p90": 2 * p50,
        "latency_seconds_p99": 3 * p50,
        "images_per_second": batch_size / p50,
        **fields,
    }
    return InferenceResult(
        precision=precision, batch_size=batch_size, latency_seconds_p50=p50, **values
    )


def inferred(seed: int = 0, slower: float = 1.0, *, sample: bool = False) -> Repeat:
    """A repeat of an `infer` case: one image in 0.4 ms, a thousand in 20 or 10 ms."""
    inference = Inference(
        seconds=24.0,
        outside_seconds=24.25,
        results=[
            result("tf32", 1, 0.0004 * slower),
            result("tf32", 1000, 0.02 * slower, latency_seconds_p99=None),
            result("bfloat16", 1, 0.0003 * slower),
            result("bfloat16", 1000, 0.01 * slower),
        ],
        accuracies=[]
        if sample
        else [
            InferenceAccuracy(
                precision="tf32", test_accuracy=0.99, accuracy_difference=0, agreement_fraction=1
            ),
            InferenceAccuracy(
                precision="bfloat16",
                test_accuracy=0.98,
                accuracy_difference=-0.01,
                agreement_fraction=0.985,
            ),
        ],
    )
    repeat = example_repeat(
        seed, 3.0, outside_train_seconds=None, latency_seconds_p50=0.0004 * slower
    )
    return repeat.model_copy(update={"inference": inference, "precision": "tf32"})


def infer_record(*repeats: Repeat) -> CaseRecord:
    """A case of the suite."""
    return example_case_record(INFER_CASES[0], repeats or [inferred()])


def _table(record: Record, width: int = 80) -> str:
    parts = tables_of(INFERENCE, record)
    return "\n".join(render(part, width=width, color=False) for part in parts)


def _rows(text: str) -> list[list[str]]:
    """The table's lines of figures, by columns."""
    lines = [line.strip() for line in text.splitlines()]
    return [re.split(r" {2,}", line) for line in lines if re.match(r"(\w+ +)?[\d,]+ {2}", line)]


# --- the table ----------------------------------------------------------------------------------


def test_each_precision_and_batch_size_has_a_row_in_80_columns() -> None:
    """Accuracy and agreement are equal in all rows of a precision."""
    text = _table(example_record(infer_record()))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert _rows(text) == [
        ["tf32", "1", "400 µs", "800 µs", "1.20 ms", "2,500", "99.00 %", "100.00 %"],
        ["tf32", "1,000", "20.00 ms", "40.00 ms", "—", "50,000", "99.00 %", "100.00 %"],
        ["bfloat16", "1", "300 µs", "600 µs", "900 µs", "3,333", "98.00 %", "98.50 %"],
        ["bfloat16", "1,000", "10.00 ms", "20.00 ms", "30.00 ms", "100,000", "98.00 %", "98.50 %"],
    ]
    assert f"{INFER_CASES[0].id}: inference, trained in tf32" in text


def test_several_trainings_are_shown_by_their_medians() -> None:
    """One slow one does not move them; the heading says how many there were."""
    slow = [inferred(0, 1.0), inferred(1, 9.0), inferred(2, 1.5)]
    text = _table(example_record(infer_record(*slow)))
    assert "medians over 3 trainings" in " ".join(text.split())
    assert _rows(text)[0][2] == "600 µs"


def test_precision_missing_in_one_training_is_shown() -> None:
    """What there is of it is shown, beside its own batch sizes."""
    whole, part = inferred(0), inferred(1)
    assert part.inference is not None
    only_tf32 = part.inference.model_copy(update={"results": part.inference.results[:2]})
    text = _table(example_record(infer_record(part.model_copy(update={"inference": only_tf32}),
                                              whole)))  # fmt: skip
    assert [row[:2] for row in _rows(text)] == [
        ["tf32", "1"], ["tf32", "1,000"], ["bfloat16", "1"], ["bfloat16", "1,000"]
    ]  # fmt: skip


def test_sample_recipe_shows_no_accuracies() -> None:
    """Dashes, not zeros."""
    text = _table(example_record(infer_record(inferred(sample=True))))
    assert _rows(text)[0][-2:] == ["—", "—"]


def test_a_run_without_inference_has_no_such_table() -> None:
    """Neither table nor legend."""
    assert list(tables_of(INFERENCE, example_record())) == []
    assert "agreement" not in render(run_summary(example_record()), width=120, color=False)


def test_the_summary_has_both_tables() -> None:
    """The training's own row, and below it the inference."""
    text = render(run_summary(example_record(infer_record())), width=120, color=False)
    assert re.search(rf"{INFER_CASES[0].id} +1 +3\.00 s +24,000", text)
    assert text.index("3.00 s") < text.index(": inference, trained in tf32") < text.index("400 µs")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 µs"),
        (12.34e-6, "12.3 µs"),
        (99.94e-6, "99.9 µs"),
        (312.4e-6, "312 µs"),
        (0.001, "1.00 ms"),
        (0.0123, "12.30 ms"),
        (2.5, "2.50 s"),
    ],
)
def test_a_latency_has_three_digits_that_matter(seconds: float, text: str) -> None:
    """A tiny model answers in microseconds."""
    assert format_latency(seconds) == text


# --- the record ---------------------------------------------------------------------------------


def test_a_record_with_inference_survives_its_file(tmp_path: Any) -> None:
    """Nothing is lost or changed."""
    record = example_record(infer_record())
    path = write_record(tmp_path / "run.json", record_as_json(record))
    assert load_record(path) == record


def test_an_older_record_has_no_inference(tmp_path: Any) -> None:
    """The key was not there."""
    body = record_as_json(example_record())
    for repeat in body["cases"][0]["repeats"]:
        del repeat["inference"]
    loaded = load_record(write_record(tmp_path / "run.json", body))
    assert loaded.cases[0].repeats[0].inference is None
    assert loaded == example_record()


def test_pytest_benchmarks_figure_is_what_was_timed_from_outside() -> None:
    """The measuring, not the training before it; under the name of its own test."""
    (benchmark,) = to_benchmark_json(example_record(infer_record()))["benchmarks"]
    assert benchmark["stats"]["data"] == [24.25]
    assert benchmark["name"] == f"test_infer[{INFER_CASES[0].id}]"
    assert benchmark["extra_info"]["latency_seconds_p50"] == 0.0004
    assert example_repeat(train_seconds=20.0).timed_seconds == 20.01


# --- the cases ----------------------------------------------------------------------------------


def test_the_cases_measure_all_four_models_and_say_so_in_their_ids() -> None:
    """In the full tier alone; the 224-pixel models are hardly trained."""
    assert {case.model for case in INFER_CASES} == {
        "vgg16", "resnet34", "modified_vgg", "modified_resnet"
    }  # fmt: skip
    for case in INFER_CASES:
        assert "-infer" in case.id
        assert case.tiers == ("full",)
        assert case.recipe.is_sample == (case.resolution == 224)


# --- while it goes on ---------------------------------------------------------------------------


def _measuring(step: int) -> Progress:
    return Progress(phase="inference", epoch=4, epochs=4, step=step, steps=8)


def test_measuring_inference_has_its_own_progress_text() -> None:
    """In the display, and in the reason of a failure."""
    assert describe_step(_measuring(3)) == "measuring inference, 3/8 configurations done"
    assert describe_progress(_measuring(3)) == (
        "last heard of measuring inference, 3 of 8 configurations done"
    )
    assert share_done(_measuring(3)) == 1


def test_a_log_gets_one_line_when_measuring_begins() -> None:
    """It takes seconds a configuration: not a line for each."""
    stream = io.StringIO()
    log = LogLines(Console(file=stream, width=80))
    log.start(Place(case_id="mine", case_number=1, cases=1, repeat_number=1, repeats=1))
    log.hear(EpochDone(epochs=4, result=EpochResult(epoch=4, train_loss=0.1, train_seconds=1.0)))
    for step in range(8):
        log.hear(_measuring(step))
    assert stream.getvalue().count("measuring inference") == 1
    assert stream.getvalue().endswith("mine: measuring inference, 0/8 configurations done\n")


def test_description_of_an_inference_repeat_names_the_latency() -> None:
    """Beside the training; other cases' lines stay as they were."""
    assert describe_repeat(inferred()).endswith(", accuracy 98.99 %, latency 400 µs")
    assert "latency" not in describe_repeat(example_repeat())
