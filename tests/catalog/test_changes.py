"""One-off changes of cases: `--cnnperf-set`."""

from __future__ import annotations

from typing import Any

import pytest

from cnnperf.catalog.changes import change_case
from cnnperf.catalog.registry import get_case
from cnnperf.errors import UsageError

CASE = get_case("modified_vgg-mnist-28-eager")


@pytest.mark.parametrize(
    ("change", "part", "read"),
    [
        ("recipe.batch_size=256", "batch_size_256", lambda case: case.recipe.batch_size == 256),
        ("recipe.learning_rate=0.05", "learning_rate_0.05",
         lambda c: c.recipe.learning_rate == 0.05),
        ("recipe.optimizer=SGD", "optimizer_SGD", lambda c: c.recipe.optimizer.name == "SGD"),
        (
            "recipe.optimizer.weight_decay=1e-4",
            "weight_decay_1e_4",
            lambda c: c.recipe.optimizer.arguments == {"weight_decay": 1e-4},
        ),
        ("recipe.schedule.name=LinearLR", "name_LinearLR",
         lambda c: c.recipe.schedule.per == "epoch"),
        ("recipe.augmentation.rotation_degrees=5", "rotation_degrees_5",
         lambda c: c.recipe.augmentation.rotation_degrees == 5),
        ("recipe.optimizer.lr=0.2", "lr_0.2", lambda c: c.recipe.learning_rate == 0.2),
        ('recipe.optimizer={name="SGD",lr=0.3}', "optimizer_name_SGD_lr_0.3",
         lambda c: c.recipe.learning_rate == 0.3),
        ("resolution=32", "resolution_32", lambda case: case.resolution == 32),
        ("workers=3", "workers_3", lambda case: case.workers == 3),
    ],
)  # fmt: skip
def test_a_change_is_in_the_case_and_in_its_id(change: str, part: str, read: Any) -> None:
    """The unchanged id is not reused, so that records of both are never compared."""
    changed = change_case(CASE, (change,))
    assert read(changed)
    assert changed.id.endswith(f"-{part}")
    assert changed.id != CASE.id


def test_several_changes_add_up() -> None:
    """All are in the id, in their order; the optimizer keeps its name."""
    changed = change_case(CASE, ("recipe.optimizer.amsgrad=true", "recipe.epochs=2"))
    assert changed.id == "modified_vgg-mnist-28-eager-amsgrad_true-epochs_2"
    assert not isinstance(changed.recipe.optimizer, str)
    assert changed.recipe.optimizer.name == "Adam"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("recipe.batchsize=2", "no field 'batchsize' (did you mean 'batch_size'?)"),
        ("recipe.name=x", "no field 'name'"),
        ("engine=fast", "no field 'engine'"),
        ("recipe.batch_size", "expected FIELD=VALUE"),
        ("recipe.batch_size=many", "recipe.batch_size: Input should be a valid integer"),
        ("recipe.batch_size=-1", "recipe.batch_size: Input should be greater than 0, found -1"),
        ("workers=-1", "workers: Input should be greater than or equal to 0"),
    ],
)
def test_a_wrong_change_is_one_sentence(change: str, message: str) -> None:
    """It repeats the option and names the nearest field."""
    with pytest.raises(UsageError) as caught:
        change_case(CASE, (change,))
    assert str(caught.value).startswith(f"--cnnperf-set {change}")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
