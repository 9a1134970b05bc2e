"""Medians of a record for `cnnperf floors`, and tensors that fit into a cache."""

from __future__ import annotations

from cnnperf.compare.floors import CaseFloors, fit_into_cache, measured_of
from tests.examples import example_case_record, example_repeat


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
