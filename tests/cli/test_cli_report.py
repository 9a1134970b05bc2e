"""`cnnperf report` as its users call it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cnnperf.cli import commands as cli
from cnnperf.record.environment import Gpu
from tests.commands import run_cnnperf, sentence_of
from tests.examples import (
    FORBID_TORCH,
    example_environment,
    example_record,
    hide_packages,
    plain_terminal,
    python_with,
)
from tests.report.runs import learned_case, save


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A run of one case."""
    return str(save(tmp_path / "run.json", example_record(learned_case())))


@pytest.fixture
def slower(tmp_path: Path) -> str:
    """The same, a tenth slower."""
    return str(save(tmp_path / "slower.json", example_record(learned_case(seconds=22.0))))


def _refused(*arguments: str) -> str:
    done = CliRunner().invoke(cli.app, ["report", *arguments])
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_page_of_one_run_goes_to_report_html_by_default(run: str, tmp_path: Path) -> None:
    """To report.html, without torch."""
    done = run_cnnperf("report", run, cwd=tmp_path, env=python_with(FORBID_TORCH, tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "report.html: 3 figures, 1.0 MB\n"
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")


def test_a_regression_ends_with_0(run: str, slower: str, tmp_path: Path) -> None:
    """The page is for looking; `compare` is the gate."""
    page = tmp_path / "page.html"
    done = CliRunner().invoke(cli.app, ["report", run, slower, "--title=A & B", "-o", str(page)])
    assert done.exit_code == 0
    assert "<h1>A &amp; B</h1>" in page.read_text()
    assert "Verdict: regression" in page.read_text()


def test_thresholds_and_options_are_those_of_compare(run: str, slower: str, tmp_path: Path) -> None:
    """A threshold of 20 % makes it the same."""
    config = tmp_path / "thresholds.toml"
    config.write_text("[metrics.train_seconds]\nthreshold = 0.2\n")
    done = CliRunner().invoke(cli.app, ["report", run, slower, "--config", str(config), "-o", "-"])
    assert "Verdict: regression" not in done.stdout
    assert "Thresholds from" in done.stdout


def test_files_of_one_run_stand_on_one_page(run: str, tmp_path: Path) -> None:
    """Their cases, and more repeats of a case; what they were not made alike in is told."""
    again = example_record(
        learned_case(), learned_case().model_copy(update={"id": "another-case"}),
        environment=example_environment(memory_bytes=2**35),
    )  # fmt: skip
    more = str(save(tmp_path / "more.json", again))
    page = tmp_path / "page.html"
    done = CliRunner().invoke(cli.app, ["report", run, "--base", more, "-o", str(page)])
    assert done.exit_code == 0, done.stderr
    text = page.read_text()
    assert "run.json and 1 more" in text
    assert "another-case" in text
    trainings = 2 * len(learned_case().repeats) + len(learned_case().repeats)
    assert f"2 cases (2 passed), {trainings} trainings" in text
    assert "The files of run differ in: hardware.memory_bytes." in text


def test_machines_are_compared_with_one_of_them(run: str, tmp_path: Path) -> None:
    """With --over, or from three records on; by a part of a machine's name."""
    a100 = example_environment(gpu=Gpu(name="NVIDIA A100"))
    faster = example_record(learned_case(seconds=10.0), environment=a100)
    other = str(save(tmp_path / "other.json", faster))
    done = CliRunner().invoke(cli.app, ["report", run, other, "--over", "a100", "-o", "-"])
    assert done.exit_code == 0, done.stderr
    assert "The base is NVIDIA A100" in done.stdout
    slow = example_record(learned_case(seconds=30.0))
    third = str(save(tmp_path / "third.json", slow))
    done = CliRunner().invoke(cli.app, ["report", run, other, third, "-o", "-"])
    assert done.exit_code == 0, done.stderr
    assert "The base is NVIDIA H200" in done.stdout
    assert "expected one of NVIDIA" in _refused(run, other, "--over", "T4", "-o", "-")
    assert "a page of several machines judges none" in _refused(
        run, other, third, "--across=hardware"
    )


def test_only_a_page_of_cnnperf_is_overwritten(run: str, tmp_path: Path) -> None:
    """Unless one insists."""
    page, other = tmp_path / "page.html", tmp_path / "other.html"
    for _ in range(2):
        assert CliRunner().invoke(cli.app, ["report", run, "-o", str(page)]).exit_code == 0
    other.write_text("<html>mine</html>")
    assert "is not a page of cnnperf" in _refused(run, "-o", str(other))
    assert "is an input of this command" in _refused(run, "-o", run)
    assert other.read_text() == "<html>mine</html>"
    assert CliRunner().invoke(cli.app, ["report", run, "-o", str(other), "--force"]).exit_code == 0
    assert "cnnperf report" in other.read_text()
    assert "is a folder" in _refused(run, "-o", str(tmp_path))


def test_figures_are_written_as_files_too(run: str, tmp_path: Path) -> None:
    """And counted."""
    folder = tmp_path / "figures"
    done = CliRunner().invoke(
        cli.app, ["report", run, "-o", "-", "--figures", str(folder), "--figures-format", "svg"]
    )
    assert done.exit_code == 0
    assert done.stdout.startswith("<!DOCTYPE html>")
    assert done.stdout.endswith("</html>\n")
    assert done.stderr == f"{folder}: 3 figures in 3 files (svg)\n"
    assert len(list(folder.glob("*.svg"))) == 3


def test_conflicting_options_are_one_sentence(run: str, tmp_path: Path) -> None:
    """Options for two with one run, a format without a folder, a file that is none."""
    assert "--across is for judging two runs" in _refused(run, "--across", "hardware")
    assert "--figures DIR" in _refused(run, "--figures-format", "svg", "-o", "-")
    assert "cannot be read" in _refused(str(tmp_path / "none.json"))
    assert "cannot be written" in _refused(run, "-o", f"{run}/page.html")


@pytest.mark.parametrize(
    ("module", "package"), [("altair", "altair"), ("vl_convert", "vl-convert-python")]
)
def test_a_package_that_is_missing_is_named(
    run: str, tmp_path: Path, module: str, package: str
) -> None:
    """With what to install."""
    env = python_with(hide_packages(module), tmp_path)
    sentence = sentence_of(run_cnnperf("report", run, cwd=tmp_path, env=env))
    assert sentence.endswith(f"pip install {package}\n")


def test_other_commands_do_not_wait_for_what_pages_need() -> None:
    """Altair alone takes longer to import than everything else."""
    heavy = "{'altair', 'jinja2', 'vl_convert', 'scipy'} & set(sys.modules)"
    code = f"import sys, cnnperf.cli, cnnperf.cli.report; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
