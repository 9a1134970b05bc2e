"""A profile of real training: what is in it, and that the training knows nothing of it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, get_args

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from cnnperf.catalog.specs import Case  # noqa: E402
from cnnperf.record.messages import TrainJob  # noqa: E402
from cnnperf.record.schema import KernelClass, Profile, Repeat  # noqa: E402
from cnnperf.run.repeat import RepeatRun  # noqa: E402
from cnnperf.training.engines import Engine  # noqa: E402
from cnnperf.training.engines.eager import EagerEngine  # noqa: E402
from cnnperf.training.engines.fast.engine import FastEngine  # noqa: E402
from cnnperf.training.profiling import profiler as profiling  # noqa: E402
from cnnperf.training.profiling.profiler import MAX_STEPS, MIN_STEPS, record_profile  # noqa: E402
from cnnperf.training.profiling.trace import DATA_WAIT  # noqa: E402
from tests.training.conftest import MakeJob  # noqa: E402

ENGINES: dict[str, type[Engine]] = {"eager": EagerEngine, "fast": FastEngine}


def digits_case(engine: str = "eager", batch_size: int = 128) -> Case:
    """The modified VGG on digits, one epoch."""
    return Case.model_validate(
        {"model": "modified_vgg", "dataset": "digits", "resolution": 28, "engine": engine,
         "precision": "float32", "compile": "off",
         "recipe": {"name": "report", "epochs": 1, "batch_size": batch_size}}
    )  # fmt: skip


def train(profile_dir: Path | None, engine: str = "eager") -> Repeat:
    """One real repeat in a worker, deterministic."""
    job = TrainJob(
        case=digits_case(engine), seed=3, device="cpu", data_dir=".", deterministic=True,
        profile_dir=None if profile_dir is None else str(profile_dir),
    )  # fmt: skip
    with RepeatRun(job) as run:
        run.prepare()
        run.train()
        return run.finish()


def prepared(engine: str = "fast", batch_size: int = 16) -> Engine:
    """An engine with its data, as after a training."""
    made = ENGINES[engine](
        case=digits_case(engine, batch_size), seed=3, device=torch.device("cpu"), data_dir="."
    )
    made.prepare()
    made.load_data()
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("traces")


@pytest.fixture(scope="module")
def repeat(folder: Path) -> Repeat:
    """Profiled."""
    return train(folder)


@pytest.fixture(scope="module")
def profile(repeat: Repeat) -> Profile:
    assert repeat.profile is not None, repeat.warnings
    return repeat.profile


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return content


def test_the_classes_make_up_the_step(profile: Profile) -> None:
    """Every class once, idle included."""
    by_class = profile.seconds_per_step_by_class
    assert set(by_class) == set(get_args(KernelClass))
    assert sum(by_class.values()) == pytest.approx(profile.seconds_per_step)
    assert MIN_STEPS <= profile.steps <= MAX_STEPS


def test_a_vgg_on_a_cpu_convolves_most_of_the_time(profile: Profile) -> None:
    """And does everything else that such a training does."""
    by_class = profile.seconds_per_step_by_class
    assert max(by_class, key=lambda each: by_class[each]) == "convolution"
    for each in ("matmul", "normalisation", "activation", "pooling", "optimizer", "data_wait"):
        assert by_class[each] > 0  # type: ignore[index]


def test_ten_operators_at_most_the_longest_first(profile: Profile) -> None:
    """Each with its class, and none longer than a step."""
    seconds = [each.seconds_per_step for each in profile.longest_kernels]
    assert 5 <= len(seconds) <= 10
    assert seconds == sorted(seconds, reverse=True)
    assert sum(seconds) <= profile.seconds_per_step * 1.0001
    convolution = next(
        each for each in profile.longest_kernels if each.name == "aten::convolution_backward"
    )
    assert convolution.kernel_class == "convolution"
    assert convolution.calls_per_step == 6


def test_profile_does_not_change_the_training(repeat: Repeat) -> None:
    """The same losses, accuracy and counts as without; the times' fields are all there."""
    plain = train(None)
    assert plain.profile is None
    assert repeat.step_losses == plain.step_losses
    assert repeat.epochs[0].train_loss == plain.epochs[0].train_loss
    assert repeat.epochs[0].val_loss == plain.epochs[0].val_loss
    assert repeat.confusion == plain.confusion
    assert repeat.steps == plain.steps
    assert repeat.metrics.test_loss == plain.metrics.test_loss
    measured = [
        {name for name, value in each.metrics if value is not None} for each in (repeat, plain)
    ]
    assert measured[0] == measured[1]
    assert "no_profile" not in {flag.kind for flag in repeat.warnings}


def test_the_trace_is_one_that_viewers_read(folder: Path, profile: Profile) -> None:
    """Chrome's format: complete events have a duration, steps are marked; small enough to open."""
    assert profile.trace is not None
    path = folder / profile.trace
    assert path.name.startswith("modified_vgg-digits-28-eager-seed3.")
    assert path.name.endswith(".pt.trace.json.gz")
    assert path.stat().st_size < 1 << 20
    events = read(path)["traceEvents"]
    assert {"X", "M"} <= {event["ph"] for event in events}
    for event in events:
        assert isinstance(event["ts"], int | float)
        assert event["ph"] != "X" or event["dur"] >= 0
    names = [event["name"] for event in events]
    assert sum(name.startswith("ProfilerStep#") for name in names) == profile.steps
    assert names.count(DATA_WAIT) == profile.steps
    assert "aten::convolution_backward" in names


def test_record_of_a_trace_equals_its_file(folder: Path, profile: Profile) -> None:
    """The step's time is that between the marks in the file."""
    assert profile.trace is not None
    steps = [
        event
        for event in read(folder / profile.trace)["traceEvents"]
        if event["name"].startswith("ProfilerStep#") and event["ph"] == "X"
    ]
    start = min(step["ts"] for step in steps)
    end = max(step["ts"] + step["dur"] for step in steps)
    assert profile.seconds_per_step == pytest.approx((end - start) * 1e-6 / len(steps))


def test_fast_is_profiled_on_its_own_path(tmp_path: Path) -> None:
    """Its gather is what is waited for, its fused Adam what optimizes."""
    profile, flags = record_profile(prepared("fast"), str(tmp_path), "mine", 1e-3)
    assert not flags
    assert profile is not None
    assert profile.steps == MAX_STEPS
    names = {each.name for each in profile.longest_kernels}
    assert "aten::_fused_adam_" in names
    assert profile.seconds_per_step_by_class["data_wait"] > 0


def test_short_batches_are_not_profiled(tmp_path: Path) -> None:
    """Two whole batches of 512 make an epoch, and one of 126; the next epoch goes on with 512."""
    engine = prepared("eager", batch_size=512)
    sizes = []
    step = engine.step

    def seen(batch: Any) -> Any:
        sizes.append(len(batch[1]))
        return step(batch)

    engine.step = seen  # type: ignore[method-assign]
    profile, _ = record_profile(engine, str(tmp_path), "mine", 10.0)
    assert profile is not None
    assert profile.steps == MIN_STEPS
    assert sizes == [512] * (1 + MIN_STEPS)


def test_failed_profile_gives_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning with the reason, and what to do."""
    monkeypatch.setattr(profiling, "_record", _full_disk)
    profile, (flag,) = record_profile(prepared(), str(tmp_path), "mine", None)
    assert profile is None
    assert flag.kind == "no_profile"
    assert "OSError: [Errno 28] No space left on device" in flag.message
    assert "free some and run it again" in flag.message


def _full_disk(*arguments: object) -> int:
    raise OSError(28, "No space left on device")


def test_a_trace_without_the_device_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the host did while a device worked is no profile of the device."""
    engine = prepared()
    monkeypatch.setattr(profiling, "synchronize", lambda device: None)
    path = tmp_path / "kept"
    path.mkdir()
    engine.device = _Elsewhere()  # type: ignore[assignment]
    profile, (flag,) = record_profile(engine, str(path), "mine", None)
    assert profile is None
    (trace,) = path.iterdir()
    assert "the trace has no kernels of the device" in flag.message
    assert trace.name in flag.message


class _Elsewhere:
    """A device whose work torch's profiler does not see; it is the CPU all the same."""

    type = "mps"


def test_another_packages_loop_has_no_profile(tmp_path: Path) -> None:
    """Lightning's: a profile of our loop would not be one of its."""
    engine = prepared()
    engine.foreign_loop = True
    profile, (flag,) = record_profile(engine, str(tmp_path), "mine", None)
    assert profile is None
    assert "another package's loop" in flag.message
    assert not list(tmp_path.iterdir())


def test_inference_has_no_profile_of_its_training(make_job: MakeJob, tmp_path: Path) -> None:
    """What such a case times is something else."""
    job = make_job("good")
    case = job.case.model_copy(update={"suite": "infer"})
    with RepeatRun(
        job.model_copy(update={"case": case, "profile_dir": str(tmp_path / "traces")})
    ) as run:
        run.prepare()
        run.train()
        repeat = run.finish()
    assert repeat.inference is not None
    assert repeat.profile is None
    assert not list((tmp_path / "traces").iterdir())
