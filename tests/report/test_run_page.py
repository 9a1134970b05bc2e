"""What a page says of one run and of two: words, tables and figures, against figures by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cnnperf.metrics import ABSENT
from cnnperf.record import Inference, InferenceAccuracy, InferenceResult, Record
from cnnperf.report.classes import summed_confusion
from cnnperf.report.content import Figure, Page, Row, Section, Table
from cnnperf.report.run_page import run_page
from cnnperf.report.runs import slugs
from tests.examples import (
    example_case,
    example_case_record,
    example_environment,
    example_flag,
    example_record,
    example_repeat,
    failed_case_record,
    skipped_case_record,
)
from tests.report.runs import (
    example_profile,
    learned_case,
    learned_repeat,
    sides,
    study_record,
)


def _page(*records: Record) -> Page:
    return run_page(sides(*records))


def _sections(sections: Any) -> list[Section]:
    return [each for section in sections for each in (section, *_sections(section.subsections))]


def _section(page: Page, name: str) -> Section:
    (found,) = (section for section in _sections(page.sections) if section.id == name)
    return found


def _names(page: Page) -> set[str]:
    return {section.id for section in _sections(page.sections)}


def _table(page: Page, name: str) -> Table:
    tables = [table for section in _sections(page.sections) for table in section.tables]
    (found,) = (table for table in tables if table.id == name)
    return found


def _figure(page: Page, name: str) -> Figure:
    (found,) = (figure for figure in page.figures() if figure.id == name)
    return found


def _shown(table: Table, row: Row) -> dict[str, str]:
    return {column.name: cell for column, cell in zip(table.columns, row.shown, strict=True)}


def _values(table: Table) -> list[dict[str, Any]]:
    return [
        {column.name: value for column, value in zip(table.columns, row.values, strict=True)}
        for row in table.rows
    ]


def _data(figure: Figure) -> list[dict[str, Any]]:
    """All rows that a chart draws from."""
    rows: list[dict[str, Any]] = figure.specification["datasets"]["rows"]
    return rows


# --- words --------------------------------------------------------------------------------------


def test_the_lead_says_what_ran_where_when_and_for_how_long() -> None:
    """Two trainings of 10.01 seconds by the outside clock."""
    repeats = [example_repeat(seed, 10.0) for seed in range(2)]
    page = _page(example_record(example_case_record(repeats=repeats)))
    assert page.lead == [
        "Tier standard on NVIDIA H200, 139.80 GiB with torch 2.15.0, Python 3.11.7, cnnperf 0.1.0, "
        "begun 2026-01-02 03:04 +0000; 1 case (1 passed) in 2 trainings, 20.0 s on the clock in "
        "all."
    ]


def test_the_lead_names_failures_skips_interruptions_and_shortened_cases() -> None:
    """Each with its reason."""
    shortened = example_case_record(shortened=True)
    page = _page(
        example_record(shortened, failed_case_record(), skipped_case_record(), interrupted=True)
    )
    text = "\n".join(page.lead)
    assert "3 cases (1 passed, 1 failed, 1 skipped)" in text
    assert "Failed: modified_resnet-mnist-28-eager (seed 1): killed by SIGKILL" in text
    assert "Skipped: modified_vgg-cifar10-28-eager: data set cifar10 is missing" in text
    assert "Interrupted: not every planned training was done." in text
    assert "Shortened: 1 case, whose accuracy says nothing." in text


def test_the_lead_counts_trainings_that_something_disturbed() -> None:
    """A training in TF32 is not disturbed; one beside a busy CPU is."""
    flags = ([example_flag()], [example_flag("tf32_cudnn")], [])
    repeats = [
        example_repeat(seed).model_copy(update={"warnings": found})
        for seed, found in enumerate(flags)
    ]
    page = _page(example_record(example_case_record(repeats=repeats)))
    assert page.lead[-1].startswith("1 of 3 trainings is flagged (busy_cpu 1)")


def test_two_runs_begin_with_the_verdict() -> None:
    """A tenth slower, five times each."""
    page = _page(study_record(5), study_record(5, faster=1 / 1.1))
    assert page.lead[0].startswith("Regression in 10 of 10 cases")
    assert page.lead[1].startswith("Base is base.json: tier standard")
    assert page.title == "new.json against base.json"


# --- results ------------------------------------------------------------------------------------


def test_results_have_the_median_its_spread_and_the_reports_figures() -> None:
    """10, 11 and 14 seconds: median 11, half the range a sixth of its middle."""
    repeats = [example_repeat(seed, value) for seed, value in enumerate((10.0, 14.0, 11.0))]
    table = _table(_page(example_record(example_case_record(repeats=repeats))), "table-results")
    (values,) = _values(table)
    assert (values["n"], values["train_seconds"]) == (3, 11.0)
    assert values["train_seconds_spread_fraction"] == pytest.approx(1 / 6)
    assert (values["report_train_seconds"], values["report_test_accuracy"]) == (199, 0.990)
    shown = _shown(table, table.rows[0])
    assert (shown["train_seconds"], shown["train_seconds_spread_fraction"]) == ("11.0 s", "±16.7 %")
    assert shown["peak_memory_bytes"] == "1.50 GiB"


def test_what_was_never_measured_is_said_and_has_no_column() -> None:
    """Energy, on a machine without NVML."""
    page = _page(example_record())
    names = [column.name for column in _table(page, "table-results").columns]
    assert "energy_joules" not in names
    assert "mfu" in names
    assert any("energy" in words for words in _section(page, "results").paragraphs)


def test_the_report_is_named_only_where_it_has_such_a_training() -> None:
    """A caption must not promise columns that are not there."""
    tables = [
        _table(_page(example_record(learned_case(example_case(dataset=name)))), "table-results")
        for name in ("mnist", "digits")
    ]
    assert [table.caption for table in tables] == [
        "Results, and what the report says of the same training",
        "Results",
    ]


def test_a_shortened_case_is_not_set_beside_the_report() -> None:
    """Its time is not that of the report's training."""
    page = _page(example_record(example_case_record(shortened=True)))
    assert "report" not in _names(page)
    assert "report_train_seconds" not in [c.name for c in _table(page, "table-results").columns]


def test_every_training_and_every_epoch_has_a_row() -> None:
    """Unrounded."""
    page = _page(example_record(learned_case(repeats=2, epochs=3)))
    assert [row["seed"] for row in _values(_table(page, "table-trainings"))] == [0, 1]
    epochs = _values(_table(page, "table-epochs"))
    assert [(row["seed"], row["epoch"]) for row in epochs] == [
        (seed, epoch) for seed in (0, 1) for epoch in (1, 2, 3)
    ]
    assert epochs[2]["val_loss"] == 1.6 / 3 + 0.05


def test_warnings_are_there_word_for_word() -> None:
    """And their training is marked."""
    repeat = learned_repeat(warnings=[example_flag(message="CPU 40 % busy: stop others.")])
    page = _page(example_record(example_case_record(repeats=[repeat])))
    (row,) = _values(_table(page, "table-warnings"))
    assert row["message"] == "CPU 40 % busy: stop others."
    assert _table(page, "table-trainings").rows[0].style == "flagged"


# --- learning -----------------------------------------------------------------------------------


def test_a_case_has_its_losses_its_scores_and_its_confusion() -> None:
    """The ids name the files of `--figures`."""
    page = _page(example_record(learned_case()))
    slug = "modified-vgg-mnist-28-eager"
    assert [figure.id for figure in page.figures()] == [
        f"loss-{slug}", f"accuracy-{slug}", f"confusion-{slug}"
    ]  # fmt: skip


def test_a_curve_has_each_training_and_their_median() -> None:
    """Seeds shift the loss by 0, 0.002 and 0.004: the median is the second."""
    page = _page(example_record(learned_case(repeats=3, epochs=2)))
    rows = _data(_figure(page, "loss-modified-vgg-mnist-28-eager"))
    last = [row for row in rows if row["epoch"] == 2 and row["series"] == "validation loss"]
    trainings = sorted(row["value"] for row in last if row["role"] == "training")
    assert trainings == pytest.approx([0.85, 0.852, 0.854])
    (median,) = (row for row in last if row["role"] == "median")
    assert median["value"] == pytest.approx(0.852)
    assert median["of"] == "median of 3"


def test_a_single_training_is_called_one() -> None:
    """No band of nothing, no median of one."""
    page = _page(example_record(learned_case(repeats=1)))
    figure = _figure(page, "loss-modified-vgg-mnist-28-eager")
    assert {row["role"] for row in _data(figure)} == {"median"}
    assert figure.caption == "modified_vgg-mnist-28-eager; n = 1."


def test_two_runs_share_a_figure_in_which_base_is_dashed() -> None:
    """And each has its own number of trainings."""
    page = _page(example_record(learned_case(repeats=3)), example_record(learned_case(repeats=2)))
    figure = _figure(page, "loss-modified-vgg-mnist-28-eager")
    assert {row["run"] for row in _data(figure)} == {"base", "new"}
    assert "base dashed (n = 3 in base, n = 2 in new)" in figure.caption
    dash = json.dumps(figure.specification)
    assert '"domain": ["base", "new"], "range": [[5, 4], [1, 0]]' in dash


def test_cases_without_anything_to_draw_get_a_sentence() -> None:
    """A sample, a shortened training and one that failed at once."""
    sample = example_case("vgg16", resolution=224, name="sample", epochs=1, max_steps=4)
    bare = learned_repeat(epochs=1, confusion=None, per_class=None)
    page = _page(
        example_record(
            example_case_record(sample, repeats=[bare]),
            example_case_record(repeats=[bare], shortened=True),
            failed_case_record(repeats=[], fingerprint=None),
        )
    )
    assert page.figures() == []
    assert _section(page, "learning").paragraphs == [
        "Nothing to draw (a sample of 4 steps: speed only): vgg16-mnist-224-sample-eager.",
        "Nothing to draw (shortened: speed only): modified_vgg-mnist-28-eager.",
        "Nothing to draw (no training was finished): modified_resnet-mnist-28-eager.",
    ]


def test_confusion_is_summed_over_trainings() -> None:
    """One of another size, or that is not square, is left out."""
    found = [[[3, 1], [0, 4]], [[2, 2], [1, 3]], [[1]], [[1, 2], [3]]]
    case = example_case_record(repeats=[learned_repeat(confusion=matrix) for matrix in found])
    assert summed_confusion(case) == ([[5, 3], [1, 7]], 2)


def test_the_heat_map_shades_right_and_wrong_apart() -> None:
    """One error in 1000 is the darkest of its kind."""
    case = example_case_record(repeats=[learned_repeat(confusion=[[999, 1], [0, 1000]])])
    figure = _figure(_page(example_record(case)), "confusion-modified-vgg-mnist-28-eager")
    shades = {(row["true"], row["predicted"]): row["shade"] for row in _data(figure)}
    assert shades == {("0", "0"): 0.999, ("0", "1"): 1.0, ("1", "0"): 0.0, ("1", "1"): 1.0}
    assert "1,999 of 2,000 right" in figure.caption


def test_classes_of_cifar10_have_names() -> None:
    """A number says nothing there."""
    page = _page(example_record(learned_case(example_case(dataset="cifar10"))))
    table = _table(page, "classes-modified-vgg-cifar10-28-eager")
    assert [row.shown[0] for row in table.rows][:2] == ["0 airplane", "1 automobile"]
    assert _values(table)[0]["test_f1"] == pytest.approx(0.989)


# --- the study ----------------------------------------------------------------------------------


def test_original_and_modified_share_their_figures() -> None:
    """Both models on MNIST, through each engine; the test accuracy stands at the end."""
    page = _page(study_record(epochs=4))
    ids = [figure.id for figure in _section(page, "models").figures]
    assert len(ids) == 8
    rows = _data(_figure(page, "models-accuracy-vgg16-and-modified-vgg-mnist-report-eager"))
    ends = {(row["series"], row["epoch"], row["value"]) for row in rows if row["role"] == "end"}
    assert ends == {("vgg16", 4, 0.9899), ("modified_vgg", 4, 0.9899)}


def test_the_reduction_in_time_stands_beside_the_reports() -> None:
    """From 300 to 20 seconds, and in the report from 3460 to 199 and from 2815 to 235."""
    rows = _values(_table(_page(study_record(1)), "table-reduction"))
    found = {(row["original"], row["modified"]): row for row in rows}
    vgg = found["vgg16-mnist-224-eager", "modified_vgg-mnist-28-eager"]
    assert vgg["reduction_fraction"] == pytest.approx(1 - 20 / 300)
    assert vgg["report_reduction_fraction"] == pytest.approx(0.9425, abs=1e-4)
    resnet = found["resnet34-mnist-224-fast", "modified_resnet-mnist-28-fast"]
    assert resnet["report_reduction_fraction"] == pytest.approx(0.9165, abs=1e-4)


def test_mnist_and_cifar10_confusion_stand_side_by_side() -> None:
    """Of the model that learned both."""
    figures = _section(_page(study_record()), "datasets").figures
    assert [figure.title for figure in figures][:2] == [
        "Test confusion, MNIST",
        "Test confusion, CIFAR-10",
    ]


# --- two runs -----------------------------------------------------------------------------------


def test_verdicts_have_medians_change_and_interval() -> None:
    """The gravest first, and coloured by what it is."""
    page = _page(study_record(5), study_record(5, faster=1 / 1.1))
    table = _table(page, "table-verdicts")
    assert table.rows[0].style == "slower"
    first = _values(table)[0]
    assert (first["case"], first["metric"]) == ("modified_vgg-mnist-28-eager", "train time")
    assert first["change"] == pytest.approx(1.1)
    assert first["change_low"] < 1.1 < first["change_high"]
    assert first["change_kind"] == "ratio"
    drawn = _data(_figure(page, "change-train-seconds"))
    assert {row["kind"] for row in drawn} == {"regression"}
    assert drawn[0]["value"] == pytest.approx(10.0)


def test_what_differs_between_the_environments_is_listed() -> None:
    """With a mark at what forbids comparing."""
    other = example_environment(cpu_model="Intel Xeon")
    page = _page(example_record(), example_record(environment=other))
    (row,) = _values(_table(page, "table-changes"))
    assert (row["field"], row["base"], row["new"]) == (
        "hardware.cpu_model", "AMD EPYC 9654", "Intel Xeon"
    )  # fmt: skip
    assert row["forbids"] == "yes, unless asked with --across"


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
    rows = _values(_table(_page(example_record(*cases)), "table-peers"))
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
    page = _page(example_record(example_case_record(repeats=repeats)))
    (row,) = _values(_table(page, "table-inference"))
    assert (row["precision"], row["batch_size"], row["n"]) == ("bfloat16", 32, 3)
    assert (row["latency_seconds_p50"], row["latency_seconds_p90"]) == (0.002, None)
    assert (row["test_accuracy"], row["agreement_fraction"]) == (None, 0.99)


def test_a_profile_is_drawn_by_class_and_its_kernels_are_listed() -> None:
    """Two runs are two bars."""
    record = example_record(learned_case(profile=example_profile()))
    page = _page(record, record)
    figure = _figure(page, "profile-modified-vgg-mnist-28-eager")
    assert [(r["row"], r["part"], r["value"]) for r in _data(figure) if r["row"] == "new"] == [
        ("new", "convolution", 5), ("new", "optimizer", 2), ("new", "idle", 3)
    ]  # fmt: skip
    assert figure.specification["encoding"]["x"]["title"] == "milliseconds per step"
    kernel = _values(_table(page, "kernels-modified-vgg-mnist-28-eager"))[0]
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
    told = " ".join(_section(_page(base, new), "verdict").paragraphs)
    assert "profiled step 10.00 ms -> 11.00 ms: convolution +1.00 ms" in told


def test_without_other_suites_and_profiles_there_are_no_such_sections() -> None:
    """Nothing is there to say that nothing is there."""
    names = _names(_page(example_record(learned_case())))
    assert not names & {"peers", "inference", "harness", "profile", "models", "datasets", "verdict"}


def test_names_of_files_are_unique_and_plain() -> None:
    """Whatever a case is called."""
    found = slugs(["a-b", "a b", "A_B", "../../x", "", "…", "x" * 500])
    assert list(found.values())[:6] == ["a-b", "a-b-2", "a-b-3", "x", "case", "case-2"]
    assert len(found["x" * 500]) == 60


def test_a_record_without_cases_still_gives_a_page() -> None:
    """It says so."""
    record = example_record().model_copy(update={"cases": []})
    page = _page(record)
    assert "no case in 0 trainings" in page.lead[0]
    assert ABSENT not in page.lead[0]
