"""The noise of a machine, measured from the repeats of records."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import ttest_ind

from cnnperf.compare.calibration import (
    POWER,
    REPEATS,
    detectable,
)
from cnnperf.errors import UsageError
from cnnperf.record.environment import Gpu
from cnnperf.record.schema import Record
from cnnperf.run.calibrate import (
    measure_noise,
)
from tests.examples import (
    example_case,
    example_case_record,
    example_environment,
    timed_record,
)

MNIST = "modified_vgg-mnist-28-eager"


def test_noise_is_the_standard_deviation_over_the_repeats_of_all_records() -> None:
    """Of the logarithm for times, of the value for accuracy."""
    first = timed_record([10.0, 10.2, 9.9], [0.98, 0.985, 0.99])
    second = timed_record([10.1, 10.4, 9.8], [0.97, 0.98, 0.99])
    noise = measure_noise([("a", first), ("b", second)]).cases[MNIST].metrics
    times = [10.0, 10.2, 9.9, 10.1, 10.4, 9.8]
    assert noise["train_seconds"].n == 6
    assert noise["train_seconds"].mean == pytest.approx(np.mean(times))
    assert noise["train_seconds"].sd == pytest.approx(np.std(np.log(times), ddof=1))
    accuracies = [0.98, 0.985, 0.99, 0.97, 0.98, 0.99]
    assert noise["test_accuracy"].sd == pytest.approx(statistics.stdev(accuracies))
    assert noise["peak_memory_bytes"].sd == 0
    assert "mfu" not in noise, "nobody judges it"
    assert "energy_joules" not in noise, "it was not measured"


def test_smallest_change_is_the_widened_threshold_and_the_detectable_shift() -> None:
    """Noise widens the threshold to three standard deviations."""
    quiet = measure_noise([("a", timed_record([10.0, 10.0, 10.001]))]).cases[MNIST]
    assert quiet.metrics["train_seconds"].smallest_change == pytest.approx(0.03, abs=1e-3)
    scattered = measure_noise([("a", timed_record([10.0, 10.3, 9.7]))]).cases[MNIST]
    noisy = scattered.metrics["train_seconds"]
    widened = math.expm1(3 * noisy.sd)
    assert widened > 0.05
    expected = (1 + widened) * math.exp(detectable(noisy.sd)) - 1
    assert noisy.smallest_change == pytest.approx(expected)


@pytest.mark.parametrize("repeats", [3, REPEATS, 10])
def test_detectable_shift_is_found_in_four_of_five_simulated_comparisons(repeats: int) -> None:
    """With scipy's t test."""
    sd, threshold, runs = 0.02, math.log(1.03), 4000
    rng = np.random.default_rng(3)
    base = rng.normal(0, sd, (runs, repeats))
    new = rng.normal(threshold + detectable(sd, repeats), sd, (runs, repeats))
    low = ttest_ind(new, base, axis=1).confidence_interval(0.95).low
    assert np.mean(low > threshold) == pytest.approx(POWER, abs=0.025)


def test_shortened_trainings_have_noise_of_times_but_not_of_accuracy() -> None:
    """The case is marked as shortened."""
    case = measure_noise([("a", timed_record([10.0, 10.1, 9.9], shortened=True))]).cases[MNIST]
    assert case.shortened
    assert "train_seconds" in case.metrics
    assert not {"test_accuracy", "test_f1_macro"} & case.metrics.keys()


def test_two_repeats_are_refused_with_a_remedy() -> None:
    """The remedy is more repeats."""
    with pytest.raises(UsageError, match=r"no case has 3 finished trainings.*with more --repeats"):
        measure_noise([("a.json", timed_record([10.0, 10.1]))])


def _other_gpu(record: Record) -> Record:
    environment = example_environment(gpu=Gpu(name="NVIDIA A100"))
    return record.model_copy(update={"environment": environment})


def _other_torch(record: Record) -> Record:
    software = record.environment.software.model_copy(update={"torch": "2.16.0"})
    environment = record.environment.model_copy(update={"software": software})
    return record.model_copy(update={"environment": environment})


def _other_epochs(record: Record) -> Record:
    repeats = record.cases[0].repeats
    case = example_case_record(example_case(epochs=3), repeats)
    return record.model_copy(update={"cases": [case]})


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (_other_gpu, "hardware"),
        (_other_torch, r"software.torch \(2.15.0 and 2.16.0\)"),
        (_other_epochs, f"{MNIST}: .*epochs"),
    ],
)
def test_records_of_different_machines_software_or_recipes_are_refused(
    change: Callable[[Record], Record], what: str
) -> None:
    """The message has both files and the difference."""
    record = timed_record([10.0, 10.1, 9.9])
    with pytest.raises(UsageError, match=f"a.json and b.json differ in {what}"):
        measure_noise([("a.json", record), ("b.json", change(record))])


def test_two_files_of_one_record_are_refused() -> None:
    """A repeated file is a mistake."""
    record = timed_record([10.0, 10.1, 9.9])
    with pytest.raises(UsageError, match=r"a.json and b.json are the same record"):
        measure_noise([("a.json", record), ("b.json", record.model_copy(deep=True))])
