"""Other people's loops, as the half without torch sees them: cases, packages, and the table."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Group

from cnnperf.catalog.cases import PEERS, STUDY
from cnnperf.catalog.engines import ENGINES, EngineSpec, missing_package
from cnnperf.catalog.registry import all_cases, get_case
from cnnperf.catalog.specs import Case
from cnnperf.errors import printable
from cnnperf.record.schema import CaseError, CaseRecord, Repeat
from cnnperf.report.suites import PEERS as PEER_SUITE
from cnnperf.report.suites import speed_ratio
from cnnperf.report.terminal.run import render, run_summary, tables_of
from cnnperf.run.plan import make_plan
from cnnperf.run.settings import RunSettings
from tests.examples import example_case_record, example_record, example_repeat, plain_terminal

ABSENT_PACKAGE = "a_package_that_nobody_has"

DIGITS = "modified_vgg-digits-28-peers-{}"


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


# --- the cases ----------------------------------------------------------------------------------


def test_peers_recipe_is_the_studys_in_three_epochs() -> None:
    """So that what differs between the rows of a table is the engine alone."""
    assert PEERS.model_copy(update={"name": "report", "epochs": 10}) == STUDY
    assert PEERS.epochs == 3
    cases = all_cases(suite="peers")
    assert {case.recipe for case in cases} == {PEERS}
    assert {case.tiers for case in cases} == {("full",)}


def test_every_peer_stands_beside_fast() -> None:
    """A table without `fast` would have no ratio; each engine is in some table."""
    groups: dict[tuple[str, str], set[str]] = {}
    for case in all_cases(suite="peers"):
        groups.setdefault((case.model, case.dataset), set()).add(case.engine)
    small = {*ENGINES} - {"timm"}
    large = {"fast", "eager", "plain", "amp", "timm", "lightning_bf16"}
    assert groups == {
        ("modified_vgg", "digits"): small,
        ("modified_vgg", "mnist"): small,
        ("modified_resnet", "mnist"): small,
        ("vgg16", "mnist"): large,
        ("resnet34", "mnist"): large,
    }


# --- packages -----------------------------------------------------------------------------------


def test_engines_that_are_pytorch_alone_lack_nothing() -> None:
    """Only other people's need more than torch."""
    needing = {name for name, spec in ENGINES.items() if spec.package is not None}
    assert needing == {*ENGINES} - {"fast", "eager", "plain", "amp"}
    for engine in ("fast", "eager", "plain", "amp"):
        assert missing_package(engine) is None


def test_a_package_that_is_there_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """By looking for it."""
    monkeypatch.setitem(ENGINES, "lightning", EngineSpec("unused", "pytest"))
    assert missing_package("lightning") is None


def _settings(tmp_path: Path, python: str | None = None) -> RunSettings:
    """Nothing but what is said here."""
    unsaid = {field.name: None for field in dataclasses.fields(RunSettings)}
    said = {
        "repeats": 1,
        "seed": 0,
        "device": "auto",
        "deterministic": False,
        "data_dir": tmp_path,
        "python": python,
    }
    return RunSettings(**{**unsaid, **said})  # type: ignore[arg-type]


@pytest.fixture
def without_lightning(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which `lightning` is not installed."""
    monkeypatch.setitem(ENGINES, "lightning", EngineSpec("unused", ABSENT_PACKAGE))
    return None


@pytest.mark.usefixtures("without_lightning")
def test_a_case_without_its_package_is_planned_but_not_run(tmp_path: Path) -> None:
    """Its problem says what to install; the others are trained."""
    ids = [DIGITS.format("lightning"), DIGITS.format("plain")]
    made = make_plan(ids, _settings(tmp_path), "full")
    problem = made.cases[ids[0]].problem
    assert problem == CaseError(
        kind="start",
        message=f"engine lightning needs {ABSENT_PACKAGE}: pip install 'cnnperf[peers]'",
    )
    assert [planned.id for planned in made.runnable] == ids[1:]


@pytest.mark.usefixtures("without_lightning")
def test_packages_of_another_interpreter_are_not_checked(tmp_path: Path) -> None:
    """With --cnnperf-python nothing is concluded from what this interpreter has."""
    case_id = DIGITS.format("lightning")
    made = make_plan([case_id], _settings(tmp_path, python="/another/python"), "full")
    assert made.cases[case_id].problem is None


@pytest.mark.usefixtures("without_lightning")
def test_missing_package_is_reported_before_missing_data(tmp_path: Path) -> None:
    """Fetching the data would not help."""
    case_id = "modified_vgg-mnist-28-peers-lightning"
    problem = make_plan([case_id], _settings(tmp_path), "full").cases[case_id].problem
    assert problem is not None
    assert problem.kind == "start"


# --- the table ----------------------------------------------------------------------------------


def _case(engine: str, *images_per_second: float | None, **fields: object) -> CaseRecord:
    """A case of the digits group, a repeat for each figure."""
    repeats = [
        example_repeat(seed, train_seconds=2.5, images_per_second=value)
        for seed, value in enumerate(images_per_second)
    ]
    return example_case_record(get_case(DIGITS.format(engine)), repeats, **fields)


def _tables(*cases: CaseRecord, width: int = 80) -> str:
    return render(Group(*tables_of(PEER_SUITE, example_record(*cases))), width=width, color=False)


def _rows(text: str) -> dict[str, list[str]]:
    """The words of each engine's row, in the order of the table."""
    lines = [line.split() for line in text.splitlines() if line.startswith(" ")]
    return {words[0]: words[1:] for words in lines if words and words[0] in ENGINES}


def _words(text: str) -> list[str]:
    return text.split()


def test_the_ratio_is_fasts_images_per_second_over_the_peers() -> None:
    """Worked out by hand from the medians: 12,000 over 10,000, 4,000 and 1,500."""
    text = _tables(
        _case("fast", 12_000, 90_000, 11_000),
        _case("plain", 1_500),
        _case("amp", 4_000, 4_100, 10),
        _case("lightning", 10_000),
    )
    assert {engine: words[0] for engine, words in _rows(text).items()} == {
        "fast": "1.00",
        "lightning": "1.20",
        "amp": "3.00",
        "plain": "8.00",
    }


def test_a_row_has_rate_time_accuracy_mfu_and_precision() -> None:
    """In the formats of all tables, and the fastest first."""
    plain = _case("plain", 1_500)
    bfloat16 = example_repeat(images_per_second=3_000).model_copy(update={"precision": "bfloat16"})
    fast = example_case_record(get_case(DIGITS.format("fast")), [bfloat16])
    rows = _rows(_tables(plain, fast))
    assert list(rows) == ["fast", "plain"]
    assert rows["plain"] == _words("2.00 x 1,500 2.50 s 98.99 % 31.2 % float32")
    assert rows["fast"] == _words("1.00 x 3,000 20.0 s 98.99 % 31.2 % bfloat16")


def test_repeats_that_chose_differently_show_both_precisions() -> None:
    """`fast` measures which is faster, and may find otherwise the next time."""
    repeats: list[Repeat] = [
        example_repeat(0),
        example_repeat(1).model_copy(update={"precision": "bfloat16"}),
    ]
    record = example_case_record(get_case(DIGITS.format("fast")), repeats)
    assert _rows(_tables(record))["fast"][-2:] == ["bfloat16,", "float32"]


def test_groups_are_compared_within_themselves() -> None:
    """Each model and data set has a table of its own and its own `fast`."""
    text = _tables(
        example_case_record(get_case("modified_vgg-mnist-28-peers-fast")),
        example_case_record(get_case("resnet34-mnist-224-peers-timm")),
        _case("plain", 1_500),
    )
    headings = re.findall(
        r"^(\w+, \w+, \d+ pixels), recipe peers: engines compared", text, re.MULTILINE
    )
    assert headings == [
        "modified_vgg, mnist, 28 pixels",
        "resnet34, mnist, 224 pixels",
        "modified_vgg, digits, 28 pixels",
    ]
    assert _rows(text)["timm"][0] == _rows(text)["plain"][0] == "—"


@pytest.mark.parametrize("outcome", ["failed", "skipped"])
def test_peer_without_a_result_shows_its_outcome_and_comes_last(outcome: str) -> None:
    """Its place in the column tells why there is no ratio."""
    error = CaseError(kind="start", message="engine lightning needs lightning")
    rows = _rows(
        _tables(
            _case("lightning", outcome=outcome, error=error),
            _case("fast", 12_000),
            _case("plain", 6_000),
        )
    )
    assert list(rows) == ["fast", "plain", "lightning"]
    assert rows["lightning"] == [outcome, "—", "—", "—", "—", "—"]


@pytest.mark.parametrize(
    "fast", [None, _case("fast", 9_000, outcome="failed"), _case("fast", None), _case("fast")]
)
def test_without_a_result_of_fast_there_is_no_ratio(fast: CaseRecord | None) -> None:
    """A training of `fast` that failed or measured nothing compares with nothing."""
    assert speed_ratio(fast, _case("plain", 1_000)) is None
    rows = _rows(_tables(*filter(None, (fast, _case("plain", 1_000)))))
    assert rows["plain"][0] == "—"


def test_a_run_without_peers_has_no_such_table() -> None:
    """Though its cases be trained by the engines `fast` and `eager`."""
    assert not list(tables_of(PEER_SUITE, example_record()))
    summary = render(run_summary(example_record()), width=120, color=False)
    assert "engines compared" not in summary


@pytest.mark.parametrize("width", [80, 120])
def test_the_summary_shows_the_tables_whole(width: int) -> None:
    """Every peer that comes with cnnperf, with the widest figures that are likely."""
    cases = all_cases(suite="peers")
    repeat = example_repeat(train_seconds=50_000, images_per_second=9_876_543, mfu=1)
    record = example_record(*(example_case_record(case, [repeat]) for case in cases))
    text = render(run_summary(record), width=width, color=False)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    row = re.compile(r"^ \w+ +1\.00 x +9,876,543 +13 h 53 min +98\.99 % +100\.0 % +float32")
    assert sum(bool(row.match(line)) for line in text.splitlines()) == len(cases)


def test_a_hostile_name_is_shown_and_not_obeyed() -> None:
    """A record may come from anybody."""
    hostile = "x[red]\x1b[31m"
    case: Case = get_case(DIGITS.format("plain"))
    text = _tables(example_case_record(case, engine=hostile, model=hostile))
    assert "\x1b" not in text
    assert text.count(printable(hostile)) == 2
