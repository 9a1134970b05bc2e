"""Jobs for the tiny cases of `tests/user_module`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cnnperf.catalog.specs import Case, Recipe
from cnnperf.record.messages import TrainJob

USER_MODULE = Path(__file__).parent.parent / "user_module"

MakeJob = Callable[..., TrainJob]


@pytest.fixture
def make_job(tmp_path: Path) -> MakeJob:
    """A job for a model of `tiny_nets.py`; keyword arguments change its recipe."""

    def make(model: str, **recipe: object) -> TrainJob:
        values = {"name": "report", "epochs": 2, "batch_size": 16, **recipe}
        return TrainJob(
            case=Case(
                model=model, dataset="tiny", resolution=8, recipe=Recipe.model_validate(values)
            ),
            seed=3,
            device="cpu",
            data_dir=str(tmp_path),
            modules=("tiny_cases",),
            python_path=(str(USER_MODULE),),
        )

    return make
