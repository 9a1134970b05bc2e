"""The fast engine learns as well as the eager one: tested over five seeds, pair by pair.

    CNNPERF_TEST_DATA_DIR=data pytest tests/training/test_accuracy.py

Two trainings never end at the same accuracy, and finding no difference shows little: too few seeds
find none either. So the burden of proof is the other way round: what has to be refuted is that
`fast` is worse by a margin or more (a non-inferiority test).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from cnnperf.catalog import registry  # noqa: E402
from cnnperf.catalog.datasets import MNIST  # noqa: E402
from cnnperf.catalog.specs import Case, Recipe  # noqa: E402
from cnnperf.training.data import RawImages, load_mnist  # noqa: E402
from cnnperf.training.engines import Engine  # noqa: E402
from cnnperf.training.engines.eager import EagerEngine  # noqa: E402
from cnnperf.training.engines.fast.engine import FastEngine  # noqa: E402
from cnnperf.training.evaluation import accuracy_and_f1  # noqa: E402
from cnnperf.training.loop import run_training  # noqa: E402

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

SEEDS = range(5)

ALPHA = 0.05
"""How often an engine that is worse by exactly the margin may pass."""

MARGIN = 0.01
"""One percentage point: what trainings of this length differ by from seed to seed, so that five
pairs can show it. It is 3.6 of digits' 360 test images; what broken arithmetic or a lost part of
the data costs is several times as much."""

LEARNED = 0.9
"""Where neither engine has learned, neither is worse."""

SOME_MNIST = MNIST.model_copy(
    update={
        "name": "some_mnist",
        "loader": "tests.training.test_accuracy:load_some_mnist",
        "files": (),
        "train_images": 2_400,
        "val_images": 600,
        "test_images": 2_500,
    }
)
"""A twentieth of MNIST and a quarter of its test images, so that two cores need two minutes."""

SOME_MNIST_RECIPE = Recipe(name="three", epochs=3, batch_size=32, learning_rate=5e-4)
"""Half the study's learning rate: after so few steps, accuracy still jumps at the whole one."""

DIGITS_RECIPE = Recipe(name="six", epochs=6, batch_size=32, learning_rate=5e-4)
"""With fewer epochs, single seeds of either engine still end at 95 to 96 %."""


def load_some_mnist(data_dir: str) -> RawImages:
    """The first 3,000 training images, and every fourth test image: the first half is easier."""
    whole = load_mnist(data_dir)
    return RawImages(
        train_images_NHWC=whole.train_images_NHWC[:3_000],
        train_labels_N=whole.train_labels_N[:3_000],
        test_images_NHWC=whole.test_images_NHWC[::4],
        test_labels_N=whole.test_labels_N[::4],
    )


# --- judging ------------------------------------------------------------------------------------


def chance_if_inferior(differences: Sequence[float], margin: float = MARGIN) -> float:
    """How likely such differences, or better ones, were if one engine were worse by the margin.

    A one-sided t test, paired by seed. Differences that are all equal have no spread to test
    against: they speak for themselves.

    Args:
        differences: accuracy of the one less that of the other, a pair for each seed, 0 to 1.
        margin: the loss that is to be ruled out, 0 to 1.
    """
    if np.ptp(differences) == 0:
        return 0.0 if differences[0] > -margin else 1.0
    return float(stats.ttest_1samp(differences, -margin, alternative="greater").pvalue)


def around(mean: float) -> list[float]:
    """Five differences of that mean; their standard error is sqrt(0.5) thousandths."""
    return [mean + step / 1000 for step in (-2, -1, 0, 1, 2)]


def test_worse_engine_is_detected() -> None:
    """Worse by two points, by the margin, or by half a margin that five seeds cannot show."""
    assert chance_if_inferior(around(-0.02)) > 0.99
    assert chance_if_inferior(around(-0.01)) == pytest.approx(0.5)
    assert chance_if_inferior([-0.03, 0.02, -0.02, 0.01, -0.005]) > ALPHA


def test_an_engine_that_is_as_good_passes() -> None:
    """An engine may be a little worse, by the same amount with all seeds."""
    assert chance_if_inferior(around(0.0)) < ALPHA
    assert chance_if_inferior(around(-0.005)) < ALPHA


def test_threshold_is_that_of_the_table_of_t() -> None:
    """With 4 degrees of freedom, 5 % lie above 2.132: that many standard errors over the margin."""
    border = -MARGIN + 2.132 * 0.5**0.5 / 1000
    assert chance_if_inferior(around(border)) == pytest.approx(ALPHA, abs=1e-4)
    assert (
        chance_if_inferior(around(border + 1e-4))
        < ALPHA
        < chance_if_inferior(around(border - 1e-4))
    )


@pytest.mark.parametrize(
    ("difference", "chance"), [(0.0, 0.0), (0.02, 0.0), (-0.009, 0.0), (-0.01, 1.0), (-0.5, 1.0)]
)
def test_equal_differences_need_no_spread(difference: float, chance: float) -> None:
    """No spread, no t: what counts is on which side of the margin they are."""
    assert chance_if_inferior([difference] * 5) == chance


# --- training -----------------------------------------------------------------------------------

HAS_MNIST = "CNNPERF_TEST_DATA_DIR" in os.environ


def learned_accuracy(engine: type[Engine], dataset: str, recipe: Recipe, seed: int) -> float:
    """Share of the test images that a training of the modified VGG gets right."""
    case = Case(
        model="modified_vgg",
        dataset=dataset,
        resolution=28,
        recipe=recipe,
        engine="fast" if engine is FastEngine else "eager",
    )
    data_dir = os.environ.get("CNNPERF_TEST_DATA_DIR", ".")
    made = engine(case=case, seed=seed, device=DEVICE, data_dir=data_dir)
    made.prepare()
    run_training(made, lambda message: None)
    accuracy, _ = accuracy_and_f1(made.evaluate("test").confusion_KK)
    return accuracy


def assert_fast_is_no_worse(dataset: str, recipe: Recipe) -> None:
    """Train both engines with each seed, and compare what they get right."""
    eager, fast = (
        np.array([learned_accuracy(engine, dataset, recipe, seed) for seed in SEEDS])
        for engine in (EagerEngine, FastEngine)
    )
    assert eager.mean() > LEARNED, eager
    chance = chance_if_inferior((fast - eager).tolist())
    print(f"fast {fast}, eager {eager}: p = {chance:.3g}")  # noqa: T201 - for pytest -rP
    assert chance < ALPHA, f"fast {fast}, eager {eager}: p = {chance:.3f}"


@pytest.mark.timeout(3600)
@pytest.mark.skipif(HAS_MNIST, reason="MNIST is here, which shows it better")
def test_fast_is_no_worse_than_eager_on_digits() -> None:
    """On scikit-learn's digits at 28 pixels."""
    assert_fast_is_no_worse("digits", DIGITS_RECIPE)


@pytest.mark.timeout(3600)
@pytest.mark.skipif(not HAS_MNIST, reason="set CNNPERF_TEST_DATA_DIR to a folder with MNIST")
def test_fast_is_no_worse_than_eager_on_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    """On real handwriting, and enough test images to see a point of difference."""
    monkeypatch.setitem(registry._datasets, SOME_MNIST.name, SOME_MNIST)
    assert_fast_is_no_worse(SOME_MNIST.name, SOME_MNIST_RECIPE)
