"""What docs/ci.md offers to copy works: its workflows are valid, its commands run and judge.

The training is a stand-in that lays down a prepared record; `cnnperf` and bash are real.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from cnnperf.cli import app
from cnnperf.compare.thresholds import find_thresholds
from cnnperf.record import Record
from cnnperf.settings import OPTIONS
from tests.commands import run_cnnperf
from tests.examples import (
    example_case,
    example_case_record,
    example_environment,
    example_record,
    example_repeat,
    plain_terminal,
    write_record,
)

DOC = Path(__file__).parent.parent / "docs" / "ci.md"
TEXT = DOC.read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
"""Language and content of each."""


def _block(language: str, beginning: str) -> str:
    """The one block that begins like this."""
    (found,) = (text for kind, text in BLOCKS if kind == language and text.startswith(beginning))
    return found


WORKFLOW = _block("yaml", "# .github/workflows/benchmarks.yml")
GITLAB = _block("yaml", "# .gitlab-ci.yml")
SCRIPT = _block("bash", "#!/usr/bin/env bash")
SHORT = [text for kind, text in BLOCKS if kind == "bash" and text != SCRIPT]
STEPS: dict[str, dict[str, Any]] = {
    step["name"]: step
    for step in yaml.safe_load(WORKFLOW)["jobs"]["benchmarks"]["steps"]
    if "name" in step
}
RUNS: dict[str, str] = {name: step["run"] for name, step in STEPS.items() if "run" in step}


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


# --- what they are ------------------------------------------------------------------------------


def _schema_errors(schema: str, text: str, folder: Path) -> str:
    """What check-jsonschema says of a file, by a schema that it brings along; empty if nothing."""
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
def test_a_workflow_fits_its_schema(
    tmp_path: Path, schema: str, text: str, good: str, spoilt: str
) -> None:
    """And the schema would notice: a spoilt one does not."""
    assert _schema_errors(schema, text, tmp_path) == ""
    assert text.count(good) >= 1
    assert _schema_errors(schema, text.replace(good, spoilt), tmp_path)


@pytest.mark.parametrize("text", [*RUNS.values(), SCRIPT, *SHORT])
def test_shellcheck_finds_nothing(tmp_path: Path, text: str) -> None:
    """In any block of shell, at its most particular."""
    file = tmp_path / "block.sh"
    file.write_text(text if text.startswith("#!") else f"#!/usr/bin/env bash\nset -e\n{text}")
    program = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([program, "--norc", "--severity=style", file], capture_output=True)
    assert (done.returncode, done.stdout.decode()) == (0, "")


def test_the_workflow_is_safe_to_run_on_a_machine_of_ones_own() -> None:
    """Rights to read alone, no code of forks, no text of others in a command, one run at a time."""
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
    """Of pytest as of each command."""
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


def test_every_exit_code_is_explained() -> None:
    """In the table, once."""
    assert re.findall(r"^\| (\d) \|", TEXT, re.MULTILINE) == ["0", "1", "2", "3", "4"]


# --- records ------------------------------------------------------------------------------------

NOISE = (0.000, 0.004, -0.003, 0.002, -0.002)
"""Of five trainings, as parts of their time."""


def _record(factor: float = 1.0, lost: float = 0.0, **changes: Any) -> Record:
    """Five trainings of about 20 seconds times `factor`, with so much accuracy lost."""
    repeats = []
    for seed, noise in enumerate(NOISE):
        seconds = 20.0 * factor * (1 + noise)
        accuracy = 0.9899 - lost + noise / 10
        repeats.append(
            example_repeat(
                seed,
                seconds,
                images_per_second=480_000 / seconds,
                test_accuracy=accuracy,
                test_f1_macro=accuracy - 0.0001,
            )
        )
    return example_record(example_case_record(repeats=repeats), **changes)


@cache
def _body(kind: str) -> str:
    """A record, by what is the matter with it beside the baseline."""
    environment = example_environment()
    software = environment.software.model_copy(update={"torch": "2.16.0"})
    found = {
        "base": _record,
        "same": lambda: _record(1.001),
        "slower": lambda: _record(1.2),
        "less accurate": lambda: _record(lost=0.02),
        "other torch": lambda: _record(
            environment=environment.model_copy(update={"software": software})
        ),
        "one training": lambda: example_record(),
        "vanished": lambda: example_record(
            example_case_record(example_case("modified_resnet"), _record().cases[0].repeats)
        ),
    }[kind]()
    return found.model_dump_json()


def _lay(file: Path, kind: str) -> Path:
    """A record's file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return write_record(file, json.loads(_body(kind)))


def _kind(file: Path) -> str | None:
    """Which record a file holds."""
    if not file.exists():
        return None
    record = Record.model_validate(json.loads(file.read_text())["cnnperf"])
    kinds = ("base", "same", "slower", "less accurate")
    (kind,) = (each for each in kinds if Record.model_validate_json(_body(each)) == record)
    return kind


# --- a machine on which they run ----------------------------------------------------------------

PYTEST = """
import os, shutil, sys
from pathlib import Path

Path(os.environ["STUB_LOG"]).open("a").write(" ".join(sys.argv[1:]) + "\\n")
assert sys.argv[1] == "benchmarks"
(target,) = [word.partition("=")[2] for word in sys.argv if word.startswith("--benchmark-json=")]
if "STUB_RECORD" in os.environ:
    shutil.copy(os.environ["STUB_RECORD"], target)
sys.exit(int(os.environ.get("STUB_CODE", "0")))
"""
"""In pytest's place: what it was called with goes to a log, what it would have measured is laid."""

GH = """
import json, os, shutil, sys
from pathlib import Path

import jq

words = sys.argv[1:]
if "STUB_ARTIFACTS" not in os.environ:
    sys.exit("gh: HTTP 502")
if words[0] == "api":
    assert words[1] == "repos/me/mine/actions/artifacts?name=cnnperf-baseline&per_page=100"
    content = json.loads(Path(os.environ["STUB_ARTIFACTS"]).read_text())
    for found in jq.compile(words[words.index("--jq") + 1]).input_value(content).all():
        print(found)
else:
    assert words[:2] == ["run", "download"] and os.environ["GH_TOKEN"]
    assert words[words.index("--repo") + 1] == "me/mine"
    assert words[words.index("--name") + 1] == "cnnperf-baseline"
    folder = Path(os.environ["STUB_ARTIFACTS"]).parent / words[2]
    shutil.copytree(folder, words[words.index("--dir") + 1])
"""
"""In the GitHub CLI's place, with the real thing's query language."""

CNNPERF = """
from cnnperf.cli import main

main()
"""


@dataclass
class Machine:
    """A folder with a checkout in it, and programs that come before all others."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Lay down what a runner gives to a job."""
        self.work, programs = self.folder / "work", self.folder / "programs"
        self.summary, self.path = self.folder / "summary.md", self.folder / "path"
        self.log = self.folder / "log"
        programs.mkdir()
        (self.work / "benchmarks").mkdir(parents=True)
        (self.work / "benchmarks" / "requirements.txt").write_text("# nothing\n")
        for file in (self.summary, self.path, self.log):
            file.touch()
        for name, code in {"pytest": PYTEST, "gh": GH, "cnnperf": CNNPERF}.items():
            (programs / name).write_text(f"#!{sys.executable}{code}")
            (programs / name).chmod(0o755)
        self.environment = {
            **os.environ,
            "HOME": str(self.folder / "home"),
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "RUNNER_TEMP": str(self.folder / "temp"),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_PATH": str(self.path),
            "GITHUB_REPOSITORY": "me/mine",
            "GITHUB_EVENT_NAME": "schedule",
            "STUB_LOG": str(self.log),
            **{name: str(value) for name, value in yaml.safe_load(WORKFLOW)["env"].items()},
            **self.environment,
        }

    def run(self, text: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Bash as GitHub calls it; programs of an earlier step come first."""
        file = self.folder / "block.sh"
        file.write_text(text)
        added = [*reversed(self.path.read_text().split()), self.environment["PATH"]]
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(file), *arguments],
            cwd=self.work,
            env={**self.environment, "PATH": os.pathsep.join(added), **more},
            capture_output=True,
            text=True,
            check=False,
        )

    def step(self, name: str, **more: str) -> subprocess.CompletedProcess[str]:
        """A step of the workflow."""
        return self.run(RUNS[name], **more)

    def lay(self, name: str, kind: str) -> str:
        """A record in the checkout, or elsewhere; its path."""
        return str(_lay(self.work / name, kind))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """One on which nothing has run yet."""
    return Machine(tmp_path)


# --- GitHub Actions -----------------------------------------------------------------------------


def test_installing_makes_an_environment_that_later_steps_use(machine: Machine) -> None:
    """In the runner's own folder of temporary files, which it empties."""
    done = machine.step("Install")
    assert done.returncode == 0, done.stderr
    found = machine.run("command -v python").stdout.strip()
    assert found == f"{machine.environment['RUNNER_TEMP']}/venv/bin/python"


def _artifact(run: int, created: str, **changes: Any) -> dict[str, Any]:
    own = {"id": run, "head_branch": "main", "repository_id": 7, "head_repository_id": 7}
    return {"expired": False, "created_at": created, "workflow_run": {**own, **changes}}


def test_the_baseline_is_the_newest_of_the_branch_itself(machine: Machine) -> None:
    """Not a fork's, whose branch may have the same name; nor an expired one, nor another branch's.

    A fork's workflow runs with the fork's text: it can upload whatever it likes by that name.
    """
    listing = [
        _artifact(1, "2026-01-01T00:00:00Z"),
        _artifact(3, "2026-01-03T00:00:00Z"),
        _artifact(2, "2026-01-02T00:00:00Z"),
        {**_artifact(4, "2026-01-04T00:00:00Z"), "expired": True},
        _artifact(5, "2026-01-05T00:00:00Z", head_branch="topic"),
        _artifact(6, "2026-01-06T00:00:00Z", head_repository_id=8),
    ]
    artifacts = machine.folder / "artifacts.json"
    artifacts.write_text(json.dumps({"total_count": len(listing), "artifacts": listing}))
    machine.lay("../3/run.json", "base")
    done = machine.step("Fetch the baseline", STUB_ARTIFACTS=str(artifacts), GH_TOKEN="t")  # noqa: S106
    assert done.returncode == 0, done.stderr
    assert _kind(machine.work / "baseline" / "run.json") == "base"


def test_without_a_baseline_there_is_none_and_no_error(machine: Machine) -> None:
    """The first run of all."""
    artifacts = machine.folder / "artifacts.json"
    artifacts.write_text('{"total_count": 0, "artifacts": []}')
    done = machine.step("Fetch the baseline", STUB_ARTIFACTS=str(artifacts), GH_TOKEN="t")  # noqa: S106
    assert (done.returncode, done.stderr) == (0, "")
    assert not (machine.work / "baseline").exists()


def test_a_fetch_that_fails_is_not_taken_for_no_baseline(machine: Machine) -> None:
    """The job ends before it trains."""
    assert machine.step("Fetch the baseline", GH_TOKEN="t").returncode == 1  # noqa: S106


def test_training_leaves_a_record_and_its_own_exit_code(machine: Machine) -> None:
    """Several trainings a case, none skipped for want of data."""
    record = machine.lay("../prepared.json", "same")
    assert machine.step("Train", STUB_RECORD=record).returncode == 0
    assert _kind(machine.work / "run.json") == "same"
    assert machine.log.read_text() == (
        "benchmarks --benchmark-json=run.json --cnnperf-repeats=5 --cnnperf-require-data\n"
    )
    assert machine.step("Train", STUB_RECORD=record, STUB_CODE="1").returncode == 1


@pytest.mark.parametrize(
    ("kind", "code", "verdict"),
    [
        ("same", 0, "no regression"),
        ("slower", 1, "slower"),
        ("less accurate", 1, "worse"),
        ("vanished", 1, "missing"),
        ("other torch", 3, "not comparable"),
    ],
)
def test_judging_tells_the_summary_the_annotations_and_junit(
    machine: Machine, kind: str, code: int, verdict: str
) -> None:
    """And ends with the exit code of the table."""
    machine.lay("baseline/run.json", "base")
    machine.lay("run.json", kind)
    done = machine.step("Judge")
    assert (done.returncode, done.stderr) == (code, "")
    assert verdict in done.stdout
    assert verdict in machine.summary.read_text()
    assert "modified_vgg-mnist-28-eager" in machine.summary.read_text()
    assert ("::error" in done.stdout) is (code == 1)
    suites = ET.parse(machine.work / "junit.xml").getroot()  # noqa: S314
    assert len(suites.findall(".//testcase")) >= 1
    bad = suites.findall(".//failure") + suites.findall(".//error")
    assert (len(bad) > 0) is (code == 1)


@pytest.mark.parametrize(("event", "code"), [("schedule", 0), ("pull_request", 3)])
def test_without_a_baseline_a_pull_request_does_not_pass(
    machine: Machine, event: str, code: int
) -> None:
    """One that expired must not open the gate; the branch itself makes a new one."""
    machine.lay("run.json", "slower")
    done = machine.step("Judge", GITHUB_EVENT_NAME=event)
    assert (done.returncode, done.stderr) == (code, "")
    assert machine.summary.read_text() == done.stdout
    assert done.stdout == "There is no baseline: a run on main leaves one.\n"


@pytest.mark.parametrize("content", [None, ""])
def test_a_run_that_left_no_record_is_one_sentence(machine: Machine, content: str | None) -> None:
    """Exit code 2, told once for each thing that could not be made of it."""
    machine.lay("baseline/run.json", "base")
    if content is not None:
        (machine.work / "run.json").write_text(content)
    done = machine.step("Judge")
    assert done.returncode == 2
    assert len(set(done.stderr.splitlines())) == 1
    assert done.stderr.startswith("cnnperf: run.json ")


@pytest.mark.parametrize(
    ("before", "renew", "trained", "after"),
    [
        ("base", "", "success", "base"),
        ("base", "false", "success", "base"),
        ("base", "true", "success", "slower"),
        ("base", "true", "failure", "base"),
        (None, "", "success", "slower"),
        (None, "", "failure", None),
    ],
)
def test_a_baseline_stays_until_it_is_renewed(
    machine: Machine, before: str | None, renew: str, trained: str, after: str | None
) -> None:
    """However often it is handed on; and a run in which a case failed never becomes one."""
    if before is not None:
        machine.lay("baseline/run.json", before)
    machine.lay("run.json", "slower")
    done = machine.step("Keep the baseline, or renew it", RENEW=renew, TRAINED=trained)
    assert done.returncode == 0, done.stderr
    assert _kind(machine.work / "baseline" / "run.json") == after


# --- any other server ---------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Machine:
    """One whose jobs call the script; its store has a baseline."""
    made = Machine(tmp_path, {"CNNPERF_STORE": str(tmp_path / "store")})
    made.lay("../store/run.json", "base")
    return made


def _baseline(server: Machine) -> Path:
    return server.folder / "store" / "run.json"


@pytest.mark.parametrize(
    ("kind", "code"), [("same", 0), ("slower", 1), ("less accurate", 1), ("other torch", 3)]
)
def test_the_script_ends_with_the_verdict(server: Machine, kind: str, code: int) -> None:
    """Leaves what a server collects, and the baseline as it was."""
    record = server.lay("../prepared.json", kind)
    done = server.run(SCRIPT, STUB_RECORD=record)
    assert (done.returncode, done.stderr) == (code, "")
    results = server.work / "benchmark-results"
    assert {file.name for file in results.iterdir()} == {"run.json", "summary.md", "junit.xml"}
    assert "modified_vgg-mnist-28-eager" in (results / "summary.md").read_text()
    assert _kind(_baseline(server)) == "base"


@pytest.mark.parametrize(
    ("before", "arguments", "trained", "code", "after"),
    [
        (None, (), 0, 0, "slower"),
        (None, (), 1, 1, None),
        ("base", ("--renew",), 0, 0, "slower"),
        ("base", ("--renew",), 1, 1, "base"),
    ],
)
def test_the_script_makes_a_baseline_where_it_should(
    server: Machine,
    before: str | None,
    arguments: tuple[str, ...],
    trained: int,
    code: int,
    after: str | None,
) -> None:
    """Of a run in which every case passed."""
    if before is None:
        _baseline(server).unlink()
    record = server.lay("../prepared.json", "slower")
    done = server.run(SCRIPT, *arguments, STUB_RECORD=record, STUB_CODE=str(trained))
    assert (done.returncode, done.stderr) == (code, "")
    assert _kind(_baseline(server)) == after


def test_a_failed_case_that_the_baseline_has_not_fails_the_script(server: Machine) -> None:
    """The comparison alone would not see it."""
    record = server.lay("../prepared.json", "same")
    assert server.run(SCRIPT, STUB_RECORD=record, STUB_CODE="1").returncode == 1


@pytest.mark.parametrize("code", [2, 4, 5])
def test_a_run_that_did_not_come_to_its_end_is_not_judged(server: Machine, code: int) -> None:
    """Interrupted, called wrongly, or without a case."""
    server.lay("benchmark-results/run.json", "same")
    done = server.run(SCRIPT, STUB_CODE=str(code))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"training stopped with {code}; ")


def test_two_jobs_never_share_the_gpu(server: Machine) -> None:
    """The second waits, and gives up without having trained."""
    with (server.folder / "store" / "gpu.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = server.run(SCRIPT, CNNPERF_WAIT_SECONDS="0")
    assert done.returncode == 2
    assert done.stderr.startswith("the GPU is still busy: ")
    assert server.log.read_text() == ""


# --- the rest of the page -----------------------------------------------------------------------


def test_the_thresholds_on_the_page_are_in_force(tmp_path: Path) -> None:
    """Read by the command itself, from either file."""
    own = _block("toml", "[metrics.")
    project = _block("toml", "[tool.cnnperf")
    (tmp_path / "pyproject.toml").write_text(project)
    assert find_thresholds(None, tmp_path).rule("any", "train_seconds").threshold == 0.05
    (tmp_path / "cnnperf.toml").write_text(own)
    found = find_thresholds(None, tmp_path)
    fast = found.rule("modified_vgg-mnist-28-fast", "test_accuracy")
    assert (fast.floor, fast.threshold) == (0.99, 0.003)
    assert found.rule("modified_vgg-cifar10-28-fast", "test_accuracy").threshold == 0.01
    base = str(_lay(tmp_path / "base.json", "base"))
    done = run_cnnperf("compare", base, base, "--verbose", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_inconclusive_ends_with_four_when_it_is_asked_for(tmp_path: Path) -> None:
    """And with 0 otherwise."""
    one = str(_lay(tmp_path / "one.json", "one training"))
    assert run_cnnperf("compare", one, one, cwd=tmp_path).returncode == 0
    assert run_cnnperf("compare", one, one, "--strict", cwd=tmp_path).returncode == 4


def test_the_exports_on_the_page_are_written(machine: Machine) -> None:
    """Both of them."""
    (block,) = (text for text in SHORT if text.startswith("cnnperf export"))
    machine.lay("run.json", "base")
    done = machine.run(block)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((machine.work / "benchmark-data.json").read_text())
    assert json.loads((machine.work / "bencher.json").read_text())


def test_what_would_train_is_called_as_it_can_be(machine: Machine) -> None:
    """A record has a file to go to; `cnnperf ab` misses no more than the two interpreters."""
    (run,) = (text for text in SHORT if text.startswith("pytest"))
    assert machine.run(run).returncode == 0
    (turns,) = (text for text in SHORT if text.startswith("cnnperf ab"))
    done = machine.run(turns)
    assert done.returncode == 2
    assert "old/bin/python" in done.stderr
    assert done.stderr.count("\n") == 1
