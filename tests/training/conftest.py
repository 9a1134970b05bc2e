"""Jobs for the tiny cases of `tests/user_module`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnnperf.catalog.specs import Case, Recipe
from cnnperf.record.messages import TrainJob

USER_MODULE = Path(__file__).parent.parent / "user_module"

MakeJob = Callable[..., TrainJob]


@pytest.fixture
def make_job(tmp_path: Path) -> MakeJob:
    """A job for a model of `tiny_nets.py`; keyword arguments change its recipe or the case."""

    def make(model: str, **changes: Any) -> TrainJob:
        of_case = {name: changes.pop(name) for name in Case.model_fields if name in changes}
        values = {"name": "report", "epochs": 2, "batch_size": 16, **changes}
        recipe = Recipe.model_validate(values)
        return TrainJob(
            case=Case(model=model, dataset="tiny", resolution=8, recipe=recipe, **of_case),
            seed=3,
            device="cpu",
            data_dir=str(tmp_path),
            modules=("tiny_cases",),
            python_path=(str(USER_MODULE),),
        )

    return make
