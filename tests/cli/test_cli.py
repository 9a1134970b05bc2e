"""The command `cnnperf`: what each command prints, and with which exit code it ends."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cnnperf.catalog.registry import all_cases
from cnnperf.cli import commands as cli
from cnnperf.cli import list_cases
from cnnperf.record.environment import Environment
from cnnperf.record.journal import read_journal, record_from_journal
from cnnperf.record.loading import load_record
from cnnperf.report.terminal.console import EXIT_USAGE
from cnnperf.report.terminal.run import render
from cnnperf.run.settings import OPTIONS
from tests.commands import run_cnnperf, sentence_of
from tests.examples import (
    FORBID_TORCH,
    example_entries,
    example_environment,
    example_header,
    plain_terminal,
    python_with,
    write_journal,
    write_record,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


def _ids(lines: list[str]) -> list[str]:
    """The case ids that stand first in their lines."""
    return [line.split()[0] for line in lines if re.match(r" *\w+-\w+-\d+-", line)]


@pytest.fixture
def without_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker would take seconds, and torch."""

    def start(*_: object) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr("cnnperf.run.worker_process.probe", start)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """What a run left that was killed after its first case."""
    return write_journal(tmp_path / "run.journal.jsonl", example_header(), example_entries(2))


# --- list and env -------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_worker")
@pytest.mark.parametrize("tier", [None, "smoke", "standard", "full"])
def test_list_has_one_row_for_each_case_of_the_tier(tier: str | None) -> None:
    """Whole ids, in the order of the run."""
    arguments = ["list"] if tier is None else ["list", "--tier", tier]
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0
    assert _ids(done.stdout.splitlines()) == [case.id for case in all_cases(tier)]  # type: ignore[arg-type]


@pytest.mark.usefixtures("without_worker")
def test_list_shows_the_cost_of_a_builtin_model() -> None:
    """Parameters and FLOPs with an SI prefix, images and steps as numbers."""
    case_id = "vgg16-digits-224-sample-eager"
    done = CliRunner().invoke(cli.app, ["list", "--tier=smoke"])
    (line,) = (line for line in done.stdout.splitlines() if case_id in line)
    assert " ".join(line.split()[1:]) == "134 M 92.6 G 1,150 4 steps 2 smoke full"


def test_list_counts_a_users_model_again_when_its_code_has_changed(tmp_path: Path) -> None:
    """One linear layer on digits of 8 pixels: its weights and biases, and no gradient to images."""
    pytest.importorskip("torch", reason="counting needs the extra `train`")
    (tmp_path / "pytest.ini").write_text("[pytest]\ncnnperf_builtin_cases = false\n")
    (tmp_path / "cnnperf.toml").write_text(
        '[models.mine]\nbuilder = "mine:build"\nmin_resolution = 8\n'
        '[[cases]]\nmodel = "mine"\ndataset = "digits"\nresolution = 8\nrecipe = "brief"\n'
        'engines = ["eager"]\n'
    )
    for hidden in (5, 7):
        (tmp_path / "mine.py").write_text(
            "from torch.nn import Flatten, Linear, Sequential\n"
            "def build(num_classes, in_channels, resolution):\n"
            "    return Sequential(Flatten(), Linear(in_channels * resolution**2, HIDDEN),\n"
            "                      Linear(HIDDEN, num_classes))\n".replace("HIDDEN", str(hidden))
        )
        (row,) = json.loads(run_cnnperf("list", "--json", cwd=tmp_path).stdout)
        assert row["parameters"] == 64 * hidden + hidden + hidden * 10 + 10
        forward = 2 * (64 * hidden + hidden * 10)
        assert row["forward_flops_per_image"] == forward
        assert row["training_flops_per_image"] == 3 * forward - 2 * 64 * hidden


@pytest.mark.usefixtures("without_worker")
@pytest.mark.parametrize(
    ("width", "heads"),
    [
        (60, ["case", "params", "epochs", "batch"]),
        (70, ["case", "params", "FLOP/image", "epochs", "batch"]),
        (80, ["case", "params", "FLOP/image", "images", "epochs", "batch"]),
        (120, ["case", "params", "FLOP/image", "images", "epochs", "batch", "tiers"]),
    ],
)
def test_list_drops_columns_before_it_cuts_one(width: int, heads: list[str]) -> None:
    """What can best be spared goes first."""
    cases = list_cases.Cases(list_cases.case_rows("standard", ()))
    lines = render(cases, width=width, color=False).split("\n")
    (head,) = (line for line in lines if line.split()[:1] == ["case"])
    assert head.split() == heads
    told = [line for line in lines if line.startswith("no room for tiers")]
    assert len(told) == (width < 120)


@pytest.mark.usefixtures("without_worker")
@pytest.mark.parametrize("width", [80, 120])
def test_list_shows_every_id_whole(width: int) -> None:
    """For -k, on a narrow terminal too, however long they are."""
    lines = render(
        list_cases.Cases(list_cases.case_rows(None, ())), width=width, color=False
    ).split("\n")
    assert _ids(lines) == [case.id for case in all_cases()]
    assert not any("…" in line for line in lines)
    assert max(map(len, lines)) <= width


@pytest.mark.usefixtures("without_worker")
def test_list_as_json_has_every_column() -> None:
    """Null for what a case does not have."""
    done = CliRunner().invoke(cli.app, ["list", "--json", "--tier=standard"])
    rows = {row["id"]: row for row in json.loads(done.stdout)}
    assert list(rows) == [case.id for case in all_cases("standard")]
    assert rows["modified_vgg-cifar10-28-eager"] == {
        "id": "modified_vgg-cifar10-28-eager",
        "workers": None,
        "changes": [],
        "model": "modified_vgg",
        "dataset": "cifar10",
        "resolution": 28,
        "recipe": "report",
        "engine": "eager",
        "suite": "train",
        "precision": "auto",
        "compile": "auto",
        "variant": None,
        "devices": None,
        "scaling": "strong",
        "epochs": 10,
        "batch_size": 128,
        "max_steps": None,
        "train_images": 40_000,
        "parameters": 585_642,
        "forward_flops_per_image": 59_752_448,
        "training_flops_per_image": 177_902_592,
        "tiers": ["standard", "full"],
    }


def test_unknown_tier_is_one_sentence() -> None:
    """With the nearest that there is."""
    text = sentence_of(run_cnnperf("list", "--tier", "smok"))
    assert text == (
        "cnnperf: there is no tier 'smok' (did you mean 'smoke'?); "
        "possible: full, smoke, standard\n"
    )


def test_module_that_cannot_be_imported_is_one_sentence(tmp_path: Path) -> None:
    """It names the module and where it was looked for."""
    text = sentence_of(run_cnnperf("list", "-m", "not_there_9f3", cwd=tmp_path))
    assert "not_there_9f3 cannot be imported" in text
    assert str(tmp_path) in text


def test_env_as_json_is_an_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a record holds it."""
    monkeypatch.setattr("cnnperf.cli.machine.this_environment", example_environment)
    done = CliRunner().invoke(cli.app, ["env", "--json"])
    assert Environment.model_validate_json(done.stdout) == example_environment()


def test_env_is_a_table_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row a field."""
    monkeypatch.setattr("cnnperf.cli.machine.this_environment", example_environment)
    done = CliRunner().invoke(cli.app, ["env"])
    assert done.exit_code == 0
    assert "NVIDIA H200" in done.stdout


# --- schema and recover -------------------------------------------------------------------------


def test_printed_schema_accepts_stored_records_and_refuses_a_wrong_one() -> None:
    """jsonschema, which does not use pydantic, validates with what the command prints."""
    jsonschema = pytest.importorskip("jsonschema")
    done = run_cnnperf("schema")
    assert (done.returncode, done.stderr) == (0, "")
    validator = jsonschema.Draft202012Validator(json.loads(done.stdout))
    stored = [*(ROOT / "tests" / "records").glob("*.json"), *ROOT.glob("reports/*/smoke.json")]
    for path in stored:
        body = json.loads(path.read_text())["cnnperf"]
        validator.validate(body)
        assert not validator.is_valid({**body, "tier": "huge"})


def test_recover_makes_a_record_from_a_journal(journal: Path, tmp_path: Path) -> None:
    """With everything that was finished, and says what that is."""
    output = tmp_path / "out" / "run.json"
    done = run_cnnperf("recover", str(journal), "-o", str(output))
    assert (done.returncode, done.stderr) == (0, "")
    assert load_record(output) == record_from_journal(*read_journal(journal))
    assert "modified_vgg-mnist-28-eager" in done.stdout
    assert f"{output}: 2 finished trainings of 1 cases" in done.stdout
    assert journal.exists()


def test_recover_overwrites_only_with_force(journal: Path, tmp_path: Path) -> None:
    """The record that is there may be worth more."""
    output = tmp_path / "run.json"
    output.write_text("precious")
    text = sentence_of(run_cnnperf("recover", str(journal), "-o", str(output)))
    assert text == f"cnnperf: {output} exists: choose another name or add --force\n"
    assert output.read_text() == "precious"
    assert run_cnnperf("recover", str(journal), "-o", str(output), "--force").returncode == 0
    assert len(load_record(output).cases) == 1


@pytest.mark.parametrize("content", [None, b"", b"hello\n", b"{}\n", b"\xff\xfe", b"[" * 50_000])
def test_recover_of_another_file_is_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    """Nothing is written."""
    path = tmp_path / "bad.jsonl"
    if content is not None:
        path.write_bytes(content)
    done = CliRunner().invoke(cli.app, ["recover", str(path), "-o", str(tmp_path / "run.json")])
    assert done.exit_code == EXIT_USAGE
    assert done.stderr.startswith(f"cnnperf: {path}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run.json").exists()


def test_recover_of_a_record_is_one_sentence(tmp_path: Path) -> None:
    """It is what lies beside the journal, under nearly the same name."""
    path = write_record(tmp_path / "run.json", {})
    text = sentence_of(run_cnnperf("recover", str(path), "-o", str(tmp_path / "new.json")))
    assert "run.json is a record already, expected the journal" in text


@pytest.mark.parametrize("command", ["list", "data"])
def test_a_module_that_cannot_be_imported_is_named_with_the_option(command: str) -> None:
    """Who typed --module knows nothing of an ini key."""
    text = sentence_of(run_cnnperf(command, "--module", "not_there_9f3"))
    assert "--module: not_there_9f3 cannot be imported" in text


def test_recover_to_an_unwritable_file_is_one_sentence(journal: Path, tmp_path: Path) -> None:
    """The file is named."""
    output = journal / "run.json"
    text = sentence_of(run_cnnperf("recover", str(journal), "-o", str(output)))
    assert text.startswith(f"cnnperf: {output} cannot be written: ")


# --- all of it ----------------------------------------------------------------------------------


def test_version_is_that_of_the_package() -> None:
    """As pip knows it."""
    done = run_cnnperf("--version")
    assert (done.returncode, done.stdout) == (
        0,
        f"cnnperf {importlib.metadata.version('cnnperf')}\n",
    )


@pytest.mark.parametrize("arguments", [["compere"], ["list", "--no-such-option"], ["recover"]])
def test_bad_usage_ends_with_exit_code_2(arguments: list[str]) -> None:
    """Without a traceback."""
    done = run_cnnperf(*arguments)
    assert done.returncode == EXIT_USAGE
    assert "Traceback" not in done.stderr
    assert "Usage" in done.stderr


def test_reader_that_stops_early_gets_no_traceback() -> None:
    """As in `cnnperf schema | head -1`."""
    command = f"{sys.executable} -m cnnperf.cli schema | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout == "{\n"
    assert done.stderr == ""


def _commands() -> dict[str, Any]:
    group: Any = typer.main.get_command(cli.app)
    return {"cnnperf": group, **group.commands}


@pytest.mark.parametrize("name", _commands())
def test_every_command_and_all_its_options_have_a_help_text(name: str) -> None:
    """Policy: a sentence for each command, and one for each of its options and arguments."""
    command = _commands()[name]
    assert (command.help or "").split("\n\n")[0].endswith(".")
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name} {parameter.name}"


@pytest.mark.parametrize("width", ["80", "120"])
@pytest.mark.parametrize("name", [name for name in _commands() if name != "cnnperf"])
def test_help_wraps_prose_and_keeps_lists(name: str, width: str) -> None:
    """Each exit code and each example has a line of its own; a line of prose is not cut early."""
    done = CliRunner(env={"COLUMNS": width, "TERMINAL_WIDTH": width}).invoke(cli.app, [name, "-h"])
    shown = done.stdout.partition("\u256d")[0]  # above the first box
    for paragraph in _commands()[name].help.split("\n\n"):
        if paragraph.startswith("\b"):
            lines = {line.strip() for line in shown.splitlines()}
            assert {line.strip("\b ") for line in paragraph.splitlines()} <= lines
        else:
            assert "\n" not in paragraph


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.flag)
def test_every_option_of_the_plugin_has_a_help_text(option) -> None:
    """Policy: and a word for its value, unless it is a switch."""
    assert len(option.help.split()) > 3
    assert option.is_switch or option.metavar


def test_the_plugins_options_are_in_pytests_own_help() -> None:
    """On the command line and as ini keys."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--help"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    for option in OPTIONS:
        assert option.flag in done.stdout
        assert f"{option.key} " in done.stdout


def test_commands_that_need_no_torch_do_not_look_for_it(journal: Path, tmp_path: Path) -> None:
    """Policy: where even looking for torch is an error, these commands work."""
    env = python_with(FORBID_TORCH, tmp_path)
    assert run_cnnperf("schema", env=env).returncode == 0
    assert (
        run_cnnperf("recover", str(journal), "-o", str(tmp_path / "r.json"), env=env).stderr == ""
    )
    assert run_cnnperf("data", "digits", "--check", env=env).returncode == 0
    done = run_cnnperf("env", env=env)
    assert "torch was asked for" in done.stderr  # the barrier works
