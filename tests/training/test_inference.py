"""Inference: what is timed and how, against hand-made clocks; and which precision loses what."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from torch import nn  # noqa: E402

from cnnperf.catalog.specs import Case, Recipe  # noqa: E402
from cnnperf.machine.flags import KINDS  # noqa: E402
from cnnperf.record.messages import Progress  # noqa: E402
from cnnperf.record.schema import InferenceResult  # noqa: E402
from cnnperf.training.clock import percentiles  # noqa: E402
from cnnperf.training.engines import Engine  # noqa: E402
from cnnperf.training.engines.eager import EagerEngine  # noqa: E402
from cnnperf.training.engines.fast.engine import FastEngine  # noqa: E402
from cnnperf.training.inference import (  # noqa: E402
    Limits,
    Subject,
    accuracy_flags,
    batch_sizes,
    compare_precisions,
    inference_metrics,
    measure_inference,
    prepare_subject,
    time_calls,
    time_queued,
)
from cnnperf.training.loop import run_training  # noqa: E402

CPU = torch.device("cpu")
QUICK = Limits(budget_seconds=0, min_calls=12, max_calls=12, max_seconds=600)

EngineType = type[Engine]


def ignore(message: object) -> None:
    """A listener that does not care."""


def digits_engine(engine: EngineType, **recipe: object) -> Engine:
    """The modified VGG on digits, prepared."""
    case = Case(
        model="modified_vgg",
        dataset="digits",
        resolution=28,
        recipe=Recipe.model_validate({"name": "test", "batch_size": 32, **recipe}),
        engine="fast" if engine is FastEngine else "eager",
        suite="infer",
    )
    made = engine(case=case, seed=4, device=CPU, data_dir=".")
    made.prepare()
    return made


@pytest.fixture(scope="module")
def trained() -> Engine:
    """Two epochs of digits in float32."""
    engine = digits_engine(EagerEngine, epochs=2)
    run_training(engine, ignore)
    return engine


@pytest.fixture(scope="module")
def subject(trained: Engine) -> Subject:
    """Its copies."""
    return prepare_subject(trained)


# --- what is timed ------------------------------------------------------------------------------


class Bench:
    """A device whose calls take given times, and a clock that stands still between them."""

    def __init__(self, times: list[float]) -> None:
        self.now = 5.0
        self.waits = 0
        self._times = iter(times)
        self._queued = 0.0

    def call(self) -> None:
        """Queue work: asking for it takes a microsecond."""
        self._queued += next(self._times)
        self.now += 1e-6

    def wait(self) -> None:
        """Until the device has done it."""
        self.now += self._queued
        self._queued = 0.0
        self.waits += 1

    def clock(self) -> float:
        """The time."""
        return self.now


def test_latency_covers_call_and_wait() -> None:
    """What the device still does when the call returns is part of it; one time a call."""
    bench = Bench([0.2, 0.1, 0.3])
    limits = Limits(budget_seconds=0, min_calls=3)
    seconds = time_calls(bench.call, bench.wait, limits, bench.clock)
    assert seconds == pytest.approx([0.2 + 1e-6, 0.1 + 1e-6, 0.3 + 1e-6])


def test_queued_calls_are_waited_for_once() -> None:
    """Throughput: the device never waits for the host."""
    bench = Bench([0.25] * 40)
    assert time_queued(bench.call, bench.wait, 40, bench.clock) == pytest.approx(10 + 40e-6)
    assert bench.waits == 2  # before the clock starts, and at its end


@pytest.mark.parametrize(
    ("call_seconds", "calls"),
    [
        (0.001, 1000),  # the budget of a second
        (0.00001, 10_000),  # never more than these
        (0.1, 20),  # slow: as many as percentiles need
        (0.5, 10),  # slower: five seconds are enough
        (60.0, 1),  # one in any case
    ],
)
def test_calls_are_made_for_a_second_or_until_there_are_enough(
    call_seconds: float, calls: int
) -> None:
    """The limits are 1 s, 20 to 10,000 calls, and 5 s."""
    bench = Bench([call_seconds] * 20_000)
    seconds = time_calls(bench.call, bench.wait, Limits(), bench.clock)
    assert len(seconds) == pytest.approx(calls, rel=0.15)


@pytest.mark.parametrize("calls", [1, 9, 10, 99, 100, 1001])
def test_percentiles_are_numpys_where_there_are_enough_times(calls: int) -> None:
    """p90 from 10 times on, p99 from 100."""
    seconds = np.random.default_rng(calls).exponential(size=calls)
    found = percentiles(seconds.tolist(), "s")
    assert found["s_p50"] == pytest.approx(np.quantile(seconds, 0.5))
    assert found["s_p90"] == (pytest.approx(np.quantile(seconds, 0.9)) if calls >= 10 else None)
    assert found["s_p99"] == (pytest.approx(np.quantile(seconds, 0.99)) if calls >= 100 else None)


def test_large_images_come_in_small_batches_and_fewer_on_a_cpu() -> None:
    """Each has batches of one, for the latency."""
    assert max(batch_sizes(28, "cpu")) == 1000
    assert max(batch_sizes(224, "cpu")) < max(batch_sizes(224, "cuda")) < 1000
    assert all(batch_sizes(pixels, kind)[0] == 1 for pixels in (28, 224) for kind in ("cpu", "mps"))


def test_every_precision_is_timed_with_every_batch_size(trained: Engine, subject: Subject) -> None:
    """Images/s on a CPU, where nothing is queued, are images over the time of the calls."""
    heard: list[Progress] = []
    small = Subject(models=subject.models, images_NCHW=subject.images_NCHW, batch_sizes=(1, 4))
    results = measure_inference(trained, small, heard.append, QUICK)
    assert [(r.precision, r.batch_size) for r in results] == [
        ("float32", 1), ("float32", 4), ("bfloat16", 1), ("bfloat16", 4)
    ]  # fmt: skip
    for result in results:
        assert result.calls == 12
        assert result.latency_seconds_p90 is not None
        assert result.latency_seconds_p90 >= result.latency_seconds_p50
        assert result.latency_seconds_p99 is None
        fastest = result.batch_size / result.latency_seconds_p50
        assert 0 < result.images_per_second < 4 * fastest
    assert [(m.phase, m.step, m.steps) for m in heard] == [("inference", n, 4) for n in range(4)]


def test_throughput_is_images_over_time(
    trained: Engine, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten calls of 0.1 to 1.0 s with 4 images each: 40 images in 5.5 s."""
    times = [n / 10 for n in range(1, 11)]
    monkeypatch.setattr("cnnperf.training.inference.time_calls", lambda *_: times)
    small = Subject(
        models={"float32": subject.models["float32"]},
        images_NCHW=subject.images_NCHW,
        batch_sizes=(4,),
    )
    (result,) = measure_inference(trained, small, ignore)
    assert result.calls == 10
    assert result.images_per_second == pytest.approx(40 / 5.5)
    assert result.latency_seconds_p50 == pytest.approx(np.quantile(times, 0.5))
    assert result.latency_seconds_p90 == pytest.approx(np.quantile(times, 0.9))


def test_few_test_images_are_repeated(trained: Engine, subject: Subject) -> None:
    """The largest batch has 1,000, digits 360: the engine's own test images, in order."""
    own = torch.cat([images for images, _ in trained.evaluation_batches("test")])
    assert len(own) == 360
    assert torch.equal(subject.images_NCHW, torch.cat([own, own, own])[:1000])


def test_the_metrics_are_those_of_the_training_precision() -> None:
    """One image's latency, and the best batch's throughput."""

    def result(precision: Any, size: int, p50: float, rate: float) -> InferenceResult:
        return InferenceResult(
            precision=precision, batch_size=size, calls=200, latency_seconds_p50=p50,
            latency_seconds_p99=2 * p50, images_per_second=rate,
        )  # fmt: skip

    results = [
        result("float32", 1, 0.1, 10),
        result("float32", 32, 0.4, 80),
        result("float32", 128, 2.0, 64),
        result("bfloat16", 1, 0.05, 20),
        result("bfloat16", 32, 0.1, 320),
    ]
    assert inference_metrics(results, "float32") == {
        "latency_seconds_p50": 0.1,
        "latency_seconds_p99": 0.2,
        "inference_images_per_second": 80,
    }
    assert set(inference_metrics(results, "float16").values()) == {None}


# --- the predictions ----------------------------------------------------------------------------


def test_training_precision_loses_no_accuracy(trained: Engine, subject: Subject) -> None:
    """float32's accuracy is that of the engine's own evaluation, and it agrees with itself."""
    found = {a.precision: a for a in compare_precisions(trained, subject)}
    confusion_KK = trained.evaluate("test").confusion_KK
    assert found["float32"].test_accuracy == np.trace(confusion_KK) / confusion_KK.sum()
    assert found["float32"].test_accuracy > 0.8
    assert found["float32"].accuracy_difference == 0
    assert found["float32"].agreement_fraction == 1


def test_bfloat16_is_compared_with_the_model_as_trained(trained: Engine, subject: Subject) -> None:
    """Predicted here once more, by torch alone, with a model converted here."""
    found = {a.precision: a for a in compare_precisions(trained, subject)}["bfloat16"]
    assert {p.dtype for p in subject.models["bfloat16"].parameters()} == {torch.bfloat16}
    batches = list(trained.evaluation_batches("test"))
    labels = torch.cat([labels for _, labels in batches])
    with torch.inference_mode():
        plain = torch.cat([trained.model(images).argmax(1) for images, _ in batches])
        reduced = torch.cat(
            [subject.models["bfloat16"](images.bfloat16()).argmax(1) for images, _ in batches]
        )
    assert found.agreement_fraction == pytest.approx(float((plain == reduced).float().mean()))
    difference = int((reduced == labels).sum()) - int((plain == labels).sum())
    assert found.accuracy_difference == pytest.approx(difference / len(labels))


def test_precisions_are_compared_with_training_in_bfloat16() -> None:
    """Autocast, with float32 weights; the float32 copy is named for what it multiplies in."""
    engine = digits_engine(FastEngine, epochs=1)
    engine.autocast_dtype = torch.bfloat16
    run_training(engine, ignore)
    assert engine.precision == "bfloat16"
    assert engine.plain_precision == "float32"
    assert engine.precision == "bfloat16"
    subject = prepare_subject(engine)
    assert list(subject.models) == ["float32", "bfloat16"]
    confusion_KK = engine.evaluate("test").confusion_KK
    for found in compare_precisions(engine, subject):
        assert found.test_accuracy is not None
        assert found.accuracy_difference is not None
        as_trained = found.test_accuracy - found.accuracy_difference
        assert as_trained == pytest.approx(np.trace(confusion_KK) / confusion_KK.sum())


class Fragile(nn.Module):
    """Its answer is the tenths of a large number, which bfloat16 cannot hold."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.tensor(1000.0))

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        classes_B = (images_BCHW[:, 0, 0, 0] + self.offset) - self.offset
        return -(classes_B[:, None] - torch.arange(10, dtype=images_BCHW.dtype)).abs()


class Stubborn(nn.Module):
    """Makes a float32 tensor in forward, whatever it is fed."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 10)

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        return self.layer(images_BCHW.flatten(1).float())


def fake_engine(model: nn.Module, *, learnable: bool = True) -> Any:
    """Return the parts of an engine that inference uses: 200 images that show their class."""
    labels_N = torch.arange(200) % 10
    images_NCHW = labels_N.float().view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()

    def batches(split: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        assert split == "test"
        yield from zip(images_NCHW.split(64), labels_N.split(64), strict=True)

    autocast: Callable[[], Any] = contextlib.nullcontext
    return SimpleNamespace(
        model=model, device=CPU, autocast=autocast, autocast_dtype=None, precision="float32",
        plain_precision="float32", learned_weights=contextlib.nullcontext,
        evaluation_batches=batches, flags=[], recipe=SimpleNamespace(epochs=1),
        case=SimpleNamespace(resolution=2), dataset=SimpleNamespace(learnable=learnable),
    )  # fmt: skip


def test_accuracy_lost_in_bfloat16_is_flagged() -> None:
    """bfloat16 knows 1000, 1004, 1008: of ten classes three are left, by the rounding to even."""
    engine = fake_engine(Fragile())
    float32, bfloat16 = compare_precisions(engine, prepare_subject(engine))
    assert float32.test_accuracy == 1
    rounded = (torch.arange(10) + 1000.0).bfloat16().float() - 1000
    right = float((rounded == torch.arange(10)).float().mean())
    assert bfloat16.test_accuracy == pytest.approx(right)
    assert bfloat16.accuracy_difference == pytest.approx(right - 1)
    assert bfloat16.agreement_fraction == pytest.approx(right)
    (flag,) = engine.flags
    assert flag.kind == "inference_accuracy_lost"
    assert flag.value == pytest.approx(1 - right)
    lost = f"{100 * (1 - right):.2f} percentage points"
    for words in ("bfloat16", f"{right:.2%}", lost, "likely cause", "autocast"):
        assert words in flag.message


def test_precision_that_fails_is_left_out_with_a_warning() -> None:
    """The warning gives the reason."""
    engine = fake_engine(Stubborn())
    assert list(prepare_subject(engine).models) == ["float32"]
    (flag,) = engine.flags
    assert flag.kind == "precision_not_measured"
    assert flag.kind in KINDS
    assert "bfloat16 was not measured" in flag.message
    assert "\n" not in flag.message


def test_random_labels_have_no_accuracy() -> None:
    """Agreement has a meaning all the same."""
    engine = fake_engine(Fragile(), learnable=False)
    _, bfloat16 = compare_precisions(engine, prepare_subject(engine))
    assert bfloat16.test_accuracy is None
    assert bfloat16.accuracy_difference is None
    assert bfloat16.agreement_fraction < 0.5
    assert engine.flags == []


@pytest.mark.parametrize(
    ("right", "as_trained", "images", "flagged"),
    [
        (354, 360, 360, True),  # six images, 1.7 points
        (355, 360, 360, False),  # five: chance
        (9850, 9900, 10_000, False),  # 0.5 points: not more
        (9849, 9900, 10_000, True),
        (9900, 9800, 10_000, False),  # a gain
    ],
)
def test_lost_accuracy_is_flagged_above_chance_and_half_a_point(
    right: int, as_trained: int, images: int, flagged: bool
) -> None:
    """Both limits, from either side; the flag is one sentence or two with the numbers."""
    flags = accuracy_flags("float16", "tf32", right, as_trained, images)
    assert bool(flags) is flagged
    for flag in flags:
        assert flag.kind in KINDS
        assert f"{right / images:.2%}" in flag.message
        assert "65,504" in flag.message
        assert "\n" not in flag.message
