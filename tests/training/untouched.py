"""Assert that preparing an engine does not change its model."""

from __future__ import annotations

import torch

from cnnperf.models import build_model
from cnnperf.training.engines import Engine


def assert_is_fresh(engine: Engine) -> None:
    """Weights and running statistics are those of a fresh model of the engine's seed."""
    torch.manual_seed(engine.seed)
    fresh = build_model(engine.case.model, in_channels=engine.channels)
    ours = engine.model.state_dict()
    for name, tensor in fresh.state_dict().items():
        assert torch.equal(ours[name].cpu(), tensor), name
