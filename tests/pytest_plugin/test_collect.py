"""The cases that a test's parameters name, and those in this checkout's benchmarks."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from cnnperf.catalog.registry import BUILTIN_IDS, all_cases
from cnnperf.catalog.specs import Case, Tier
from tests.pytest_plugin.project import ROOT

pytest.importorskip("torch", reason="training needs the extra `train`")

pytest_plugins = "pytester"

TABLE = """
import pytest
@pytest.mark.parametrize("engine", {engines})
@pytest.mark.parametrize(("model", "dataset", "resolution"), {rows})
def test_it(cnnperf_case): raise AssertionError("not to be run")
"""

MINE = """
from cnnperf import Case, Recipe, register_case
register_case(Case(model="vgg16", dataset="digits", resolution=64, recipe=Recipe(name="mine")))
"""


def _ids(items: list[pytest.Item]) -> list[str]:
    return [item.name.removeprefix("test_it[").removesuffix("]") for item in items]


def test_table_selects_builtin_cases_of_the_tier(pytester: pytest.Pytester) -> None:
    """Without a recipe in the table the study's is meant; a row of another tier has no test."""
    rows = [("modified_vgg", "mnist", 28), ("modified_vgg", "digits", 28)]
    pytester.makepyfile(TABLE.format(engines=["eager", "fast"], rows=rows))
    items, _ = pytester.inline_genitems("--cnnperf-tier=standard")
    assert _ids(items) == ["modified_vgg-mnist-28-eager", "modified_vgg-mnist-28-fast"]


def test_registered_cases_are_added_to_a_table(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's case needs no change of the benchmark module."""
    from cnnperf.catalog import registry

    monkeypatch.setattr(registry, "_cases", dict(registry._cases))
    pytester.makeini("[pytest]\ncnnperf_modules = my_cases_4d1")
    pytester.makepyfile(my_cases_4d1=MINE)
    pytester.makepyfile(TABLE.format(engines=["fast"], rows=[("vgg16", "mnist", 224)]))
    items, _ = pytester.inline_genitems("--cnnperf-tier=full")
    assert _ids(items) == ["vgg16-mnist-224-fast", "vgg16-digits-64-mine-eager"]


def test_other_parameters_stay_pytests_own(pytester: pytest.Pytester) -> None:
    """Only marks whose names all belong to a case are read."""
    pytester.makepyfile(
        TABLE.format(engines=["eager"], rows=[("vgg16", "mnist", 224)]).replace(
            "def test_it(cnnperf_case)",
            '@pytest.mark.parametrize("colour", ["red"])\ndef test_it(colour, cnnperf_case)',
        )
    )
    items, _ = pytester.inline_genitems("--cnnperf-tier=full")
    assert _ids(items) == ["vgg16-mnist-224-eager-red"]


def test_row_that_names_no_case_is_an_error(pytester: pytest.Pytester) -> None:
    """A slip must not silently take a case out of the benchmark."""
    pytester.makepyfile(TABLE.format(engines=["eager"], rows=[("vgg61", "mnist", 224)]))
    result = pytester.runpytest("--cnnperf-tier=smoke")
    result.stdout.fnmatch_lines(["*no case of suite train has model='vgg61', dataset='mnist'*"])
    result.stdout.no_fnmatch_line("*Traceback*")
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_wrong_use_is_reported_once_for_several_modules(pytester: pytest.Pytester) -> None:
    """The tables of the other modules cause no errors of their own."""
    pytester.makeini("[pytest]\ncnnperf_modules = no_such_module")
    table = TABLE.format(engines=["eager"], rows=[("vgg16", "mnist", 224)])
    pytester.makepyfile(test_a=table, test_b=table)
    result = pytester.runpytest("--cnnperf-tier=smoke")
    assert result.stdout.str().count("no_such_module cannot be imported") == 1
    result.stdout.no_fnmatch_line("*uses no argument*")
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_rows_may_be_pytest_params(pytester: pytest.Pytester) -> None:
    """Both a row of several names and one of a single name."""
    rows = '[pytest.param("vgg16", "mnist", 224)]'
    pytester.makepyfile(TABLE.format(engines='[pytest.param("fast")]', rows=rows))
    items, _ = pytester.inline_genitems("--cnnperf-tier=full")
    assert _ids(items) == ["vgg16-mnist-224-fast"]


@pytest.mark.parametrize("suite", ["train", "peers", "infer", "sweep", "harness"])
def test_benchmark_module_lists_every_builtin_case_of_its_suite(
    pytester: pytest.Pytester, suite: str
) -> None:
    """A case that is only in the catalog, or only in the module, fails here."""
    pytester.makepyfile((ROOT / "benchmarks" / f"test_{suite}.py").read_text())
    items, _ = pytester.inline_genitems("--cnnperf-tier=full")
    ids = [item.name.partition("[")[2].removesuffix("]") for item in items]
    assert ids == [case.id for case in all_cases(suite=suite) if case.id in BUILTIN_IDS]


@pytest.mark.parametrize(("table", "tier"), [("SMOKE", "smoke"), ("STUDY", "standard")])
def test_tables_of_tiers_have_the_rows_of_the_tier(table: str, tier: Tier) -> None:
    """A reader of the module sees what a tier trains."""

    def row(case: Case) -> tuple[str, str, int, str]:
        return case.model, case.dataset, case.resolution, case.recipe.name

    module = runpy.run_path(str(Path(ROOT, "benchmarks", "test_train.py")))
    assert set(module[table]) == {row(case) for case in all_cases(tier, "train")}
