"""Several machines on a page: what each reaches, and how many times better it is than a base.

    sections = hardware_sections([("h100.json", first), ("h200.json", second)], base="H100")

Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnnperf.errors import printable
from cnnperf.record.metrics import ABSENT, METRICS
from cnnperf.report.html.content import (
    Column,
    Figure,
    Page,
    Row,
    Section,
    Table,
    capitalised,
    number_column,
)
from cnnperf.report.html.machines.estimates import SHOWN, Estimate, Result, results
from cnnperf.report.html.machines.figures import bars, gains, overview, show_gain
from cnnperf.report.html.machines.pool import Fleet, Member, Named, facts, pool

HEADLINE = "images_per_second"
"""The metric of the overview: every training has it, whatever it reaches."""

MACHINE_COLUMNS = (
    Column(name="machine", label="machine"),
    Column(name="gpu", label="GPU"),
    number_column("gpu_count", "GPUs"),
    Column(name="cpu_model", label="CPU"),
    number_column("cpu_logical_cores", "cores"),
    Column(name="driver", label="driver"),
    Column(name="cuda_runtime", label="CUDA"),
    Column(name="torch", label="torch"),
    Column(name="device", label="device"),
    Column(name="files", label="records"),
    number_column("cases", "cases"),
)


def hardware_page(named: Named, base: str | None = None) -> Page:
    """The sections as a page of their own; arguments and errors as `hardware_sections` has them."""
    sections = hardware_sections(named, base)
    machines = sections[0].tables[0].rows
    count = len(named)
    lead = (
        f"{count} record{'s' * (count != 1)} of {len(machines)} "
        f"machine{'s' * (len(machines) != 1)}: {_listed([row.shown[0] for row in machines])}."
    )
    return Page(title="Several machines", lead=(lead,), sections=sections)


def hardware_sections(named: Named, base: str | None = None) -> list[Section]:
    """Sections on records of several machines; those of one machine and software are pooled.

    Args:
        named: records with the names of their files.
        base: to which the others are held: a machine's name, a part of only one's, or one of the
            files. The first record's machine where None.

    Raises:
        UsageError: there is no record, or no such base.
    """
    fleet = pool(named, base)
    cases = [_case_section(fleet, number, case) for number, case in enumerate(fleet.case_ids, 1)]
    return [
        _machines(fleet),
        *_overview(fleet),
        *(section for section in cases if section is not None),
        *_left_out(fleet),
    ]


def _machines(fleet: Fleet) -> Section:
    count = len(fleet.members)
    alone = "There is one machine alone, so nothing is compared." if count == 1 else ""
    return Section(
        id="machines",
        title="Machines",
        paragraphs=tuple(
            filter(
                None,
                (
                    f"The base is {fleet.base.label}: what is times better is so beside it.",
                    "Records of one machine with the same software are put together. Figures are "
                    "geometric means over all of its trainings of a case with 95 % intervals; "
                    "those of a single training have none, and prove nothing by themselves. n is "
                    "how many trainings a figure rests on; of time to accuracy how many seeds.",
                    alone,
                ),
            )
        ),
        tables=(
            Table(
                id="machines-table",
                caption="What was measured on what",
                columns=MACHINE_COLUMNS,
                rows=[_machine_row(member) for member in fleet.members],
            ),
        ),
    )


def _machine_row(member: Member) -> Row:
    files = ", ".join(map(printable, member.files))
    values = (member.label, *facts(member), files, len(member.trainings))
    shown = [ABSENT if value is None else str(value) for value in values]
    return Row(shown=shown, values=values)


def _overview(fleet: Fleet) -> Iterator[Section]:
    """The gains of all cases in one figure, where there is something to compare."""
    found = [(printable(case), results(fleet, case, HEADLINE)) for case in fleet.case_ids]
    compared = [(case, several) for case, several in found if _is_compared(several)]
    if not compared:
        return
    yield Section(
        id="section-machines-overview",
        title="All cases",
        figures=(
            Figure(
                id="machines-overview",
                title=f"Speed of training, times that of {fleet.base.label}",
                caption=(
                    "Images per second over the base's, with 95 % intervals where both sides have "
                    "two trainings or more. Right of the line is faster."
                ),
                specification=overview(compared, "times the base's images/s"),
            ),
        ),
    )


def _is_compared(found: Sequence[Result]) -> bool:
    return sum(result.gain is not None for result in found) > 1


def _case_section(fleet: Fleet, number: int, case_id: str) -> Section | None:
    parts = [
        part
        for metric in SHOWN
        if (part := _metric_section(fleet, number, case_id, metric)) is not None
    ]
    if not parts:
        return None
    return Section(
        id=f"machines-case-{number}",
        title=printable(case_id),
        paragraphs=tuple(_remarks(fleet, case_id)),
        subsections=parts,
    )


def _remarks(fleet: Fleet, case_id: str) -> Iterator[str]:
    """What must be known of the trainings before their figures are read."""
    having = [member for member in fleet.members if case_id in member.trainings]
    trainings = {member.label: member.trainings[case_id] for member in having}
    if any(training.is_shortened for training in trainings.values()):
        yield (
            "These trainings were shortened, all to the same number of steps: they say something "
            "of speed alone."
        )
    single = [label for label, training in trainings.items() if len(training.repeats) == 1]
    if single:
        yield (
            f"A single training, so without an interval: {_listed(single)}. Three or more "
            "would say how far to trust it."
        )
    disturbed = [label for label, training in trainings.items() if training.disturbed]
    if disturbed:
        yield f"Something else disturbed trainings on {_listed(disturbed)}; they are counted in."
    if fleet.base.label not in trainings:
        yield f"The base, {fleet.base.label}, has no such training: nothing is held to it."


def _metric_section(fleet: Fleet, number: int, case_id: str, metric: str) -> Section | None:
    found = results(fleet, case_id, metric)
    if not found:
        return None
    name = f"machines-{number}-{metric.replace('_', '-')}"
    described = METRICS[metric]
    return Section(
        id=f"section-{name}",
        title=described.label,
        paragraphs=tuple(_missing(fleet, case_id, metric, found)),
        tables=(_metric_table(name, metric, case_id, found),),
        figures=tuple(_metric_figures(name, metric, case_id, found, fleet)),
    )


def _missing(fleet: Fleet, case_id: str, metric: str, found: Sequence[Result]) -> Iterator[str]:
    """Where a mean is of fewer trainings than there are: the others may be the worse ones."""
    few = []
    for result in found:
        training = result.member.trainings[case_id]
        if (count := len(training.having(metric))) < len(training.repeats):
            few.append(f"{count} of {len(training.repeats)} on {result.member.label}")
    if few:
        yield f"Not every training has this figure, and means are of those that do: {_listed(few)}."
    having = {result.member.label for result in found}
    none = [
        member.label
        for member in fleet.members
        if case_id in member.trainings and member.label not in having
    ]
    if none:
        yield f"No training has this figure on {_listed(none)}."


def _listed(names: Sequence[str]) -> str:
    """Labels may hold commas."""
    return "; ".join(names)


def _metric_figures(
    name: str, metric: str, case_id: str, found: Sequence[Result], fleet: Fleet
) -> Iterator[Figure]:
    described = METRICS[metric]
    direction = "Longer" if described.better == "higher" else "Shorter"
    case = printable(case_id)
    yield Figure(
        id=name,
        title=f"{described.label}, {case}",
        caption=f"{capitalised(described.meaning)}. {direction} is better; lines are 95 % "
        "intervals.",
        specification=bars(metric, found),
    )
    if _is_compared(found):
        yield Figure(
            id=f"{name}-gain",
            title=f"{described.label}, times better than {fleet.base.label}, {case}",
            caption=f"{_quotient(metric)}. Right of the line is better than the base; an interval "
            "that crosses it leaves open which is.",
            specification=gains(found, "times better than the base"),
        )


def _quotient(metric: str) -> str:
    sides = ("each machine's", "the base's")
    over = sides if METRICS[metric].better == "higher" else sides[::-1]
    return f"{capitalised(over[0])} {METRICS[metric].label} over {over[1]}"


def _metric_table(name: str, metric: str, case_id: str, found: Sequence[Result]) -> Table:
    return Table(
        id=f"{name}-table",
        caption=f"{METRICS[metric].label} of {printable(case_id)}",
        columns=(
            Column(name="machine", label="machine"),
            number_column("n", "n"),
            number_column(metric, METRICS[metric].label),
            number_column("low", "from (95 %)"),
            number_column("high", "to (95 %)"),
            number_column("times_better", "times better than base"),
            number_column("times_better_low", "from (95 %)"),
            number_column("times_better_high", "to (95 %)"),
            Column(name="precision", label="precision"),
            number_column("disturbed", "disturbed"),
        ),
        rows=[_metric_row(metric, result) for result in found],
    )


def _metric_row(metric: str, result: Result) -> Row:
    show, mean, gain = METRICS[metric].show, result.mean, result.gain
    ends = (mean.low, mean.high)
    ratios = _ratios(gain)
    return Row(
        shown=(
            result.member.label, str(mean.n), show(mean.value), *map(show, ends),
            *(ABSENT if each is None else show_gain(each) for each in ratios),
            result.precision or ABSENT, str(result.disturbed),
        ),
        values=(
            result.member.label, mean.n, mean.value, *ends, *ratios, result.precision,
            result.disturbed,
        ),
    )  # fmt: skip


def _ratios(gain: Estimate | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if gain is None else (gain.value, gain.low, gain.high)


def _left_out(fleet: Fleet) -> Iterator[Section]:
    if fleet.left_out:
        yield Section(
            id="machines-left-out",
            title="Left out",
            paragraphs=(
                "What was trained differently cannot be compared, and what did not end has no "
                "figure:",
                *(f"{sentence}." for sentence in fleet.left_out),
            ),
        )
