"""Trainings that something slows from outside: real workers, seen by the parent."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from cnnperf.machine.host import read_host
from cnnperf.record.messages import TrainJob
from cnnperf.record.schema import Repeat
from cnnperf.run.repeat import RepeatRun
from tests.machine.helpers import cpu_group, linux_only, set_quota
from tests.training.conftest import MakeJob

pytest.importorskip("torch", reason="training needs the extra `train`")


def trained(job: TrainJob) -> Repeat:
    """The finished repeat of a job."""
    with RepeatRun(job, hardware=read_host()) as run:
        run.prepare()
        run.train()
        return run.finish()


def kinds(repeat: Repeat) -> set[str]:
    """The kinds of its flags."""
    return {flag.kind for flag in repeat.warnings}


@linux_only
def test_a_cpu_quota_on_the_worker_is_recorded_and_flagged(
    make_job: MakeJob, tmp_path: Path
) -> None:
    """The worker alone is in the group, as with a wrapper that starts a container."""
    with cpu_group() as group:
        python = tmp_path / "python"
        python.write_text(f'#!/bin/sh\necho $$ > {group}/cgroup.procs\nexec {sys.executable} "$@"')
        python.chmod(python.stat().st_mode | stat.S_IXUSR)
        job = make_job("good", epochs=6)
        with RepeatRun(job, python=str(python), hardware=read_host()) as run:
            run.prepare()
            set_quota(group, 0.1)  # only now: importing torch takes seconds of a whole core
            run.train()
            set_quota(group, 1.5)
            repeat = run.finish()
    during = repeat.state.during
    assert during is not None
    assert during.cpu_throttled_periods
    assert repeat.settings is not None
    assert repeat.settings.cpu_quota_cores == 1.5
    (flag,) = (each for each in repeat.warnings if each.kind == "throttled_cpu")
    told = f"{during.cpu_throttled_periods} of {during.cpu_periods} periods"
    assert f"Throttled by a CPU quota: {told}" in flag.message


def test_a_traced_worker_and_its_debugging_variables_are_recorded_and_flagged(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As coverage traces a worker that pytest-cov starts; the parent is not traced."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.settrace(lambda *_: None)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    repeat = trained(make_job("good"))
    assert repeat.settings is not None
    assert repeat.settings.tracers == ("sitecustomize",)
    variables = repeat.settings.variables or {}
    assert {"CUDA_LAUNCH_BLOCKING": "1", "ONEDNN_MAX_CPU_ISA": "SSE41"}.items() <= variables.items()
    assert {"traced", "slow_variables"} <= kinds(repeat)


def test_an_undisturbed_worker_has_neither_quota_nor_tracer(make_job: MakeJob) -> None:
    """So that the flags mean something."""
    repeat = trained(make_job("good"))
    assert repeat.settings is not None
    assert repeat.settings.variables is not None
    assert repeat.settings.tracers is None
    assert kinds(repeat).isdisjoint({"traced", "contradicts_recipe", "no_bfloat16_units"})


@pytest.mark.skipif(read_host().cpu_flags is None, reason="the CPU's extensions are unknown here")
def test_an_mfu_on_a_cpu_without_bfloat16_is_left_out_and_explained(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OneDNN pretends to be on such a CPU; the peak is that of a slow fallback."""
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    job = make_job("good")
    case = job.case.model_copy(update={"engine": "amp"})
    peaks = {"bfloat16": 1.0, "float32": 1e12}
    repeat = trained(job.model_copy(update={"case": case, "matmul_flops_per_second": peaks}))
    assert repeat.precision == "bfloat16"
    assert repeat.metrics.mfu is None
    assert repeat.metrics.flops_per_second is not None
    (flag,) = (each for each in repeat.warnings if each.kind == "no_bfloat16_units")
    assert "ONEDNN_MAX_CPU_ISA=AVX2" in flag.message or "this CPU has none" in flag.message
    assert "another job" not in flag.message
    assert "mfu_above_peak" not in kinds(repeat)
