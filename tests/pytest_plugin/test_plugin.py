"""The plugin inside pytest, by pytester: what it collects, and how it takes its settings."""

from __future__ import annotations

import pytest

from cnnperf.catalog.registry import all_cases
from cnnperf.pytest_plugin.state import SETTINGS
from cnnperf.run.settings import OPTIONS

pytest.importorskip("torch", reason="training needs the extra `train`")

pytest_plugins = "pytester"

ASKS_FOR_CASES = "def test_it(cnnperf_case): raise AssertionError('not to be run')"


def test_test_that_requests_a_case_is_collected_once_for_each(pytester: pytest.Pytester) -> None:
    """The ids are the ids of the tier's cases, in the registry's order."""
    pytester.makepyfile(ASKS_FOR_CASES)
    items, _ = pytester.inline_genitems("--cnnperf-tier=standard")
    ids = [item.name.removeprefix("test_it[").removesuffix("]") for item in items]
    assert ids == [case.id for case in all_cases("standard")]


def test_k_selects_by_case_id(pytester: pytest.Pytester) -> None:
    """No filter of our own is needed."""
    pytester.makepyfile(ASKS_FOR_CASES)
    result = pytester.runpytest(
        "--collect-only", "-q", "--cnnperf-tier=full", "-k", "vgg16 and mnist and eager"
    )
    result.stdout.fnmatch_lines(["*::test_it[[]vgg16-mnist-224-eager[]]", "*1/* tests collected*"])


@pytest.mark.parametrize(("tier", "other"), [("smoke", True), ("full", False)])
def test_k_that_selects_no_case_gets_a_message_about_ids(
    pytester: pytest.Pytester, tier: str, other: bool
) -> None:
    """A case of another tier is an easy mistake; the exit code is pytest's own, and not 0."""
    pytester.makepyfile(ASKS_FOR_CASES)
    result = pytester.runpytest(f"--cnnperf-tier={tier}", "-k", "no_such_model")
    count = len(list(all_cases(tier, "train")))
    said = f"cnnperf: -k and -m select none of the {count} cases of tier {tier}: "
    result.stdout.fnmatch_lines([f"{said}`cnnperf list` shows all ids*"])
    assert ("--cnnperf-tier=full" in result.stdout.str().partition("shows")[2]) == other
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_k_that_selects_other_tests_gets_no_message_about_cases(pytester: pytest.Pytester) -> None:
    """Whoever runs a test of their own has no use for them."""
    pytester.makepyfile(ASKS_FOR_CASES + "\ndef test_mine(): pass")
    result = pytester.runpytest("--cnnperf-tier=smoke", "-k", "test_mine")
    result.stdout.no_fnmatch_line("*cnnperf: none*")
    result.assert_outcomes(passed=1, deselected=len(list(all_cases("smoke", "train"))))


def test_missing_pytest_benchmark_gets_a_message(pytester: pytest.Pytester) -> None:
    """Switched off, or with pytest's loading of plugins switched off; collecting needs it not."""
    pytester.makepyfile(ASKS_FOR_CASES)
    off = ("--cnnperf-tier=smoke", "-p", "no:benchmark")
    result = pytester.runpytest(*off)
    result.stderr.fnmatch_lines(
        ["*cnnperf: pytest-benchmark, which times trainings, is not loaded*"]
    )
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert pytester.runpytest(*off, "--collect-only").ret == pytest.ExitCode.OK


def test_xdist_trains_nothing_and_the_summary_says_why(pytester: pytest.Pytester) -> None:
    """Without it, pytest says why with -rs alone."""
    pytest.importorskip("xdist")
    pytester.makepyfile("def test_it(cnnperf_case, cnnperf_train): cnnperf_train(cnnperf_case)")
    result = pytester.runpytest_subprocess(
        "--cnnperf-tier=smoke", "-n", "1", "-k", "modified_vgg and eager"
    )
    result.stdout.fnmatch_lines(
        ["cnnperf: parallel *without -n, -d, --tx and -f (1 case was not trained)"]
    )
    result.stdout.no_fnmatch_line("*Benchmark fixture was not used*")
    result.assert_outcomes(skipped=1)


MARKED = """
import pytest
@pytest.mark.cnnperf(suite={suite!r})
def test_it(cnnperf_case): raise AssertionError("not to be run")
"""


def test_marked_test_gets_the_cases_of_its_suite(pytester: pytest.Pytester) -> None:
    """Without a marker the suite is `train`."""
    pytester.makepyfile(MARKED.format(suite="sweep"))
    items, _ = pytester.inline_genitems("--cnnperf-tier=full", "--strict-markers")
    ids = [item.name.removeprefix("test_it[").removesuffix("]") for item in items]
    assert ids == [case.id for case in all_cases("full") if case.suite == "sweep"]
    assert ids


def test_suite_without_a_case_in_the_tier_is_skipped_with_the_reason(
    pytester: pytest.Pytester,
) -> None:
    """Alone it is skipped with the way out; beside others it is deselected."""
    alone = pytester.makepyfile(test_alone=MARKED.format(suite="sweep"))
    result = pytester.runpytest("--cnnperf-tier=smoke", "-rs", alone)
    result.stdout.fnmatch_lines(
        ["*tier smoke has no case of suite sweep: try --cnnperf-tier=full*"]
    )
    result.assert_outcomes(skipped=1)
    pytester.makepyfile(test_other=ASKS_FOR_CASES)
    result = pytester.runpytest("--cnnperf-tier=smoke", "--collect-only", "-q")
    result.stdout.fnmatch_lines(["*1 deselected*"])
    result.stdout.no_fnmatch_line("*test_alone*")


def test_unknown_suite_gets_the_possible_names(pytester: pytest.Pytester) -> None:
    """One sentence, no traceback."""
    pytester.makepyfile(MARKED.format(suite="pears"))
    result = pytester.runpytest("--cnnperf-tier=smoke")
    result.stdout.fnmatch_lines(["*cnnperf: *suite*pears*peers*"])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize(
    "arguments", ["suite='sweep', tier='full'", "'sweep', 'peers'", "", "tier=1"]
)
def test_marker_with_other_arguments_is_refused(pytester: pytest.Pytester, arguments: str) -> None:
    """A mistyped argument would otherwise select other cases silently."""
    pytester.makepyfile(
        "import pytest\n"
        f"@pytest.mark.cnnperf({arguments})\n"
        "def test_it(cnnperf_case): raise AssertionError('not to be run')\n"
    )
    result = pytester.runpytest("--cnnperf-tier=smoke")
    result.stdout.fnmatch_lines(["*expected @pytest.mark.cnnperf(suite=...) and nothing else*"])
    assert result.ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.parametrize(
    ("ini", "arguments", "repeats"),
    [("", [], None), ("cnnperf_repeats = 4", [], 4), ("cnnperf_repeats = 4", ["5"], 5)],
)
def test_command_line_wins_over_ini_and_ini_over_default(
    pytester: pytest.Pytester, ini: str, arguments: list[str], repeats: int | None
) -> None:
    """Resolved once, before anything is collected."""
    pytester.makeini(f"[pytest]\n{ini}\n")
    config = pytester.parseconfigure(*(f"--cnnperf-repeats={value}" for value in arguments))
    assert config.stash[SETTINGS].repeats == repeats


def test_paths_of_the_ini_file_are_relative_to_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever pytest is started; those of the command line count from there."""
    pytester.makeini("[pytest]\ncnnperf_data_dir = data\n")
    folder = pytester.mkdir("elsewhere")
    monkeypatch.chdir(folder)
    config = pytester.parseconfigure(
        f"--rootdir={pytester.path}", "-c", str(pytester.path / "tox.ini")
    )
    assert config.stash[SETTINGS].data_dir == pytester.path / "data"
    given = pytester.parseconfigure("--cnnperf-data-dir=here", "--cnnperf-profile=~/traces")
    assert given.stash[SETTINGS].data_dir == folder / "here"
    assert "~" not in str(given.stash[SETTINGS].profile)


def test_environment_variable_sets_the_data_directory(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where neither command line nor ini file does."""
    monkeypatch.setenv("CNNPERF_DATA_DIR", "/somewhere/data")
    assert str(pytester.parseconfigure().stash[SETTINGS].data_dir) == "/somewhere/data"


@pytest.mark.parametrize("option", [o for o in OPTIONS if not o.is_switch], ids=lambda o: o.name)
def test_every_option_has_its_ini_key(pytester: pytest.Pytester, option: object) -> None:
    """Declared to pytest: an unknown key would be an error with --strict-config."""
    config = pytester.parseconfigure()
    unset = ([],) if option.is_list else ("", None)  # type: ignore[attr-defined]
    assert config.getini(option.key) in unset  # type: ignore[attr-defined]


# --- native types of pytest 9's [tool.pytest] -----------------------------------------------------

needs_native_types = pytest.mark.skipif(
    pytest.version_tuple < (9,), reason="pytest 9 reads native types"
)


@needs_native_types
@pytest.mark.parametrize("table", ["tool.pytest", "tool.pytest.ini_options"])
def test_numbers_booleans_and_lists_of_toml_are_read(pytester: pytest.Pytester, table: str) -> None:
    """As they are, or as the text that the older table wants."""
    pytester.makepyprojecttoml(
        f"[{table}]\n"
        "cnnperf_repeats = 2\ncnnperf_seed = 0\ncnnperf_timeout = 60.5\ncnnperf_epochs = '3'\n"
        "cnnperf_deterministic = true\ncnnperf_across = ['hardware']\ncnnperf_tier = 'full'\n"
        "cnnperf_profile = 'traces'\ncnnperf_modules = ['mine']\n"
    )
    settings = pytester.parseconfigure().stash[SETTINGS]
    assert (settings.repeats, settings.seed, settings.timeout) == (2, 0, 60.5)
    assert (settings.epochs, settings.deterministic, settings.tier) == (3, True, "full")
    assert (settings.across, settings.modules) == (("hardware",), ("mine",))
    assert settings.profile == pytester.path / "traces"


@needs_native_types
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("cnnperf_repeats = 2.5", "a whole number, 1 or more, got '2.5'"),
        ("cnnperf_repeats = true", "a whole number, 1 or more, got 'True'"),
        ("cnnperf_repeats = [2]", "a whole number, 1 or more, got '[[]2]'"),
        ("cnnperf_deterministic = 'yes'", "true or false, got 'yes'"),
        ("cnnperf_deterministic = 1", "true or false, got 1"),
        ("cnnperf_across = 'hardware'", "a list of strings, got 'hardware'"),
        ("cnnperf_modules = [1]", "a list of strings, got [[]1]"),
        ("cnnperf_data_dir = 3", "a string, got 3"),
        ("cnnperf_python = true", "a string, got True"),
        ("cnnperf_tier = 3", "one of auto, smoke, standard, full, got '3'"),
    ],
)
def test_wrong_type_of_toml_is_one_sentence(
    pytester: pytest.Pytester, value: str, expected: str
) -> None:
    """It names the key, the file and what is expected."""
    pytester.makepyprojecttoml(f"[tool.pytest]\n{value}\n")
    result = pytester.runpytest_subprocess("--collect-only")
    key = value.partition(" ")[0]
    result.stderr.fnmatch_lines([f"ERROR: {key} in *pyproject.toml: expected {expected}"])
    assert result.ret == pytest.ExitCode.USAGE_ERROR
