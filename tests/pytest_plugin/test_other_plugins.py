"""Other plugins of pytest: those that would spoil the trainings are refused, the others work."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pytest_plugin.project import INI, Project, wait_until

pytest.importorskip("torch", reason="training needs the extra `train`")

pytest_plugins = "pytester"

TESTS = """
def test_it(cnnperf_case, cnnperf_train): raise AssertionError("not to be run")
def test_mine(): pass
"""

ONE = ("--cnnperf-tier=smoke", "-k", "modified_vgg-digits-28-brief-eager")

OPTIONS = {
    "pytest_forked": "--forked",
    "pytest_run_parallel": "--parallel-threads=2",
    "pytest_parallel": "--workers=1",
    "pytest_rerunfailures": "--reruns=1",
}
"""Options that train wrongly or twice, by the module of the plugin that has them."""

FAKE = """
def pytest_addoption(parser):
    parser.addoption({flag!r}, action={action!r}, default=None)
"""

FAKE_REPEAT = """
def pytest_generate_tests(metafunc):
    metafunc.fixturenames.append("step")
    metafunc.parametrize("step", [1, 2])
"""
"""As pytest-repeat's --count 2 and pytest-flakefinder collect tests."""


def add_fake(pytester: pytest.Pytester, module: str) -> None:
    """Register the option where its real plugin is not installed."""
    if importlib.util.find_spec(module) is None:
        flag, _, value = OPTIONS[module].partition("=")
        action = "store" if value else "store_true"
        pytester.makeconftest(FAKE.format(flag=flag, action=action))


@pytest.mark.parametrize("module", OPTIONS)
def test_option_that_spoils_trainings_is_refused(pytester: pytest.Pytester, module: str) -> None:
    """In one sentence that names it, before anything is trained."""
    add_fake(pytester, module)
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess(*ONE, OPTIONS[module])
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    flag = OPTIONS[module].partition("=")[0]
    result.stderr.fnmatch_lines([f"ERROR: cnnperf: with {flag} (*): run the cases without it"
                                 .replace("(*)", f"({module.replace('_', '-')})*")])  # fmt: skip
    result.stdout.no_fnmatch_line("*looking at this machine*")


@pytest.mark.parametrize("module", OPTIONS)
def test_option_is_not_refused_for_other_tests(pytester: pytest.Pytester, module: str) -> None:
    """Whoever runs tests of their own may run them in any way; collecting is harmless too."""
    add_fake(pytester, module)
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("--cnnperf-tier=smoke", "-k", "mine", OPTIONS[module])
    result.stderr.no_fnmatch_line("*cnnperf: *")
    result = pytester.runpytest_subprocess(*ONE, OPTIONS[module], "--collect-only", "-q")
    result.stdout.fnmatch_lines(["*1/* tests collected*"])


def test_ini_key_and_marker_of_a_plugin_are_seen(pytester: pytest.Pytester) -> None:
    """They do what the option does."""
    pytester.makeconftest("def pytest_addoption(parser): parser.addini('reruns', 'help')")
    pytester.makepyfile(TESTS)
    pytester.makeini("[pytest]\nreruns = 2\n")
    result = pytester.runpytest_subprocess("-p", "no:rerunfailures", *ONE)
    result.stderr.fnmatch_lines(["*with --reruns*"])
    pytester.makeini("[pytest]\nreruns = 0\nmarkers =\n    forked: alone\n")
    pytester.makepyfile("import pytest\npytestmark = pytest.mark.forked\n" + TESTS)
    result = pytester.runpytest_subprocess("-p", "no:rerunfailures", *ONE)
    result.stderr.fnmatch_lines(["*with --forked*"])


def test_case_that_is_collected_twice_is_refused(pytester: pytest.Pytester) -> None:
    """Both tests are named; a real pytest-repeat does the same where it is installed."""
    pytester.makepyfile(TESTS)
    more: tuple[str, ...] = ("--count=2",)
    if importlib.util.find_spec("pytest_repeat") is None:
        pytester.makeconftest(FAKE_REPEAT)
        more = ()
    result = pytester.runpytest_subprocess(*ONE, *more)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*modified_vgg-digits-28-brief-eager would be trained twice, by *::test_it* and *"]
    )
    pytester.makepyfile("def test_one(cnnperf_case, cnnperf_train): pass\n" + TESTS)
    result = pytester.runpytest_subprocess(
        *ONE, "-p", "no:repeat", "-p", "no:randomly", "--noconftest"
    )
    result.stderr.fnmatch_lines(["*by *::test_one* and *::test_it*"])


XDIST = [["-n", "1"], ["-d", "--tx", "2*popen"], ["--dist=load", "--tx=popen"]]


@pytest.mark.parametrize("options", XDIST, ids=" ".join)
def test_baseline_under_xdist_fails_once_and_says_why(
    pytester: pytest.Pytester, options: list[str]
) -> None:
    """A worker that refused would be started again for ever; a gate that judged nothing fails."""
    pytest.importorskip("xdist")
    pytester.makepyfile(TESTS.replace("raise AssertionError", "cnnperf_train(cnnperf_case) #"))
    asked = ("--cnnperf-baseline=old.json", *options)
    result = pytester.runpytest_subprocess(*ONE, *asked, timeout=300)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(
        ["cnnperf: parallel *(1 case was not trained; nothing was compared with the baseline)"]
    )
    result.assert_outcomes(skipped=1)


@pytest.mark.parametrize("named_by", ["option", "ini"])
def test_baseline_under_xdist_without_a_case(pytester: pytest.Pytester, named_by: str) -> None:
    """One that the command line names must be compared; an ini file's may wait for a case."""
    pytest.importorskip("xdist")
    pytester.makepyfile(TESTS)
    pytester.makeini("[pytest]\ncnnperf_baseline = old.json\n")
    asked = ["--cnnperf-baseline=old.json"] if named_by == "option" else []
    result = pytester.runpytest_subprocess("-n", "1", "-k", "mine", *asked, timeout=300)
    result.assert_outcomes(passed=1)
    assert result.ret == (pytest.ExitCode.USAGE_ERROR if asked else pytest.ExitCode.OK)


def test_loop_on_failing_trains_nothing(pytester: pytest.Pytester) -> None:
    """It would train until somebody stops it."""
    pytest.importorskip("xdist.looponfail")
    pytester.makepyfile(TESTS.replace("raise AssertionError", "cnnperf_train(cnnperf_case) #"))
    output = pytester.path.parent / "output.txt"  # not where the loop waits for changes
    with output.open("wb") as file:
        command = [sys.executable, "-m", "pytest", "-f", *ONE]
        loop = subprocess.Popen(command, stdout=file, stderr=file, cwd=pytester.path)
    try:
        wait_until(
            lambda: "waiting for changes" in output.read_text() or loop.poll() is not None,
            "the loop waits",
            seconds=120,
        )
    finally:
        loop.kill()
        loop.wait()
    assert "(1 case was not trained)" in output.read_text()
    assert "looking at this machine" not in output.read_text()


def test_run_without_a_terminal_and_with_plugins_by_module(project: Project) -> None:
    """The record is written as ever: `-p no:terminal`, and pytest-benchmark under another name."""
    done = project.run(
        "-k", "good", "--cnnperf-tier=smoke", "-p", "no:terminal",
        "-p", "pytest_benchmark.plugin", "-p", "cnnperf.pytest_plugin.plugin",
        PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    (case,) = project.record().cases
    assert case.outcome == "passed"


def test_modules_beside_a_conftest_are_found_by_the_worker(tmp_path: Path) -> None:
    """Pytest puts that folder on its path, which a worker does not inherit."""
    project = Project(tmp_path, INI.replace("pythonpath = .", ""))
    (project.folder / "conftest.py").unlink()
    for path in project.folder.glob("tiny_*.py"):
        path.rename(project.folder / "benchmarks" / path.name)
    (project.folder / "benchmarks" / "conftest.py").write_text("")
    done = project.run("-k", "good", "--cnnperf-tier=smoke")
    assert done.returncode == 0, done.stdout
