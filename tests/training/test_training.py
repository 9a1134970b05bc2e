"""The clock and what is measured on it, against figures worked out by other means."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from sklearn.metrics import (  # noqa: E402
    classification_report,
    confusion_matrix,
    f1_score,
    log_loss,
)
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from cnnperf.catalog.specs import Case, Recipe  # noqa: E402
from cnnperf.models import build_model  # noqa: E402
from cnnperf.record.messages import Progress, TrainJob  # noqa: E402
from cnnperf.record.schema import Repeat  # noqa: E402
from cnnperf.run.repeat import RepeatRun  # noqa: E402
from cnnperf.training import evaluation  # noqa: E402
from cnnperf.training.clock import StepTimer, percentiles, synchronize  # noqa: E402
from cnnperf.training.engines import TrainPhase  # noqa: E402
from cnnperf.training.engines.eager import EagerEngine  # noqa: E402
from cnnperf.training.engines.phase import PhaseRecorder  # noqa: E402
from cnnperf.training.evaluation import (  # noqa: E402
    Evaluation,
    LossMonitor,
    NaNLossError,
    Tally,
    accuracy_and_f1,
    per_class_scores,
)
from cnnperf.training.loop import TrainingRecorder, run_training  # noqa: E402
from cnnperf.training.ranks import ALONE  # noqa: E402
from cnnperf.training.worker import repeat as repeat_module  # noqa: E402
from cnnperf.training.worker.device import peak_bytes  # noqa: E402
from tests.training.conftest import MakeJob  # noqa: E402

CPU = torch.device("cpu")


def train(job: TrainJob) -> Repeat:
    """One real repeat in a worker."""
    with RepeatRun(job) as run:
        run.prepare()
        run.train()
        return run.finish()


@pytest.fixture(scope="module")
def digits_repeat() -> Repeat:
    """Three epochs of the modified VGG on digits."""
    from cnnperf.catalog.registry import get_case

    case = get_case("modified_vgg-digits-28-eager")
    recipe = case.recipe.model_copy(update={"epochs": 3, "batch_size": 32})
    peaks = {"float32": 1e11}
    return train(
        TrainJob(
            case=case.model_copy(update={"recipe": recipe}),
            seed=0,
            device="cpu",
            data_dir=".",
            matmul_flops_per_second=peaks,
        )
    )


def test_the_clock_covers_training_and_validation(digits_repeat: Repeat) -> None:
    """`train_seconds` holds every epoch's two phases and reading the data, not start and test."""
    epochs = digits_repeat.epochs
    phases = sum(e.train_seconds + (e.val_seconds or 0) for e in epochs)
    assert len(epochs) == 3
    assert phases <= digits_repeat.metrics.train_seconds
    assert phases > 0.1 * digits_repeat.metrics.train_seconds  # reading the data is little of it


def test_images_per_second_counts_training_phases_alone(digits_repeat: Repeat) -> None:
    """1,150 images an epoch over the time of the training phases."""
    seconds = sum(epoch.train_seconds for epoch in digits_repeat.epochs)
    expected = 3 * 1150 / seconds
    assert digits_repeat.metrics.images_per_second == pytest.approx(expected)


def test_mfu_is_flops_over_the_peak(digits_repeat: Repeat) -> None:
    """FLOPs counted by torch on a real step, times images/s, over the peak that was handed in."""
    model = build_model("modified_vgg", in_channels=1)
    with FlopCounterMode(display=False) as counter:
        logits = model(torch.randn(4, 1, 28, 28))
        torch.nn.functional.cross_entropy(logits, torch.arange(4)).backward()
    per_image = counter.get_total_flops() / 4
    metrics = digits_repeat.metrics
    assert metrics.training_flops_per_image == pytest.approx(per_image, rel=0.01)
    assert metrics.mfu == pytest.approx(metrics.images_per_second * per_image / 1e11, rel=0.01)


def test_scores_follow_from_the_confusion_matrix(digits_repeat: Repeat) -> None:
    """Accuracy, recall and macro F1 worked out by hand from the counts."""
    counts = np.array(digits_repeat.confusion)
    assert counts.sum() == 360
    right = np.diag(counts)
    recall = right / counts.sum(1)
    precision = right / np.maximum(counts.sum(0), 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    assert digits_repeat.metrics.test_accuracy == pytest.approx(right.sum() / 360)
    assert digits_repeat.metrics.test_f1_macro == pytest.approx(f1.mean())
    assert digits_repeat.per_class is not None
    assert digits_repeat.per_class.recall == pytest.approx(recall.tolist())


def test_training_reaches_a_high_accuracy(digits_repeat: Repeat) -> None:
    """Three epochs of small batches are enough to read digits far above chance."""
    assert digits_repeat.metrics.test_accuracy > 0.8
    per_epoch = [epoch.train_loss for epoch in digits_repeat.epochs]
    assert per_epoch[0] > per_epoch[-1]


def test_time_to_accuracy_is_the_end_of_the_first_epoch_that_reached_it(
    digits_repeat: Repeat,
) -> None:
    """0.97 on digits; between that epoch's end and the next one's, or None."""
    reached = [e.epoch for e in digits_repeat.epochs if e.val_accuracy >= 0.97]
    seconds = digits_repeat.metrics.time_to_accuracy_seconds
    assert (seconds is None) == (not reached)
    if reached:
        until = digits_repeat.epochs[: reached[0]]
        assert seconds >= sum(e.train_seconds + e.val_seconds for e in until)
        assert seconds <= digits_repeat.metrics.train_seconds


def test_record_describes_the_training(digits_repeat: Repeat) -> None:
    """Hashes, parameters, settings and state of the machine."""
    assert digits_repeat.model_parameters == 585_066
    assert len(digits_repeat.dataset_sha256 or "") == 64
    assert len(digits_repeat.model_sha256 or "") == 64
    assert digits_repeat.settings is not None
    assert digits_repeat.settings.torch_threads == torch.get_num_threads()
    assert digits_repeat.settings.dataloader_workers is not None
    assert digits_repeat.state.before is not None
    assert digits_repeat.state.during is not None
    assert digits_repeat.metrics.energy_joules is None


def test_a_sample_has_no_accuracy(make_job: MakeJob) -> None:
    """A recipe that stops after a few steps gives throughput alone."""
    repeat = train(make_job("good", max_steps=3))
    assert repeat.steps == 3
    assert repeat.metrics.images_per_second is not None
    assert repeat.metrics.test_accuracy is None
    assert repeat.metrics.test_f1_macro is None
    assert repeat.epochs[0].val_accuracy is None
    assert repeat.confusion is None


def test_a_target_reached_in_the_first_epoch_is_timed(make_job: MakeJob) -> None:
    """The tiny set's target is below what guessing gives."""
    repeat = train(make_job("good", learning_rate=0.05))
    assert repeat.metrics.time_to_accuracy_seconds is not None
    assert repeat.metrics.time_to_accuracy_seconds < repeat.metrics.train_seconds


def test_time_to_accuracy_is_kept_from_the_first_epoch_at_target() -> None:
    """Validation accuracies of 0.5, 0.9 and 1 with a target of 0.9: the second epoch counts."""
    right = iter((5, 9, 10))

    def evaluate(_split: str) -> Evaluation:
        hits = next(right)
        confusion_KK = np.array([[hits, 10 - hits], [0, 0]])
        return Evaluation(mean_loss=1.0, confusion_KK=confusion_KK, seconds=0.0)

    engine: Any = SimpleNamespace(
        device=CPU,
        recipe=Recipe(name="test", epochs=3, batch_size=10),
        dataset=SimpleNamespace(learnable=True, target_accuracy=0.9),
        evaluate=evaluate, learning_rate=SimpleNamespace(after_epoch=lambda _loss: None),
        ranks=ALONE,
    )  # fmt: skip
    recorder = TrainingRecorder(engine, lambda message: None)
    phase = TrainPhase(
        mean_loss=1.0, seconds=1.0, images=10, step_seconds=[1.0], data_wait_seconds=0.0,
        losses_S=torch.ones(1),
    )  # fmt: skip
    assert recorder.finish_epoch(phase)
    assert recorder.log.time_to_accuracy_seconds is None
    assert recorder.finish_epoch(phase)
    reached = recorder.log.time_to_accuracy_seconds
    assert reached is not None
    assert not recorder.finish_epoch(phase)
    assert recorder.log.time_to_accuracy_seconds == reached


def test_scores_equal_scikit_learns_report() -> None:
    """Random predictions, with a class that never occurs."""
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    report = classification_report(
        labels, predicted, labels=range(5), output_dict=True, zero_division=0
    )
    tally = Tally(5, CPU)
    logits = torch.nn.functional.one_hot(torch.as_tensor(predicted), 5).float()
    for rows in (slice(0, 120), slice(120, 200)):
        tally.add(logits[rows], torch.as_tensor(labels[rows]))
    mean_loss, counts = tally.read()
    assert mean_loss == pytest.approx(log_loss(labels, logits.double().softmax(1), labels=range(5)))
    assert counts.tolist() == confusion_matrix(labels, predicted, labels=range(5)).tolist()
    accuracy, f1 = accuracy_and_f1(counts)
    assert accuracy == pytest.approx((labels == predicted).mean())
    assert f1 == pytest.approx(report["macro avg"]["f1-score"])
    assert f1 == pytest.approx(
        f1_score(labels, predicted, labels=range(5), average="macro", zero_division=0)
    )
    per_class = per_class_scores(counts)
    assert per_class.precision == pytest.approx([report[str(k)]["precision"] for k in range(5)])
    assert per_class.recall == pytest.approx([report[str(k)]["recall"] for k in range(5)])
    assert per_class.f1 == pytest.approx([report[str(k)]["f1-score"] for k in range(5)])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_names_its_step(bad: float) -> None:
    """The third step of epoch 7 is the first bad one."""
    monitor = LossMonitor(steps=5, epoch=7, device=CPU, on_look=lambda step, loss: None)
    monitor.add(torch.tensor([1.0]))
    monitor.add(torch.tensor([2.0]))
    with pytest.raises(NaNLossError, match="epoch 7, step 3:"):
        monitor.add(torch.tensor([bad]))


def test_bad_last_loss_is_found_at_the_end_of_an_epoch() -> None:
    """On an accelerator, losses are read at intervals, and the last ones by `finish`."""
    monitor = LossMonitor(steps=2, epoch=4, device=CPU, on_look=lambda step, loss: None)
    monitor._every_step, monitor._next_look = False, math.inf
    monitor.add(torch.tensor([1.0]))
    monitor.add(torch.tensor([math.nan]))
    with pytest.raises(NaNLossError, match="epoch 4, step 2:"):
        monitor.finish()


def test_peak_memory_includes_captured_steps() -> None:
    """A replayed graph allocates nothing, so the peak of its capture counts."""
    engine: Any = SimpleNamespace(device=CPU, captured_peak_bytes=2**60)
    assert repeat_module._peak_bytes(engine) == 2**60


def test_the_mean_loss_weighs_batches_by_their_images() -> None:
    """(1 * 3 + 2 * 1) / 4."""
    recorder = PhaseRecorder(CPU, steps=2, epoch=1, observer=lambda step, loss: None)
    recorder.start()
    recorder.add(torch.tensor([1.0]), [3])
    recorder.add(torch.tensor([2.0]), [1])
    assert recorder.finish(0.0, 0.0).mean_loss == pytest.approx(1.25)


def test_percentiles_need_enough_steps() -> None:
    """With few steps, the 99th percentile would be the maximum, so it is None."""
    few = percentiles([0.1, 0.2, 0.3], "step_seconds")
    assert few == {
        "step_seconds_p50": pytest.approx(0.2),
        "step_seconds_p90": None,
        "step_seconds_p99": None,
    }
    many = percentiles([i / 1000 for i in range(1001)], "step_seconds")
    assert many["step_seconds_p99"] == pytest.approx(0.99)


def test_steps_of_one_graph_are_one_time() -> None:
    """375 steps in graphs of 25 are 15 times: enough for the p90, not for the p99."""
    seconds = [graph / 1000 for graph in range(15) for _ in range(25)]
    found = percentiles(seconds, "s", steps_at_once=25)
    assert found == {"s_p50": 0.007, "s_p90": 0.013, "s_p99": None}
    assert percentiles(seconds[:225], "s", steps_at_once=25)["s_p90"] is None


def test_step_times_lie_between_marks() -> None:
    """N + 1 marks make n steps."""
    timer = StepTimer(CPU)
    for _ in range(4):
        timer.mark()
    synchronize(CPU)
    assert len(timer.step_seconds()) == 3
    assert all(seconds >= 0 for seconds in timer.step_seconds())


def test_the_peak_of_a_process_holds_what_it_allocated() -> None:
    """400 MB more in this process raise its peak to at least that."""
    block = np.ones(50_000_000)
    assert peak_bytes(CPU) >= block.nbytes


@pytest.mark.parametrize(
    ("max_steps", "expected"), [(4, [(1, 1, 4)]), (40, [(1, 2, 36), (2, 2, 4)])]
)
def test_progress_counts_the_steps_within_the_limit(
    monkeypatch: pytest.MonkeyPatch, max_steps: int, expected: list[tuple[int, int, int]]
) -> None:
    """An epoch of 36 steps that is limited to four has four, and the display's time is theirs."""
    monkeypatch.setattr(evaluation, "LOOK_SECONDS", 0.0)
    recipe = Recipe(name="test", epochs=10, batch_size=32, max_steps=max_steps)
    case = Case(model="modified_vgg", dataset="digits", resolution=28, recipe=recipe)
    engine = EagerEngine(case=case, seed=0, device=CPU, data_dir=".")
    engine.prepare()
    said: list[Any] = []
    run_training(engine, said.append)
    shown = [message for message in said if isinstance(message, Progress)]
    assert list(dict.fromkeys((p.epoch, p.epochs, p.steps) for p in shown)) == expected
