"""All records of a project as one page of Markdown: the study's table beside what was measured.

    cnnperf results reports -o docs/results.md

Torch-free. The page is made of the records alone, so it says the same wherever it is made; a test
holds the project's own to its records.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from cnnperf.catalog.cases import reported
from cnnperf.cli.evidence import Found, Source, Stack, disturbed
from cnnperf.compare.calibration import REPEATS
from cnnperf.compare.thresholds import JUDGED
from cnnperf.record.messages import ProbeResult
from cnnperf.record.metrics import ABSENT, METRICS, format_share, show
from cnnperf.record.schema import CaseRecord
from cnnperf.report.formats.markdown import code, prose, table
from cnnperf.report.suites import speed_ratio
from cnnperf.run.header import describe_device, describe_software

NO_GPU = (
    "**No record of a GPU exists yet:** everything below is from a CPU. It shows that the suite "
    "works and what the models learn; the times say nothing about GPUs. [gpu.md](gpu.md) says how "
    "records of a GPU are made."
)

LEGEND = (
    "n trainings, each in a process of its own with its own seed; a figure is their median, in "
    "brackets the least and the greatest. The study's figures are its own, from an unknown GPU and "
    "one training. MFU is against the matmul peak measured in the same run, energy that of the GPU."
)

STUDY_METRICS = ("train_seconds", "test_accuracy", "test_f1_macro", "images_per_second", "mfu",
                 "energy_joules")  # fmt: skip
RANGED = ("train_seconds", "test_accuracy", "test_f1_macro", "images_per_second")
"""Metrics of which a table has the least and the greatest too."""
PEER_METRICS = ("images_per_second", "train_seconds", "mfu")


def results_page(stacks: Sequence[Stack], output: Path) -> str:
    """The page.

    Args:
        stacks: in the order in which they are to stand.
        output: where it is going to lie: links are seen from there.
    """
    parts = [
        "# Results",
        "<!-- Made by `cnnperf results`: change the records and make it again. -->",
        LEGEND,
    ]
    if not any(stack.has_gpu for stack in stacks):
        parts.insert(2, NO_GPU)
    for stack in stacks:
        parts.extend(_stack(stack, output.absolute().parent))
    return "\n\n".join(parts) + "\n"


def _stack(stack: Stack, home: Path) -> Iterator[str]:
    yield f"## {prose(stack.name)}"
    numbers: dict[Path, int] = {}
    """Of the files that something is quoted from, in the order of quoting."""
    body = [
        *_study(stack, numbers),
        *_others(stack, numbers),
        *_peers(stack, numbers),
        *_noise(stack),
    ]
    quoted = [source for path in numbers for source in stack.sources if source.path == path]
    yield from dict.fromkeys(map(_where, quoted or stack.sources))
    yield from body
    if quoted:
        yield "### Files"
        yield "\n".join(_file(source, numbers[source.path], home) for source in quoted)


def _where(source: Source) -> str:
    environment = source.record.environment
    device = environment.settings.device or "cpu"
    seen = ProbeResult(device=device, environment=environment)
    return f"{prose(describe_device(seen))}; {prose(describe_software(environment))}"


def _study(stack: Stack, numbers: dict[Path, int]) -> Iterator[str]:
    found = stack.study()
    if not found:
        return
    yield "### The study's table, and ours"
    heads = ["case", "study: time", "accuracy", "F1", "n",
             *(METRICS[name].label for name in STUDY_METRICS), "file"]  # fmt: skip
    yield table(heads, [_study_row(each, numbers) for each in found])
    yield from _disturbances(found)


def _study_row(found: Found, numbers: dict[Path, int]) -> list[str]:
    case = found.case
    row = reported(case.model, case.dataset, case.recipe)
    assert row is not None
    time = ABSENT if row.train_seconds is None else show("train_seconds", row.train_seconds)
    theirs = [time, format_share(row.test_accuracy), format_share(row.test_f1)]
    return [code(case.id), *theirs, *_ours(found, numbers)]


def _ours(found: Found, numbers: dict[Path, int]) -> list[str]:
    case = found.case
    figures = [figure(case, name, ranged=name in RANGED) for name in STUDY_METRICS]
    return [str(len(case.repeats)), *figures, _number(found, numbers)]


def figure(case: CaseRecord, name: str, *, ranged: bool) -> str:
    """A median, with the least and the greatest where there are several and they differ."""
    text, values = show(name, case.median(name)), case.values(name)
    if not ranged or len(values) < 2:
        return text
    return f"{text} ({show(name, min(values))} to {show(name, max(values))})"


def _number(found: Found, numbers: dict[Path, int]) -> str:
    return f"{numbers.setdefault(found.source.path, len(numbers) + 1)}"


def _others(stack: Stack, numbers: dict[Path, int]) -> Iterator[str]:
    found = stack.others()
    if not found:
        return
    yield "### Other trainings"
    heads = ["case", "n", *(METRICS[name].label for name in STUDY_METRICS), "file"]
    yield table(heads, [[code(each.case.id), *_ours(each, numbers)] for each in found])
    yield from _disturbances(found)


def _peers(stack: Stack, numbers: dict[Path, int]) -> Iterator[str]:
    groups = stack.peer_groups()
    if not groups:
        return
    yield "### Against other people's loops"
    yield (
        "By images/s, within one run; reading the data set, and what `fast` does with it once, are "
        "in train time alone."
    )
    for name, group in groups.items():
        steps = " (shortened)" if any(found.case.shortened for found in group) else ""
        heads = [f"{name}{steps}", "`fast` is", "n",
                 *(METRICS[each].label for each in PEER_METRICS), "precision", "file"]  # fmt: skip
        yield table(heads, _peer_rows(group, numbers))
        yield from _disturbances(group)


def _peer_rows(group: Sequence[Found], numbers: dict[Path, int]) -> Iterator[list[str]]:
    fast = next((found.case for found in group if found.case.engine == "fast"), None)
    for found in group:
        case = found.case
        ratio = speed_ratio(fast, case)
        yield [
            code(case.engine),
            ABSENT if ratio is None else f"{ratio:.2f} x",
            str(len(case.repeats)),
            *(figure(case, name, ranged=name in RANGED) for name in PEER_METRICS),
            ", ".join(sorted({prose(repeat.precision) for repeat in case.repeats})),
            _number(found, numbers),
        ]


def _disturbances(found: Sequence[Found]) -> Iterator[str]:
    """Which rows something else had a part in."""
    counts = [(each.case, disturbed(each.case)) for each in found]
    told = [f"{code(case.id)} ({n} of {len(case.repeats)})" for case, n in counts if n]
    if told:
        yield (
            "Trainings that something else on the machine disturbed, whose times say little: "
            + ", ".join(told)
        )


def _noise(stack: Stack) -> Iterator[str]:
    """What the machine varies by itself, and the smallest change that can be found for that."""
    for calibration in stack.calibrations:
        yield "### Noise"
        yield (
            "Trainings in which nothing changed: spread is the standard deviation of one; the "
            f"smallest change is one for the worse that {REPEATS} repeats a side find in four of "
            "five comparisons of that case alone."
        )
        yield table(
            ("case", "metric", "n", "mean", "spread", "smallest change"),
            [
                _noise_row(case_id, name, noise.n, noise.mean, noise.sd, noise.smallest_change)
                for case_id, case in calibration.cases.items()
                for name, noise in case.metrics.items()
                if name in JUDGED
            ],
        )


def _noise_row(
    case_id: str, name: str, n: int, mean: float, sd: float, smallest: float
) -> list[str]:
    metric = METRICS[name]
    unit = "%" if JUDGED[name].by_ratio else "points"
    shown = [f"{100 * value:.2f} {unit}" for value in (sd, smallest)]
    return [code(case_id), metric.label, str(n), metric.show(mean), *shown]


def _file(source: Source, number: int, home: Path) -> str:
    """One file with the command that made it."""
    record = source.record
    link = Path(os.path.relpath(source.path.absolute(), home)).as_posix()
    commit = record.environment.software.cnnperf_commit
    dirty = ", with changes" if record.environment.software.cnnperf_dirty else ""
    made = f"{record.created:%Y-%m-%d}" + (f", commit {code(commit[:12])}{dirty}" if commit else "")
    command = code(source.command) if source.command else "by a command that is not known"
    return f"{number}. [{prose(source.path.name)}]({link}), {made}: {command}"
