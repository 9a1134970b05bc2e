"""The blocks of docs/ci.md fit their schemas, and their options and thresholds exist.

test_ci_docs_workflow.py runs the workflow, test_ci_docs_script.py the script.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from cnnperf.cli.commands import app
from cnnperf.compare.thresholds import find_thresholds
from cnnperf.run.settings import OPTIONS
from tests.commands import run_cnnperf
from tests.docs.ci_machine import Machine, lay
from tests.docs.ci_page import GITLAB, RUNS, SCRIPT, SHORT, STEPS, TEXT, WORKFLOW, block
from tests.examples import plain_terminal


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine on which nothing has run yet."""
    return Machine(tmp_path)


def _schema_errors(schema: str, text: str, folder: Path) -> str:
    """Return the errors of check-jsonschema by one of its built-in schemas; empty if valid."""
    file = folder / "file.yml"
    file.write_text(text)
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize(
    ("schema", "text", "good", "spoilt"),
    [
        ("vendor.github-workflows", WORKFLOW, "run: |", "runs: |"),
        ("custom.github-workflows-require-timeout", WORKFLOW, "    timeout-minutes: 300\n", ""),
        ("vendor.gitlab-ci", GITLAB, "exit_codes: [3, 4]", "exit_codes: [three]"),
    ],
)
def test_workflow_is_valid_and_a_spoilt_one_is_not(
    tmp_path: Path, schema: str, text: str, good: str, spoilt: str
) -> None:
    """The spoilt one shows that the schema checks the changed part."""
    assert _schema_errors(schema, text, tmp_path) == ""
    assert text.count(good) >= 1
    assert _schema_errors(schema, text.replace(good, spoilt), tmp_path)


@pytest.mark.parametrize("text", [*RUNS.values(), SCRIPT, *SHORT])
def test_shell_blocks_pass_shellcheck(tmp_path: Path, text: str) -> None:
    """Every block passes at the strictest severity."""
    file = tmp_path / "block.sh"
    file.write_text(text if text.startswith("#!") else f"#!/usr/bin/env bash\nset -e\n{text}")
    program = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([program, "--norc", "--severity=style", file], capture_output=True)
    assert (done.returncode, done.stdout.decode()) == (0, "")


def test_workflow_is_safe_on_a_self_hosted_runner() -> None:
    """Read-only rights, no code from forks, no expressions in commands, one run at a time."""
    workflow = yaml.safe_load(WORKFLOW)
    job = workflow["jobs"]["benchmarks"]
    assert workflow["permissions"] == {"contents": "read", "actions": "read"}
    assert set(workflow[True]) == {"schedule", "pull_request", "workflow_dispatch"}  # "on"
    assert "head.repo.full_name == github.repository" in job["if"]
    assert workflow["concurrency"]["cancel-in-progress"] is False
    assert job["steps"][0]["with"]["persist-credentials"] is False
    assert STEPS["Train"]["timeout-minutes"] < job["timeout-minutes"]
    assert not [run for run in RUNS.values() if "${{" in run]
    assert all(re.search(r"@v\d+$", step["uses"]) for step in job["steps"] if "uses" in step)


def test_every_option_on_the_page_exists() -> None:
    """This holds for pytest's options and for those of each command."""
    ours = {f"--cnnperf-{option.name.replace('_', '-')}" for option in OPTIONS}
    assert set(re.findall(r"--cnnperf-[a-z-]+", TEXT)) <= ours
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    prose = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    named = re.findall(r"`cnnperf ([a-z]+)\b([^`]*)`", prose)
    named += re.findall(r"^ *cnnperf ([a-z]+)\b([^|>\n]*)", TEXT, re.MULTILINE)
    assert {"compare", "calibrate", "recover", "ab", "export"} <= {name for name, _ in named}
    for name, rest in named:
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert set(re.findall(r"(?<!\S)--?[a-z-]+", rest)) <= options, (name, rest)


def test_every_exit_code_has_one_row() -> None:
    """The table lists 0 to 4 in order."""
    assert re.findall(r"^\| (\d) \|", TEXT, re.MULTILINE) == ["0", "1", "2", "3", "4"]


def test_thresholds_on_the_page_are_read_from_either_file(tmp_path: Path) -> None:
    """`cnnperf compare` accepts them, too."""
    own = block("toml", "[metrics.")
    project = block("toml", "[tool.cnnperf")
    (tmp_path / "pyproject.toml").write_text(project)
    assert find_thresholds(None, tmp_path).rule("any", "train_seconds").threshold == 0.05
    (tmp_path / "cnnperf.toml").write_text(own)
    found = find_thresholds(None, tmp_path)
    fast = found.rule("modified_vgg-mnist-28-fast", "test_accuracy")
    assert (fast.floor, fast.threshold) == (0.99, 0.003)
    assert found.rule("modified_vgg-cifar10-28-fast", "test_accuracy").threshold == 0.01
    base = str(lay(tmp_path / "base.json", "base"))
    done = run_cnnperf("compare", base, base, "--verbose", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_inconclusive_comparison_ends_with_4_only_with_strict(tmp_path: Path) -> None:
    """Without --strict it ends with 0."""
    one = str(lay(tmp_path / "one.json", "one training"))
    assert run_cnnperf("compare", one, one, cwd=tmp_path).returncode == 0
    assert run_cnnperf("compare", one, one, "--strict", cwd=tmp_path).returncode == 4


def test_export_block_writes_both_files(machine: Machine) -> None:
    """Both files hold JSON."""
    (block,) = (text for text in SHORT if text.startswith("cnnperf export"))
    machine.lay("run.json", "base")
    done = machine.run(block)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((machine.work / "benchmark-data.json").read_text())
    assert json.loads((machine.work / "bencher.json").read_text())


def test_training_blocks_are_valid_commands(machine: Machine) -> None:
    """Pytest writes a record; `cnnperf ab` only lacks the two interpreters."""
    (run,) = (text for text in SHORT if text.startswith("pytest"))
    assert machine.run(run).returncode == 0
    (turns,) = (text for text in SHORT if text.startswith("cnnperf ab"))
    done = machine.run(turns)
    assert done.returncode == 2
    assert "old/bin/python" in done.stderr
    assert done.stderr.count("\n") == 1
