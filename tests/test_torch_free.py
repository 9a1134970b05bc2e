"""The half that collects, compares and reports works where no torch is, and never asks for it."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cnnperf
from cnnperf.record.environment import Environment
from cnnperf.report.terminal.console import run
from tests.examples import (
    FORBID_TORCH,
    HIDE_TORCH,
    example_case_record,
    example_record,
    example_repeat,
    plain_terminal,
    python_with,
    write_record,
)

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"
PACKAGE = Path(cnnperf.__file__).parent

TORCH_HALF = (
    "cnnperf.models",
    "cnnperf.training.engines",
    "cnnperf.training.data",
    "cnnperf.training.worker",
    "cnnperf.training.clock",
    "cnnperf.training.losses",
    "cnnperf.training.evaluation",
    "cnnperf.training.inference",
    "cnnperf.training.loop",
)
"""Modules, and packages with all that is in them, that may import torch."""

HEAVY = {"torch", "torchvision", "sklearn", "numpy", "PIL", "lightning", "accelerate", "timm"}


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


def _modules() -> list[str]:
    """Every module of the project, by its file."""
    files = PACKAGE.rglob("*.py")
    parts = [file.relative_to(PACKAGE.parent).with_suffix("").parts for file in files]
    names = (".".join(part[:-1] if part[-1] == "__init__" else part) for part in parts)
    return sorted(names)


def _is_torch_half(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in TORCH_HALF)


def _run(
    *arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_module_of_the_torch_free_half_imports_without_torch(tmp_path: Path) -> None:
    """Policy: in one process in which even looking for torch is an error."""
    modules = [module for module in _modules() if not _is_torch_half(module)]
    assert {"cnnperf.pytest_plugin.plugin", "cnnperf.cli", "cnnperf.record.schema"} <= set(modules)
    code = f"import importlib\nfor name in {modules}: importlib.import_module(name); print(name)"
    done = _run("-c", code, env=python_with(FORBID_TORCH, tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == modules


def test_the_torch_half_is_named_as_it_is() -> None:
    """A module that is moved or dropped leaves the list of exceptions too."""
    assert set(TORCH_HALF) <= set(_modules())


def test_importing_the_package_loads_nothing_heavy() -> None:
    """Public names are loaded when they are used."""
    code = f"import sys, cnnperf; cnnperf.Case; print({HEAVY} & set(sys.modules))"
    assert _run("-c", code).stdout.strip() == "set()"


def test_every_public_name_has_a_home() -> None:
    """And another name is an error like any other."""
    assert sorted(cnnperf._HOMES) == sorted(cnnperf.__all__)
    homes = {name: home for name, home in cnnperf._HOMES.items() if not _is_torch_half(home)}
    for name, home in homes.items():
        assert getattr(cnnperf, name) is getattr(importlib.import_module(home), name)
    with pytest.raises(AttributeError, match="no attribute 'tarin'"):
        _ = cnnperf.tarin


# --- collecting ---------------------------------------------------------------------------------


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
@pytest.mark.parametrize(("tier", "cases"), [("smoke", 6), ("standard", 10)])
def test_collecting_benchmarks_does_not_load_torch(tier: str, cases: int) -> None:
    """Where it is installed: the ids of a tier come in well under the time torch takes."""
    code = (
        "import pytest, sys\n"
        "code = pytest.main(['benchmarks', '--collect-only', '-q', '-p', 'no:cacheprovider', "
        f"'--cnnperf-tier={tier}'])\n"
        f"print('loaded:', {HEAVY} & set(sys.modules))\n"
        "sys.exit(code)\n"
    )
    done = _run("-c", code, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "loaded: set()" in done.stdout
    assert done.stdout.count("test_train.py::test_train[") == cases


@pytest.mark.parametrize("more", [(), ("--collect-only", "-q")])
def test_without_torch_collecting_benchmarks_says_what_to_install(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    """In exactly one line, without a traceback; pytest's exit code is that of bad usage."""
    env = python_with(HIDE_TORCH, tmp_path)
    done = _run("-m", "pytest", "-p", "no:cacheprovider", str(BENCHMARKS), *more, env=env, cwd=ROOT)
    out = done.stdout + done.stderr
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert [line for line in out.splitlines() if "cnnperf: " in line or "pip install" in line] == [
        "cnnperf: training needs torch, torchvision, sklearn: pip install 'cnnperf[train]' "
        "(in a checkout: pip install -e '.[train]')"
    ]
    assert "Traceback" not in out
    assert "Error" not in out


def test_without_torch_other_tests_run_as_ever(tmp_path: Path) -> None:
    """The plugin is loaded into every run of pytest: it must not be in the way."""
    (tmp_path / "test_it.py").write_text("def test_it(): pass\n")
    arguments = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}"]
    done = _run(*arguments, env=python_with(HIDE_TORCH, tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "cnnperf" not in done.stdout


# --- starting -----------------------------------------------------------------------------------

OF_OTHER_COMMANDS = {
    *HEAVY,
    "cnnperf.catalog.cases",
    "cnnperf.cli.ab",
    "cnnperf.cli.history",
    "cnnperf.cli.report",
    "cnnperf.cli.results",
    "cnnperf.catalog.registry",
    "cnnperf.run.worker_process",
    "cnnperf.run.settings",
    "cnnperf.report.terminal.run",
    "_pytest",
    "altair",
    "duckdb",
    "jinja2",
    "psutil",
    "pynvml",
    "rich._emoji_codes",
    "rich.markdown",
    "rich.progress",
    "rich.traceback",
    "scipy",
}
"""What a comparison of a few repeats has no use for: each takes milliseconds to import."""


def _modules_after(*arguments: str, env: dict[str, str] | None = None) -> tuple[str, set[str]]:
    """What `cnnperf` prints, and every module that it had loaded in the end."""
    code = (
        "import sys\nfrom cnnperf import cli\n"
        "try:\n    cli.main()\n"
        "finally:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    done = _run("-c", code, *arguments, env=env)
    return done.stdout, set(done.stderr.split())


def _record_of(path: Path, *times: float) -> str:
    """A stored case with these train times."""
    repeats = [
        example_repeat(seed, seconds, images_per_second=480_000 / seconds)
        for seed, seconds in enumerate(times)
    ]
    record = example_record(example_case_record(repeats=repeats))
    return str(write_record(path, json.loads(record.model_dump_json())))


def test_comparing_loads_nothing_of_the_other_commands(tmp_path: Path) -> None:
    """Judging and table included: it is asked for after every change, and waited for."""
    base = _record_of(tmp_path / "base.json", 10.0, 10.05, 9.95)
    new = _record_of(tmp_path / "new.json", 12.0, 12.06, 11.94)
    shown, modules = _modules_after("compare", base, new)
    assert "regression in 1 of 1 case" in shown
    assert {"cnnperf.compare.judge", "cnnperf.report.terminal.comparison"} <= modules
    assert modules & OF_OTHER_COMMANDS == set()


def test_comparing_looks_for_no_plugins_of_pydantic(tmp_path: Path) -> None:
    """Not even for one that is installed: to find it, every package's metadata are read."""
    metadata = tmp_path / "spy-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: spy\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[pydantic]\nspy = spy_on_models:plugin\n")
    (tmp_path / "spy_on_models.py").write_text("plugin = None\n")
    base = _record_of(tmp_path / "base.json", 10.0, 10.05, 9.95)
    environ = {name: value for name, value in os.environ.items() if "PYDANTIC" not in name}
    _, modules = _modules_after("compare", base, base, env={**environ, "PYTHONPATH": str(tmp_path)})
    assert "cnnperf.record.schema" in modules
    assert "spy_on_models" not in modules


def test_the_help_of_one_command_loads_no_models() -> None:
    """Of which pydantic takes half as long to import as all the rest."""
    shown, modules = _modules_after("compare", "--help")
    assert "--drop-flagged" in shown
    assert "cnnperf.cli.compare" in modules
    others = {name for name in OF_OTHER_COMMANDS if name.startswith("cnnperf.")}
    assert modules & {*others, "cnnperf.record.schema", "pydantic", "pydantic_core"} == set()


def test_importing_the_models_does_not_build_them() -> None:
    """Building takes longer than importing, and a comparison needs only a few models."""
    code = (
        "from cnnperf.compare.calibration import Calibration\n"
        "from cnnperf.compare.verdicts import Comparison\n"
        "from cnnperf.record.schema import CaseRecord, Record\n"
        "from cnnperf.catalog.specs import Case\n"
        "models = Calibration, Comparison, Case, CaseRecord, Record\n"
        "print([model.__name__ for model in models if model.__pydantic_complete__])\n"
    )
    done = _run("-c", code)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_end_of_a_command_searches_for_no_cycles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python would, through all that was imported, at the end of a process that is over."""
    frozen: list[bool] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(True))
    with pytest.raises(SystemExit) as end:
        run(lambda: sys.exit(3))
    assert end.value.code == 3
    assert frozen == [True]


# --- commands -----------------------------------------------------------------------------------


def test_without_torch_the_cases_are_listed_without_their_cost(tmp_path: Path) -> None:
    """What only torch can count is null."""
    done = _run("-m", "cnnperf.cli", "list", "--json", env=python_with(HIDE_TORCH, tmp_path))
    rows = json.loads(done.stdout)
    assert len(rows) > 9
    assert {row["parameters"] for row in rows} == {None}
    assert {row["training_flops_per_image"] for row in rows} == {None}


def test_without_torch_the_machine_is_described_as_far_as_it_can_be(tmp_path: Path) -> None:
    """As JSON that a record could hold."""
    done = _run("-m", "cnnperf.cli", "env", "--json", env=python_with(HIDE_TORCH, tmp_path))
    environment = Environment.model_validate_json(done.stdout)
    assert environment.software.python == ".".join(map(str, sys.version_info[:3]))
    assert environment.hardware.cpu_logical_cores
    assert environment.hardware.matmul_flops_per_second is None


def test_without_torch_a_download_says_what_to_install(tmp_path: Path) -> None:
    """The download is torchvision's."""
    env = python_with(HIDE_TORCH, tmp_path)
    done = _run("-m", "cnnperf.cli", "data", "mnist", f"--data-dir={tmp_path}", env=env)
    assert done.returncode == 2
    assert done.stderr.startswith("cnnperf: training needs ")
    assert done.stderr.count("\n") == 1
    assert "pip install 'cnnperf[train]'" in done.stderr
