"""Describe how a training learns, from the optimizer, schedule and loss that are live.

The recipe says what is meant; a user's module or a changed engine may do something else. What
happens inside methods (a step that clips gradients, a loss computed elsewhere) is not visible here.
"""

from __future__ import annotations

import functools
import gc
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from cnnperf.machine.host import attempt
from cnnperf.models import count_parameters
from cnnperf.record.environment import Flag
from cnnperf.record.live import LiveTraining, RecipePart
from cnnperf.training.recipe import LearningRate, build_loss, build_optimizer

if TYPE_CHECKING:
    from cnnperf.training.engines import Engine

CLAIMS = {
    "adam": "Adam(betas=(0.9, 0.999), eps=1e-08, lr={lr:.7g})",
    "cross_entropy": "CrossEntropyLoss(ignore_index=-100, reduction=mean)",
}
"""What a recipe's words mean: torch's classes with the defaults of their papers. They are written
out because a module that replaces a class would replace its defaults too."""

EXECUTION = frozenset({"params", "param_names", "foreign", "fused", "capturable", "differentiable"})
"""Fields of a parameter group that do not change what is learned."""

MAX_CHARACTERS = 200
"""Length of an argument's text."""


def live_training(engine: Engine, optimizers: Sequence[str]) -> LiveTraining:
    """Describe a finished training.

    Args:
        engine: the engine that trained.
        optimizers: the distinct results of `describe_optimizer` at the end of each epoch, in order.
    """
    moves = len(optimizers) > 1 and engine.recipe.schedule is None
    changed = f"arguments change, at last to {optimizers[-1]}" if moves else None
    live: dict[RecipePart, str | None] = {
        "optimizer": optimizers[0],
        "loss": describe(engine.loss_function),
        "schedule": _schedule(engine.optimizer) or changed,
    }
    claimed = _claimed(engine)
    contradicts = tuple(part for part in live if live[part] != claimed[part])
    return LiveTraining.model_validate({**live, "contradicts": contradicts})


def _claimed(engine: Engine) -> dict[RecipePart, str | None]:
    """Return how the objects that the recipe names would be described."""
    recipe = engine.recipe
    optimizer = build_optimizer(recipe, [torch.nn.Parameter(torch.zeros(1))])
    rate = None
    if recipe.schedule is not None:
        rate = LearningRate(recipe, optimizer, *engine.update_counts())
    claimed: dict[RecipePart, str | None] = {
        "optimizer": _call(optimizer, _group_arguments(optimizer.param_groups[0])),
        "loss": describe(build_loss(recipe)),
        "schedule": _schedule(optimizer),
    }
    del rate  # until here its schedule had to live
    if isinstance(recipe.optimizer, str):
        claimed["optimizer"] = CLAIMS[recipe.optimizer].format(lr=recipe.learning_rate)
    if isinstance(recipe.loss, str):
        claimed["loss"] = CLAIMS[recipe.loss]
    return claimed


def contradiction_flags(training: LiveTraining) -> list[Flag]:
    """Flag a training that the recipe describes otherwise."""
    if not (overrides := training.overrides):
        return []
    live = " and ".join(f"{part} {text}" for part, text in overrides.items())
    message = (
        f"This training is not what its recipe says: live were {live}. Likely cause: a module or a "
        "changed engine that replaces a part. It can be compared only with trainings like it."
    )
    return [Flag(kind="contradicts_recipe", value=len(overrides), message=message)]


def describe_optimizer(engine: Engine) -> str:
    """Return class and arguments of the live optimizer, and how much of the model it trains."""
    optimizer = unwrapped(engine.optimizer)
    groups, sizes = [], {}
    for group in optimizer.param_groups:
        groups.append(_call(optimizer, _group_arguments(group)))
        sizes.update({id(each): each.numel() for each in group["params"] if each.requires_grad})
    trained, count = sum(sizes.values()), count_parameters(engine.model)
    part = "" if trained == count else f" for {trained:,} of {count:,} parameters"
    idle = isinstance(optimizer, torch.optim.Adam) and not optimizer.state
    return " + ".join(dict.fromkeys(groups)) + part + " without a step" * idle


def _group_arguments(group: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {name: value for name, value in group.items() if name not in EXECUTION}
    # A scheduler keeps the rate at the start here; `_schedule` describes what it does with it.
    arguments["lr"] = arguments.pop("initial_lr", arguments.get("lr"))
    return arguments


def unwrapped(optimizer: Any) -> Any:
    """Return torch's optimizer inside the wrapper of a library such as Accelerate."""
    inner = getattr(optimizer, "optimizer", None)
    return inner if isinstance(inner, torch.optim.Optimizer) else optimizer


def _schedule(optimizer: torch.optim.Optimizer) -> str | None:
    """Describe the live schedulers of an optimizer, which does not know them itself."""
    live = unwrapped(optimizer)
    found = sorted(
        describe(each)
        for each in gc.get_objects()
        if issubclass(type(each), LRScheduler) and unwrapped(each.optimizer) is live
    )
    if not found and any("initial_lr" in group for group in live.param_groups):
        return "of an unknown scheduler"
    return " + ".join(found) or None


def describe(thing: Any) -> str:
    """Return a function's name, or an object's class with the arguments that it was made of."""
    if isinstance(thing, functools.partial):
        return _call(thing, thing.keywords, name=describe(thing.func))
    if inspect.isroutine(thing):
        return _name(thing)
    signature = attempt(inspect.signature, type(thing))
    names = set(signature.parameters if signature else ()) - {"optimizer", "last_epoch"}
    return _call(thing, {name: getattr(thing, name, None) for name in names})


def _call(thing: object, arguments: Mapping[str, Any], name: str | None = None) -> str:
    return f"{name or _name(type(thing))}({', '.join(_arguments(arguments))})"


def _arguments(arguments: Mapping[str, Any]) -> Iterator[str]:
    """Yield `name=value` in the order of names; what is zero, off or empty is left out."""
    for name in sorted(arguments):
        value = arguments[name]
        value = value.tolist() if isinstance(value, torch.Tensor) else value
        if value:
            yield f"{name}={_text(value)}"


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.7g}"  # the digits of float32: the rate of a captured step is a tensor
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_text, value))})"[:MAX_CHARACTERS]
    if isinstance(value, int | str | dict):
        return str(value)[:MAX_CHARACTERS]
    return _name(value if inspect.isroutine(value) or isinstance(value, type) else type(value))


def _name(thing: Any) -> str:
    """Return the name of a class or function, with its module unless it is torch's."""
    module, name = thing.__module__ or "", thing.__qualname__
    return name if module.partition(".")[0] == "torch" else f"{module}.{name}"
