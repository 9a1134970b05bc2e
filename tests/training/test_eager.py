"""The eager engine, compared with a loop written here without cnnperf's training."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from sklearn.metrics import confusion_matrix  # noqa: E402
from torch import nn  # noqa: E402
from torchvision import transforms  # noqa: E402

from cnnperf.catalog.registry import get_dataset  # noqa: E402
from cnnperf.catalog.specs import Case, Recipe  # noqa: E402
from cnnperf.models import build_model  # noqa: E402
from cnnperf.training.data import split_images  # noqa: E402
from cnnperf.training.data.digits import load_digits as our_digits  # noqa: E402
from cnnperf.training.engines import Engine, base  # noqa: E402
from cnnperf.training.engines import phase as phases  # noqa: E402
from cnnperf.training.engines.base import Batch  # noqa: E402
from cnnperf.training.engines.eager import EagerEngine  # noqa: E402
from cnnperf.training.engines.fast.engine import FastEngine  # noqa: E402
from tests.training.untouched import assert_is_fresh  # noqa: E402

CPU = torch.device("cpu")


def digits_case(**recipe: object) -> Case:
    """The modified VGG on digits."""
    return Case(
        model="modified_vgg",
        dataset="digits",
        resolution=28,
        recipe=Recipe.model_validate({"name": "report", "batch_size": 64, **recipe}),
    )


def prepared_engine(seed: int = 5, **recipe: object) -> EagerEngine:
    """An engine that is ready and has read its data."""
    engine = EagerEngine(case=digits_case(**recipe), seed=seed, device=CPU, data_dir=".")
    engine.prepare()
    engine.load_data()
    return engine


def ignore(step: int, loss: float) -> None:
    """Ignore the progress."""


def plain_training(seed: int, epochs: int) -> tuple[nn.Module, list[float]]:
    """Train as in a tutorial: dataset, DataLoader, loop."""
    split = split_images(get_dataset("digits"), our_digits("."))
    transform = transforms.Compose(
        [
            transforms.Resize((28, 28)),
            transforms.ToTensor(),
            transforms.Normalize((0.3058,), (0.3761,)),
        ]
    )
    images = [transform(Image.fromarray(image[..., 0], "L")) for image in split.train.images_NHWC]
    data = list(zip(images, split.train.labels_N.tolist(), strict=True))
    order = torch.Generator().manual_seed(seed)
    loader = torch.utils.data.DataLoader(
        data,
        batch_size=64,
        sampler=torch.utils.data.RandomSampler(data, generator=order),
        generator=torch.Generator(),  # else it draws from the generator that dropout uses
    )
    torch.manual_seed(seed)
    model = build_model("modified_vgg", in_channels=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    torch.manual_seed(seed)
    epoch_losses = []
    for _ in range(epochs):
        total = 0.0
        for batch, labels in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(batch), labels)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
        epoch_losses.append(total / len(data))
    return model, epoch_losses


def test_training_equals_a_plain_loop_weight_for_weight() -> None:
    """Same seed, same order, same mathematics: after two epochs every tensor is equal."""
    engine = prepared_engine(seed=5)
    phases = [engine.train_epoch(epoch, ignore) for epoch in (1, 2)]
    model, losses = plain_training(seed=5, epochs=2)
    for (name, ours), theirs in zip(
        engine.model.state_dict().items(), model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, msg=name)
    assert [phase.mean_loss for phase in phases] == pytest.approx(losses, rel=1e-6)


def test_warm_up_changes_neither_model_nor_optimizer() -> None:
    """After preparing, weights and running statistics are those of a fresh model of that seed."""
    engine = EagerEngine(case=digits_case(), seed=9, device=CPU, data_dir=".")
    engine.prepare()
    assert_is_fresh(engine)
    assert not engine.optimizer.state


def test_another_seed_is_another_training() -> None:
    """The seed reaches the weights: repeats are not copies of each other."""
    first, second = prepared_engine(seed=1), prepared_engine(seed=2)
    assert not torch.equal(next(first.model.parameters()), next(second.model.parameters()))


def test_every_training_image_is_seen_once_an_epoch() -> None:
    """1,150 images in batches of 64 are 18 steps, the last one short."""
    engine = prepared_engine()
    phase = engine.train_epoch(1, ignore)
    assert phase.images == 1150
    assert len(phase.step_seconds) == engine.steps_per_epoch() == 18
    assert phase.data_wait_seconds < phase.seconds


def test_step_times_add_up_to_the_phase() -> None:
    """Nothing of the training phase is left out of the steps but starting and finishing."""
    phase = prepared_engine().train_epoch(1, ignore)
    assert sum(phase.step_seconds) <= phase.seconds
    assert sum(phase.step_seconds) > 0.5 * phase.seconds


def test_starting_the_loaders_workers_counts_as_waiting_for_data() -> None:
    """They start when the loader is first asked, which takes a tenth of a second here."""

    class SlowStart(list):  # type: ignore[type-arg]
        def __iter__(self) -> Iterator[object]:
            time.sleep(0.1)
            return super().__iter__()

    engine = prepared_engine()
    engine.train_loader = SlowStart(engine.train_loader)  # type: ignore[assignment]
    assert engine.train_epoch(1, ignore).data_wait_seconds >= 0.1


def test_work_queued_before_an_epoch_is_not_part_of_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A GPU may still resize the data set while the host goes on."""
    engine = prepared_engine()
    queued = [0.3]
    for module in (base, phases):
        monkeypatch.setattr(module, "synchronize", lambda device: time.sleep(queued.pop(0)))
    start = time.perf_counter()
    queued.append(0.0)
    phase = engine.train_epoch(1, ignore, max_steps=1)
    assert not queued
    assert phase.seconds <= time.perf_counter() - start - 0.3


def test_evaluation_counts_every_image_with_its_label() -> None:
    """The confusion matrix is scikit-learn's of the model's own predictions."""
    engine = prepared_engine()
    engine.train_epoch(1, ignore)
    evaluation = engine.evaluate("test")
    labels = torch.as_tensor(engine.splits.test.labels_N)
    transform = transforms.Compose(
        [
            transforms.Resize((28, 28)),
            transforms.ToTensor(),
            transforms.Normalize((0.3058,), (0.3761,)),
        ]
    )
    images = torch.stack(
        [transform(Image.fromarray(i[..., 0], "L")) for i in engine.splits.test.images_NHWC]
    )
    engine.model.eval()
    with torch.no_grad():
        logits = engine.model(images)
    expected = confusion_matrix(labels, logits.argmax(1), labels=range(10))
    assert evaluation.confusion_KK.tolist() == expected.tolist()
    loss = nn.functional.cross_entropy(logits, labels).item()
    assert evaluation.mean_loss == pytest.approx(loss, rel=1e-5)


def test_evaluation_changes_no_weights_or_statistics() -> None:
    """All tensors of the model stay equal."""
    engine = prepared_engine()
    before = {name: tensor.clone() for name, tensor in engine.model.state_dict().items()}
    engine.evaluate("validation")
    for name, tensor in engine.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("engine_class", [EagerEngine, FastEngine])
def test_no_test_image_is_trained_or_validated_on(engine_class: type[Engine]) -> None:
    """Indices in scikit-learn's digits, and tensors fed to the model, are disjoint."""
    case = digits_case().model_copy(update={"precision": "float32", "compile": "off"})
    engine = engine_class(case=case, seed=5, device=CPU, data_dir=".")
    engine.prepare()
    engine.load_data()
    published = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)
    index_of = {image.tobytes(): index for index, image in enumerate(published)}
    assert len(index_of) == len(published), "no image is published twice"
    train, val, test = (
        [index_of[image.tobytes()] for image in split.images_NHWC]
        for split in (engine.splits.train, engine.splits.val, engine.splits.test)
    )
    assert not set(test) & {*train, *val}
    assert sorted([*train, *val, *test]) == list(range(len(published)))

    def fed(batches: Iterable[Batch]) -> Counter[bytes]:
        return Counter(image.numpy().tobytes() for images, _ in batches for image in images)

    tested = fed(engine.evaluation_batches("test"))
    learned = fed(engine.train_batches()) + fed(engine.evaluation_batches("validation"))
    assert not tested & learned
    assert (tested.total(), learned.total()) == (len(test), len(train) + len(val))


def test_a_sample_stops_after_its_steps(tmp_path: Path) -> None:
    """`max_steps` bounds the epoch."""
    engine = prepared_engine()
    phase = engine.train_epoch(1, ignore, max_steps=3)
    assert phase.images == 3 * 64
    assert len(phase.step_seconds) == 3


def test_on_a_cpu_multiplications_are_float32() -> None:
    """TF32 is a matter of CUDA alone."""
    assert prepared_engine().precision == "float32"


@pytest.mark.cuda
def test_on_cuda_the_loss_follows_the_cpu() -> None:
    """The same training on the device: the first epoch's loss agrees to TF32's rounding."""
    on_cpu = prepared_engine()
    on_cuda = EagerEngine(case=digits_case(), seed=5, device=torch.device("cuda", 0), data_dir=".")
    on_cuda.prepare()
    on_cuda.load_data()
    loss = on_cuda.train_epoch(1, ignore).mean_loss
    assert loss == pytest.approx(on_cpu.train_epoch(1, ignore).mean_loss, rel=0.05)
    assert on_cuda.precision in ("float32", "tf32")
