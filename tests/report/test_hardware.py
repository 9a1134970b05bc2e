"""Machines stand beside one another with honest intervals, and what does not fit is named."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
import vl_convert
from scipy import stats

from cnnperf.errors import UsageError
from cnnperf.record.environment import Environment
from cnnperf.record.schema import CaseRecord, Record
from cnnperf.report.html.content import Figure, Page, Row, Section, Table
from cnnperf.report.html.machines.page import hardware_page, hardware_sections
from cnnperf.report.html.machines.pool import pool
from tests.compare.comparisons import HOSTILE
from tests.examples import (
    example_case_record,
    example_environment,
    example_flag,
    example_record,
    example_repeat,
    failed_case_record,
)

OLD, NEW = (1000.0, 1010.0, 990.0), (1500.0, 1530.0, 1485.0)
"""Images per second of three trainings each."""


def _environment(gpu: str, **software: Any) -> Environment:
    found = example_environment().hardware.gpu
    assert found is not None
    made = example_environment(gpu=found.model_copy(update={"name": gpu}))
    return made.model_copy(update={"software": made.software.model_copy(update=software)})


def _case(rates: Sequence[float], first_seed: int = 0, **fields: Any) -> CaseRecord:
    repeats = [
        example_repeat(
            seed,
            48_000 / rate,
            images_per_second=rate,
            time_to_accuracy_seconds=9_600 / rate,
            energy_joules=5e6 / rate,
            mfu=rate / 4_000,
        )
        for seed, rate in enumerate(rates, start=first_seed)
    ]
    return example_case_record(repeats=repeats).model_copy(update=fields)


def _record(gpu: str, *cases: CaseRecord, **software: Any) -> Record:
    return example_record(*cases, environment=_environment(gpu, **software))


def _two() -> list[tuple[str, Record]]:
    return [("h100.json", _record("H100", _case(OLD))), ("h200.json", _record("H200", _case(NEW)))]


def _named(sections: Iterable[Section], section_id: str) -> Section:
    for section in sections:
        if section.id == section_id:
            return section
        if found := [each for each in section.subsections if each.id == section_id]:
            return found[0]
    raise AssertionError(section_id)


def _table(sections: Iterable[Section], metric: str) -> Table:
    return _named(sections, f"section-machines-1-{metric.replace('_', '-')}").tables[0]


def _values(table: Table, row: Row) -> dict[str, Any]:
    return dict(zip((column.name for column in table.columns), row.values, strict=True))


def _welch(base: Sequence[float], new: Sequence[float]) -> tuple[float, float]:
    """The interval, by scipy, of the ratio of two geometric means."""
    logs = [[math.log(value) for value in side] for side in (new, base)]
    interval = stats.ttest_ind(*logs, equal_var=False).confidence_interval()
    return math.exp(interval.low), math.exp(interval.high)


def test_means_and_gains_have_the_intervals_of_logarithms() -> None:
    """Against scipy: Student's of each machine, Welch's of the two."""
    table = _table(hardware_sections(_two()), "images_per_second")
    base, new = (_values(table, row) for row in table.rows)
    assert base["images_per_second"] == pytest.approx(statistics.geometric_mean(OLD))
    logs = [math.log(value) for value in NEW]
    low, high = stats.t.interval(0.95, 2, statistics.fmean(logs), stats.sem(logs))
    assert (new["low"], new["high"]) == pytest.approx((math.exp(low), math.exp(high)))
    assert new["times_better"] == pytest.approx(
        statistics.geometric_mean(NEW) / statistics.geometric_mean(OLD)
    )
    ends = new["times_better_low"], new["times_better_high"]
    assert ends == pytest.approx(_welch(OLD, NEW))
    assert (base["times_better"], base["times_better_low"]) == (1.0, None)


@pytest.mark.parametrize("metric", ["time_to_accuracy_seconds", "energy_joules"])
def test_less_time_and_energy_are_times_better(metric: str) -> None:
    """The base over the machine, so that above 1 is always better."""
    table = _table(hardware_sections(_two()), metric)
    new = _values(table, table.rows[1])
    assert new["times_better"] == pytest.approx(
        statistics.geometric_mean(NEW) / statistics.geometric_mean(OLD)
    )
    assert new["times_better_low"] < new["times_better"] < new["times_better_high"]


def test_a_single_training_has_no_interval_and_says_so() -> None:
    """Neither of its own, nor of what it is held to."""
    one = ("h200.json", _record("H200", _case(NEW[:1])))
    sections = hardware_sections([_two()[0], one])
    table = _table(sections, "images_per_second")
    new = _values(table, table.rows[1])
    assert (new["low"], new["high"], new["times_better_low"]) == (None, None, None)
    assert new["times_better"] == pytest.approx(1.5, abs=0.01)
    text = " ".join(_named(sections, "machines-case-1").paragraphs)
    assert "A single training, so without an interval: H200" in text


def test_records_of_one_machine_are_pooled() -> None:
    """More trainings; a record that is given twice counts once, and is told."""
    first, second = _two()
    more = ("more.json", _record("H100", _case([1005.0, 995.0], first_seed=3)))
    sections = hardware_sections([first, more, second, ("again.json", second[1])])
    table = _table(sections, "images_per_second")
    assert [_values(table, row)["n"] for row in table.rows] == [5, 3]
    left_out = _named(sections, "machines-left-out").paragraphs
    assert left_out[1:] == ("again.json is the same record as h200.json and counts once.",)


def test_a_seed_that_is_trained_again_is_no_second_sample_of_what_it_decides() -> None:
    """Of the time to an accuracy; the speed of a step has nothing to do with the seed."""
    first, second = _two()
    again = ("again.json", _record("H100", _case([value * 1.01 for value in OLD])))
    sections = hardware_sections([first, again, second])
    for metric, n in (("time_to_accuracy_seconds", 3), ("images_per_second", 6)):
        table = _table(sections, metric)
        values = _values(table, table.rows[0])
        assert values["n"] == n
    means = [9_600 / (value * math.sqrt(1.01)) for value in OLD]
    table = _table(sections, "time_to_accuracy_seconds")
    mean = _values(table, table.rows[0])["time_to_accuracy_seconds"]
    assert mean == pytest.approx(statistics.geometric_mean(means))
    part = _named(sections, "section-machines-1-time-to-accuracy-seconds")
    assert part.paragraphs == ()


def test_the_same_hardware_with_other_software_is_told_apart() -> None:
    """By what differs."""
    named = [
        (f"{driver}.json", _record("H100", _case(rates), driver=driver))
        for driver, rates in (("570", OLD), ("580", NEW))
    ]
    labels = [member.label for member in pool(named).members]
    assert labels == ["H100, driver 570", "H100, driver 580"]


@pytest.mark.parametrize("base", ["h200", "H200", "200", "h200.json"])
def test_the_base_is_chosen_by_name_or_file(base: str) -> None:
    """What was faster by a half is now slower by a third."""
    table = _table(hardware_sections(_two(), base), "images_per_second")
    gains = [_values(table, row)["times_better"] for row in table.rows]
    assert gains == [pytest.approx(1 / 1.505, abs=0.01), 1.0]


@pytest.mark.parametrize(("base", "words"), [("A100", "is no machine"), ("H", "several machines")])
def test_a_base_that_is_none_is_bad_usage(base: str, words: str) -> None:
    """With those that there are."""
    with pytest.raises(UsageError, match=f"{words}.*H100, H200"):
        hardware_sections(_two(), base)
    with pytest.raises(UsageError, match="no record to compare"):
        hardware_sections([])


# --- what does not fit --------------------------------------------------------------------------


def _left_out(*others: CaseRecord) -> tuple[str, list[str]]:
    """What is said where H200 has this case, and the machines that are left in the table."""
    sections = hardware_sections([_two()[0], ("h200.json", _record("H200", *others))])
    table = _table(sections, "images_per_second")
    shown = [row.shown[0] for row in table.rows]
    return " ".join(_named(sections, "machines-left-out").paragraphs[1:]), shown


def test_another_model_is_left_out_and_named() -> None:
    """By what differs; another precision may differ, and is shown."""
    case = _case(NEW)
    assert case.fingerprint is not None
    other = case.fingerprint.model_copy(update={"model_sha256": "c" * 64})
    sentence, shown = _left_out(case.model_copy(update={"fingerprint": other}))
    assert "on H200: not comparable with H100: model aaaaaaaaaaaa against cccccccccccc" in sentence
    assert shown == ["H100"]
    half = case.fingerprint.model_copy(update={"precision": "bfloat16"})
    record = _record("H200", case.model_copy(update={"fingerprint": half}))
    table = _table(hardware_sections([_two()[0], ("b.json", record)]), "images_per_second")
    assert [_values(table, row)["precision"] for row in table.rows] == ["float32", "bfloat16"]


def test_a_shortened_training_is_not_held_to_a_whole_one() -> None:
    """It is named."""
    sentence, shown = _left_out(_case(NEW, shortened=True))
    assert "one was shortened, the other was not" in sentence
    assert shown == ["H100"]


def test_equally_shortened_trainings_say_something_of_speed_alone() -> None:
    """And no time to an accuracy."""
    named = [
        (gpu, _record(gpu, _case(rates, shortened=True)))
        for gpu, rates in (("H100", OLD), ("H200", NEW))
    ]
    sections = hardware_sections(named)
    section = _named(sections, "machines-case-1")
    assert "shortened" in section.paragraphs[0]
    titles = [each.title for each in section.subsections]
    assert titles == ["images/s", "energy", "MFU"]


def test_a_failed_case_is_named_with_its_reason() -> None:
    """It has no figure that could be trusted."""
    sentence, _ = _left_out(failed_case_record("killed by SIGKILL"))
    assert "failed: killed by SIGKILL" in sentence


def test_disturbed_trainings_and_missing_figures_are_told() -> None:
    """They are counted in; a mean over those that got there is no mean of all."""
    case = _case(NEW)
    case.repeats[0].warnings.append(example_flag())
    case.repeats[1].metrics.time_to_accuracy_seconds = None
    sections = hardware_sections([_two()[0], ("b.json", _record("H200", case))])
    assert "disturbed trainings on H200" in " ".join(_named(sections, "machines-case-1").paragraphs)
    part = _named(sections, "section-machines-1-time-to-accuracy-seconds")
    assert "means are of those that do: 2 of 3 on H200" in part.paragraphs[0]


def test_a_case_that_the_base_has_not_is_shown_without_gains() -> None:
    """And that is said."""
    other = _case(NEW, id="vgg16-mnist-224-eager")
    sections = hardware_sections([_two()[0], ("b.json", _record("H200", other))])
    section = _named(sections, "machines-case-2")
    assert "The base, H100, has no such training" in " ".join(section.paragraphs)
    (row,) = section.subsections[0].tables[0].rows
    assert row.shown[5] == "—"


def test_the_page_says_how_many_machines_there_are() -> None:
    """With the sections of all of them."""
    page = hardware_page(_two())
    assert page.lead == ("2 records of 2 machines: H100; H200.",)
    assert [section.id for section in page.sections] == [
        section.id for section in hardware_sections(_two())
    ]


# --- figures ------------------------------------------------------------------------------------


def test_figures_have_the_numbers_of_their_tables() -> None:
    """And are drawn: a bar and an interval a machine."""
    sections = hardware_sections(_two())
    part = _named(sections, "section-machines-1-images-per-second")
    bars, gains = part.figures
    (table,) = part.tables
    rows = [_values(table, row) for row in table.rows]
    data = bars.specification["datasets"]["rows"]
    assert [(d["label"], d["value"], d["low"], d["high"]) for d in data] == [
        (r["machine"], r["images_per_second"], r["low"], r["high"]) for r in rows
    ]
    data = gains.specification["datasets"]["rows"]
    assert [d["value"] for d in data] == [r["times_better"] for r in rows]
    for figure in _figures_of(sections):
        assert figure.specification["width"] == "container"
        svg = vl_convert.vegalite_to_svg(figure.specification)
        assert "H200" in svg
        assert svg.count("mark-rule") >= 1


def test_names_keep_their_capitals_at_the_beginning_of_a_sentence() -> None:
    """NVML and FLOP/s, which are no `nvml` and `flop/s`."""
    told = " ".join(figure.caption for figure in _figures_of(hardware_sections(_two())))
    assert "Energy of the device over train_seconds, from NVML's total-energy counter" in told
    assert "nvml" not in told


def _figures_of(sections: Sequence[Section]) -> list[Figure]:
    return list(Page(title="", lead=(), sections=sections).figures())


def test_ids_are_unique_and_safe() -> None:
    """Of sections, tables and figures together."""

    def ids(sections: Iterable[Section]) -> Iterable[str]:
        for section in sections:
            yield section.id
            yield from (each.id for each in (*section.tables, *section.figures))
            yield from ids(section.subsections)

    counts = Counter(ids(hardware_sections(_two())))
    assert set(counts.values()) == {1}
    assert all(each.replace("-", "").isalnum() for each in counts)


def test_hostile_text_stays_text() -> None:
    """In names of machines, ids and files."""
    named = [
        (text, _record(text, _case(NEW, id=text), driver=text)) for text in HOSTILE[:8] if text
    ]
    sections = hardware_sections(named)
    assert "\\u001b" not in json.dumps(list(map(str, sections)))
    figure = Page(title="", lead=(), sections=sections).figures()[0]
    assert "<script>" not in vl_convert.vegalite_to_svg(figure.specification)
