"""Records of every shape, for hypothesis: any text, any number that a field admits; and spoilt."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

from hypothesis import strategies as st

from cnnperf.catalog.specs import Augmentation, Recipe
from cnnperf.record.fingerprint import Fingerprint
from cnnperf.record.live import RecipePart
from cnnperf.record.schema import CaseError, CaseRecord, EpochResult, Metrics, Record, Repeat
from tests.examples import example_environment, example_flag

finite = st.floats(-1e100, 1e100)
seconds = st.floats(0, 1e11)
fraction = st.floats(min_value=0, max_value=1)
count = st.integers(0, 2**64)
times = st.datetimes(
    datetime(1970, 1, 2),
    datetime(9999, 12, 30),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-9, minutes=-30))]),
)

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
    step_losses=st.none() | st.lists(finite, max_size=3),
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
    overrides=st.dictionaries(st.sampled_from(get_args(RecipePart)), st.text(max_size=8)),
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
    cases=st.lists(cases, max_size=2, unique_by=lambda case: case.id),
)

# --- what is no record --------------------------------------------------------------------------

json_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**320), 10**320)
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(["cnnperf", "NaN", "\x1b[31m", "\ud800", "1e999", "passed", 0, 1, -1])
)
json_values = st.recursive(
    json_scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.just("cnnperf"), inner, max_size=4)
    ),
    max_leaves=12,
)


@st.composite
def mutated(draw: st.DrawFn, text: str) -> Any:
    """The JSON in `text` with up to three of its nodes deleted, replaced, or put elsewhere too.

    Nodes are reached from the top by a random walk, so that those near it are hit as often as the
    many at the bottom.
    """
    content = json.loads(text)
    for _ in range(draw(st.integers(1, 3))):
        place, key = draw(_nodes(content))
        _mutate(draw, place, key)
    return content


@st.composite
def _nodes(draw: st.DrawFn, content: Any) -> tuple[Any, Any]:
    place = content
    while True:
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        key = draw(st.sampled_from(keys))
        inside = place[key]
        if not isinstance(inside, dict | list) or not inside or draw(st.integers(0, 5)) == 0:
            return place, key
        place = inside


def _mutate(draw: st.DrawFn, place: Any, key: Any) -> None:
    action = draw(st.sampled_from(["delete", "replace", "duplicate"]))
    if action == "replace":
        place[key] = draw(json_values)
    elif action == "duplicate" and isinstance(place, list):
        place.insert(draw(st.integers(0, len(place))), copy.deepcopy(place[key]))
    elif action == "duplicate":
        place[draw(st.sampled_from(sorted(place)))] = copy.deepcopy(place[key])
    elif len(place) > 1:  # another mutation may still have to find its way through here
        del place[key]
