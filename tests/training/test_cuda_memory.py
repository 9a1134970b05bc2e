"""The peak memory of a training, compared with tensors of known size and torch's count."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from cnnperf.catalog.specs import Case, Recipe  # noqa: E402
from cnnperf.record.messages import TrainJob  # noqa: E402
from cnnperf.record.schema import Repeat  # noqa: E402
from cnnperf.run.repeat import RepeatRun  # noqa: E402
from tests.training.conftest import USER_MODULE  # noqa: E402

pytestmark = pytest.mark.cuda

HEAVY_BYTES = 64 * 2**20
"""Bytes of `heavy` in `gpu_nets.py`, beyond `light`."""

ADAM_COPIES = 4
"""A weight, its gradient, and Adam's two moments: what must be there at the end of a step."""


def _train(folder: Path, engine: str, model: str = "modified_vgg", **case: object) -> Repeat:
    values = {
        "model": model, "dataset": "digits", "resolution": 28, "engine": engine,
        "recipe": Recipe(name="test", epochs=1), **case,
    }  # fmt: skip
    job = TrainJob(
        case=Case.model_validate(values), seed=0, device="cuda", data_dir=str(folder),
        modules=("tiny_cases", "gpu_cases"), python_path=(str(USER_MODULE),),
    )  # fmt: skip
    with RepeatRun(job) as run:
        run.prepare()
        run.train()
        return run.finish()


@pytest.mark.parametrize("engine", ["eager", "fast"])
def test_peak_memory_grows_by_what_a_model_grows(tmp_path: Path, engine: str) -> None:
    """64 MiB more in the model are 64 MiB more at the peak: nothing twice, nothing forgotten."""
    tiny = {"dataset": "tiny", "resolution": 8,
            "recipe": Recipe(name="two", epochs=2, batch_size=16)}  # fmt: skip
    light, heavy = (
        _train(tmp_path, engine, model, **tiny).metrics.peak_memory_bytes or 0
        for model in ("light", "heavy")
    )
    assert heavy - light == pytest.approx(HEAVY_BYTES, rel=0.05)


@pytest.mark.parametrize("engine", ["eager", "fast"])
@pytest.mark.parametrize("model", ["modified_vgg", "modified_resnet"])
def test_peak_memory_holds_the_model_and_its_step(tmp_path: Path, engine: str, model: str) -> None:
    """At least weights, gradients and moments; at most what the GPU has."""
    repeat = _train(tmp_path, engine, model)
    peak, parameters = repeat.metrics.peak_memory_bytes, repeat.model_parameters
    assert peak is not None
    assert parameters is not None
    assert ADAM_COPIES * 4 * parameters < peak < torch.cuda.mem_get_info()[1]
