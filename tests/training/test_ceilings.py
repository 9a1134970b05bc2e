"""Ceilings of the device: bandwidth of copies and FLOP/s of matrix products."""

from __future__ import annotations

import time
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from cnnperf.catalog.registry import get_case  # noqa: E402
from cnnperf.record.messages import ProbeJob, ProbeResult  # noqa: E402
from cnnperf.training.worker import probe as ceilings  # noqa: E402
from cnnperf.training.worker.probe import (  # noqa: E402
    ceiling,
    last_cache_bytes,
    measure_copy,
    measure_matmul,
    run_probe,
)

CPU = torch.device("cpu")


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small arrays and products, and no time beyond the required samples."""
    monkeypatch.setattr(ceilings, "MIN_ARRAY_BYTES", 2**22)
    monkeypatch.setattr(ceilings, "BUDGET_SECONDS", 0.0)
    monkeypatch.setattr(ceilings, "SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(ceilings, "SIZES", (64, 128))


def test_ceiling_has_best_and_median_of_its_timings() -> None:
    """Timings of 4, 2 and 3 s for an amount of 12."""
    found = ceiling(12.0, [4.0, 2.0, 3.0])
    assert (found.best, found.median, found.samples) == (6.0, 4.0, 3)


def test_copy_counts_bytes_read_and_written(monkeypatch: pytest.MonkeyPatch, quickly: None) -> None:
    """4 MiB read and as many written in half a second."""
    monkeypatch.setattr(ceilings, "_copy_seconds", lambda *_: 0.5)
    assert measure_copy(CPU, None).best == 2 * 2**22 / 0.5


def test_short_copies_are_queued_to_fill_a_sample(
    monkeypatch: pytest.MonkeyPatch, quickly: None
) -> None:
    """Copies of 2 ms are timed ten at a time."""
    seen = []

    def timed(_source: Any, _target: Any, copies: int) -> float:
        seen.append(copies)
        return 0.002 * copies

    monkeypatch.setattr(ceilings, "_copy_seconds", timed)
    monkeypatch.setattr(ceilings, "SAMPLE_SECONDS", 0.02)
    assert measure_copy(CPU, None).best == pytest.approx(2 * 2**22 / 0.002)
    assert seen == [1] + [10] * ceilings.MIN_COPY_SAMPLES


@pytest.mark.parametrize(
    ("cache", "free", "expected"),
    [(None, 2**40, 2**28), (2**26, 2**40, 2**30), (2**20, 2**40, 2**28), (2**26, 2**30, 2**27)],
)
def test_array_is_sixteen_caches_but_at_most_an_eighth_of_free_memory(
    monkeypatch: pytest.MonkeyPatch, cache: int | None, free: int, expected: int
) -> None:
    """Also at least 256 MiB, if memory allows."""
    monkeypatch.setattr(ceilings, "_free_bytes", lambda _: free)
    assert ceilings._array_bytes(CPU, cache) == expected


def test_cache_size_is_plausible_or_none() -> None:
    """From 128 KiB to 4 GiB; some virtual machines report none."""
    found = last_cache_bytes(CPU)
    assert found is None or 2**17 <= found <= 2**32


def test_matmul_peak_is_the_best_of_real_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each product is timed a second time around the suite's own timing."""
    seen: list[tuple[torch.dtype, float, float, float]] = []
    product_seconds = ceilings._product_seconds

    def watched(left: torch.Tensor, right: torch.Tensor, device: torch.device) -> float:
        start = time.perf_counter()
        seconds = product_seconds(left, right, device)
        around_seconds = time.perf_counter() - start
        seen.append((left.dtype, 2 * len(left) ** 3 / seconds, seconds, around_seconds))
        return seconds

    monkeypatch.setattr(ceilings, "_product_seconds", watched)
    monkeypatch.setattr(ceilings, "BUDGET_SECONDS", 0.5)
    peaks = {name: found.best for name, found in measure_matmul(CPU).items()}
    assert peaks == {
        name: max(rate for dtype, rate, _, _ in seen if dtype is getattr(torch, name))
        for name in ("float32", "bfloat16")
    }
    assert all(seconds <= around_seconds for _, _, seconds, around_seconds in seen)
    assert sum(each[2] for each in seen) > 0.5 * sum(each[3] for each in seen)


def test_slow_precision_gets_no_larger_products(monkeypatch):
    """A CPU without bfloat16 units takes seconds where others take milliseconds."""
    given = []

    def slow_product(left, right, device):
        given.append(len(left))
        return 2.0 * len(left) ** 3 / 0.6e9

    monkeypatch.setattr(ceilings, "_product_seconds", slow_product)
    monkeypatch.setattr(ceilings, "BUDGET_SECONDS", 0.0)

    peaks = {name: found.best for name, found in measure_matmul(CPU).items()}

    assert peaks["bfloat16"] == pytest.approx(0.6e9)
    assert max(given) == 512


class _Sent:
    messages: list[Any]

    def __init__(self) -> None:
        self.messages = []

    def send(self, message: Any) -> None:
        self.messages.append(message)


@pytest.mark.parametrize("floors", [True, False])
def test_probe_measures_bandwidth_and_traffic_only_for_floors(floors: bool, quickly: None) -> None:
    """A run without floors spends no time on them."""
    sent = _Sent()
    case = get_case("modified_vgg-digits-28-fast")
    run_probe(ProbeJob(device="cpu", cases=(case,), floors=floors), sent)  # type: ignore[arg-type]
    (answer,) = sent.messages
    assert isinstance(answer, ProbeResult)
    assert set(answer.matmul_ceilings) == {"float32", "bfloat16"}
    peaks = answer.environment.hardware.matmul_flops_per_second
    assert peaks == {name: each.best for name, each in answer.matmul_ceilings.items()}
    assert (answer.copy_ceiling is not None) == floors
    assert (answer.models[0].traffic is not None) == floors
