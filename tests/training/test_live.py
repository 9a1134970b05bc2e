"""What was live, against what a user's module really changed."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from torch import nn  # noqa: E402
from torch.optim import lr_scheduler  # noqa: E402

from cnnperf.catalog.engines import ENGINES  # noqa: E402
from cnnperf.catalog.specs import Recipe  # noqa: E402
from cnnperf.record.live import LiveTraining  # noqa: E402
from cnnperf.record.schema import Repeat, fingerprint_of  # noqa: E402
from cnnperf.run.repeat import RepeatRun  # noqa: E402
from cnnperf.training.live import describe, describe_optimizer, live_training  # noqa: E402
from tests.training.conftest import MakeJob  # noqa: E402

ADAM = "Adam(betas=(0.9, 0.999), eps=1e-08, lr=0.001)"
CROSS_ENTROPY = "CrossEntropyLoss(ignore_index=-100, reduction=mean)"


def trained(make_job: MakeJob, engine: str = "eager", *modules: str) -> tuple[Repeat, Any]:
    """A repeat of the tiny case in a real worker, and its fingerprint."""
    if (package := ENGINES[engine].package) is not None:
        pytest.importorskip(package, reason="needs the extra `peers`")
    job = make_job("good")
    case = job.case.model_copy(update={"engine": engine})
    job = job.model_copy(update={"case": case, "modules": (*job.modules, *modules)})
    with RepeatRun(job) as run:
        run.prepare()
        run.train()
        repeat = run.finish()
    return repeat, fingerprint_of(repeat, case)


@pytest.mark.parametrize("engine", ["eager", "fast", "amp", "lightning", "accelerate"])
def test_every_engine_trains_what_the_recipe_says(make_job: MakeJob, engine: str) -> None:
    """Fused or not, wrapped or not: the mathematics is one."""
    repeat, fingerprint = trained(make_job, engine)
    assert repeat.training == LiveTraining(optimizer=ADAM, loss=CROSS_ENTROPY)
    assert fingerprint.overrides == {}
    assert "contradicts_recipe" not in {flag.kind for flag in repeat.warnings}


@pytest.mark.parametrize(
    ("engine", "changed", "overrides"),
    [
        ("eager", "optimizer", {"optimizer": "SGD(lr=0.1, momentum=0.9)"}),
        ("accelerate", "optimizer", {"optimizer": "SGD(lr=0.1, momentum=0.9)"}),
        ("lightning", "lightning", {"optimizer": "AdamW(betas=(0.9, 0.999), "
                                    "decoupled_weight_decay=True, eps=1e-08, lr=0.001, "
                                    "weight_decay=0.01)"}),
        ("eager", "adam", {"optimizer": ADAM[:-1] + ", weight_decay=0.01)"}),
        ("eager", "loss schedule", {
            "loss": CROSS_ENTROPY.replace(", red", ", label_smoothing=0.1, red"),
            "schedule": "ExponentialLR(gamma=0.5)",
        }),
    ],
)  # fmt: skip
def test_a_module_that_changes_the_training_changes_record_and_fingerprint(
    make_job: MakeJob,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    changed: str,
    overrides: dict[str, str],
) -> None:
    """The recipe still says Adam, cross entropy, and nothing of a schedule."""
    monkeypatch.setenv("OTHER_TRAINING", changed)
    repeat, fingerprint = trained(make_job, engine, "other_training")
    assert fingerprint.recipe.optimizer == "adam"
    assert fingerprint.overrides == overrides
    (flag,) = (each for each in repeat.warnings if each.kind == "contradicts_recipe")
    for part, text in overrides.items():
        assert f"{part} {text}" in flag.message


def engine_with(optimizer: Any, model: nn.Module) -> Any:
    """As much of an engine as is described."""
    return SimpleNamespace(
        optimizer=optimizer, model=model, loss_function=nn.CrossEntropyLoss(),
        recipe=Recipe(name="mine"),
    )  # fmt: skip


def stepped(model: nn.Module, optimizer: Any) -> Any:
    """An engine that has taken a step."""
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    return engine_with(optimizer, model)


def test_groups_and_parameters_that_are_left_out_are_described() -> None:
    """A group each with its settings, and how much of the model is trained."""
    model = nn.Linear(4, 2)
    groups = [{"params": [model.weight]}, {"params": [model.bias], "lr": 0.5}]
    found = describe_optimizer(stepped(model, torch.optim.SGD(groups, lr=0.1)))
    assert found == "SGD(lr=0.1) + SGD(lr=0.5)"
    engine = stepped(model, torch.optim.SGD([model.weight], lr=0.1))
    assert describe_optimizer(engine) == "SGD(lr=0.1) for 8 of 10 parameters"
    model.bias.requires_grad_(False)
    engine = stepped(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert describe_optimizer(engine) == "SGD(lr=0.1) for 8 of 10 parameters"


def test_an_adam_that_never_steps_is_not_taken_for_the_live_one() -> None:
    """Something else trained."""
    model = nn.Linear(4, 2)
    adam = torch.optim.Adam(model.parameters(), lr=0.001)
    assert describe_optimizer(engine_with(adam, model)) == f"{ADAM} without a step"
    assert describe_optimizer(stepped(model, adam)) == ADAM


def test_a_rate_in_a_tensor_is_the_same_rate() -> None:
    """Captured steps may need one; it has the digits of float32."""
    model = nn.Linear(4, 2)
    adam = torch.optim.Adam(model.parameters(), lr=torch.tensor(0.001))
    assert describe_optimizer(stepped(model, adam)) == ADAM


def test_changes_by_hand_are_a_schedule() -> None:
    """Seen where an epoch ends with other arguments than the one before."""
    model = nn.Linear(4, 2)
    adam = torch.optim.Adam(model.parameters(), lr=0.001)
    engine = stepped(model, adam)
    first = describe_optimizer(engine)
    adam.param_groups[0]["lr"] = 1e-4
    found = live_training(engine, [first, describe_optimizer(engine)])
    assert (found.optimizer, found.contradicts) == (ADAM, ("schedule",))
    assert found.schedule == f"arguments change, at last to {ADAM.replace('0.001)', '0.0001)')}"


def test_schedulers_of_the_optimizer_are_found_and_those_of_others_are_not() -> None:
    """Alive or gone: a scheduler leaves a trace in the optimizer."""
    model = nn.Linear(4, 2)
    adam, other = (torch.optim.Adam(model.parameters(), lr=0.001) for _ in range(2))
    kept = [lr_scheduler.StepLR(other, step_size=7)]
    engine = stepped(model, adam)
    assert live_training(engine, [ADAM]).schedule is None
    kept.append(lr_scheduler.StepLR(adam, step_size=30, gamma=0.5))
    adam.step()
    kept[-1].step()
    assert live_training(engine, [ADAM]).schedule == "StepLR(gamma=0.5, step_size=30)"
    assert describe_optimizer(engine) == ADAM
    kept.clear()
    assert live_training(engine, [ADAM]).schedule == "of an unknown scheduler"


class Focal(nn.Module):
    """A loss of a user's."""

    def __init__(self, gamma: float, alpha: float = 0.0) -> None:
        super().__init__()
        self.gamma, self.alpha = gamma, alpha


def my_loss(logits: Any, labels: Any) -> Any:
    """A loss that is a function."""


def test_losses_are_described_by_class_and_arguments() -> None:
    """A user's own ones by their modules, functions by their names."""
    assert describe(nn.CrossEntropyLoss()) == CROSS_ENTROPY
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.5]))
    assert describe(weighted).endswith("reduction=mean, weight=(1, 2.5))")
    assert describe(Focal(2.0)) == f"{__name__}.Focal(gamma=2)"
    assert describe(my_loss) == f"{__name__}.my_loss"
    assert describe(functools.partial(my_loss, labels=3)) == f"{__name__}.my_loss(labels=3)"
    assert describe(nn.functional.cross_entropy) == "cross_entropy"
