"""`cnnperf kernels`: which steps are generated, how they are shown, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from cnnperf.cli import commands as cli
from cnnperf.record.messages import GeneratedStep, ProbeJob, ProbeResult
from cnnperf.run import generated
from tests.commands import run_cnnperf
from tests.examples import example_environment


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[ProbeJob]:
    """The jobs of workers, which answer with figures that depend on the model alone."""
    jobs: list[ProbeJob] = []

    def probe(job: ProbeJob) -> ProbeResult:
        jobs.append(job)
        kernels = len(job.cases[0].model)
        step = GeneratedStep(
            triton_kernels=kernels, triton_bytes=3 * 2**20, library_calls=19, layout_kernels=2,
            atomic_kernels=1,
        )  # fmt: skip
        return ProbeResult(device="cpu", environment=example_environment(), generated=step)

    monkeypatch.setattr(generated, "probe", probe)
    monkeypatch.setattr(generated, "missing_packages", list)
    return jobs


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, ["kernels", *arguments], env={"COLUMNS": "100"})


def test_each_step_is_generated_once(asked: list[ProbeJob]) -> None:
    """MNIST and digits have one channel and ten classes, so their steps are the same."""
    done = run("--tier=full", "-k", "modified_vgg and 28 and fast and (mnist or digits)")
    assert done.exit_code == 0, done.output
    shapes = {(case.recipe.batch_size, case.precision) for job in asked for case in job.cases}
    assert len(asked) == len(shapes)
    assert {job.gpu for job in asked} == {"sm_90"}
    assert not any(job.measure_peak for job in asked)


def test_the_table_and_the_json_agree(asked: list[ProbeJob]) -> None:
    case = "modified_vgg-mnist-28-fast"
    table = run(case, "--gpu=sm_100").output
    assert "3 MiB" in table
    assert "as generated for sm_100" in " ".join(table.split())
    found = json.loads(run(case, "--gpu=sm_100", "--format=json").output)
    assert found == {
        "gpu": "sm_100",
        "cases": [
            {"id": case, "triton_kernels": 12, "triton_bytes": 3 * 2**20, "library_calls": 19,
             "layout_kernels": 2, "atomic_kernels": 1}
        ],
    }  # fmt: skip
    assert [job.cases[0].id for job in asked] == [case, case]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["modified_vgg-mnist-28-eager"], "is not compiled: choose a case of the engine fast"),
        (["-k", "eager"], "no case of the engine fast was chosen: change -k or the tier"),
        (["vgg61-mnist-224-fast"], "vgg16-mnist-224-fast"),
        (["modified_vgg-mnist-28-fast", "-k", "28"], "expected ids of cases or -k, not both"),
    ],
)
def test_bad_input_is_one_sentence(
    asked: list[ProbeJob], arguments: list[str], sentence: str
) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert sentence in done.output
    assert not asked


def test_an_unknown_switch_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped name must not measure what is on."""
    pytest.importorskip("torch", reason="the worker needs the extra `train`")
    monkeypatch.setenv("CNNPERF_FAST_OFF", "biass")
    done = run_cnnperf("kernels", "modified_vgg-mnist-28-fast")
    assert done.returncode == 2
    assert "there is no optimisation 'biass' (did you mean 'bias'?)" in done.stderr
    assert "Traceback" not in done.stderr
