"""The half that collects, compares and reports works without torch and never looks for it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

import cnnperf
from cnnperf.record.environment import Environment
from tests.examples import (
    FORBID_TORCH,
    HIDE_TORCH,
    plain_terminal,
    python_with,
)

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"
PACKAGE = Path(cnnperf.__file__).parent

TORCH_HALF = ("cnnperf.models", "cnnperf.training")
"""Packages that may import torch."""

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


def test_importing_the_package_loads_nothing_heavy() -> None:
    """Public names are loaded when they are used."""
    code = f"import sys, cnnperf; cnnperf.Case; print({HEAVY} & set(sys.modules))"
    assert _run("-c", code).stdout.strip() == "set()"


def test_every_public_name_can_be_imported() -> None:
    """And another name is an error like any other."""
    assert sorted({**cnnperf._HOMES, **cnnperf._MODULES}) == sorted(cnnperf.__all__)
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


def test_without_torch_other_tests_run(tmp_path: Path) -> None:
    """The plugin is loaded into every run of pytest: it must not be in the way."""
    (tmp_path / "test_it.py").write_text("def test_it(): pass\n")
    arguments = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}"]
    done = _run(*arguments, env=python_with(HIDE_TORCH, tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "cnnperf" not in done.stdout


# --- commands -----------------------------------------------------------------------------------


def test_without_torch_the_builtin_cases_are_listed_with_their_cost(tmp_path: Path) -> None:
    """What torch would count is known."""
    done = _run("-m", "cnnperf.cli", "list", "--json", env=python_with(FORBID_TORCH, tmp_path))
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert len(rows) > 9
    assert {row["parameters"] for row in rows} >= {134_309_962, 585_066}
    assert None not in {row["training_flops_per_image"] for row in rows}


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
