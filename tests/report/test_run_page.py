"""The page of one run and of two: text, tables and figures, against values worked out by hand."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from cnnperf.compare.inputs import Side
from cnnperf.record.environment import Settings
from cnnperf.report.html.charts import bars_with_intervals
from cnnperf.report.html.sections.learning import summed_confusion
from cnnperf.report.html.sections.runs import runs_of
from tests.examples import (
    example_case,
    example_case_record,
    example_flag,
    example_record,
    example_repeat,
    failed_case_record,
    skipped_case_record,
)
from tests.report.page_parts import (
    data_of,
    figure_of,
    names_in,
    page_of,
    section_of,
    shown_in,
    table_of,
    values_of,
)
from tests.report.runs import (
    learned_case,
    learned_repeat,
    study_record,
)

# --- summary --------------------------------------------------------------------------------------


def test_lead_describes_cases_time_machine_software_and_start() -> None:
    """Two trainings take 10.01 seconds each by the outside clock."""
    repeats = [example_repeat(seed, 10.0) for seed in range(2)]
    page = page_of(example_record(example_case_record(repeats=repeats)))
    assert page.lead == [
        "Tier standard: 1 case (1 passed), 2 trainings, 20.0 s of timed work. Machine: NVIDIA "
        "H200, 139.80 GiB. Software: torch 2.15.0, driver none, Python 3.11.7, cnnperf 0.1.0. "
        "Started 2026-01-02 03:04 +0000."
    ]


def test_lead_gives_the_reason_of_failed_skipped_and_missing_work() -> None:
    """Interrupted runs and shortened cases are named, too."""
    shortened = example_case_record(shortened=True)
    page = page_of(
        example_record(shortened, failed_case_record(), skipped_case_record(), interrupted=True)
    )
    text = "\n".join(page.lead)
    assert "3 cases (1 passed, 1 failed, 1 skipped)" in text
    assert "Failed: modified_resnet-mnist-28-eager (seed 1): killed by SIGKILL" in text
    assert "Skipped: modified_vgg-cifar10-28-eager: data set cifar10 is missing" in text
    assert "Interrupted: some planned trainings are missing." in text
    assert "Shortened: 1 case. Ignore their accuracy." in text


def test_lead_counts_disturbed_trainings() -> None:
    """TF32 is a warning, but no disturbance; a busy CPU is one."""
    flags = ([example_flag()], [example_flag("tf32_cudnn")], [])
    repeats = [
        example_repeat(seed).model_copy(update={"warnings": found})
        for seed, found in enumerate(flags)
    ]
    page = page_of(example_record(example_case_record(repeats=repeats)))
    assert page.lead[-1].startswith("1 of 3 trainings may have been disturbed")
    assert "(busy_cpu 1)" in page.lead[-1]


def test_lead_of_two_runs_starts_with_the_verdict() -> None:
    """New is a tenth slower, in five trainings each."""
    page = page_of(study_record(5), study_record(5, faster=1 / 1.1))
    assert page.lead[0].startswith("Regression in 10 of 10 cases")
    assert page.lead[1].startswith("Base is base.json: tier standard:")
    assert page.title == "new.json against base.json"


def test_drawn_change_has_the_interval_of_the_table_in_percent() -> None:
    """A ratio of 1.1 is drawn at +10 %."""
    page = page_of(study_record(5), study_record(5, faster=1 / 1.1))
    row = values_of(table_of(page, "table-verdicts"))[0]
    drawn = data_of(figure_of(page, "change-train-seconds"))[0]
    assert drawn["label"] == row["case"]
    assert [drawn[end] for end in ("value", "low", "high")] == pytest.approx(
        [100 * (row[name] - 1) for name in ("change", "change_low", "change_high")]
    )


def test_open_interval_is_drawn_up_to_the_edge() -> None:
    """The axis ends 15 % beyond the largest value, which is 20."""
    row = {"label": "a", "shown": "slower", "value": 10.0, "limit": 3.0, "kind": "regression"}
    drawn = bars_with_intervals([{**row, "low": None, "high": 20.0}], title="change")
    (found,) = drawn["datasets"]["rows"]
    assert (found["low"], found["high"]) == (pytest.approx(-23.0), 20.0)


def test_pooled_run_starts_with_its_earliest_record() -> None:
    """The later record is named first."""
    late = example_record()
    early = late.model_copy(update={"created": late.created - timedelta(days=1)})
    (run,) = runs_of([Side.pool([("late.json", late), ("early.json", early)])])
    assert run.record.created == early.created
    assert run.name == "late.json and 1 more"


# --- results ------------------------------------------------------------------------------------


def test_results_show_median_spread_and_study() -> None:
    """10, 11 and 14 seconds: the median is 11, half the range a sixth of its middle."""
    repeats = [example_repeat(seed, value) for seed, value in enumerate((10.0, 14.0, 11.0))]
    table = table_of(page_of(example_record(example_case_record(repeats=repeats))), "table-results")
    (values,) = values_of(table)
    assert (values["n"], values["train_seconds"]) == (3, 11.0)
    assert values["train_seconds_spread_fraction"] == pytest.approx(1 / 6)
    assert (values["report_train_seconds"], values["report_test_accuracy"]) == (199, 0.990)
    shown = shown_in(table, table.rows[0])
    assert (shown["train_seconds"], shown["train_seconds_spread_fraction"]) == ("11.0 s", "±16.7 %")
    assert shown["peak_memory_bytes"] == "1.50 GiB"


def test_metric_never_measured_is_named_and_has_no_column() -> None:
    """The machine has no NVML and so no energy."""
    page = page_of(example_record())
    names = [column.name for column in table_of(page, "table-results").columns]
    assert "energy_joules" not in names
    assert "mfu" in names
    assert any("energy" in words for words in section_of(page, "results").paragraphs)


def test_caption_names_the_study_only_where_it_has_such_a_training() -> None:
    """The study trains MNIST, but not digits."""
    tables = [
        table_of(page_of(example_record(learned_case(example_case(dataset=name)))), "table-results")
        for name in ("mnist", "digits")
    ]
    assert [table.caption for table in tables] == [
        "Results, with the published figures of the study",
        "Results",
    ]


def test_shortened_case_is_not_compared_with_the_study() -> None:
    """Its time is not that of the study's training."""
    page = page_of(example_record(example_case_record(shortened=True)))
    assert "report" not in names_in(page)
    assert "report_train_seconds" not in [c.name for c in table_of(page, "table-results").columns]


def test_each_training_and_epoch_has_a_row_with_unrounded_values() -> None:
    """Two trainings of three epochs."""
    page = page_of(example_record(learned_case(repeats=2, epochs=3)))
    assert [row["seed"] for row in values_of(table_of(page, "table-trainings"))] == [0, 1]
    epochs = values_of(table_of(page, "table-epochs"))
    assert [(row["seed"], row["epoch"]) for row in epochs] == [
        (seed, epoch) for seed in (0, 1) for epoch in (1, 2, 3)
    ]
    assert epochs[2]["val_loss"] == 1.6 / 3 + 0.05


def test_step_times_that_are_means_are_said_to_be() -> None:
    """A CUDA graph of 25 steps has one time; one of a single step has each step's."""

    def paragraphs(steps: int | None) -> str:
        settings = Settings(device="cuda:0", cuda_graph_steps=steps)
        repeat = learned_repeat(settings=settings)
        page = page_of(example_record(example_case_record(repeats=[repeat])))
        (section,) = (each for each in page.sections if each.id == "trainings")
        return " ".join(section.paragraphs)

    assert "25 steps in modified_vgg-mnist-28-eager. Their p90 and p99 show no" in paragraphs(25)
    assert "means" not in paragraphs(1) + paragraphs(None)


def test_warning_is_shown_in_full_and_marks_its_training() -> None:
    repeat = learned_repeat(warnings=[example_flag(message="CPU 40 % busy: stop others.")])
    page = page_of(example_record(example_case_record(repeats=[repeat])))
    (row,) = values_of(table_of(page, "table-warnings"))
    assert row["message"] == "CPU 40 % busy: stop others."
    assert table_of(page, "table-trainings").rows[0].style == "flagged"


# --- learning -----------------------------------------------------------------------------------


def test_case_has_figures_of_loss_accuracy_and_confusion() -> None:
    """Their ids name the files of `--figures`."""
    page = page_of(example_record(learned_case()))
    slug = "modified-vgg-mnist-28-eager"
    assert [figure.id for figure in page.figures()] == [
        f"loss-{slug}", f"accuracy-{slug}", f"confusion-{slug}"
    ]  # fmt: skip


def test_names_of_classes_stand_in_tables_and_figures() -> None:
    """Those of the record, as text that cannot become markup or break a line."""
    names = [f"class {number}" for number in range(9)] + ["</script>\n\x1b[31m" + "x" * 99]
    repeat = learned_repeat()
    assert repeat.per_class is not None
    scores = repeat.per_class.model_copy(update={"names": names})
    case = learned_case().model_copy(
        update={"repeats": [repeat.model_copy(update={"per_class": scores})]}
    )
    page = page_of(example_record(case))
    figure = figure_of(page, "confusion-modified-vgg-mnist-28-eager")
    shown = {row["true"] for row in data_of(figure)}
    assert "class 3" in shown
    rows = values_of(table_of(page, "classes-modified-vgg-mnist-28-eager"))
    assert [row["class"] for row in rows][:2] == ["0 class 0", "1 class 1"]
    last = rows[9]["class"]
    assert last.startswith("9 </script> \\x1b[31m")
    assert len(last) == len("9 ") + 40


def test_curve_of_three_trainings_has_each_and_their_median() -> None:
    """Seeds shift the loss by 0, 0.002 and 0.004: the median is the second."""
    page = page_of(example_record(learned_case(repeats=3, epochs=2)))
    rows = data_of(figure_of(page, "loss-modified-vgg-mnist-28-eager"))
    last = [row for row in rows if row["epoch"] == 2 and row["series"] == "validation loss"]
    trainings = sorted(row["value"] for row in last if row["role"] == "training")
    assert trainings == pytest.approx([0.85, 0.852, 0.854])
    (median,) = (row for row in last if row["role"] == "median")
    assert median["value"] == pytest.approx(0.852)
    assert median["of"] == "median of 3"


def test_curve_of_two_trainings_has_both() -> None:
    page = page_of(example_record(learned_case(repeats=2, epochs=2)))
    rows = data_of(figure_of(page, "loss-modified-vgg-mnist-28-eager"))
    roles = [row["role"] for row in rows if row["series"] == "training loss"]
    assert sorted(roles) == ["median"] * 2 + ["training"] * 4


def test_curve_of_one_training_has_no_separate_median() -> None:
    page = page_of(example_record(learned_case(repeats=1)))
    figure = figure_of(page, "loss-modified-vgg-mnist-28-eager")
    assert {row["role"] for row in data_of(figure)} == {"median"}
    assert figure.caption == "modified_vgg-mnist-28-eager; n = 1."


def test_two_runs_share_a_figure_with_base_dashed() -> None:
    """The caption counts the trainings of each."""
    page = page_of(example_record(learned_case(repeats=3)), example_record(learned_case(repeats=2)))
    figure = figure_of(page, "loss-modified-vgg-mnist-28-eager")
    assert {row["run"] for row in data_of(figure)} == {"base", "new"}
    assert "base dashed (n = 3 in base, n = 2 in new)" in figure.caption
    dash = json.dumps(figure.specification)
    assert '"domain": ["base", "new"], "range": [[5, 4], [1, 0]]' in dash


def test_case_with_nothing_to_draw_is_named_with_the_reason() -> None:
    """A sample, a shortened training and one that failed before its first epoch."""
    sample = example_case("vgg16", resolution=224, name="sample", epochs=1, max_steps=4)
    bare = learned_repeat(epochs=1, confusion=None, per_class=None)
    page = page_of(
        example_record(
            example_case_record(sample, repeats=[bare]),
            example_case_record(repeats=[bare], shortened=True),
            failed_case_record(repeats=[], fingerprint=None),
        )
    )
    assert page.figures() == []
    assert section_of(page, "learning").paragraphs == [
        "Nothing to draw (a sample of 4 steps, for speed only): vgg16-mnist-224-sample-eager.",
        "Nothing to draw (shortened, for speed only): modified_vgg-mnist-28-eager.",
        "Nothing to draw (no training finished): modified_resnet-mnist-28-eager.",
    ]


def test_confusion_is_summed_over_trainings() -> None:
    """Matrices of another size, or not square, are left out."""
    found = [[[3, 1], [0, 4]], [[2, 2], [1, 3]], [[1]], [[1, 2], [3]]]
    case = example_case_record(repeats=[learned_repeat(confusion=matrix) for matrix in found])
    assert summed_confusion(case) == ([[5, 3], [1, 7]], 2)


def test_heat_map_shades_right_and_wrong_on_separate_scales() -> None:
    """One error in 1000 has the strongest shade of the errors."""
    case = example_case_record(repeats=[learned_repeat(confusion=[[999, 1], [0, 1000]])])
    figure = figure_of(page_of(example_record(case)), "confusion-modified-vgg-mnist-28-eager")
    shades = {(row["true"], row["predicted"]): row["shade"] for row in data_of(figure)}
    assert shades == {("0", "0"): 0.999, ("0", "1"): 1.0, ("1", "0"): 0.0, ("1", "1"): 1.0}
    assert "1,999 of 2,000 right" in figure.caption


def test_classes_of_cifar10_have_names_and_numbers() -> None:
    page = page_of(example_record(learned_case(example_case(dataset="cifar10"))))
    table = table_of(page, "classes-modified-vgg-cifar10-28-eager")
    assert [row.shown[0] for row in table.rows][:2] == ["0 airplane", "1 automobile"]
    assert values_of(table)[0]["test_f1"] == pytest.approx(0.989)


# --- the study ----------------------------------------------------------------------------------


def test_original_and_modified_model_share_figures() -> None:
    """Both models on MNIST, by each engine; the last marks are test accuracies."""
    page = page_of(study_record(epochs=4))
    ids = [figure.id for figure in section_of(page, "models").figures]
    assert len(ids) == 8
    rows = data_of(figure_of(page, "models-accuracy-vgg16-and-modified-vgg-mnist-report-eager"))
    ends = {(row["series"], row["epoch"], row["value"]) for row in rows if row["role"] == "end"}
    assert ends == {("vgg16", 4, 0.9899), ("modified_vgg", 4, 0.9899)}


def test_reduction_in_time_is_next_to_the_studys() -> None:
    """Ours from 300 to 20 seconds; the study from 3460 to 199 and from 2815 to 235."""
    rows = values_of(table_of(page_of(study_record(1)), "table-reduction"))
    found = {(row["original"], row["modified"]): row for row in rows}
    vgg = found["vgg16-mnist-224-eager", "modified_vgg-mnist-28-eager"]
    assert vgg["reduction_fraction"] == pytest.approx(1 - 20 / 300)
    assert vgg["report_reduction_fraction"] == pytest.approx(0.9425, abs=1e-4)
    resnet = found["resnet34-mnist-224-fast", "modified_resnet-mnist-28-fast"]
    assert resnet["report_reduction_fraction"] == pytest.approx(0.9165, abs=1e-4)


def test_confusion_of_mnist_and_cifar10_is_side_by_side() -> None:
    """The same model is trained on both."""
    figures = section_of(page_of(study_record()), "datasets").figures
    assert [figure.title for figure in figures][:2] == [
        "Test confusion, MNIST",
        "Test confusion, CIFAR-10",
    ]
