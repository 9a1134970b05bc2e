"""Medians of a record for `cnnperf floors`, and tensors that fit into a cache."""

from __future__ import annotations

import pytest

from cnnperf.compare.floors import CaseFloors, case_floors, fit_into_cache, measured_of
from cnnperf.record.environment import Settings
from cnnperf.record.messages import Ceiling, ModelFacts, ProbeResult
from tests.examples import (
    example_case,
    example_case_record,
    example_environment,
    example_repeat,
)


def test_measured_case_has_medians_and_the_peak_of_its_precision() -> None:
    """A peak of another precision is no ceiling of the training."""
    figures = ((10.0, 0.1), (30.0, 0.2), (11.0, 0.6))
    repeats = [example_repeat(seed, time, mfu=mfu) for seed, (time, mfu) in enumerate(figures)]
    precision = repeats[0].precision
    assert precision is not None
    found = measured_of(example_case_record(repeats=repeats), {precision: 5e13, "int4": 1e15})
    assert found is not None
    assert (found.repeats, found.train_seconds, found.mfu) == (3, 11.0, 0.2)
    assert found.matmul_flops_per_second == 5e13


def test_case_without_a_finished_repeat_has_no_medians() -> None:
    """Its floors stand alone."""
    assert measured_of(example_case_record(repeats=[])) is None


def test_tensor_as_large_as_the_cache_fits() -> None:
    """A larger one does not, nor does one of unknown size."""
    floors = [
        CaseFloors(
            id=str(size),
            precision="float32",
            flops_per_epoch=None,
            bytes_per_step=None,
            largest_tensor_bytes=size,
            flop_floor_seconds=None,
            byte_floor_seconds=None,
            measured=None,
        )
        for size in (999, 1000, 1001, None)
    ]
    assert [each.id for each in fit_into_cache(floors, 1000)] == ["999", "1000"]
    assert fit_into_cache(floors, None) == []


@pytest.mark.parametrize(
    ("cpu_flags", "peak"), [(("avx2",), 100.0), (("amx_bf16",), 7.0), (None, 7.0)]
)
def test_emulated_bfloat16_is_limited_by_the_peak_of_float32(
    cpu_flags: tuple[str, ...] | None, peak: float
) -> None:
    """Its own peak is that of a slow fallback, which convolutions beat."""
    case = example_case()
    environment = example_environment(cpu_flags=cpu_flags)
    probed = ProbeResult(
        device="cpu",
        environment=environment.model_copy(update={"settings": Settings(device="cpu")}),
        models=[ModelFacts(case_id=case.id)],
        matmul_ceilings={
            name: Ceiling(best=best, median=best, samples=3)
            for name, best in (("float32", 100.0), ("bfloat16", 7.0))
        },
    )
    found = case_floors(case, probed, precision="bfloat16")
    assert found.matmul_flops_per_second == peak
    assert case_floors(case, probed, precision="float32").matmul_flops_per_second == 100.0
