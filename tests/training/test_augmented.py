"""What an augmented recipe changes in a training, whichever engine runs it, and what it does not.

That the pictures are changed as they should be is tested in `tests/training/data/test_augment.py`.
"""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from torch import nn  # noqa: E402

from cnnperf.catalog.cases import AUGMENTED  # noqa: E402
from cnnperf.catalog.specs import Augmentation, Case, Recipe  # noqa: E402
from cnnperf.training.data.augment import augment  # noqa: E402
from cnnperf.training.engines.base import Engine  # noqa: E402
from cnnperf.training.engines.eager import EagerEngine  # noqa: E402
from cnnperf.training.engines.fast.engine import FastEngine  # noqa: E402

CPU = torch.device("cpu")
SEED = 3
ENGINES = pytest.mark.parametrize("engine_class", [EagerEngine, FastEngine])


def ready(engine_class: type[Engine], augmentation: Augmentation | None) -> Engine:
    """The modified VGG before its first step on digits."""
    case = Case(
        model="modified_vgg",
        dataset="digits",
        resolution=28,
        recipe=Recipe(name="mine", batch_size=16, augmentation=augmentation),
        precision="float32",
        compile="off",
    )
    engine = engine_class(case=case, seed=SEED, device=CPU, data_dir=".")
    engine.prepare()
    engine.load_data()
    return engine


def losses(engine: Engine, steps: int = 3) -> list[float]:
    """Train the first steps one at a time and return their losses."""
    return [engine.train_epoch(1, lambda step, loss: None, 1).mean_loss for _ in range(steps)]


@ENGINES
def test_the_model_is_trained_on_the_augmented_batch(engine_class: type[Engine]) -> None:
    """The first numbers after the seed decide the result."""
    engine = ready(engine_class, AUGMENTED.augmentation)
    batch = next(iter(engine.train_batches()))
    seen: list[torch.Tensor] = []

    def look(_: nn.Module, arguments: tuple[torch.Tensor]) -> None:
        seen.append(arguments[0].clone())

    engine.model.train()
    with_hook = engine.model.register_forward_pre_hook(look)
    torch.manual_seed(8)
    engine.step(batch)
    with_hook.remove()
    torch.manual_seed(8)
    expected_BCHW = augment(batch[0], AUGMENTED.augmentation)
    torch.testing.assert_close(seen[0], expected_BCHW)
    assert (expected_BCHW - batch[0]).abs().amax(dim=(1, 2, 3)).min() > 0.1


@ENGINES
def test_an_augmented_training_depends_on_its_seed_alone(engine_class: type[Engine]) -> None:
    """Warming up draws pictures too, which must not show; without augmentation all is different."""
    one, again = (losses(ready(engine_class, AUGMENTED.augmentation)) for _ in range(2))
    assert one == again
    plain = losses(ready(engine_class, None))
    assert all(a != b for a, b in zip(one, plain, strict=True))


@ENGINES
def test_evaluation_sees_the_images_as_they_are(engine_class: type[Engine]) -> None:
    """Before a step is taken, an augmented engine finds what any other finds, to the last digit."""
    augmented = ready(engine_class, AUGMENTED.augmentation).evaluate("validation")
    plain = ready(engine_class, None).evaluate("validation")
    assert augmented.mean_loss == plain.mean_loss
    assert augmented.confusion_KK.tolist() == plain.confusion_KK.tolist()
