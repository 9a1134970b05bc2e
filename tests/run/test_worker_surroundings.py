"""A worker is not harmed by files in the current folder, foreign output and full memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cnnperf.record.messages import ProbeJob
from cnnperf.run.repeat import RepeatRun
from cnnperf.run.worker_process import Worker, WorkerError, probe
from tests.commands import run_cnnperf
from tests.examples import python_with
from tests.run.test_runner import impostor
from tests.training.conftest import USER_MODULE, MakeJob

pytest.importorskip("torch", reason="training needs the extra `train`")

LOOK = ProbeJob(device="cpu", measure_peak=False)

SHADOWS = sorted(
    {*sys.stdlib_module_names, "torch", "torchvision", "sklearn", "numpy", "pydantic", "psutil"}
    - set(sys.builtin_module_names)
)
"""Modules of Python and of others that a file in the current folder could hide."""


def fill_with_shadows(folder: Path) -> Path:
    """Put a file for every such module into a folder; return the log of those that are executed."""
    log = folder / "executed.log"
    for name in SHADOWS:
        (folder / f"{name}.py").write_text(f"open({str(log)!r}, 'a').write(__name__ + ' ')\n")
    return log


# --- files in the current folder ------------------------------------------------------------------


def test_files_of_the_current_folder_shadow_nothing_in_a_training(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although the user's own modules lie in the same folder and are found there."""
    log = fill_with_shadows(tmp_path)
    for source in USER_MODULE.glob("tiny_*.py"):
        shutil.copy(source, tmp_path)
    monkeypatch.chdir(tmp_path)
    job = make_job("good").model_copy(update={"python_path": (str(tmp_path),)})
    with RepeatRun(job) as run:
        run.prepare()
        run.train()
        assert run.finish().steps == 8
    assert not log.exists()


@pytest.mark.parametrize("command", [["env"], ["list", "--json"]])
def test_files_of_the_current_folder_shadow_nothing_in_a_command(
    tmp_path: Path, command: list[str]
) -> None:
    """Neither in the command, which `cnnperf` starts in a safe way, nor in its worker."""
    log = fill_with_shadows(tmp_path)
    start = [sys.executable, "-P", "-m", "cnnperf.cli"]
    done = subprocess.run(
        [*start, *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not log.exists()


def test_python_m_cnnperf_cli_takes_no_json_of_the_current_folder(tmp_path: Path) -> None:
    """Python itself puts the folder first; the command puts it last."""
    log = tmp_path / "executed.log"
    for name in ("json", "profile", "inspect", "statistics", "typer"):
        (tmp_path / f"{name}.py").write_text(f"open({str(log)!r}, 'a').write(__name__)\n")
    assert run_cnnperf("env", "--json", cwd=tmp_path).returncode == 0
    assert not log.exists()


def test_file_that_hides_a_module_is_named(tmp_path: Path) -> None:
    """PYTHONPATH goes before Python's own modules: the user said so, and learns what came of it."""
    hiding = tmp_path / "statistics.py"
    hiding.write_text("")
    done = run_cnnperf("env", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 2
    assert "module 'statistics' has no attribute" in done.stderr
    assert f"; {hiding} hides " in done.stderr
    assert done.stderr.count("\n") == 1


# --- output of others -----------------------------------------------------------------------------

PRINTS = "import os\nprint('hello', flush=True)\nos.write(1, b'{\"kind\": \"probe\"}\\n')\n"


def test_output_of_a_sitecustomize_is_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Printed by Python and as a C library would, before the worker's first line."""
    monkeypatch.setenv("PYTHONPATH", python_with(PRINTS, tmp_path)["PYTHONPATH"])
    assert probe(LOOK).device == "cpu"


def test_output_of_a_users_module_is_no_message(tmp_path: Path) -> None:
    """Also where it closes standard output afterwards."""
    (tmp_path / "prints_9f3.py").write_text(PRINTS + "os.close(1)\n")
    job = LOOK.model_copy(update={"modules": ("prints_9f3",), "python_path": (str(tmp_path),)})
    assert probe(job).device == "cpu"


def test_printed_text_explains_a_worker_that_ends(tmp_path: Path) -> None:
    """Standard output is kept as standard error is."""
    python = impostor(tmp_path, "echo no license left; exit 3")
    why = r"exit code 3 \(while starting\): no license left"
    with pytest.raises(WorkerError, match=why), Worker(LOOK, python=python) as worker:
        worker.wait_probe()


def test_wrapper_that_closes_files_is_named(tmp_path: Path) -> None:
    """The descriptor for messages does not reach the worker."""
    wrapper = tmp_path / "python"
    wrapper.write_text(
        f"#!{sys.executable}\nimport subprocess, sys\n"
        "sys.exit(subprocess.run([sys.executable, *sys.argv[1:]]).returncode)\n"
    )
    wrapper.chmod(0o755)
    with (
        pytest.raises(WorkerError, match="needs the number of an open file descriptor"),
        Worker(LOOK, python=str(wrapper)) as worker,
    ):
        worker.wait_probe()


# --- shared memory --------------------------------------------------------------------------------

MANY_CORES = "import os\nos.sched_getaffinity = lambda pid: set(range(8))\n"
"""A sitecustomize.py with which a training on the CPU has two DataLoader workers."""

TRAIN = """
from cnnperf import train
from cnnperf.run.worker_process import WorkerError
try:
    train("modified_vgg-digits-28-eager", device="cpu")
except WorkerError as error:
    print(error.kind, error)
"""


def test_small_shared_memory_is_refused_with_its_remedy(tmp_path: Path) -> None:
    """In a real file system of 64 KiB, before a worker dies of a bus error there."""
    mount = "mount -t tmpfs -o size=64k tmpfs /dev/shm"
    inside = ["unshare", "-m", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*inside, mount], check=False).returncode:
        pytest.skip("needs the right to mount a file system (root)")
    done = subprocess.run(
        [*inside, f'{mount} && exec "$@"', "sh", sys.executable, "-c", TRAIN],
        env={**python_with(MANY_CORES, tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("exception /dev/shm has 0 MiB free, and "), done
    assert "`docker run --shm-size=1g` or `--ipc=host`" in done.stdout
    assert done.stdout.count("\n") == 1
