"""Time by class, from traces that are written by hand: every figure can be added up."""

from __future__ import annotations

import gzip
import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnperf.record.schema import Profile
from cnnperf.training.profiling.attribution import Span, attribute, busy_by_class
from cnnperf.training.profiling.trace import DATA_WAIT, parse_trace, read_events

Event = dict[str, Any]

MILLISECOND = 1000.0
"""In the microseconds of a trace."""

_ids = count(1)


def event(name: str, start: float, end: float, category: str = "cpu_op", **fields: Any) -> Event:
    """Something complete, its times in milliseconds."""
    return {"ph": "X", "cat": category, "name": name, "ts": start * MILLISECOND, "pid": 7, "tid": 7,
            "dur": (end - start) * MILLISECOND, "args": {}, **fields}  # fmt: skip


def annotation(name: str, start: float, end: float) -> Event:
    """A region that somebody has named."""
    return event(name, start, end, "user_annotation")


def step(end: float, start: float = 0) -> Event:
    """Return a step as the profiler marks it."""
    return annotation("ProfilerStep#1", start, end)


def kernel(name: str, start: float, end: float, launcher: Event | None = None) -> Event:
    """A kernel on the device, and the operator that launched it."""
    arguments = {}
    if launcher is not None:
        launcher["args"].setdefault("External id", next(_ids))
        arguments["External id"] = launcher["args"]["External id"]
    category = "gpu_memcpy" if name.startswith("Memcpy") else "kernel"
    return event(name, start, end, category, pid=0, tid=7, args=arguments)


def milliseconds(profile: Profile) -> dict[str, float]:
    """What each class has, where it has any; and all together have the step."""
    by_class = profile.seconds_per_step_by_class
    assert sum(by_class.values()) == pytest.approx(profile.seconds_per_step)
    return {each: pytest.approx(1e3 * value) for each, value in by_class.items() if value > 1e-9}


def on_gpu(*events: Event, steps: int = 1) -> Profile:
    return attribute(parse_trace(events), steps=steps, on_host=False)


def on_cpu(*events: Event, steps: int = 1) -> Profile:
    return attribute(parse_trace(events), steps=steps, on_host=True)


# --- on a GPU -----------------------------------------------------------------------------------


def test_kernels_that_overlap_count_once() -> None:
    """The first has the time of both; a copy that is hidden behind work has none."""
    found = on_gpu(
        step(10),
        kernel("sm90_xmma_fprop", 1, 4),
        kernel("triton_poi_fused_relu_0", 3, 5),
        kernel("Memcpy HtoD (Pinned -> Device)", 0.5, 6),
    )
    assert milliseconds(found) == {"convolution": 3, "activation": 1, "copy": 1.5, "idle": 4.5}
    longest = [(each.name, each.kernel_class) for each in found.longest_kernels]
    assert longest[0] == ("Memcpy HtoD (Pinned -> Device)", "copy")
    assert found.longest_kernels[0].seconds_per_step == pytest.approx(5.5e-3)


def test_class_of_the_operator_has_priority_over_the_kernels_name() -> None:
    """What cuDNN calls a batch norm says little; a bias that a convolution adds is its own."""
    convolution = event("aten::cudnn_convolution", 0, 0.5)
    bias = event("aten::add_", 0.4, 0.5)
    norm = event("aten::cudnn_batch_norm", 0.6, 0.7)
    found = on_gpu(
        step(10), convolution, bias, norm,
        kernel("some_gemm", 1, 2, convolution),
        kernel("void at::native::vectorized_elementwise_kernel<CUDAFunctor_add>", 2, 3, bias),
        kernel("cudnn_generated_fort_native", 3, 5, norm),
    )  # fmt: skip
    assert milliseconds(found) == {"convolution": 2, "normalisation": 2, "idle": 6}


def test_everything_that_the_optimizer_launches_counts_as_optimizer() -> None:
    """Whatever operators it is made of."""
    adding = event("aten::add_", 1, 2)
    found = on_gpu(step(4), annotation("Optimizer.step#Adam.step", 0.5, 3), adding,
                   kernel("CUDAFunctor_add", 1.5, 3.5, adding))  # fmt: skip
    assert milliseconds(found) == {"optimizer": 2, "idle": 2}


def test_kernels_of_a_graph_are_classified_by_name() -> None:
    """25 steps that one launch replays; kernels of the same name are counted together."""
    names = ["sm90_xmma_wgrad_implicit_gemm", "FusedAdamMathFunctor"]
    kernels = [kernel(names[i % 2], i, i + 0.5) for i in range(50)]
    found = on_gpu(step(50), event("cudaGraphLaunch", 0, 1, "cuda_runtime"), *kernels, steps=25)
    assert found.steps == 25
    assert milliseconds(found) == {"convolution": 0.5, "optimizer": 0.5, "idle": 1}
    assert [each.calls_per_step for each in found.longest_kernels] == [1, 1]


def test_data_wait_counts_only_while_the_device_is_idle() -> None:
    """While it still works, nobody loses anything by waiting."""
    found = on_gpu(step(10), annotation(DATA_WAIT, 1, 6), kernel("ampere_sgemm", 0, 4))
    assert milliseconds(found) == {"matmul": 4, "data_wait": 2, "idle": 4}


def test_copies_within_a_wait_are_copies() -> None:
    """A batch is sent to the device in it."""
    sending = event("aten::copy_", 1, 2)
    found = on_gpu(step(4), annotation(DATA_WAIT, 1, 3), sending,
                   kernel("Memcpy HtoD (Pageable -> Device)", 1.5, 2.5, sending))  # fmt: skip
    assert milliseconds(found) == {"copy": 1, "data_wait": 1, "idle": 2}


def test_device_trace_without_kernels_is_an_error() -> None:
    """The host's times would be those of launching."""
    with pytest.raises(ValueError, match="no kernels"):
        on_gpu(step(4), event("aten::mm", 1, 2))


def test_what_ran_outside_the_steps_is_left_out() -> None:
    """A kernel across the border counts for its part."""
    found = on_gpu(step(10, start=2), kernel("gemm", 0, 3), kernel("gemm", 11, 15))
    assert milliseconds(found) == {"matmul": 1, "idle": 7}
    assert found.longest_kernels[0].calls_per_step == 1


# --- on a CPU -----------------------------------------------------------------------------------


def test_an_operator_has_its_own_time_alone() -> None:
    """Called operators have their own time; time without an operator is idle."""
    found = on_cpu(
        step(10),
        event("aten::conv2d", 1, 5),
        event("aten::mkldnn_convolution", 2, 4),
        event("aten::linear", 6, 9),
        event("aten::relu_", 7, 8),
    )
    assert milliseconds(found) == {"convolution": 4, "matmul": 2, "activation": 1, "idle": 3}
    own = {each.name: each.seconds_per_step for each in found.longest_kernels}
    assert own["aten::conv2d"] == pytest.approx(2e-3)


def test_copy_inside_an_operator_counts_for_that_operator() -> None:
    """A clearing within pooling is pooling; a cast within a convolution (autocast) is a copy."""
    found = on_cpu(
        step(10),
        event("aten::max_pool2d_with_indices_backward", 0, 3), event("aten::fill_", 1, 2),
        event("aten::conv2d", 4, 7), event("aten::_to_copy", 5, 6), event("aten::copy_", 5.2, 5.9),
        event("aten::index", 8, 9),
    )  # fmt: skip
    assert milliseconds(found) == {"pooling": 3, "convolution": 2, "copy": 2, "idle": 3}


def test_python_time_in_the_optimizer_counts_as_optimizer() -> None:
    """On a CPU the host is what is busy."""
    found = on_cpu(step(4), annotation("Optimizer.step#Adam.step", 1, 3), event("aten::mul_", 2, 3))
    assert milliseconds(found) == {"optimizer": 2, "idle": 2}


def test_operators_inside_a_wait_count_as_data_wait() -> None:
    """Operators of the loader are no kernels."""
    found = on_cpu(step(4), annotation(DATA_WAIT, 0, 2), event("aten::stack", 1, 2),
                   event("aten::mm", 2, 3))  # fmt: skip
    assert milliseconds(found) == {"data_wait": 2, "matmul": 1, "idle": 1}
    assert [each.name for each in found.longest_kernels] == ["aten::mm"]


def test_other_thread_counts_while_the_training_thread_waits() -> None:
    """Autograd has a thread of its own."""
    found = on_cpu(step(6), event("aten::mm", 0, 2), event("aten::relu_", 1, 4, tid=8))
    assert milliseconds(found) == {"matmul": 2, "activation": 2, "idle": 2}


def test_the_ten_longest_come_first() -> None:
    """Eleven kernels are sorted by their time per step."""
    events = [event(f"op{n}", n, n + 0.05 * (n + 1)) for n in range(11)]
    found = on_cpu(step(11), *events, steps=2)
    assert [each.name for each in found.longest_kernels] == [f"op{n}" for n in range(10, 0, -1)]
    assert found.longest_kernels[0].seconds_per_step == pytest.approx(0.55e-3 / 2)
    assert found.longest_kernels[0].calls_per_step == 0.5


# --- instants -----------------------------------------------------------------------------------

SPANS = st.lists(
    st.builds(
        lambda start, length, kernel_class, rank: Span(start, start + length, kernel_class, rank),
        st.integers(-5, 30), st.integers(0, 12), st.sampled_from(["copy", "matmul", "pooling"]),
        st.integers(0, 2),
    )
)  # fmt: skip


@given(SPANS)
def test_every_instant_belongs_to_one_class(spans: list[Span]) -> None:
    """Held to looking at each instant alone: the lowest rank, then whoever began first."""
    expected: dict[str, int] = {}
    for instant in range(25):
        there = [
            (each.rank, max(each.start, 0), each.end, each.kernel_class)
            for each in spans
            if each.start <= instant < each.end
        ]
        if there:
            winner = min(there)
            # Of equal rank and beginning either may have it, so only the total is held then.
            expected[winner[3]] = expected.get(winner[3], 0) + 1
    found = busy_by_class(spans, 0, 25)
    assert sum(found.values()) == sum(expected.values())
    starts = [(each.rank, max(each.start, 0)) for each in spans]
    if len(set(starts)) == len(starts):
        assert found == expected


# --- the file -----------------------------------------------------------------------------------


def test_trace_is_read_compressed_and_uncompressed(tmp_path: Path) -> None:
    """The same events."""
    content = json.dumps({"traceEvents": [step(1)]})
    plain, packed = tmp_path / "a.pt.trace.json", tmp_path / "a.pt.trace.json.gz"
    plain.write_text(content)
    packed.write_bytes(gzip.compress(content.encode()))
    assert read_events(plain) == read_events(packed) == [step(1)]


def test_file_that_is_no_trace_is_named(tmp_path: Path) -> None:
    """The error names the file or the missing part."""
    path = tmp_path / "a.json"
    path.write_text("[]")
    with pytest.raises(ValueError, match=r"a\.json has no traceEvents"):
        read_events(path)
    with pytest.raises(ValueError, match="no step"):
        parse_trace([event("aten::mm", 0, 1)])
