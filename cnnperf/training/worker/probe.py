"""Describe this machine and the cost of the planned cases' models."""

from __future__ import annotations

import functools

import torch

from cnnperf.catalog.registry import get_dataset, get_model, input_channels
from cnnperf.catalog.specs import Case
from cnnperf.models import (
    build_model,
    count_parameters,
    count_traffic,
    forward_flops_per_image,
    model_sha256,
    training_flops_per_image,
)
from cnnperf.record.messages import ModelFacts, ProbeJob, ProbeResult, Traffic
from cnnperf.training.worker.ceilings import last_cache_bytes, measure_copy, measure_matmul
from cnnperf.training.worker.channel import Channel
from cnnperf.training.worker.device import choose_device
from cnnperf.training.worker.torch_environment import environment_with_torch


def run_probe(job: ProbeJob, channel: Channel) -> None:
    """Send a description of the machine and the models."""
    device = choose_device(job.device)
    environment = environment_with_torch(device)
    ceilings = measure_matmul(device) if job.measure_peak else {}
    if ceilings:
        peaks = {precision: found.best for precision, found in ceilings.items()}
        hardware = environment.hardware.model_copy(update={"matmul_flops_per_second": peaks})
        environment = environment.model_copy(update={"hardware": hardware})
    cache_bytes = last_cache_bytes(device) if job.floors else None
    channel.send(
        ProbeResult(
            device=device.type,
            environment=environment,
            models=[model_facts(case, with_traffic=job.floors) for case in job.cases],
            matmul_ceilings=ceilings,
            copy_ceiling=measure_copy(device, cache_bytes) if job.floors else None,
            cache_bytes=cache_bytes,
        )
    )


def model_facts(case: Case, *, with_traffic: bool = False) -> ModelFacts:
    """Return size and cost of a case's model, counted on the meta device.

    Figures are None if a user's model does not work there.
    """
    dataset = get_dataset(case.dataset)
    channels = input_channels(get_model(case.model), dataset)
    model = (case.model, channels, case.resolution, dataset.num_classes)
    traffic = _traffic(*model) if with_traffic else None
    return _count(*model).model_copy(update={"case_id": case.id, "traffic": traffic})


@functools.cache  # many cases have the same model
def _count(model: str, channels: int, resolution: int, num_classes: int) -> ModelFacts:
    facts = ModelFacts(case_id="")
    try:
        with torch.device("meta"):
            built = build_model(model, num_classes, channels, resolution)
        facts = facts.model_copy(
            update={"parameters": count_parameters(built), "sha256": model_sha256(built)}
        )
        flops = (model, channels, resolution, num_classes)
        return facts.model_copy(
            update={
                "forward_flops_per_image": forward_flops_per_image(*flops),
                "training_flops_per_image": training_flops_per_image(*flops),
            }
        )
    except Exception:
        return facts


@functools.cache
def _traffic(model: str, channels: int, resolution: int, num_classes: int) -> Traffic | None:
    try:
        return count_traffic(model, channels, resolution, num_classes)
    except Exception:
        return None
