"""What a case's record says of all its repeats: what must be equal to compare, and medians."""

from __future__ import annotations

import statistics
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cnnperf.catalog.specs import Augmentation, Recipe
from cnnperf.record.schema import (
    Fingerprint,
    fingerprint_of,
)
from tests.examples import (
    example_case,
    example_case_record,
    example_repeat,
)
from tests.strategies import fingerprints, seconds

# --- fingerprints -------------------------------------------------------------------------------


def _fingerprint(**changes: Any) -> Fingerprint:
    content = {
        "model_sha256": "a",
        "dataset_sha256": "b",
        "recipe": Recipe(name="report"),
        "resolution": 28,
        "precision": "float32",
    }
    return Fingerprint(**{**content, **changes})


@given(fingerprint=fingerprints)
@settings(max_examples=30)
def test_equal_fingerprints_have_equal_digests(fingerprint: Fingerprint) -> None:
    """Also after the way to a file and back."""
    read = Fingerprint.model_validate_json(fingerprint.model_dump_json())
    assert read.digest == fingerprint.digest
    assert len(fingerprint.digest) == 16


def test_whatever_changes_the_training_changes_the_digest() -> None:
    """Each component alone, and each field of the recipe."""
    changed = [
        _fingerprint(model_sha256="c"),
        _fingerprint(model_sha256=None),
        _fingerprint(dataset_sha256="c"),
        _fingerprint(resolution=32),
        _fingerprint(precision="tf32"),
        *(
            _fingerprint(recipe=Recipe(**{"name": "report", **change}))
            for change in (
                {"name": "mine"},
                {"epochs": 11},
                {"batch_size": 64},
                {"learning_rate": 2e-3},
                {"max_steps": 4},
                {"augmentation": Augmentation()},
                {"augmentation": Augmentation(rotation_degrees=15)},
            )
        ),
    ]
    digests = {fingerprint.digest for fingerprint in [_fingerprint(), *changed]}
    assert len(digests) == 1 + len(changed)


def test_model_and_data_cannot_be_exchanged_unseen() -> None:
    """The digest knows which hash is which."""
    one = _fingerprint(model_sha256="a", dataset_sha256="b")
    other = _fingerprint(model_sha256="b", dataset_sha256="a")
    assert one.digest != other.digest


def test_a_repeat_gives_its_case_the_fingerprint() -> None:
    """What it trained, with what and how; its seed and its speed are no part of it."""
    case = example_case(epochs=3)
    one = fingerprint_of(example_repeat(0, 20.0), case)
    assert one == fingerprint_of(example_repeat(1, 30.0), case)
    assert one.recipe.epochs == 3
    assert (one.model_sha256, one.dataset_sha256) == ("a" * 64, "b" * 64)
    assert (one.resolution, one.precision) == (28, "float32")


# --- medians ------------------------------------------------------------------------------------


@given(values=st.lists(seconds, min_size=1, max_size=7))
@settings(max_examples=60)
def test_a_case_has_the_median_of_its_repeats(values: list[float]) -> None:
    """As the standard library works it out."""
    case = example_case_record(
        repeats=[example_repeat(seed, value) for seed, value in enumerate(values)]
    )
    assert case.values("train_seconds") == values
    assert case.median("train_seconds") == statistics.median(values)


def test_repeats_without_a_value_do_not_count() -> None:
    """A median over what was measured; None where nothing was."""
    case = example_case_record(
        repeats=[
            example_repeat(seed, mfu=mfu, energy_joules=None)
            for seed, mfu in enumerate([0.3, None, 0.2, 0.1])
        ]
    )
    assert case.median("mfu") == 0.2
    assert case.median("energy_joules") is None
    assert example_case_record(repeats=[]).median("train_seconds") is None
