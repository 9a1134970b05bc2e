"""Machines are compared with correct intervals, and what cannot be compared is named."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
import vl_convert
from scipy import stats

from cnnperf.errors import UsageError
from cnnperf.record.environment import Environment, Settings
from cnnperf.record.schema import CaseRecord, Record
from cnnperf.report.html.content import Figure, Page, Row, Section, Table
from cnnperf.report.html.machines.page import hardware_page
from cnnperf.report.html.machines.pool import pool
from cnnperf.report.html.page import check_ids
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


def _sections(*arguments: Any) -> Sequence[Section]:
    return hardware_page(*arguments).sections


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


def test_means_and_gains_have_intervals_of_logarithms() -> None:
    """Scipy's Student interval for each machine, Welch's for the two."""
    table = _table(_sections(_two()), "images_per_second")
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
def test_less_time_and_energy_are_above_1_times_better(metric: str) -> None:
    """The ratio is base over machine, so that above 1 is always better."""
    table = _table(_sections(_two()), metric)
    new = _values(table, table.rows[1])
    assert new["times_better"] == pytest.approx(
        statistics.geometric_mean(NEW) / statistics.geometric_mean(OLD)
    )
    assert new["times_better_low"] < new["times_better"] < new["times_better_high"]


def test_single_training_has_no_interval_and_a_remark() -> None:
    """Neither its mean nor its ratio has one."""
    one = ("h200.json", _record("H200", _case(NEW[:1])))
    sections = _sections([_two()[0], one])
    table = _table(sections, "images_per_second")
    new = _values(table, table.rows[1])
    assert (new["low"], new["high"], new["times_better_low"]) == (None, None, None)
    assert new["times_better"] == pytest.approx(1.5, abs=0.01)
    text = " ".join(_named(sections, "machines-case-1").paragraphs)
    assert "A single training, so no interval: H200" in text


def test_records_of_one_machine_are_pooled() -> None:
    """A record given twice counts once, and is named."""
    first, second = _two()
    more = ("more.json", _record("H100", _case([1005.0, 995.0], first_seed=3)))
    sections = _sections([first, more, second, ("again.json", second[1])])
    table = _table(sections, "images_per_second")
    assert [_values(table, row)["n"] for row in table.rows] == [5, 3]
    left_out = _named(sections, "machines-left-out").paragraphs
    assert left_out[1:] == ("again.json is the same record as h200.json and counts once.",)


def test_repeated_seed_counts_once_for_values_that_it_decides() -> None:
    """It decides the time to an accuracy, but not the speed of a step."""
    first, second = _two()
    again = ("again.json", _record("H100", _case([value * 1.01 for value in OLD])))
    sections = _sections([first, again, second])
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


def test_same_hardware_with_other_driver_has_another_label() -> None:
    named = [
        (f"{driver}.json", _record("H100", _case(rates), driver=driver))
        for driver, rates in (("570", OLD), ("580", NEW))
    ]
    labels = [member.label for member in pool(named).members]
    assert labels == ["H100, driver 570", "H100, driver 580"]


@pytest.mark.parametrize("base", ["h200", "H200", "200", "h200.json"])
def test_base_is_chosen_by_name_or_file(base: str) -> None:
    """The new base is faster by a half, so the old one is slower by a third."""
    table = _table(_sections(_two(), base), "images_per_second")
    gains = [_values(table, row)["times_better"] for row in table.rows]
    assert gains == [pytest.approx(1 / 1.505, abs=0.01), 1.0]


@pytest.mark.parametrize(("base", "words"), [("A100", "is no machine"), ("H", "several machines")])
def test_unknown_or_ambiguous_base_is_a_usage_error(base: str, words: str) -> None:
    """The message lists the machines."""
    with pytest.raises(UsageError, match=f"{words}.*H100, H200"):
        _sections(_two(), base)
    with pytest.raises(UsageError, match="no record to compare"):
        _sections([])


# --- left out --------------------------------------------------------------------------


def _left_out(*others: CaseRecord) -> tuple[str, list[str]]:
    """Return what is left out where H200 has this case, and the machines in the table."""
    sections = _sections([_two()[0], ("h200.json", _record("H200", *others))])
    table = _table(sections, "images_per_second")
    shown = [row.shown[0] for row in table.rows]
    return " ".join(_named(sections, "machines-left-out").paragraphs[1:]), shown


def test_other_model_is_left_out_and_other_precision_is_shown() -> None:
    """The sentence names the difference."""
    case = _case(NEW)
    assert case.fingerprint is not None
    other = case.fingerprint.model_copy(update={"model_sha256": "c" * 64})
    sentence, shown = _left_out(case.model_copy(update={"fingerprint": other}))
    assert "on H200: not comparable with H100: model aaaaaaaaaaaa against cccccccccccc" in sentence
    assert shown == ["H100"]
    half = case.fingerprint.model_copy(update={"precision": "bfloat16"})
    record = _record("H200", case.model_copy(update={"fingerprint": half}))
    table = _table(_sections([_two()[0], ("b.json", record)]), "images_per_second")
    assert [_values(table, row)["precision"] for row in table.rows] == ["float32", "bfloat16"]


def test_shortened_training_is_not_compared_with_a_complete_one() -> None:
    sentence, shown = _left_out(_case(NEW, shortened=True))
    assert "one was shortened, the other was not" in sentence
    assert shown == ["H100"]


@pytest.mark.parametrize(
    ("update", "shortened", "why"),
    [
        ({"steps": 60}, True, "shortened to 60 steps, the other to 3750"),
        ({"settings": Settings(deterministic_algorithms=True)}, False, "--cnnperf-deterministic"),
    ],
)
def test_other_steps_or_algorithms_are_left_out(
    update: dict[str, Any], shortened: bool, why: str
) -> None:
    """Both change the speed of a training."""
    case = _case(NEW, shortened=shortened)
    repeats = [repeat.model_copy(update=update) for repeat in case.repeats]
    records = [
        ("h100.json", _record("H100", _case(OLD, shortened=shortened))),
        ("h200.json", _record("H200", case.model_copy(update={"repeats": repeats}))),
    ]
    fleet = pool(records)
    assert why in fleet.left_out[0]
    assert [len(member.cases) for member in fleet.members] == [1, 0]


def test_equally_shortened_trainings_show_speed_only() -> None:
    """They have no time to an accuracy."""
    named = [
        (gpu, _record(gpu, _case(rates, shortened=True)))
        for gpu, rates in (("H100", OLD), ("H200", NEW))
    ]
    sections = _sections(named)
    section = _named(sections, "machines-case-1")
    assert "shortened" in section.paragraphs[0]
    titles = [each.title for each in section.subsections]
    assert titles == ["images/s", "energy", "MFU"]


def test_failed_case_is_left_out_with_its_reason() -> None:
    sentence, _ = _left_out(failed_case_record("killed by SIGKILL"))
    assert "failed: killed by SIGKILL" in sentence


def test_disturbed_trainings_and_missing_values_are_named() -> None:
    """Disturbed ones are included; a mean over some trainings says so."""
    case = _case(NEW)
    case.repeats[0].warnings.append(example_flag())
    case.repeats[1].metrics.time_to_accuracy_seconds = None
    sections = _sections([_two()[0], ("b.json", _record("H200", case))])
    assert "disturbed trainings on H200" in " ".join(_named(sections, "machines-case-1").paragraphs)
    part = _named(sections, "section-machines-1-time-to-accuracy-seconds")
    assert "the means are of those that do: 2 of 3 on H200" in part.paragraphs[0]


def test_case_missing_on_the_base_has_values_without_gains() -> None:
    """The page says why."""
    other = _case(NEW, id="vgg16-mnist-224-eager")
    sections = _sections([_two()[0], ("b.json", _record("H200", other))])
    section = _named(sections, "machines-case-2")
    assert "The base, H100, has no such training" in " ".join(section.paragraphs)
    (row,) = section.subsections[0].tables[0].rows
    assert row.shown[5] == "—"


def test_lead_counts_records_and_machines() -> None:
    assert hardware_page(_two()).lead == ("2 records of 2 machines: H100; H200.",)


# --- figures ------------------------------------------------------------------------------------


def test_figures_have_the_values_of_their_tables() -> None:
    """They are drawn: a bar and an interval for each machine."""
    sections = _sections(_two())
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


def test_capitals_inside_a_caption_are_kept() -> None:
    """NVML does not become `nvml`."""
    told = " ".join(figure.caption for figure in _figures_of(_sections(_two())))
    assert "Energy of the device over train_seconds, from NVML's total-energy counter" in told
    assert "nvml" not in told


def _figures_of(sections: Sequence[Section]) -> list[Figure]:
    return list(Page(title="", lead=(), sections=sections).figures())


def test_ids_are_unique_and_safe() -> None:
    """Sections, tables and figures together."""
    check_ids(hardware_page(_two()))


def test_hostile_text_stays_text() -> None:
    """In names of machines, cases and files."""
    named = [
        (text, _record(text, _case(NEW, id=text), driver=text)) for text in HOSTILE[:8] if text
    ]
    sections = _sections(named)
    assert "\\u001b" not in json.dumps(list(map(str, sections)))
    figure = _figures_of(sections)[0]
    assert "<script>" not in vl_convert.vegalite_to_svg(figure.specification)
