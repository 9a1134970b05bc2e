"""Describe every metric of a repeat once: name, unit, better direction, format.

Tables, records and gates read `METRICS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Literal

from rich.filesize import pick_unit_and_suffix

if TYPE_CHECKING:  # `cnnperf --help` needs no catalog
    from cnnperf.catalog.loops import Quality

Better = Literal["lower", "higher"]

ABSENT = "—"
"""The text for None in a table."""


def format_seconds(value: float) -> str:
    """Format seconds with three significant digits, or as minutes or hours from 600 s on."""
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
    """Format seconds as `format_seconds` does, but as microseconds below a millisecond."""
    if value >= 1e-3:
        return format_seconds(value)
    return f"{value * 1e6:.0f} µs" if value >= 1e-4 else f"{value * 1e6:.1f} µs"


def format_percent(value: float) -> str:
    """Format a fraction as a percentage with two decimals: 0.9899 -> 98.99 %."""
    return f"{value * 100:.2f} %"


def format_share(value: float) -> str:
    """Format a fraction as a percentage with one decimal."""
    return f"{value * 100:.1f} %"


def format_bytes(value: float) -> str:
    """Format bytes in binary units: 1610612736 -> 1.50 GiB."""
    unit, suffix = pick_unit_and_suffix(int(value), ["B", "KiB", "MiB", "GiB", "TiB", "PiB"], 1024)
    return f"{value / unit:.{0 if unit < 1024**3 else 2}f} {suffix}"


def format_rate(value: float) -> str:
    """Format a rate per second, without decimals from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def format_flops(value: float) -> str:
    """Format floating-point operations, or their rate, with an SI prefix: 4.1e11 -> 410 G."""
    value = float(f"{value:.3g}")  # first, so that 999,999 is 1 M and not 1000 k
    unit, suffix = pick_unit_and_suffix(int(value), ["", "k", "M", "G", "T", "P", "E"], 1000)
    return f"{value / unit:.3g} {suffix}".rstrip()


def format_joules(value: float) -> str:
    """Format an energy, in kilojoules from 10,000 J on."""
    return f"{value / 1e3:,.1f} kJ" if value >= 1e4 else f"{value:,.0f} J"


def format_plain(value: float) -> str:
    """Format a number without a unit, with four significant digits."""
    return f"{value:.4g}"


@dataclass(frozen=True)
class Metric:
    """One measured quantity of a repeat."""

    name: str
    """Field of `cnnperf.record.schema.Metrics`, with unit and "per" in it."""
    label: str
    """Heading of a table's column."""
    unit: str
    better: Better | None
    """Direction of an improvement; None where there is none."""
    format: Callable[[float], str]
    meaning: str
    """One line for users."""

    def show(self, value: float | None) -> str:
        """Return the value as a table shows it."""
        return ABSENT if value is None else self.format(value)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("train_seconds", "train time", "s", "lower", format_seconds,
               "from before the first byte of data is read to the end of the last validation"),
        Metric("outside_train_seconds", "train time (outside)", "s", "lower", format_seconds,
               "the same, timed by the pytest process from `go` to `trained`"),
        Metric("images_per_second", "images/s", "1/s", "higher", format_rate,
               "training images over the time of the training phases"),
        Metric("step_seconds_p50", "step p50", "s", "lower", format_seconds,
               "median time of a training step; of a CUDA graph of several, their mean"),
        Metric("step_seconds_p90", "step p90", "s", "lower", format_seconds,
               "90th percentile of the same times"),
        Metric("step_seconds_p99", "step p99", "s", "lower", format_seconds,
               "99th percentile of the same times"),
        Metric("data_wait_fraction", "data wait", "1", "lower", format_share,
               "share of the training phases in which the host waits for the next batch"),
        Metric("startup_seconds", "startup", "s", "lower", format_seconds,
               "imports, model, warm-up: before the clock starts"),
        Metric("compile_seconds", "compile", "s", "lower", format_seconds,
               "compiling and graph capture, before the clock starts"),
        Metric("test_seconds", "test time", "s", "lower", format_seconds,
               "evaluation of the test set, after the clock stops"),
        Metric("time_to_accuracy_seconds", "time to accuracy", "s", "lower", format_seconds,
               "time until the end of the first epoch that reaches the data set's target accuracy"),
        Metric("test_accuracy", "accuracy", "1", "higher", format_percent,
               "share of the test images classified correctly"),
        Metric("test_f1_macro", "F1", "1", "higher", format_percent,
               "unweighted mean of the test F1 over the classes"),
        Metric("test_loss", "test loss", "nat", "lower", format_plain,
               "mean cross-entropy over the test set"),
        Metric("val_accuracy", "val accuracy", "1", "higher", format_percent,
               "validation accuracy after the last epoch"),
        Metric("peak_memory_bytes", "peak memory", "B", "lower", format_bytes,
               "most memory that the allocator held on the device, or the process on a CPU"),
        Metric("training_flops_per_image", "FLOP/image", "FLOP", None, format_flops,
               "forward and backward of one image, counted on the model"),
        Metric("flops_per_second", "FLOP/s", "FLOP/s", "higher", format_flops,
               "training FLOPs done per second of the training phases"),
        Metric("mfu", "MFU", "1", "higher", format_share,
               "model FLOP utilisation: FLOP/s over the matmul peak measured in the same run"),
        Metric("energy_joules", "energy", "J", "lower", format_joules,
               "energy of the device over train_seconds, from NVML's total-energy counter"),
        Metric("latency_seconds_p50", "latency p50", "s", "lower", format_latency,
               "median wait for the prediction of one image, in the training's precision"),
        Metric("latency_seconds_p99", "latency p99", "s", "lower", format_latency,
               "99th percentile of the wait for the prediction of one image"),
        Metric("inference_images_per_second", "inference images/s", "1/s", "higher", format_rate,
               "images predicted per second in the best batch size, in the training's precision"),
        Metric("scaling_efficiency", "efficiency", "1", "higher", format_share,
               "images/s over that of one device in the same run, and over the number of devices"),
        Metric("harness_seconds", "suite's own time", "s", "lower", format_seconds,
               "time that the suite adds to a training: start, imports, messages and exit"),
    )
}  # fmt: skip


def format_in_unit(value: float, unit: str = "1") -> str:
    """Format a quality of the user's with four significant digits and its unit.

    >>> format_in_unit(0.71234), format_in_unit(3.5, "dB")
    ('0.7123', '3.5 dB')
    """
    return f"{value:.4g}" if unit == "1" else f"{value:.4g} {unit}"


@cache
def of_quality(quality: Quality) -> Metric:
    """Return a quality of the user's as a metric; its label is its name."""
    return Metric(
        name=quality.name,
        label=quality.name,
        unit=quality.unit,
        better=quality.better,
        format=partial(format_in_unit, unit=quality.unit),
        meaning="reported by the training",
    )


def show_value(name: str, value: float | None, unit: str | None = None) -> str:
    """Return the value of a metric, or of a quality with its unit, as a table shows it."""
    if name in METRICS:
        return METRICS[name].show(value)
    return ABSENT if value is None else format_in_unit(value, unit or "1")


def show(name: str, value: float | None) -> str:
    """Return a metric's value as a table shows it.

    >>> show("test_accuracy", 0.9899), show("mfu", None)
    ('98.99 %', '—')
    """
    return METRICS[name].show(value)
