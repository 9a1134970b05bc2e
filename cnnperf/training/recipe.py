"""Turn a recipe's names into torch's objects: optimizer, schedule, loss, average of the weights.

Names and arguments are checked before a run trains anything (`check_recipe`), because a wrong
argument in the last case must not appear after an hour.

Shapes: B images of a batch, K classes.
"""

from __future__ import annotations

import inspect
import pkgutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler

from cnnperf.catalog.specs import STUDY_NAMES, Call, Recipe
from cnnperf.errors import UsageError, one_of

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From logits (B, K) and labels (B) to a scalar."""

UNSUITABLE = {
    "LBFGS": "it runs the model several times per step",
    "SparseAdam": "it needs sparse gradients",
    "SequentialLR": "it takes other schedules: use `warmup`, or an import path to your own class",
    "ChainedScheduler": "it takes other schedules: use an import path to your own class",
    "SWALR": "it needs averaging that starts late: use `ema_decay`",
}

ZERO_STATE = ("Adam", "AdamW", "SGD", "RMSprop", "Adamax", "Adadelta", "RAdam")
"""Optimizers whose state before the first step equals zeros, so that it can be set back in place
(tests/training/test_recipe.py tries each)."""


def optimizer_class(recipe: Recipe) -> type[torch.optim.Optimizer]:
    """Return the class of a recipe's optimizer; `UsageError` names the nearest one."""
    base = torch.optim.Optimizer
    found = _look_up(recipe, "optimizer", _call(recipe.optimizer).name, _classes(torch.optim, base))
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UsageError(
            f"recipe {recipe.name}: optimizer {_call(recipe.optimizer).name} is no "
            "torch.optim.Optimizer; name a class of torch.optim or a subclass of Optimizer"
        )
    return found


def build_optimizer(
    recipe: Recipe,
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float | torch.Tensor | None = None,
    **preferred: object,
) -> torch.optim.Optimizer:
    """Create a recipe's optimizer.

    Args:
        recipe: the recipe.
        parameters: what it updates.
        learning_rate: the recipe's as a tensor, for a CUDA graph that must see it change.
        preferred: arguments to use where the optimizer has them and the recipe does not set them.

    Raises:
        UsageError: there is no such optimizer, or it refuses an argument.
    """
    call, made_by = _call(recipe.optimizer), optimizer_class(recipe)
    possible = inspect.signature(made_by).parameters
    wanted = {name: value for name, value in preferred.items() if name in possible}
    if "foreach" in call.arguments:  # it excludes `fused`
        wanted.pop("fused", None)
    if "lr" in possible:
        wanted["lr"] = recipe.learning_rate if learning_rate is None else learning_rate
    made: torch.optim.Optimizer = _make(
        recipe, "optimizer", call, made_by, (list(parameters),), {**wanted, **call.arguments}
    )
    return made


def can_reset(recipe: Recipe) -> bool:
    """Return whether zeros are the state of the recipe's optimizer before its first step."""
    dampened = _call(recipe.optimizer).arguments.get("dampening", 0) != 0
    return optimizer_class(recipe).__name__ in ZERO_STATE and not dampened


def is_plain_adam(recipe: Recipe) -> bool:
    """Return whether a recipe's optimizer is Adam without weight decay and variants."""
    call = _call(recipe.optimizer)
    return call.name == "Adam" and set(call.arguments) <= {"lr", "betas", "eps"}


class LearningRate:
    """The learning rate during a training: it follows the recipe's schedule, if it has one.

    Args:
        recipe: the recipe.
        optimizer: an optimizer that has not taken a step.
        updates_per_epoch: updates of the weights in an epoch.
        updates: updates of the whole training.

    Raises:
        UsageError: there is no such schedule, or it refuses an argument.
    """

    def __init__(
        self, recipe: Recipe, optimizer: torch.optim.Optimizer, updates_per_epoch: int, updates: int
    ) -> None:
        self.per = None if recipe.schedule is None else recipe.schedule.per
        epochs = min(recipe.epochs, -(-updates // updates_per_epoch))
        length = {"step": updates, "epoch": epochs}.get(self.per or "", 0)
        with _without_warnings():
            self._schedule = _build_schedule(recipe, optimizer, length)
        self._left = length - 1
        """Changes left: a schedule of fixed length such as OneCycleLR refuses one more."""

    def after_update(self) -> None:
        """Move on, if the schedule counts updates."""
        if self.per == "step":
            self._move()

    def after_epoch(self, val_loss: float | None) -> None:
        """Move on, if the schedule counts epochs; `val_loss` is that of its validation."""
        if self.per == "epoch":
            self._move(val_loss)

    def _move(self, val_loss: float | None = None) -> None:
        if self._left <= 0:
            return
        self._left -= 1
        with _without_warnings():
            if isinstance(self._schedule, lr_scheduler.ReduceLROnPlateau):
                if val_loss is not None:
                    self._schedule.step(val_loss)
            elif self._schedule is not None:
                self._schedule.step()


def _build_schedule(recipe: Recipe, optimizer: torch.optim.Optimizer, length: int) -> Any:
    call = recipe.schedule
    if call is None:
        return None
    possible = _classes(lr_scheduler, lr_scheduler.LRScheduler)
    made_by = _look_up(recipe, "schedule", call.name, possible)
    plateau = made_by is lr_scheduler.ReduceLROnPlateau
    if plateau and (call.per == "step" or call.warmup):
        raise UsageError(
            f"recipe {recipe.name}: ReduceLROnPlateau follows the validation loss of each epoch; "
            'use per = "epoch" without warmup'
        )
    if call.warmup >= length and length:
        raise UsageError(
            f"recipe {recipe.name}: warmup is {call.warmup} {call.per}s, but the training has "
            f"{length}; use a shorter one"
        )
    known = inspect.signature(made_by).parameters
    rest = max(1, length - call.warmup)
    whole = {"T_max": rest, "total_steps": rest, "max_lr": recipe.learning_rate}
    if made_by in (lr_scheduler.LinearLR, lr_scheduler.PolynomialLR):
        whole["total_iters"] = rest
    arguments: dict[str, Any] = {n: value for n, value in whole.items() if n in known}
    if {"epochs", "steps_per_epoch"} & call.arguments.keys():
        arguments.pop("total_steps", None)
    arguments |= call.arguments
    if isinstance(arguments.get("lr_lambda"), str):
        arguments["lr_lambda"] = _import(recipe, "lr_lambda", arguments["lr_lambda"])
    schedule = _make(recipe, "schedule", call, made_by, (optimizer,), arguments)
    if not call.warmup:
        return schedule
    for group in optimizer.param_groups:  # the schedule has applied its own first value
        _set_rate(group, group["initial_lr"])
    rise = lr_scheduler.LinearLR(
        optimizer, start_factor=1 / (call.warmup + 1), total_iters=call.warmup
    )
    return lr_scheduler.SequentialLR(optimizer, [rise, schedule], milestones=[call.warmup])


def _set_rate(group: dict[str, Any], value: Any) -> None:
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].copy_(value)
    else:
        group["lr"] = value


def build_loss(recipe: Recipe) -> Loss:
    """Return a recipe's loss: a class of `torch.nn`, a function of `torch.nn.functional`, or yours.

    Raises:
        UsageError: there is no such loss, or it refuses an argument.
    """
    call = _call(recipe.loss)
    losses = {name: kind for name, kind in _classes(nn, nn.Module).items() if name.endswith("Loss")}
    functions = {name: getattr(functional, name) for name in dir(functional) if "_loss" in name}
    possible = {**losses, **functions, "cross_entropy": functional.cross_entropy}
    found = _look_up(recipe, "loss", call.name, possible)
    if isinstance(found, type):
        loss: Loss = _make(recipe, "loss", call, found, (), call.arguments)
        return loss
    _check_arguments(recipe, "loss", call, found, 2, call.arguments)
    return partial(found, **call.arguments)


class WeightAverage:
    """An exponential moving average of a model's weights, which starts at the first weights.

    It changes in place, so that a CUDA graph can hold it.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._weights = [each.detach() for each in model.parameters() if each.requires_grad]
        self._averages = [each.clone() for each in self._weights]

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights."""
        torch._foreach_lerp_(self._averages, self._weights, 1 - self._decay)

    @torch.no_grad()
    def reset(self) -> None:
        """Start again at the current weights."""
        torch._foreach_copy_(self._averages, self._weights)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Give the model the averaged weights for a while, in the memory of its own."""
        own = [each.clone() for each in self._weights]
        with torch.no_grad():
            torch._foreach_copy_(self._weights, self._averages)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self._weights, own)


def check_recipe(recipe: Recipe, num_classes: int, steps_per_epoch: int) -> None:
    """Build everything that a recipe names, for a model of one layer, and try its loss.

    Raises:
        UsageError: a name or an argument is wrong; the message has the nearest one.
    """
    with torch.device("cpu"):
        layer = nn.Linear(1, num_classes)
        optimizer = build_optimizer(recipe, layer.parameters())
        updates = -(-steps_per_epoch // recipe.accumulate_steps)
        LearningRate(recipe, optimizer, updates, recipe.epochs * updates)
        labels_B = torch.arange(4) % num_classes
        try:
            with _without_warnings():
                loss = build_loss(recipe)(layer(torch.ones(4, 1)), labels_B)
        except UsageError:
            raise
        except Exception as error:
            raise UsageError(
                f"recipe {recipe.name}: loss {_call(recipe.loss).name} fails on logits (4, "
                f"{num_classes}) and labels (4): {_first_line(error)}"
            ) from error
    if not isinstance(loss, torch.Tensor) or loss.dim() != 0:
        found = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else loss
        raise UsageError(
            f"recipe {recipe.name}: loss {_call(recipe.loss).name} returns {found}, expected a "
            'scalar tensor: remove reduction = "none", or average in your own function'
        )


def _call(given: str | Call) -> Call:
    return Call(name=STUDY_NAMES.get(given, given)) if isinstance(given, str) else given


def _classes(module: Any, base: type) -> dict[str, Any]:
    """Return the public classes of a module that derive from `base`, by name."""
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, base) and value is not base
        if not name.startswith("_")
    }


def _look_up(recipe: Recipe, kind: str, name: str, possible: Mapping[str, Any]) -> Any:
    if ":" in name:
        return _import(recipe, kind, name)
    if name in UNSUITABLE:
        raise UsageError(f"recipe {recipe.name}: {kind} {name} cannot be used: {UNSUITABLE[name]}")
    exact = {each.lower(): each for each in possible}.get(name.lower())
    if exact is None:
        usable = [each for each in possible if each not in UNSUITABLE]
        raise UsageError(f"recipe {recipe.name}: {one_of(kind, name, usable)}")
    return possible[exact]


def _import(recipe: Recipe, kind: str, path: str) -> Any:
    try:
        return pkgutil.resolve_name(path)
    except Exception as error:  # the user's module may fail in any way
        raise UsageError(
            f"recipe {recipe.name}: {kind} {path} cannot be imported ({_first_line(error)}): "
            "correct the import path or the module"
        ) from error


def _make(
    recipe: Recipe,
    kind: str,
    call: Call,
    made_by: Any,
    given: tuple[Any, ...],
    arguments: dict[str, Any],
) -> Any:
    """Call a class after checking the recipe's arguments for it."""
    _check_arguments(recipe, kind, call, made_by, len(given), arguments)
    try:
        return made_by(*given, **arguments)
    except Exception as error:
        raise UsageError(
            f"recipe {recipe.name}: {kind} {call.name}: {_first_line(error)}"
        ) from error


def _check_arguments(
    recipe: Recipe, kind: str, call: Call, called: Any, given: int, arguments: Mapping[str, Any]
) -> None:
    """Check names of arguments; the first `given` parameters are not the recipe's to set."""
    parameters = list(inspect.signature(called).parameters.values())[given:]
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return
    known = [each.name for each in parameters]
    for name in arguments:
        if name not in known:
            raise UsageError(
                f"recipe {recipe.name}: {kind} {call.name}: {one_of('argument', name, known)}"
            )
    needed = {each.name for each in parameters if each.default is each.empty} - arguments.keys()
    if needed:
        raise UsageError(
            f"recipe {recipe.name}: {kind} {call.name} needs {' and '.join(sorted(needed))}; add "
            "it to the recipe"
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence torch, such as about the order of calls, which captured steps hide from it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
