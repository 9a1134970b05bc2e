"""Recipes as people train: optimizer, schedule, clipping, accumulation, averaging, early end.

Trainings are compared with loops written here, and rates and averages with their formulas.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from torch import nn  # noqa: E402

from cnnperf.catalog.registry import get_dataset, register_case  # noqa: E402
from cnnperf.catalog.specs import Case, Recipe  # noqa: E402
from cnnperf.errors import UsageError  # noqa: E402
from cnnperf.models import build_model  # noqa: E402
from cnnperf.record.messages import EpochDone, Progress  # noqa: E402
from cnnperf.training.engines import Engine  # noqa: E402
from cnnperf.training.engines.eager import EagerEngine  # noqa: E402
from cnnperf.training.engines.fast.engine import FastEngine  # noqa: E402
from cnnperf.training.engines.fast.graphs import reset_optimizer  # noqa: E402
from cnnperf.training.live import describe_optimizer, live_training  # noqa: E402
from cnnperf.training.loop import run_training  # noqa: E402
from cnnperf.training.recipe import (  # noqa: E402
    ZERO_STATE,
    LearningRate,
    WeightAverage,
    build_optimizer,
    can_reset,
    check_recipe,
)

RICH: dict[str, Any] = {
    "name": "rich",
    "epochs": 2,
    "batch_size": 48,
    "optimizer": {
        "name": "SGD", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4,
    },
    "schedule": {"name": "CosineAnnealingLR", "per": "step", "warmup": 3},
    "loss": {"name": "CrossEntropyLoss", "label_smoothing": 0.1},
    "clip_norm": 0.5,
    "accumulate_steps": 2,
    "ema_decay": 0.9,
    "drop_last": True,
}  # fmt: skip


def recipe(**given: Any) -> Recipe:
    """A recipe with some fields set."""
    return Recipe.model_validate({"name": "test", **given})


def prepared(engine: type[Engine], **given: Any) -> Engine:
    """An engine that is ready to train the modified VGG on digits."""
    name = "fast" if engine is FastEngine else "eager"
    case = Case(
        model="modified_vgg", dataset="digits", resolution=28, recipe=recipe(**given), engine=name
    )
    return engine(case=case, seed=3, device=torch.device("cpu"), data_dir=".")


def rate_by_formula(update: int, *, base: float, warmup: int, updates: int) -> float:
    """Linear warm-up, then half a cosine over the rest."""
    if update < warmup:
        return base * (1 + update) / (1 + warmup)
    done = (update - warmup) / (updates - warmup)
    return base * (1 + math.cos(math.pi * done)) / 2


def test_training_equals_a_loop_written_by_hand() -> None:
    """Every part of the recipe at once; weights and average agree after two epochs."""
    model = build_model("modified_vgg", in_channels=1)
    engine = prepared(EagerEngine, **RICH)
    engine.prepare()
    model.load_state_dict(engine.model.state_dict())
    average = [each.detach().clone() for each in model.parameters()]
    engine.load_data()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    steps = get_dataset("digits").train_images // 48
    assert steps % 2 == 1, "the last update of an epoch has one batch, which tests the rest"
    updates_per_epoch = (steps + 1) // 2
    recorded: list[list[Any]] = []
    original = engine.step

    def step_and_keep(batch: Any) -> Any:
        recorded[-1].append(batch)
        return original(batch)

    engine.step = step_and_keep  # type: ignore[method-assign]
    for epoch in (1, 2):
        recorded.append([])
        engine.train_epoch(epoch, lambda *_: None)
        engine.learning_rate.after_epoch(None)
    torch.manual_seed(3)  # dropout
    model.train()
    update = 0
    for batches in recorded:
        assert len(batches) == steps
        for start in range(0, steps, 2):
            for group in optimizer.param_groups:
                group["lr"] = rate_by_formula(
                    update, base=0.05, warmup=3, updates=2 * updates_per_epoch
                )
            optimizer.zero_grad()
            for images, labels in batches[start : start + 2]:
                loss = nn.functional.cross_entropy(model(images), labels, label_smoothing=0.1)
                (loss / 2).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            for mean, weight in zip(average, model.parameters(), strict=True):
                mean.mul_(0.9).add_(weight.detach(), alpha=0.1)
            update += 1
    for ours, theirs in zip(engine.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    with engine.learned_weights():
        for ours, mean in zip(engine.model.parameters(), average, strict=True):
            torch.testing.assert_close(ours, mean, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "RMSprop", "NAdam"])
def test_fast_computes_the_mathematics_of_eager(optimizer: str) -> None:
    """In float64 the losses of some steps are equal, for fused optimizers and others."""
    fields = {**RICH, "optimizer": {"name": optimizer, "lr": 0.01}}
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(8, 1, 28, 28, generator=generator).double(), torch.arange(8) % 10)
        for _ in range(6)
    ]

    def losses(kind: type[Engine]) -> list[float]:
        engine = prepared(kind, **fields)
        engine.prepare()
        engine.autocast_dtype = None
        engine.model.double().train()
        engine.optimizer = engine.build_optimizer(engine.model)
        engine.average = WeightAverage(engine.model, 0.9)
        torch.manual_seed(1)
        return [float(engine.step(batch)) for batch in batches]

    assert losses(FastEngine) == pytest.approx(losses(EagerEngine), rel=1e-9)


@pytest.mark.parametrize("name", ZERO_STATE)
def test_an_optimizer_set_back_trains_like_a_fresh_one(name: str) -> None:
    """Zeros are the state before the first step of each optimizer that is captured."""
    torch.manual_seed(0)
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)

    def train(layer: nn.Linear, optimizer: torch.optim.Optimizer) -> None:
        for step in range(3):
            optimizer.zero_grad()
            layer(torch.ones(2, 5) * (step + 1)).square().sum().backward()
            optimizer.step()

    chosen = recipe(optimizer={"name": name, "lr": 0.01})
    assert can_reset(chosen)
    optimizer = build_optimizer(chosen, ours.parameters(), fused=True)
    train(ours, optimizer)
    ours.load_state_dict(theirs.state_dict())
    reset_optimizer(optimizer)
    train(ours, optimizer)
    train(theirs, build_optimizer(chosen, theirs.parameters(), fused=True))
    assert torch.equal(ours.weight, theirs.weight)


@pytest.mark.parametrize("name", ["NAdam", "Rprop", "ASGD", "Adagrad"])
def test_an_optimizer_with_another_first_state_is_not_set_back(name: str) -> None:
    """Their first state is not zeros."""
    assert not can_reset(recipe(optimizer=name))
    assert not can_reset(recipe(optimizer={"name": "SGD", "momentum": 0.9, "dampening": 0.1}))


def test_average_of_weights_follows_its_formula() -> None:
    """Each update moves it by a tenth; using it leaves the weights as they were."""
    layer = nn.Linear(1, 1, bias=False).double()
    weights = [1.0, 2.0, 4.0]
    nn.init.constant_(layer.weight, weights[0])
    average = WeightAverage(layer, 0.9)
    for value in weights[1:]:
        nn.init.constant_(layer.weight, value)
        average.update()
    with average.in_use():
        assert layer.weight.item() == pytest.approx(0.9 * (0.9 * 1 + 0.1 * 2) + 0.1 * 4)
    assert layer.weight.item() == 4.0


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"name": "StepLR", "step_size": 2, "gamma": 0.1}, [1, 1, 0.1, 0.1]),
        ({"name": "StepLR", "step_size": 2, "gamma": 0.1, "warmup": 1}, [0.5, 1, 1, 0.1]),
        ({"name": "LambdaLR", "lr_lambda": "math:sqrt"}, [0, 1, math.sqrt(2), math.sqrt(3)]),
        ({"name": "LinearLR", "start_factor": 1.0, "end_factor": 0.2}, [1, 0.8, 0.6, 0.4]),
        (
            {"name": "ReduceLROnPlateau", "patience": 0, "factor": 0.5},
            [1, 1, 0.5, 0.25],
        ),
    ],
)
def test_learning_rate_by_epoch(schedule: dict[str, Any], expected: list[float]) -> None:
    """The rates of four epochs, worked out by hand; the validation loss never falls."""
    chosen = recipe(epochs=4, optimizer={"name": "SGD", "lr": 1.0}, schedule=schedule)
    optimizer = build_optimizer(chosen, nn.Linear(1, 1).parameters())
    rate = LearningRate(chosen, optimizer, updates_per_epoch=7, updates=28)
    seen = []
    for _ in range(4):
        seen.append(optimizer.param_groups[0]["lr"])
        rate.after_update()
        rate.after_epoch(val_loss=1.0)
    assert seen == pytest.approx(expected)


def test_learning_rate_in_a_tensor_follows_the_schedule() -> None:
    """A CUDA graph reads the rate from a tensor, which changes in place."""
    chosen = recipe(
        epochs=1,
        optimizer={"name": "Adam", "lr": 1.0},
        schedule={"name": "CosineAnnealingLR", "per": "step", "warmup": 2},
    )
    tensor = torch.tensor(1.0)
    optimizer = build_optimizer(
        chosen, nn.Linear(1, 1).parameters(), learning_rate=tensor, capturable=True
    )
    held = optimizer.param_groups[0]["lr"]
    rate = LearningRate(chosen, optimizer, updates_per_epoch=10, updates=10)
    seen = []
    for _ in range(10):
        seen.append(float(held))
        rate.after_update()
    expected = [rate_by_formula(each, base=1.0, warmup=2, updates=10) for each in range(10)]
    assert seen == pytest.approx(expected, rel=1e-5)


def test_training_ends_at_the_target_accuracy() -> None:
    """It stops after the first epoch whose validation reaches it, and that is its time."""
    engine = prepared(EagerEngine, epochs=6, batch_size=64, target_accuracy=0.3)
    engine.prepare()
    sent: list[Progress | EpochDone] = []
    log = run_training(engine, sent.append)
    accuracies = [epoch.val_accuracy or 0.0 for epoch in log.epochs]
    assert accuracies[-1] >= 0.3
    assert all(accuracy < 0.3 for accuracy in accuracies[:-1])
    assert len(accuracies) < 6
    assert log.time_to_accuracy_seconds == pytest.approx(log.train_seconds, rel=0.1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"optimizer": "SDG"}, "there is no optimizer 'SDG' (did you mean 'SGD'?)"),
        ({"optimizer": {"name": "SGD", "momentun": 1}}, "(did you mean 'momentum'?)"),
        ({"optimizer": {"name": "SGD", "momentum": -1}}, "Invalid momentum value: -1"),
        ({"optimizer": "LBFGS"}, "it runs the model several times per step"),
        ({"optimizer": "math:cos"}, "is no torch.optim.Optimizer"),
        ({"optimizer": "no_such_module:Adam"}, "cannot be imported"),
        ({"schedule": "CosineLR"}, "(did you mean 'CosineAnnealingLR'?)"),
        ({"schedule": "StepLR"}, "schedule StepLR needs step_size"),
        ({"schedule": {"name": "StepLR", "step_size": 1, "gama": 1}}, "(did you mean 'gamma'?)"),
        ({"schedule": {"name": "LinearLR", "warmup": 10}}, "warmup is 10 epochs"),
        ({"schedule": {"name": "ReduceLROnPlateau", "per": "step"}}, 'use per = "epoch"'),
        ({"schedule": "SequentialLR"}, "it takes other schedules"),
        ({"loss": "CrossEntropy"}, "(did you mean 'CrossEntropyLoss'?)"),
        ({"loss": "MSELoss"}, "fails on logits (4, 10) and labels (4)"),
        ({"loss": {"name": "cross_entropy", "reduction": "none"}}, "expected a scalar tensor"),
        ({"loss": {"name": "NLLLoss", "label_smoothing": 0.1}}, "there is no argument"),
    ],
)
def test_a_wrong_recipe_is_found_before_training(given: dict[str, Any], message: str) -> None:
    """One sentence that begins with the recipe's name and has the nearest name."""
    with pytest.raises(UsageError) as caught:
        check_recipe(recipe(**given), num_classes=10, steps_per_epoch=5)
    assert str(caught.value).startswith("recipe test: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_learning_rate_may_stand_in_the_optimizer() -> None:
    """It is one field in both cases, so that the recipes are equal."""
    within = recipe(optimizer={"name": "SGD", "lr": 0.1})
    assert within == recipe(optimizer="SGD", learning_rate=0.1)
    with pytest.raises(ValueError, match="differ"):
        recipe(optimizer={"name": "SGD", "lr": 0.1}, learning_rate=0.2)


def test_a_loop_of_its_own_refuses_what_it_does_not_know() -> None:
    """Lightning's loop would ignore the clipping in silence."""
    case = Case(
        model="modified_vgg", dataset="digits", resolution=28,
        recipe=recipe(clip_norm=1.0), engine="lightning",
    )  # fmt: skip
    with pytest.raises(UsageError, match="does not know clip_norm of recipe test"):
        register_case(case)


@pytest.mark.parametrize("engine", [EagerEngine, FastEngine])
@pytest.mark.parametrize(
    "schedule",
    [
        None,
        {"name": "CosineAnnealingLR", "per": "step", "warmup": 2},
        {"name": "OneCycleLR", "per": "step"},
        {"name": "MultiStepLR", "milestones": [1]},
        {"name": "ReduceLROnPlateau"},
    ],
)
def test_what_is_live_is_what_the_recipe_says(
    engine: type[Engine], schedule: dict[str, Any] | None
) -> None:
    """A schedule that moves the rate is no contradiction; another optimizer is one."""
    fields = {**RICH, "schedule": schedule, "max_steps": None}
    made = prepared(engine, **fields)
    made.prepare()
    seen = [describe_optimizer(made)]
    batch = made.noise(8)
    for _ in range(3):
        made.step(batch)
        made.learning_rate.after_update()
        made.learning_rate.after_epoch(1.0)
        seen.append(describe_optimizer(made))
    assert live_training(made, list(dict.fromkeys(seen))).contradicts == ()
    made.optimizer = torch.optim.SGD(made.model.parameters(), lr=0.05)
    assert "optimizer" in live_training(made, [describe_optimizer(made)]).contradicts
