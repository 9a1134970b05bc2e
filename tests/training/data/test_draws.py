"""Random draws that stay the same for ever.

Shapes: N images.
"""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the torch half is tested where torch is installed")

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnperf.training.data.draws import permutation, random_bytes, stratified_rows


def test_first_draws_never_change() -> None:
    """The raw output of numpy's PCG64 is promised never to change; this would notice."""
    assert permutation(10, seed=0).tolist() == [3, 2, 1, 8, 6, 0, 7, 4, 5, 9]
    assert len(random_bytes(13, seed=0)) == 13
    assert np.array_equal(random_bytes(16, seed=0)[:13], random_bytes(13, seed=0))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.data())
@settings(max_examples=60)
def test_stratified_rows_are_exact_in_total_and_within_one_in_every_class(
    labels: list[int], data: st.DataObject
) -> None:
    """For any labels and any number of rows to draw."""
    labels_N = np.array(labels, dtype=np.int64)
    count = data.draw(st.integers(0, len(labels)))
    rows = stratified_rows(labels_N, count, seed=data.draw(st.integers(0, 99)))
    assert len(set(rows.tolist())) == len(rows) == count
    for label in set(labels):
        share = labels.count(label) * count / len(labels)
        assert abs((labels_N[rows] == label).sum() - share) < 1
