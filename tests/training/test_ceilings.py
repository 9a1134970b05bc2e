"""The ceilings that floors are measured against: the largest copy, the fastest product."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from cnnperf.catalog.registry import get_case  # noqa: E402
from cnnperf.record.messages import ProbeJob, ProbeResult  # noqa: E402
from cnnperf.training.worker import bandwidth  # noqa: E402
from cnnperf.training.worker import matmul_peak as peak  # noqa: E402
from cnnperf.training.worker.bandwidth import last_cache_bytes, measure_copy  # noqa: E402
from cnnperf.training.worker.matmul_peak import ceiling  # noqa: E402
from cnnperf.training.worker.probe import run_probe  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small arrays and products, and no time beyond what a sample needs."""
    monkeypatch.setattr(bandwidth, "LEAST_BYTES", 2**22)
    monkeypatch.setattr(bandwidth, "BUDGET_SECONDS", 0.0)
    monkeypatch.setattr(bandwidth, "SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(peak, "SIZES", (64, 128))
    monkeypatch.setattr(peak, "BUDGET_SECONDS", 0.0)


def test_a_ceiling_is_the_best_of_its_timings() -> None:
    """The median says how far the others were from it."""
    found = ceiling(12.0, [4.0, 2.0, 3.0])
    assert (found.best, found.median, found.samples) == (6.0, 4.0, 3)


def test_a_copy_counts_what_it_reads_and_what_it_writes(
    monkeypatch: pytest.MonkeyPatch, quickly: None
) -> None:
    """4 MiB read and as many written in half a second."""
    monkeypatch.setattr(bandwidth, "_copy_seconds", lambda *_: 0.5)
    assert measure_copy(CPU, None).best == 2 * 2**22 / 0.5


def test_short_copies_are_queued(monkeypatch: pytest.MonkeyPatch, quickly: None) -> None:
    """Waiting for a device takes a part of a short copy's time, and less of ten of them."""
    seen = []

    def timed(_source: Any, _target: Any, copies: int) -> float:
        seen.append(copies)
        return 0.002 * copies

    monkeypatch.setattr(bandwidth, "_copy_seconds", timed)
    monkeypatch.setattr(bandwidth, "SAMPLE_SECONDS", 0.02)
    assert measure_copy(CPU, None).best == pytest.approx(2 * 2**22 / 0.002)
    assert seen == [1] + [10] * bandwidth.MIN_SAMPLES


@pytest.mark.parametrize(
    ("cache", "free", "expected"),
    [(None, 2**40, 2**28), (2**26, 2**40, 2**30), (2**20, 2**40, 2**28), (2**26, 2**30, 2**27)],
)
def test_arrays_are_far_larger_than_the_cache_and_fit_into_memory(
    monkeypatch: pytest.MonkeyPatch, cache: int | None, free: int, expected: int
) -> None:
    """Sixteen times the cache, and an eighth of what is free at most."""
    monkeypatch.setattr(bandwidth, "_free_bytes", lambda _: free)
    assert bandwidth._array_bytes(CPU, cache) == expected


def test_the_cache_is_none_or_a_caches() -> None:
    """From 128 KiB to 4 GiB; some virtual machines do not tell."""
    found = last_cache_bytes(CPU)
    assert found is None or 2**17 <= found <= 2**32


class _Said:
    messages: list[Any]

    def __init__(self) -> None:
        self.messages = []

    def say(self, message: Any) -> None:
        self.messages.append(message)


@pytest.mark.parametrize("floors", [True, False])
def test_a_worker_measures_bandwidth_and_counts_traffic_where_it_is_asked(
    floors: bool, quickly: None
) -> None:
    """A run that asks for no floors spends nothing on them."""
    said = _Said()
    case = get_case("modified_vgg-digits-28-fast")
    run_probe(ProbeJob(device="cpu", cases=(case,), floors=floors), said)  # type: ignore[arg-type]
    (answer,) = said.messages
    assert isinstance(answer, ProbeResult)
    assert set(answer.matmul_ceilings) == {"float32", "bfloat16"}
    peaks = answer.environment.hardware.matmul_flops_per_second
    assert peaks == {name: each.best for name, each in answer.matmul_ceilings.items()}
    assert (answer.copy_ceiling is not None) == floors
    assert (answer.models[0].traffic is not None) == floors
