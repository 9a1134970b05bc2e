"""What only a GPU can show of a profile: kernels, of launched steps and of replayed ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from cnnperf.catalog.specs import Case  # noqa: E402
from cnnperf.record.schema import Profile  # noqa: E402
from cnnperf.training.engines import Engine  # noqa: E402
from cnnperf.training.engines.eager import EagerEngine  # noqa: E402
from cnnperf.training.engines.fast.engine import FastEngine  # noqa: E402
from cnnperf.training.profiling.profiler import record_profile  # noqa: E402

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")

ENGINES: dict[str, type[Engine]] = {"eager": EagerEngine, "fast": FastEngine}


def profiled(folder: Path, engine: str, compiled: str = "off") -> Profile:
    """The modified VGG on digits: 71 whole steps per epoch, so that graphs of 25 are replayed."""
    case = Case.model_validate(
        {"model": "modified_vgg", "dataset": "digits", "resolution": 28, "engine": engine,
         "precision": "float32", "compile": compiled,
         "recipe": {"name": "report", "epochs": 1, "batch_size": 16}}
    )  # fmt: skip
    made = ENGINES[engine](case=case, seed=0, device=torch.device("cuda", 0), data_dir=".")
    made.prepare()
    made.load_data()
    profile, flags = record_profile(made, str(folder), "mine", 1e-3)
    assert profile is not None, flags
    return profile


@pytest.mark.parametrize(
    ("engine", "compiled"), [("eager", "off"), ("fast", "off"), ("fast", "on")]
)
def test_a_step_is_divided_among_its_kernels(tmp_path: Path, engine: str, compiled: str) -> None:
    """The classes make up the step; the work of a VGG is all there, however it is launched."""
    profile = profiled(tmp_path, engine, compiled)
    by_class = profile.seconds_per_step_by_class
    assert sum(by_class.values()) == pytest.approx(profile.seconds_per_step)
    assert by_class["idle"] < profile.seconds_per_step
    for each in ("convolution", "matmul", "normalisation", "pooling", "optimizer"):
        assert by_class[each] > 0, each  # type: ignore[index]
    busy = sum(value for name, value in by_class.items() if name not in ("idle", "data_wait"))
    assert by_class["other"] < 0.5 * busy
    assert 1 <= len(profile.longest_kernels) <= 10
    if engine == "fast":
        assert profile.steps % 25 == 0


def test_the_trace_has_the_devices_kernels(tmp_path: Path) -> None:
    """Six convolutions forward, and those backward, in each of its steps."""
    profile = profiled(tmp_path, "eager")
    assert profile.trace is not None
    content = json.loads(gzip.decompress((tmp_path / profile.trace).read_bytes()))
    kernels = [event for event in content["traceEvents"] if event.get("cat") == "kernel"]
    assert len(kernels) > 30 * profile.steps
    assert all(event["dur"] >= 0 for event in kernels)
