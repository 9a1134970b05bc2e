"""What a page of two runs, of other suites and of profiles is made of."""

from __future__ import annotations

import pytest

from cnnperf.record.metrics import ABSENT
from cnnperf.record.schema import Inference, InferenceAccuracy, InferenceResult
from cnnperf.report.html.run_page import run_page
from cnnperf.report.html.sections.runs import slugs
from tests.examples import (
    example_case,
    example_case_record,
    example_environment,
    example_record,
    example_repeat,
)
from tests.report.page_parts import (
    data_of,
    figure_of,
    names_in,
    page_of,
    section_of,
    table_of,
    values_of,
)
from tests.report.runs import (
    example_profile,
    learned_case,
    learned_repeat,
    sides,
    study_record,
)

# --- two runs -----------------------------------------------------------------------------------


def test_verdicts_have_medians_change_and_interval() -> None:
    """The gravest first, and coloured by what it is."""
    page = page_of(study_record(5), study_record(5, faster=1 / 1.1))
    table = table_of(page, "table-verdicts")
    assert table.rows[0].style == "slower"
    first = values_of(table)[0]
    assert (first["case"], first["metric"]) == ("modified_vgg-mnist-28-eager", "train time")
    assert first["change"] == pytest.approx(1.1)
    assert first["change_low"] < 1.1 < first["change_high"]
    assert first["change_kind"] == "ratio"
    drawn = data_of(figure_of(page, "change-train-seconds"))
    assert {row["kind"] for row in drawn} == {"regression"}
    assert drawn[0]["value"] == pytest.approx(10.0)


def test_what_differs_between_the_environments_is_listed() -> None:
    """With a mark at what forbids comparing."""
    other = example_environment(cpu_model="Intel Xeon")
    page = page_of(example_record(), example_record(environment=other))
    (row,) = values_of(table_of(page, "table-changes"))
    assert (row["field"], row["base"], row["new"]) == (
        "hardware.cpu_model", "AMD EPYC 9654", "Intel Xeon"
    )  # fmt: skip
    assert row["forbids"] == "yes, unless allowed with --across"


def test_equal_names_are_told_apart_by_their_folders() -> None:
    """Both are called run.json."""
    found = run_page(sides(example_record(), example_record(), names=("a/run.json", "b/run.json")))
    assert found.title == "b/run.json against a/run.json"


# --- other suites and profiles ------------------------------------------------------------------


def test_peers_have_their_ratio() -> None:
    """Twice the images per second is twice as fast."""
    cases = [
        example_case_record(
            example_case(name="peers", epochs=3).model_copy(
                update={"engine": engine, "suite": "peers"}
            ),
            repeats=[example_repeat(images_per_second=rate)],
        )
        for engine, rate in (("plain", 1000.0), ("fast", 2000.0))
    ]
    rows = values_of(table_of(page_of(example_record(*cases)), "table-peers"))
    assert [(row["engine"], row["speed_ratio"]) for row in rows] == [("fast", 1.0), ("plain", 2.0)]


def test_inference_has_a_row_a_precision_and_batch_size() -> None:
    """Medians over the trainings."""
    repeats = [
        learned_repeat(
            seed,
            inference=Inference(
                seconds=1.0,
                results=[
                    InferenceResult(
                        precision="bfloat16",
                        batch_size=32,
                        calls=10,
                        latency_seconds_p50=0.001 * (seed + 1),
                        images_per_second=100.0,
                    )
                ],
                accuracies=[InferenceAccuracy(precision="bfloat16", agreement_fraction=0.99)],
            ),
        )
        for seed in range(3)
    ]
    page = page_of(example_record(example_case_record(repeats=repeats)))
    (row,) = values_of(table_of(page, "table-inference"))
    assert (row["precision"], row["batch_size"], row["n"]) == ("bfloat16", 32, 3)
    assert (row["latency_seconds_p50"], row["latency_seconds_p90"]) == (0.002, None)
    assert (row["test_accuracy"], row["agreement_fraction"]) == (None, 0.99)


def test_a_profile_is_drawn_by_class_and_its_kernels_are_listed() -> None:
    """Two runs are two bars."""
    record = example_record(learned_case(profile=example_profile()))
    page = page_of(record, record)
    figure = figure_of(page, "profile-modified-vgg-mnist-28-eager")
    assert [(r["row"], r["part"], r["value"]) for r in data_of(figure) if r["row"] == "new"] == [
        ("new", "convolution", 5), ("new", "optimizer", 2), ("new", "idle", 3)
    ]  # fmt: skip
    assert figure.specification["encoding"]["x"]["title"] == "milliseconds per step"
    kernel = values_of(table_of(page, "kernels-modified-vgg-mnist-28-eager"))[0]
    assert kernel["step_fraction"] == pytest.approx(0.4)


def test_the_verdict_says_which_kind_of_work_a_change_came_from() -> None:
    """In the words of `cnnperf compare`."""
    longer = example_profile()
    longer.seconds_per_step_by_class["convolution"] += 0.001
    longer = longer.model_copy(update={"seconds_per_step": 0.011})
    base, new = (
        example_record(learned_case(profile=profile, seconds=seconds))
        for profile, seconds in ((example_profile(), 20.0), (longer, 22.0))
    )
    told = " ".join(section_of(page_of(base, new), "verdict").paragraphs)
    assert "profiled step 10.00 ms -> 11.00 ms: convolution +1.00 ms" in told


def test_without_other_suites_and_profiles_there_are_no_such_sections() -> None:
    """Nothing is there to say that nothing is there."""
    names = names_in(page_of(example_record(learned_case())))
    assert not names & {"peers", "inference", "harness", "profile", "models", "datasets", "verdict"}


def test_names_of_files_are_unique_and_plain() -> None:
    """Whatever a case is called."""
    found = slugs(["a-b", "a b", "A_B", "../../x", "", "…", "x" * 500])
    assert list(found.values())[:6] == ["a-b", "a-b-2", "a-b-3", "x", "case", "case-2"]
    assert len(found["x" * 500]) == 60


def test_a_record_without_cases_still_gives_a_page() -> None:
    """It says so."""
    record = example_record().model_copy(update={"cases": []})
    page = page_of(record)
    assert "no case, 0 trainings" in page.lead[0]
    assert ABSENT not in page.lead[0]
