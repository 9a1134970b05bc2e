"""Records of every shape, for hypothesis: any text, any number that a field admits."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone

from hypothesis import strategies as st

from cnnperf.record import CaseError, CaseRecord, EpochResult, Fingerprint, Metrics, Record, Repeat
from cnnperf.specs import Augmentation, Recipe
from tests.examples import example_environment, example_flag

finite = st.floats(allow_nan=False, allow_infinity=False)
seconds = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
fraction = st.floats(min_value=0, max_value=1)
count = st.integers(min_value=0, max_value=2**63)
times = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-9, minutes=-30))]))

metrics = st.builds(
    Metrics,
    train_seconds=seconds,
    images_per_second=st.none() | finite,
    test_accuracy=st.none() | fraction,
    peak_memory_bytes=st.none() | count,
    mfu=st.none() | finite,
)
epochs = st.builds(
    EpochResult,
    epoch=st.integers(1, 1000),
    train_loss=finite,
    train_seconds=seconds,
    val_loss=st.none() | finite,
    val_accuracy=st.none() | fraction,
)
repeats = st.builds(
    Repeat,
    seed=count,
    metrics=metrics,
    epochs=st.lists(epochs, max_size=2),
    confusion=st.none() | st.lists(st.lists(count, max_size=3), max_size=3),
    steps=count,
    precision=st.sampled_from(["float32", "tf32", "bfloat16", "float16"]),
    model_sha256=st.none() | st.text(max_size=8),
    warnings=st.lists(
        st.builds(example_flag, st.text(max_size=5), st.text(max_size=9)), max_size=2
    ),
)
augmentations = st.builds(
    Augmentation,
    rotation_degrees=st.floats(0, 180),
    scale_fraction=st.floats(0, 1, exclude_max=True),
    elastic_alpha_pixels=seconds,
    elastic_sigma_pixels=st.floats(min_value=1e-300, max_value=1e300),
)
recipes = st.builds(
    Recipe,
    name=st.sampled_from(["report", "mine"]),
    epochs=st.integers(1, 10**6),
    learning_rate=st.floats(min_value=1e-300, max_value=1e300),
    augmentation=st.none() | augmentations,
)
fingerprints = st.builds(
    Fingerprint,
    model_sha256=st.none() | st.text(max_size=8),
    recipe=recipes,
    resolution=st.integers(1, 512),
    precision=st.text(max_size=8),
)
cases = st.builds(
    CaseRecord,
    id=st.text(max_size=12),
    model=st.text(max_size=5),
    dataset=st.text(max_size=5),
    resolution=st.integers(1, 512),
    recipe=st.text(max_size=5),
    engine=st.just("eager"),
    fingerprint=st.none() | fingerprints,
    shortened=st.booleans(),
    outcome=st.sampled_from(["passed", "failed", "skipped"]),
    error=st.none()
    | st.builds(CaseError, kind=st.sampled_from(["killed", "data"]), message=st.text()),
    repeats=st.lists(repeats, max_size=2),
)
records = st.builds(
    Record,
    created=times,
    tier=st.sampled_from(["smoke", "standard", "full"]),
    interrupted=st.booleans(),
    environment=st.builds(
        example_environment,
        cpu_model=st.none() | st.text(),
        cpu_flags=st.none() | st.lists(st.text(max_size=4), max_size=2).map(tuple),
        matmul_flops_per_second=st.none() | st.dictionaries(st.text(max_size=4), finite),
    ),
    cases=st.lists(cases, max_size=2),
)
