"""Peers through the real worker process, with and without their packages."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")


from cnnperf.catalog.engines import ENGINES  # noqa: E402
from cnnperf.catalog.registry import get_case  # noqa: E402
from cnnperf.record.messages import TrainJob  # noqa: E402
from cnnperf.run.repeat import RepeatRun  # noqa: E402
from cnnperf.run.worker_process import WorkerError  # noqa: E402
from tests.examples import hide_packages, python_with  # noqa: E402


def job(name: str, **recipe: object) -> TrainJob:
    """The built-in digits case of an engine, shortened."""
    if (package := ENGINES[name].package) is not None:
        pytest.importorskip(package, reason="needs the extra `peers`")
    case = get_case(f"modified_vgg-digits-28-peers-{name}")
    shorter = case.recipe.model_copy(update=recipe)
    return TrainJob(
        case=case.model_copy(update={"recipe": shorter}), seed=0, device="cpu", data_dir="."
    )


def test_lightning_learns_in_a_worker() -> None:
    """Two epochs of small batches read most digits; all that a record needs has come back."""
    with RepeatRun(job("lightning", epochs=2, batch_size=32)) as run:
        run.prepare()
        run.train()
        repeat = run.finish()
    assert repeat.metrics.test_accuracy is not None
    assert repeat.metrics.test_accuracy > 0.7
    assert [epoch.epoch for epoch in repeat.epochs] == [1, 2]
    assert repeat.steps == 2 * 36
    assert repeat.model_parameters == 585_066
    assert repeat.precision == "float32"


def test_accelerate_trains_in_a_worker() -> None:
    """A sample: three steps."""
    with RepeatRun(job("accelerate_bf16", max_steps=3, batch_size=8)) as run:
        run.prepare()
        run.train()
        repeat = run.finish()
    assert repeat.steps == 3
    assert repeat.precision == "bfloat16"
    assert repeat.settings is not None
    assert repeat.settings.autocast_dtype == "bfloat16"


def test_a_worker_without_the_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker may be another interpreter, whose packages the parent cannot see."""
    variables = python_with(hide_packages("timm"), tmp_path)
    monkeypatch.setenv("PYTHONPATH", variables["PYTHONPATH"])
    case = get_case("resnet34-mnist-224-peers-timm")
    hidden = TrainJob(case=case, seed=0, device="cpu", data_dir=".")
    with RepeatRun(hidden) as run, pytest.raises(WorkerError) as caught:
        run.prepare()
    assert caught.value.kind == "start"
    assert str(caught.value) == "engine timm needs timm: pip install 'cnnperf[peers]'"
    assert caught.value.traceback is None
