"""Every number that a repeat can carry, described once: name, unit, better direction, format.

Tables, records and gates read this list; nothing else knows how a metric is written or judged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rich.filesize import pick_unit_and_suffix

Better = Literal["lower", "higher"]

ABSENT = "—"
"""What a table shows where a value is None."""


def format_seconds(value: float) -> str:
    """Seconds with three digits that matter, minutes and hours where they read better."""
    if value >= 3600:
        return f"{int(value // 3600)} h {int(value % 3600 // 60):02d} min"
    if value >= 600:
        return f"{int(value // 60)} min {int(value % 60):02d} s"
    if value >= 100:
        return f"{value:.0f} s"
    if value >= 10:
        return f"{value:.1f} s"
    return f"{value:.2f} s" if value >= 0.1 else f"{value * 1e3:.2f} ms"


def format_latency(value: float) -> str:
    """Seconds as `format_seconds` has them, microseconds below a millisecond."""
    if value >= 1e-3:
        return format_seconds(value)
    return f"{value * 1e6:.0f} µs" if value >= 1e-4 else f"{value * 1e6:.1f} µs"


def format_percent(value: float) -> str:
    """A fraction as a percentage with two decimals: 0.9899 -> 98.99 %."""
    return f"{value * 100:.2f} %"


def format_share(value: float) -> str:
    """A fraction as a percentage with one decimal."""
    return f"{value * 100:.1f} %"


def format_bytes(value: float) -> str:
    """Bytes in binary units: 1610612736 -> 1.50 GiB."""
    unit, suffix = pick_unit_and_suffix(int(value), ["B", "KiB", "MiB", "GiB", "TiB", "PiB"], 1024)
    return f"{value / unit:.{0 if unit < 1024**3 else 2}f} {suffix}"


def format_rate(value: float) -> str:
    """A rate per second, whole from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def format_flops(value: float) -> str:
    """Floating-point operations (or their rate) with an SI prefix: 4.1e11 -> 410 G."""
    value = float(f"{value:.3g}")  # first, so that 999,999 is 1 M and not 1000 k
    unit, suffix = pick_unit_and_suffix(int(value), ["", "k", "M", "G", "T", "P", "E"], 1000)
    return f"{value / unit:.3g} {suffix}".rstrip()


def format_joules(value: float) -> str:
    """Energy, in kilojoules from 10,000 on."""
    return f"{value / 1e3:,.1f} kJ" if value >= 1e4 else f"{value:,.0f} J"


def format_plain(value: float) -> str:
    """A bare number with four digits that matter."""
    return f"{value:.4g}"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One measured quantity of a repeat."""

    name: str
    """Field of `cnnperf.record.schema.Metrics`, with unit and "per" in it."""
    label: str
    """Head of a table's column."""
    unit: str
    better: Better | None
    """Which direction is an improvement; None where neither is."""
    format: Callable[[float], str]
    meaning: str
    """One line for people."""

    def show(self, value: float | None) -> str:
        """The value as a table shows it."""
        return ABSENT if value is None else self.format(value)


def _metric(
    name: str,
    label: str,
    unit: str,
    better: Better | None,
    formatter: Callable[[float], str],
    meaning: str,
) -> Metric:
    return Metric(
        name=name, label=label, unit=unit, better=better, format=formatter, meaning=meaning
    )


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _metric("train_seconds", "train time", "s", "lower", format_seconds,
                "from before the data set's first byte is read to the end of the last validation"),
        _metric("outside_train_seconds", "train time (outside)", "s", "lower", format_seconds,
                "the same, timed by the pytest process from `go` to `trained`"),
        _metric("images_per_second", "images/s", "1/s", "higher", format_rate,
                "training images over the time of the training phases"),
        _metric("step_seconds_p50", "step p50", "s", "lower", format_seconds,
                "median time of a training step"),
        _metric("step_seconds_p90", "step p90", "s", "lower", format_seconds,
                "90th percentile of the time of a training step"),
        _metric("step_seconds_p99", "step p99", "s", "lower", format_seconds,
                "99th percentile of the time of a training step"),
        _metric("data_wait_fraction", "data wait", "1", "lower", format_share,
                "share of the training phases that the host waited for the next batch"),
        _metric("startup_seconds", "startup", "s", "lower", format_seconds,
                "imports, model, warm-up: before the clock starts"),
        _metric("compile_seconds", "compile", "s", "lower", format_seconds,
                "compiling and graph capture, before the clock starts"),
        _metric("test_seconds", "test time", "s", "lower", format_seconds,
                "evaluation of the test set, after the clock stopped"),
        _metric("time_to_accuracy_seconds", "time to accuracy", "s", "lower", format_seconds,
                "clock at the end of the first epoch that reached the data set's target"),
        _metric("test_accuracy", "accuracy", "1", "higher", format_percent,
                "share of the test images classified rightly"),
        _metric("test_f1_macro", "F1", "1", "higher", format_percent,
                "unweighted mean over the classes of the test F1"),
        _metric("test_loss", "test loss", "nat", "lower", format_plain,
                "mean cross-entropy over the test set"),
        _metric("val_accuracy", "val accuracy", "1", "higher", format_percent,
                "validation accuracy after the last epoch"),
        _metric("peak_memory_bytes", "peak memory", "B", "lower", format_bytes,
                "most memory the allocator held on the device, or the process held on a CPU"),
        _metric("training_flops_per_image", "FLOP/image", "FLOP", None, format_flops,
                "forward and backward of one image, counted on the model"),
        _metric("flops_per_second", "FLOP/s", "FLOP/s", "higher", format_flops,
                "training FLOPs done per second of the training phases"),
        _metric("mfu", "MFU", "1", "higher", format_share,
                "model FLOP utilisation: FLOP/s over the matmul peak measured in the same run"),
        _metric("energy_joules", "energy", "J", "lower", format_joules,
                "of the device, from NVML's total-energy counter, over train_seconds"),
        _metric("latency_seconds_p50", "latency p50", "s", "lower", format_latency,
                "median wait for the prediction of one image, in the training's precision"),
        _metric("latency_seconds_p99", "latency p99", "s", "lower", format_latency,
                "99th percentile of the wait for the prediction of one image"),
        _metric("inference_images_per_second", "inference images/s", "1/s", "higher", format_rate,
                "images predicted per second in the best batch size, in the training's precision"),
        _metric("harness_seconds", "suite's own time", "s", "lower", format_seconds,
                "starting, importing, handing over and ending: what the suite adds to a training"),
    )
}  # fmt: skip


def show(name: str, value: float | None) -> str:
    """A metric's value as a table shows it.

    >>> show("test_accuracy", 0.9899), show("mfu", None)
    ('98.99 %', '—')
    """
    return METRICS[name].show(value)
