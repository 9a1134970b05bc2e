"""The C library's tunables reach the workers they are meant for, and the record says so."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="training needs the extra `train`")

from cnnperf.catalog.registry import get_case
from cnnperf.record.messages import ProbeJob, TrainJob
from cnnperf.run import worker_process
from cnnperf.run.repeat import RepeatRun
from cnnperf.run.worker_process import KEEP_MEMORY, worker_environment


def job(engine: str) -> TrainJob:
    """One step of the modified VGG."""
    case = get_case(f"modified_vgg-synthetic-28-onestep-{engine}")
    return TrainJob(case=case, seed=0, device="cpu", data_dir=".")


@pytest.mark.parametrize(("engine", "tunables"), [("fast", KEEP_MEMORY), ("eager", None)])
def test_fast_alone_keeps_its_memory_and_the_record_says_so(
    monkeypatch: pytest.MonkeyPatch, engine: str, tunables: str | None
) -> None:
    """`eager` is what a careful user would run, with the C library as it comes."""
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    with RepeatRun(job(engine)) as run:
        run.prepare()
        run.train()
        settings = run.finish().settings
    assert settings is not None
    assert settings.malloc_tunables == tunables


def test_with_a_gpu_the_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its activations are not the host's to keep; `auto` takes a GPU where there is one."""
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(worker_process, "count_gpus", lambda: 1)
    for device, given in (("cpu", True), ("auto", False), ("cuda", False)):
        environment = worker_environment(job("fast").model_copy(update={"device": device}))
        assert ("GLIBC_TUNABLES" in environment) == given
    monkeypatch.setattr(worker_process, "count_gpus", lambda: 0)
    assert "GLIBC_TUNABLES" in worker_environment(job("fast").model_copy(update={"device": "auto"}))


def test_a_users_own_tunables_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets them knows why; a probe and `eager` get the environment as it is."""
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.mmap_max=7")
    for each in (job("fast"), job("eager"), ProbeJob()):
        assert worker_environment(each) == dict(os.environ)
    monkeypatch.delenv("GLIBC_TUNABLES")
    assert worker_environment(ProbeJob()) == worker_environment(job("eager")) == dict(os.environ)


MEASURE = """
import resource
block = bytearray(200 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    block = None
    block = bytearray(200 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the tunables are glibc's")
def test_tunables_keep_a_large_block_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taking 200 MiB five times over faults in 256,000 pages of 4 KiB, or next to none."""
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)

    def page_faults(engine: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", MEASURE],
            env=worker_environment(job(engine)),
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stdout)

    assert page_faults("fast") < page_faults("eager") / 10
